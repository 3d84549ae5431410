# The endpoint of ACS refuses connections.
product=binary

check() {
    wait_for 60 assert_verdict failed acs-unreachable
    assert_evidence 'connection refused'
    assert_registered demo
    assert_agent
}
