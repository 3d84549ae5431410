# User data writes a variable, so the agent waits for it. Then user data waits for the agent, so the agent starts, with the
# variable.
product=baked
early=yes
boot_wait=0

check() {
    wait_for 40 assert_file_has /run/user-data-said '^started$'
    assert_unit cloud-final.service activating
    wait_for 60 assert_verdict ready
    [[ $(look_in docker inspect --format '{{.Config.Env}}' ecs-agent) == *ECS_LOGLEVEL=debug* ]] ||
        fail 'the agent does not have the variable'
    assert_journal_lacks '' 'user-data-deadlock'
    look_in touch /run/continue
    wait_for_boot "$name" 60
    wait_for 30 assert_journal_has ecs-bootstrap-after-user-data.service 'user data changed nothing'
    assert_api_calls ecs:RegisterContainerInstance 1
}
