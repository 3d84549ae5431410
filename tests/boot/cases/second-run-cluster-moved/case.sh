# At the next boot the tag names another cluster: the agent refuses its saved state, and reset-agent resolves this.
product=baked

check() {
    wait_for 30 assert_verdict ready
    assert_registered demo
    set_metadata '{"tags": {"instance": {"ecs-bootstrap:cluster": "other"}}}'
    reboot
    wait_for 30 assert_verdict failed
    assert_one_cluster_line other
    assert_unit ecs.service failed
    assert_property ecs.service ExecMainStatus 5
    assert_console_has 'reset-agent'
    host ecs-bootstrap reset-agent | grep -F /var/lib/ecs/data || fail 'reset-agent does not list what it would move'
    assert_unit ecs.service failed
    host ecs-bootstrap reset-agent --yes
    wait_for 20 assert_unit ecs.service active
    host ecs-bootstrap run --wait
    assert_verdict ready
    local kept
    kept=$(compgen -G "$(host_path /var/lib/ecs)/data.20*") || fail 'the saved state was not kept'
    [[ -s $kept/agent.db ]] || fail "there is no state in $kept"
}
