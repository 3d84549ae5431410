# The generic rpm: its unit is not ordered after cloud-final, and no preset enables it.
product=binary
unit=generic-rpm
enabled=no

check() {
    wait_for 30 assert_verdict ready
    assert_registered demo
    assert_one_cluster_line demo
    assert_property ecs.service UnitFileState disabled
    assert_api_calls ecs:CreateCluster 0
}
