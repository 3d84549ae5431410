# The same, tried again until systemd refuses: told then, with how often it was tried.
product=baked

check() {
    wait_for 40 assert_verdict failed agent-unit-failed
    assert_unit ecs.service failed
    assert_journal_has ecs.service 'Start request repeated too quickly'
    assert_file_has /run/ecs-bootstrap/status.json 'ecs.service is failed .*restarts 2'
}
