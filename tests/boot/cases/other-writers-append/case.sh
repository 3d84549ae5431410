# Old user data appends its cluster after ours was written: the tag outranks the line.
product=baked

check() {
    assert_joins demo
    assert_file_has /etc/ecs/ecs.config '^ECS_LOGLEVEL=debug$'
    assert_journal_has '' 'what the plan says was written again'
    # At the next boot the line is not there any more, and nothing is written again.
    reboot
    assert_joins demo
}
