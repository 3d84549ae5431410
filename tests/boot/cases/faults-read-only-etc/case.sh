# The folder /etc/ecs cannot be written: it is said, and an agent whose file names the planned cluster starts.
product=baked

check() {
    assert_unit ecs-bootstrap.service failed
    assert_verdict failed write-refused
    assert_console_has '\[write-refused\]'
    wait_for 30 assert_registered demo
    assert_file_has /etc/ecs/ecs.config '^ECS_CLUSTER=demo$'
}
