# `run` hangs until systemd ends it. Meanwhile docker and the host can be used; then the agent starts.
product=baked
boot_wait=0

check() {
    wait_for 40 assert_file_has /run/user-data-said '^docker answers$'
    assert_unit ecs-bootstrap.service activating
    assert_equal "$(host echo reached)" reached
    wait_for 30 assert_unit ecs-bootstrap.service failed
    wait_for 30 assert_registered demo
    assert_unit ecs.service active
}
