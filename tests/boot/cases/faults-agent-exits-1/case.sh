# The silent loop: the unit stays active while the agent in it exits every few seconds.
product=binary
simulated_agent=required

check() {
    # Nothing shows why the agent exits, so the cause is the loop itself. `active` proves nothing.
    wait_for 40 assert_verdict failed agent-exits
    assert_unit ecs.service active
    assert_property ecs.service NRestarts 0
    assert_file_has /var/log/ecs/ecs-init.log 'ECS Agent failed to start, retrying in'
    assert_not_registered
    assert_api_calls ecs:RegisterContainerInstance 0
    assert_unit ecs-bootstrap-verify.service failed
}
