# The deb: its unit is neither enabled nor ordered after cloud-final, and is restarted after code 5 too.
product=binary
unit=deb
enabled=no

check() {
    assert_joins demo
    assert_property ecs.service UnitFileState disabled
    assert_api_calls ecs:CreateCluster 0
}
