# The agent joins another cluster than the configured one.
product=baked
simulated_agent=required

check() {
    wait_for 30 assert_verdict failed cluster-other-than-wanted
    assert_registered other
    assert_unit ecs-bootstrap-verify.service failed
    assert_console_has '\[cluster-other-than-wanted\]'
}
