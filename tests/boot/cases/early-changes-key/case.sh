# A program that user data calls changes a variable after the agent has started: the agent is restarted once.
product=baked
early=yes
boot_wait=0

check() {
    wait_for 30 assert_verdict ready
    assert_unit cloud-final.service activating
    assert_api_calls ecs:RegisterContainerInstance 1
    look_in touch /run/continue
    wait_for_boot "$name" 60
    wait_for 30 assert_journal_has ecs-bootstrap-after-user-data.service 'restarting the agent'
    wait_for 30 assert_unit ecs-bootstrap-after-user-data.service active
    wait_for 30 agent_has ECS_LOGLEVEL=debug
    wait_for 30 assert_api_calls ecs:RegisterContainerInstance 2
    # The line that changes the cluster has no effect.
    assert_joins demo
    # The registration is verified again.
    wait_for 30 verified_again
    # No second restart follows, also not after another start of the unit.
    host systemctl start ecs-bootstrap-after-user-data.service
    sleep 3
    assert_api_calls ecs:RegisterContainerInstance 2
}

agent_has() { [[ $(look_in docker inspect --format '{{.Config.Env}}' ecs-agent) == *"$1"* ]]; }

verified_again() { [[ $(journal ecs-bootstrap-verify.service | grep -c 'ready') -ge 2 ]]; }
