# A misspelt setting: `run` fails and reports it, and an instance whose file names a cluster still works.
product=baked

check() {
    assert_unit ecs-bootstrap.service failed
    assert_verdict failed setting-invalid
    assert_console_has '\[setting-invalid\]'
    wait_for 30 assert_registered demo
    assert_unit ecs.service active
    assert_unit docker.service active
    assert_unit cloud-final.service active
}
