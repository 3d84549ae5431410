# User data waits for the agent, which waits for user data: not ours to mend, but named while it hangs.
product=baked
boot_wait=0

check() {
    wait_for 60 assert_verdict failed user-data-deadlock
    assert_console_has '\[user-data-deadlock\]'
    assert_unit cloud-final.service activating
    assert_unit ecs.service inactive
    # The remedy that it names works, and what was told is no longer so.
    host pkill --full '^systemctl start ecs'
    wait_for 30 assert_verdict ready
    assert_registered demo
}
