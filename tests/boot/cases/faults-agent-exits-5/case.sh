# The agent exits with its terminal code, after which systemd does not restart it.
product=binary
simulated_agent=required

check() {
    wait_for 30 assert_verdict failed agent-gave-up
    assert_unit ecs.service failed
    assert_property ecs.service ExecMainStatus 5
    assert_property ecs.service NRestarts 0
    assert_no_agent
    assert_not_registered
    assert_unit ecs-bootstrap-verify.service failed
    assert_property ecs-bootstrap-verify.service ExecMainStatus 23
}
