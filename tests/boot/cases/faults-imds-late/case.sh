# The metadata service takes connections only after 20 s; cloud-init waits for it, and so must everything after it.
product=binary
imds_late=20

check() {
    wait_for 40 assert_verdict ready
    assert_registered demo
    assert_one_cluster_line demo
}
