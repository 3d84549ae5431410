# The metadata service takes connections only after 20 s; cloud-init waits for it, and so must everything after it.
product=binary
imds_late=20

check() {
    assert_joins demo
}
