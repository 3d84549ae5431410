# The folder /etc/ecs is read-only: this is reported, and the agent starts because its file names the planned cluster.
product=baked

check() {
    assert_unit ecs-bootstrap.service failed
    assert_verdict failed write-refused
    assert_console_has '\[write-refused\]'
    wait_for 30 assert_registered demo
    assert_file_has /etc/ecs/ecs.config '^ECS_CLUSTER=demo$'
}
