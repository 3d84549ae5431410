# As faults-register-denied, with a log driver: the agent then writes no ecs-agent.log, and only docker has its output.
product=binary

check() {
    wait_for 60 assert_verdict failed register-denied
    assert_no_file /var/log/ecs/ecs-agent.log
    host docker logs ecs-agent 2>&1 | grep -q 'AccessDeniedException' || fail 'docker has no output of the agent'
    assert_not_registered
}
