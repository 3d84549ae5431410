# docker refuses its configuration: the agent's unit fails as a consequence and is not the cause.
product=binary
docker=broken

check() {
    wait_for 60 assert_verdict failed docker-config-invalid
    assert_unit docker.service failed
    assert_no_agent
    assert_not_registered
    assert_property ecs-bootstrap-verify.service ExecMainStatus 24
}
