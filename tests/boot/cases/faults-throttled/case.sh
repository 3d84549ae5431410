# ECS throttles four calls. The SDK makes three attempts, after which the agent tries again; no failure is reported.
product=binary

check() {
    wait_for 40 assert_verdict ready
    assert_registered demo
    assert_api_calls ecs:RegisterContainerInstance 5
    assert_file_has /var/log/ecs/ecs-agent.log 'Received non-terminal error'
}
