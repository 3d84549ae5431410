# No space for the new file: the old file stays, the cause is reported, and the agent joins no wrong cluster.
product=baked

check() {
    assert_unit ecs-bootstrap.service failed
    assert_verdict failed disk-full
    assert_console_has '\[disk-full\]'
    assert_equal "$(cluster_lines)" '' 'the cluster line'
    assert_no_agent
    assert_not_registered
    # With space again, one run is enough.
    host rm /etc/ecs/filler
    host ecs-bootstrap run --wait
    assert_registered demo
    assert_one_cluster_line demo
}
