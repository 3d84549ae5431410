# Nothing in the image: user data fetches the binary, and checks what arrived.
product=none

check() {
    wait_for 30 assert_verdict ready
    assert_registered demo
    assert_one_cluster_line demo
    assert_api_calls files:/ecs-bootstrap 1
}
