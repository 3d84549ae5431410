# The cluster comes from an object of S3, the credentials of a registry from Secrets Manager, both with the role. The password is in
# ecs.config and nowhere else on the host.
product=baked

check() {
    assert_joins demo
    assert_file_has /etc/ecs/ecs.config '^ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION=2h'
    assert_secret
    reboot 90
    wait_for 60 assert_verdict ready
    assert_secret
    wait_for 10 assert_api_calls secretsmanager:GetSecretValue 2
}

# The password in each form in which it could be stored. Left out is the environment of the agent's container, which ecs-init fills from
# ecs.config. The search must not be a unit: systemd logs its command.
assert_secret() {
    local coded path found
    coded=$(printf 'user:MARKED-5b2e-PASSWORD' | base64)
    assert_file_has /etc/ecs/ecs.config "$coded"
    assert_equal "$(host stat --format %a /etc/ecs/ecs.config)" 600 'the mode of ecs.config'
    for path in /etc /run /var/lib/ecs-bootstrap /var/lib/cloud /var/log /tmp; do
        found=$(look_in grep --recursive --files-with-matches --fixed-strings -e MARKED-5b2e -e "$coded" "$path" 2>/dev/null |
            grep --invert-match -e '^/etc/ecs/ecs.config$' -e '^/run/containerd/' || true)
        assert_equal "$found" '' "the files below $path with the password"
    done
    ! look_in journalctl --output export --no-pager | grep --text --quiet -e MARKED-5b2e -e "$coded" || fail 'the journal has the password'
    ! grep --quiet -e MARKED-5b2e -e "$coded" "$folder/console.log" || fail 'the console has the password'
}
