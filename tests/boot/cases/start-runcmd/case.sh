# A cloud-config runs the binary of the image.
product=binary

check() {
    assert_joins prod
    assert_api_calls ecs:RegisterContainerInstance 1
}
