# Below the level info, neither log shows the start, the registration or the connection. The instance joins all the same.
product=binary

check() {
    assert_joins demo
    assert_file_has /var/log/ecs/ecs-agent.log 'Disabling TaskCPUMemLimit'
    ! host_file /var/log/ecs/ecs-agent.log | grep -E 'level=info' || fail 'ecs-agent.log has lines below its level'
}
