# No room for the new file: the old one stays, it is said, and no agent joins a cluster that nobody wanted.
product=baked

check() {
    assert_unit ecs-bootstrap.service failed
    assert_verdict failed disk-full
    assert_console_has '\[disk-full\]'
    assert_equal "$(cluster_lines)" '' 'the cluster line'
    assert_no_agent
    assert_not_registered
    # Room again: the next run is all it takes.
    host rm /etc/ecs/filler
    host ecs-bootstrap run --wait
    assert_registered demo
    assert_one_cluster_line demo
}
