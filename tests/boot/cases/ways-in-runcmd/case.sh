# cloud-config that runs the binary of the image.
product=binary

check() {
    wait_for 30 assert_verdict ready
    assert_registered prod
    assert_one_cluster_line prod
    assert_api_calls ecs:RegisterContainerInstance 1
}
