# cloud-config that runs the binary of the image.
product=binary

check() {
    wait_for 30 assert_verdict ready
    assert_registered demo
    assert_one_cluster_line demo
    assert_api_calls ecs:RegisterContainerInstance 1
}
