# bootcmd runs before there is a bus, at every boot.
product=binary

check() {
    wait_for 30 assert_verdict ready
    assert_registered prod
    assert_one_cluster_line prod
    assert_unit cloud-final.service active
    reboot
    wait_for 30 assert_verdict ready
    assert_registered prod
    assert_one_cluster_line prod
}
