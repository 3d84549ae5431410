# A preparation of the agent's unit fails, and systemd does not restart the unit: reported at once.
product=baked

check() {
    wait_for 30 assert_verdict failed agent-unit-failed
    assert_unit ecs.service failed
    assert_no_agent
    assert_property ecs-bootstrap-verify.service ExecMainStatus 24
    assert_console_has 'ecs-bootstrap: error \[agent-unit-failed\] remedy: '
}
