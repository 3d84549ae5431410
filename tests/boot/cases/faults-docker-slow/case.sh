# docker starts slowly, which is not a fault.
product=binary
docker=slow

check() {
    wait_for 40 assert_verdict ready
    assert_registered demo
    assert_unit docker.service active
    assert_unit ecs.service active
}
