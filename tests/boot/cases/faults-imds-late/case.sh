# The metadata service accepts connections only after 20 s; cloud-init waits for it, and so does all that follows.
product=binary
imds_late=20

check() {
    assert_joins demo
}
