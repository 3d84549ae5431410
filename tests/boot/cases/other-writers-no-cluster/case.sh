# Nothing names a cluster: the agent does not start, the console shows why, and a line that is written later is used.
product=baked

check() {
    wait_for 30 assert_verdict failed no-cluster-named
    assert_no_agent
    assert_not_registered
    assert_equal "$(cluster_lines)" '' 'the cluster line'
    assert_console_has 'ecs-bootstrap: error \[no-cluster-named\] remedy: '
    wait_for 20 assert_journal_has ecs.service 'error: \[no-cluster-named\]'
    assert_api_calls ecs:RegisterContainerInstance 0
    # docker does not depend on ecs-bootstrap.
    assert_unit docker.service active
    echo ECS_CLUSTER=demo >>"$(host_path /etc/ecs/ecs.config)"
    wait_for 30 assert_registered demo
    assert_unit ecs.service active
    # The verdict is corrected, and the registration is verified.
    wait_for 30 assert_verdict ready
}
