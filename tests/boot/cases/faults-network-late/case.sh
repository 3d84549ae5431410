# The network cable is plugged in after 20 s.
product=binary
network_late=20

check() {
    assert_joins demo
}
