# bootcmd appends a line at every boot; each boot ends with one cluster line.
product=baked

check() {
    wait_for 30 assert_verdict ready
    assert_one_cluster_line demo
    local round
    for round in 2 3; do
        reboot
        wait_for 30 assert_verdict ready
        assert_one_cluster_line demo
        assert_equal "$(grep -c APPENDED "$(host_path /etc/ecs/ecs.config)")" "$round" 'the number of boots that appended'
    done
    assert_registered demo
}
