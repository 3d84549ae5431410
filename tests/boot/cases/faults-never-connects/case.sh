# The agent registers and answers locally, but never connects to ECS: its introspection alone would look ready.
product=binary

check() {
    wait_for 60 assert_verdict failed agent-stuck
    assert_registered demo
    assert_unit ecs.service active
    assert_property ecs-bootstrap-verify.service ExecMainStatus 24
    assert_agent
}
