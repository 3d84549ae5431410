# As faults-register-denied, with a log driver: the agent then writes no ecs-agent.log, and only docker has its output.
product=binary

check() {
    wait_for 60 assert_verdict failed register-denied
    assert_no_file /var/log/ecs/ecs-agent.log
    assert_evidence 'docker logs: .*AccessDeniedException'
    assert_not_registered
}
