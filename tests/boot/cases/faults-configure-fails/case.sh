# A typo in our settings: configure fails and says so, and the instance whose file names a cluster works all the same.
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
