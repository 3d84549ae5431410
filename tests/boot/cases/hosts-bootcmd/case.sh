# bootcmd runs before there is a bus, at every boot.
product=binary

check() {
    assert_joins prod
    assert_unit cloud-final.service active
    reboot
    assert_joins prod
}
