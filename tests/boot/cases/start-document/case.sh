# All of user data is settings for ecs-bootstrap; cloud-init runs nothing of it, and the units in the image read it.
product=baked

check() {
    assert_joins prod
    assert_file_has /etc/ecs/ecs.config '^ECS_RESERVED_MEMORY=256$'
}
