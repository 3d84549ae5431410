# Debian's cloud-final, which waits for multi-user.target: no ordering cycle, and the agent starts before it.
product=deb
early=yes
cloud_final=debian
enabled=no
boot_wait=0

check() {
    wait_for 30 assert_verdict ready
    assert_unit cloud-final.service activating
    assert_registered demo
    wait_for_boot "$name" 60
    assert_unit ecs-bootstrap-after-user-data.service active
    reboot
    assert_joins demo
    ! grep -q 'ordering cycle' "$folder/console.log" || fail 'systemd found an ordering cycle'
}
