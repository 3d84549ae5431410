# User data mode on a host whose agent is not enabled: it runs, with a warning, and only until the next boot.
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
