# User data works for 20 s and writes nothing: the agent registers before it ends, and is not restarted afterwards.
product=deb
early=yes
boot_wait=0

check() {
    wait_for 30 assert_verdict ready
    assert_unit cloud-final.service activating
    assert_registered demo
    assert_property ecs-bootstrap-user-data.target ActiveState inactive
    wait_for_boot "$name" 60
    assert_equal "$(look_in systemctl is-system-running)" running 'the state of the system'
    assert_journal_has ecs-bootstrap-after-user-data.service 'user data changed nothing'
    assert_api_calls ecs:RegisterContainerInstance 1
    # Without early start it would have waited for the agent, and so for user data.
    assert_journal_before 'Reached target multi-user.target' 'the end of user data'
    reboot
    assert_joins demo
    assert_journal_lacks '' 'ordering cycle'
}

# $1 and $2: lines of the journal, in this order.
assert_journal_before() {
    local text
    text=$(journal | grep -Eo "$1|$2" || true)
    [[ $text == "$1"*"$2"* ]] || fail "the journal has not \`$1\` before \`$2\`: $text"
}
