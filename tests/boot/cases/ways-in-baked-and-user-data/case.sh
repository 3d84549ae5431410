# Both on one host: the units in the image know no cluster, and user data calls the program with one.
product=baked

check() {
    assert_joins demo
    assert_api_calls ecs:RegisterContainerInstance 1
    # User data runs once. What it said holds for the instance.
    reboot
    assert_joins demo
}
