# Old user data appends a cluster after ecs-bootstrap wrote the file: the tag wins over the line.
product=baked

check() {
    assert_joins demo
    assert_file_has /etc/ecs/ecs.config '^ECS_LOGLEVEL=debug$'
    assert_journal_has '' 'planned values written again'
    # At the next boot the line is gone, and nothing is written again.
    reboot
    assert_joins demo
}
