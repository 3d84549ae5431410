# Nothing else names a cluster: old user data that appends its line still works, with our units in the image.
product=baked

check() {
    wait_for 30 assert_verdict ready
    assert_registered demo
    assert_one_cluster_line demo
    assert_property ecs.service NRestarts 0
}
