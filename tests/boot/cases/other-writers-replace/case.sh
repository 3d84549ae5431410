# User data replaces the file after we wrote it.
product=baked

check() {
    wait_for 30 assert_verdict ready
    assert_registered demo
    assert_one_cluster_line demo
    assert_file_has /etc/ecs/ecs.config '^ECS_LOGLEVEL=debug$'
}
