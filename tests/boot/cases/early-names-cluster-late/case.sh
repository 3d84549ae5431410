# Only user data names the cluster: the agent waits for the end of user data, as without early start.
product=baked
early=yes
boot_wait=0

check() {
    wait_for 30 assert_unit ecs-bootstrap.service active
    wait_for 30 assert_file_has /etc/ecs/ecs.config '^ECS_CLUSTER=demo$'
    sleep 2
    assert_unit cloud-final.service activating
    assert_unit ecs.service inactive
    assert_no_agent
    assert_joins demo
    assert_unit ecs-bootstrap-user-data.target active
    assert_file_has /etc/ecs/ecs.config '^ECS_LOGLEVEL=debug$'
    assert_api_calls ecs:RegisterContainerInstance 1
    assert_journal_has '' 'the agent waits for user data'
}
