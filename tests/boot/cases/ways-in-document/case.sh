# The whole of user data is ours; cloud-init runs nothing of it, and the units in the image read it.
product=baked

check() {
    wait_for 30 assert_verdict ready
    assert_registered prod
    assert_one_cluster_line prod
    assert_file_has /etc/ecs/ecs.config '^ECS_RESERVED_MEMORY=256$'
}
