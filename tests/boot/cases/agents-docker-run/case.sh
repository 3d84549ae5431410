# User data starts the agent with `docker run`, and no unit does (`units.agent = "none"`).
product=baked
unit=none

check() {
    wait_for 60 assert_verdict ready
    assert_registered demo
    assert_one_cluster_line demo
    assert_prints 'no unit starts the agent' host ecs-bootstrap doctor
    # Docker starts the container again.
    reboot
    wait_for 60 assert_verdict ready
    # Nothing runs it again.
    host docker rm --force ecs-agent
    printf 'units.agent = "none"\nverify.deadline = "5s"\n' >"$(host_path /etc/ecs-bootstrap/config.toml)"
    host systemctl restart ecs-bootstrap
    wait_for 40 assert_verdict failed agent-not-started
    assert_evidence 'docker has no container `ecs-agent`'
    assert_api_calls ecs:CreateCluster 0
}
