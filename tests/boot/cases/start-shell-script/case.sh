# The most common start: a shell script as user data, the binary in the image.
product=binary

check() {
    assert_joins prod
    assert_unit ecs.service active
    assert_unit cloud-final.service active
    assert_api_calls ecs:RegisterContainerInstance 1
    assert_api_calls ecs:CreateCluster 0
    assert_agent
}
