# User data would wait for the agent, which starts after user data: refused at once, and the boot goes on.
product=binary

check() {
    assert_unit cloud-final.service failed
    assert_file_has /var/log/cloud-init-output.log 'start-blocked'
    assert_unit ecs.service active
}
