# User data writes a variable itself: the agent waits for it, and reads the variable at its first start.
product=baked
early=yes

check() {
    assert_joins demo
    assert_file_has /etc/ecs/ecs.config '^ECS_LOGLEVEL=debug$'
    assert_api_calls ecs:RegisterContainerInstance 1
    assert_unit ecs-bootstrap-user-data.target active
    assert_unit ecs-bootstrap-after-user-data.service inactive
}
