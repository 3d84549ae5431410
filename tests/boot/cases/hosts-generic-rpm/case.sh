# The generic rpm: its unit is not ordered after cloud-final, and no preset enables it.
product=binary
unit=generic-rpm
enabled=no

check() {
    assert_joins demo
    assert_property ecs.service UnitFileState disabled
    assert_api_calls ecs:CreateCluster 0
}
