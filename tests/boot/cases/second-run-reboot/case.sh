# User data runs at the first boot only; after a reboot the enabled agent is the same container instance.
product=binary

check() {
    wait_for 30 assert_verdict ready
    assert_registered demo
    local before
    before=$(container_instances)
    reboot
    wait_for 30 assert_api_calls ecs:RegisterContainerInstance 2
    wait_for 10 assert_file_has /var/log/ecs/ecs-agent.log 'Restored from checkpoint file'
    assert_equal "$(container_instances)" "$before" 'the container instance after the reboot'
    assert_one_cluster_line demo
    assert_unit ecs.service active
    assert_agent
}
