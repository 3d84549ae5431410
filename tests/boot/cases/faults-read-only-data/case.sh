# The folder of the agent's state is read-only: the agent exits with code 1 without end.
product=binary

check() {
    wait_for 60 assert_verdict failed agent-exits
    assert_evidence 'open /data/agent.db: read-only file system'
    assert_unit ecs.service active
    assert_not_registered
}
