# The stopped instance got another type: ECS refuses the container instance, and the agent gives up.
product=baked

check() {
    wait_for 40 assert_verdict ready
    set_metadata '{"tags": {"instance": {"ecs-bootstrap:cluster": "demo"}}, "instance-type": "m5.xlarge"}'
    reboot
    wait_for 60 assert_verdict failed
    assert_evidence 'Container instance type changes are not supported'
    assert_property ecs.service ExecMainStatus 5
    assert_console_has 'reset-agent'
    host ecs-bootstrap reset-agent --yes
    host ecs-bootstrap run --wait
    assert_verdict ready
}
