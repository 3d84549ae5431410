# The role may register the instance, but not connect its agent, which answers locally: its introspection would look ready.
product=binary

check() {
    wait_for 60 assert_verdict failed acs-denied
    assert_evidence 'not authorized to perform: ecs:Poll'
    assert_registered demo
    assert_unit ecs.service active
    assert_property ecs-bootstrap-verify.service ExecMainStatus 22
    assert_agent
}
