# Something before the agent fails, and its unit is not tried again: told at once, and not waited for.
product=baked

check() {
    wait_for 30 assert_verdict failed agent-unit-failed
    assert_unit ecs.service failed
    assert_no_agent
    assert_property ecs-bootstrap-verify.service ExecMainStatus 24
    assert_console_has 'ecs-bootstrap: error \[agent-unit-failed\] remedy: '
}
