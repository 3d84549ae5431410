# The cluster does not exist: the agent gives up, and the cause is the missing cluster, not the agent's exit.
product=binary

check() {
    wait_for 30 assert_verdict failed cluster-not-found
    assert_property ecs.service ExecMainStatus 5
    assert_property ecs-bootstrap-verify.service ExecMainStatus 21
    assert_not_registered
    assert_no_agent
}
