# ECS registers the instance without one of its attributes: the agent gives up, although ECS has the instance.
product=binary

check() {
    wait_for 40 assert_verdict failed attributes-rejected
    assert_evidence 'tier'
    assert_property ecs.service ExecMainStatus 5
    assert_registered demo
    assert_no_agent
}
