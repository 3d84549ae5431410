# The cable is plugged in after 20 s.
product=binary
network_late=20

check() {
    wait_for 40 assert_verdict ready
    assert_registered demo
    assert_one_cluster_line demo
}
