# A policy takes effect some seconds late: three calls are denied. The instance joins, and no failure is reported.
product=binary

check() {
    wait_for 40 assert_verdict ready
    assert_registered demo
    assert_journal_lacks ecs-bootstrap-verify.service 'register-denied'
    assert_file_has /var/log/ecs/ecs-init.log 'Agent exited with code 1'
    assert_api_calls ecs:RegisterContainerInstance 4
}
