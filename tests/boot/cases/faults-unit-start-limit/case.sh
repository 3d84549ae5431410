# As faults-unit-fails, but systemd restarts the unit until its start limit: reported then, with the number of restarts.
product=baked

check() {
    wait_for 40 assert_verdict failed agent-unit-failed
    assert_unit ecs.service failed
    assert_journal_has ecs.service 'Start request repeated too quickly'
    assert_file_has /run/ecs-bootstrap/status.json 'ecs.service is failed.*restarts 2'
}
