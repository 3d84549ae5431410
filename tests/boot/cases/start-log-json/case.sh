# The agent logs JSON.
product=binary

check() {
    assert_joins demo
    assert_file_has /var/log/ecs/ecs-agent.log '^\{"level":"info","time":"[^"]*","msg":"Registered container instance with cluster!"'
}
