# An instance of a warm pool: its agent starts before user data ends and waits for the pool. It is stopped, and joins when
# it is started in service.
product=baked
early=yes
boot_wait=0

check() {
    wait_for 30 assert_agent
    assert_unit cloud-final.service activating
    wait_for_boot "$name" 60
    wait_for 30 assert_verdict waiting
    assert_not_registered
    assert_unit ecs-bootstrap-after-user-data.service active
    stop
    set_metadata '{"tags": {"instance": {"ecs-bootstrap:cluster": "demo"}}, "autoscaling": {"target-lifecycle-state": "InService"}}'
    start
    assert_joins demo
    assert_api_calls ecs:RegisterContainerInstance 1
}
