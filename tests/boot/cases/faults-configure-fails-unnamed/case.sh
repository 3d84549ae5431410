# As faults-configure-fails, but nothing names a cluster: the agent does not join `default`; the cause is the setting.
product=baked

check() {
    assert_verdict failed setting-invalid
    assert_no_agent
    assert_not_registered
    wait_for 20 assert_journal_has ecs.service 'error: \[setting-invalid\]'
    assert_console_has '\[setting-invalid\]'
}
