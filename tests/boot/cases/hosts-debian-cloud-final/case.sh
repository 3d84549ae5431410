# Debian orders cloud-final after multi-user.target. Amazon's unit waits for cloud-final all the same, if nothing enables it.
product=binary
cloud_final=debian
enabled=no

check() {
    assert_joins demo
    assert_unit multi-user.target active
    assert_unit cloud-final.service active
}
