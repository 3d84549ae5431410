# As faults-config-json-broken, with the level warn: no line shows where an attempt begins, or that the agent exited.
product=binary

check() {
    wait_for 60 assert_verdict failed agent-json-invalid
    ! host_file /var/log/ecs/ecs-init.log | grep 'Agent exited' || fail 'ecs-init logs below its level'
    assert_evidence "invalid character '}'"
    assert_not_registered
}
