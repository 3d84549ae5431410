# More memory is reserved than the host has: the agent exits with code 1 without end, and does not name the setting.
product=binary

check() {
    (($(look_in awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo) < 65535)) || fail 'this machine has too much memory'
    wait_for 60 assert_verdict failed reserved-memory-too-high
    assert_evidence 'ECS_RESERVED_MEMORY is [0-9]* MiB, the host has [0-9]* MiB'
    assert_unit ecs.service active
    assert_not_registered
}
