# A logging driver that the agent does not know: it exits with code 1 without end, and its log says why.
product=binary

check() {
    wait_for 60 assert_verdict failed config-bad-json
    assert_evidence 'does not know the driver `aws-logs`'
    assert_evidence 'Invalid logging drivers: aws-logs'
    assert_unit ecs.service active
    assert_property ecs.service NRestarts 0
    assert_not_registered
}
