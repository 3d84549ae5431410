# The sample of MIME: a script that calls us, and a part of ours that names the cluster.
product=binary

check() {
    wait_for 30 assert_verdict ready
    assert_registered prod
    assert_one_cluster_line prod
}
