# A policy that comes some seconds late: denied three times, then not. The instance joins, and nothing is called failed.
product=binary

check() {
    wait_for 40 assert_verdict ready
    assert_registered demo
    assert_journal_lacks ecs-bootstrap-verify.service 'register-denied'
    assert_file_has /var/log/ecs/ecs-init.log 'Agent exited with code 1'
    assert_api_calls ecs:RegisterContainerInstance 4
}
