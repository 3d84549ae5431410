# Two starts on one host: the units in the image know no cluster, and user data calls ecs-bootstrap with one.
product=baked

check() {
    assert_joins demo
    assert_api_calls ecs:RegisterContainerInstance 1
    # User data runs once. The cluster that it named stays for this instance.
    reboot
    assert_joins demo
}
