# The deb: its unit is neither enabled nor ordered after cloud-final, and is restarted after code 5 too.
product=binary
unit=deb
enabled=no

check() {
    wait_for 30 assert_verdict ready
    assert_registered demo
    assert_one_cluster_line demo
    assert_property ecs.service UnitFileState disabled
    assert_api_calls ecs:CreateCluster 0
}
