# Nothing in the image: user data fetches the binary, and checks what arrived.
product=none

check() {
    wait_for 30 assert_verdict ready
    assert_registered prod
    assert_one_cluster_line prod
    assert_api_calls files:/ecs-bootstrap 1
}
