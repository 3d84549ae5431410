# A task of `start-tasks` is started once in each boot, also if ECS and the agent still report the task of the boot before as
# running. The instance has tags with its container instance and its cluster.
product=baked
simulated_agent=required

check() {
    assert_joins demo
    wait_for 20 assert_verdict ready
    assert_api_calls ecs:StartTask 1
    assert_taken StartTask log-router
    [[ $(host ecs-bootstrap status) != *note:* ]] || fail "$(host ecs-bootstrap status)"
    host systemctl restart ecs-bootstrap-verify.service
    wait_for 20 assert_verdict ready
    assert_api_calls ecs:StartTask 1
    wait_for 10 assert_taken CreateTags container-instance-arn
    assert_taken CreateTags 'cluster%2Fdemo'
    reboot 90
    wait_for 60 assert_verdict ready
    wait_for 10 assert_api_calls ecs:StartTask 2
}
