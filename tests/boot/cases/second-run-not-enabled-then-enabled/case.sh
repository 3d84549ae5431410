# As second-run-not-enabled, with `units.enable`: the agent starts at the next boot.
product=binary
enabled=no

check() {
    wait_for 30 assert_verdict ready
    assert_equal "$(unit_property ecs.service UnitFileState)" enabled
    reboot
    wait_for 20 assert_agent
    assert_registered demo
    assert_one_cluster_line demo
}
