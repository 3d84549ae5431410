# Both on one host: the units in the image know no cluster, and user data calls the program with one.
product=baked

check() {
    wait_for 30 assert_verdict ready
    assert_registered demo
    assert_one_cluster_line demo
    assert_api_calls ecs:RegisterContainerInstance 1
    # User data runs once. What it said holds for the instance.
    reboot
    wait_for 30 assert_verdict ready
    assert_registered demo
    assert_one_cluster_line demo
}
