# A log driver: the agent joins without an ecs-agent.log, and its output is in the journal.
product=binary

check() {
    assert_joins demo
    assert_no_file /var/log/ecs/ecs-agent.log
    assert_journal_has '' 'Starting Amazon ECS Agent'
}
