# `run` fails: the agent waits for user data, which corrects the cluster that the image names.
product=baked
early=yes

check() {
    assert_unit ecs-bootstrap.service failed
    wait_for 40 assert_registered demo
    assert_api_calls ecs:RegisterContainerInstance 1
}
