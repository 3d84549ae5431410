# MIME with two parts: a script for cloud-init, and settings for ecs-bootstrap, which cloud-init must ignore.
product=binary

check() {
    assert_joins demo
    assert_file_has /etc/ecs/ecs.config '^ECS_RESERVED_MEMORY=256$'
    # Both parts took effect.
    assert_file_has /run/theirs '^they were here$'
}
