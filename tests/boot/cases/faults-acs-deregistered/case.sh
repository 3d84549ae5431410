# The container instance is deregistered right after its registration: the agent waits for an hour.
product=binary

check() {
    wait_for 60 assert_verdict failed deregistered-while-up
    assert_evidence 'InactiveInstanceException|is deregistered'
    assert_file_has /var/log/ecs/ecs-agent.log 'reconnectDelay="1h0m0s"'
    assert_agent
}
