# Debian orders cloud-final after multi-user.target. Amazon's unit can still wait for cloud-final if it is not enabled.
product=binary
cloud_final=debian
enabled=no

check() {
    assert_joins demo
    assert_unit multi-user.target active
    assert_unit cloud-final.service active
}
