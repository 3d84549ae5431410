# Nothing in the image: user data fetches the binary, and checks what arrived.
product=none

check() {
    assert_joins prod
    assert_api_calls files:/ecs-bootstrap 1
}
