# The role may not register: the agent exits with code 1 repeatedly, its unit stays active, its log has the reason.
product=binary

check() {
    wait_for 40 assert_verdict failed register-denied
    assert_unit ecs.service active
    assert_property ecs-bootstrap-verify.service ExecMainStatus 22
    assert_not_registered
}
