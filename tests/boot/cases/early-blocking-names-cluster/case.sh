# User data names the cluster, and then waits for the start of the agent.
product=baked
early=yes

check() {
    assert_file_has /run/user-data-said '^started$'
    assert_joins demo
    assert_api_calls ecs:RegisterContainerInstance 1
    assert_journal_lacks '' 'user-data-deadlock'
}
