# The deb: its unit is not enabled, not ordered after cloud-final, and is restarted after exit code 5 too.
product=binary
unit=deb
enabled=no

check() {
    assert_joins demo
    assert_property ecs.service UnitFileState disabled
    assert_api_calls ecs:CreateCluster 0
}
