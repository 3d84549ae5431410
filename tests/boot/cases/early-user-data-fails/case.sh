# User data fails after the agent has started: the verdict stays.
product=baked
early=yes
boot_wait=0

check() {
    wait_for 30 assert_verdict ready
    assert_unit cloud-final.service activating
    look_in touch /run/continue
    wait_for 60 assert_journal_has ecs-bootstrap-after-user-data.service 'user data changed nothing'
    assert_verdict ready
    assert_registered demo
    assert_api_calls ecs:RegisterContainerInstance 1
}
