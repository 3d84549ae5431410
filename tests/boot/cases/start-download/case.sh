# Nothing in the image: user data downloads the binary and checks it.
product=none

check() {
    assert_joins prod
    assert_api_calls files:/ecs-bootstrap 1
}
