# User data runs for another minute after it called ecs-bootstrap: it is not disturbed, and the agent starts after it.
product=binary
boot_wait=0

check() {
    wait_for 40 assert_file_has /run/user-data-said '^ecs-bootstrap returned 0$'
    assert_unit ecs-bootstrap-verify.service active
    assert_unit cloud-final.service activating
    assert_no_agent
    wait_for 80 assert_file_has /run/user-data-said '^the end$'
    wait_for 30 assert_verdict ready
    assert_registered demo
}
