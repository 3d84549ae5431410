# bootcmd runs before D-Bus is available, at every boot.
product=binary

check() {
    assert_joins prod
    assert_unit cloud-final.service active
    reboot
    assert_joins prod
}
