# MIME of two parts: a script for cloud-init, settings for us, which cloud-init must pass over.
product=binary

check() {
    assert_joins demo
    assert_file_has /etc/ecs/ecs.config '^ECS_RESERVED_MEMORY=256$'
    # Both ran: ours beside somebody else's.
    assert_file_has /run/theirs '^they were here$'
}
