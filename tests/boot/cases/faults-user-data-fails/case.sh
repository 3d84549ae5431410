# The script that would name the cluster fails: the cause is user data, not the missing cluster.
product=baked

check() {
    wait_for 60 assert_verdict failed user-data-failed
    assert_no_agent
    assert_not_registered
    assert_console_has '\[user-data-failed\]'
    assert_property ecs-bootstrap-verify.service ExecMainStatus 21
}
