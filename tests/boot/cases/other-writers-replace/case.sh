# User data replaces the file after ecs-bootstrap wrote it.
product=baked

check() {
    assert_joins demo
    assert_file_has /etc/ecs/ecs.config '^ECS_LOGLEVEL=debug$'
}
