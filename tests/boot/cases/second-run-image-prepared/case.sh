# As second-run-image, with prepare-image before the snapshot: the image holds nothing of the first instance.
product=baked

check() {
    wait_for 30 assert_verdict ready
    local list
    list=$(host ecs-bootstrap prepare-image)
    local path
    for path in /var/lib/ecs/data/agent.db /var/log/ecs/ecs-agent.log /var/lib/ecs-bootstrap/written.json; do
        grep -qF "$path" <<<"$list" || fail "prepare-image does not list $path: $list"
        [[ -e $(host_path "$path") ]] || fail "listing removed $path"
    done
    assert_unit ecs.service active
    host ecs-bootstrap prepare-image --yes
    assert_unit ecs.service inactive
    assert_no_agent
    assert_equal "$(host_file /etc/ecs/ecs.config)" '# by hand' ecs.config
    assert_equal "$(find "$(host_path /var/lib/ecs/data)" "$(host_path /var/log/ecs)" "$(host_path /var/lib/ecs-bootstrap)" -type f)" '' \
        'what is left'
    [[ -s $(host_path /var/cache/ecs/ecs-agent.tar) ]] || fail 'the image of the agent is gone'
    assert_prints '[Nn]othing' host ecs-bootstrap prepare-image --yes
    become_another_instance '{"tags": {"instance": {"ecs-bootstrap:cluster": "other"}}}'
    reboot
    wait_for 30 assert_verdict ready
    assert_registered other
}
