# User data on a host whose agent's unit is not enabled: the agent runs until the next boot, with a warning.
product=binary
enabled=no

check() {
    wait_for 30 assert_verdict ready
    assert_registered demo
    assert_journal_has '' 'is not enabled: after a reboot nothing starts it'
    assert_equal "$(unit_property ecs.service UnitFileState)" disabled
    reboot
    assert_unit ecs.service inactive
    assert_no_agent
}
