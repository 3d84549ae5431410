# User data waits for the start of the agent. The agent does not wait for user data, so both continue.
product=baked
early=yes

check() {
    assert_file_has /run/user-data-said '^started$'
    assert_joins demo
    assert_journal_lacks '' 'user-data-deadlock'
}
