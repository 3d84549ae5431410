# User data waits for the agent, which waits for user data: reported while the deadlock lasts.
product=baked
boot_wait=0

check() {
    wait_for 60 assert_verdict failed user-data-deadlock
    assert_console_has '\[user-data-deadlock\]'
    assert_unit cloud-final.service activating
    assert_unit ecs.service inactive
    # The remedy works, and the verdict is corrected.
    host pkill --full '^systemctl start ecs'
    wait_for 30 assert_verdict ready
    assert_registered demo
}
