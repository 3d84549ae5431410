# ecs.config.json has a comma too many: the agent exits with code 1 without end.
product=binary

check() {
    wait_for 60 assert_verdict failed agent-json-invalid
    assert_evidence "invalid character '}'"
    assert_cause 'ecs\.config\.json'
    assert_unit ecs.service active
    assert_not_registered
}
