# A firewall that inspects traffic ends every WebSocket to ACS during its handshake.
product=binary

check() {
    wait_for 60 assert_verdict failed acs-refused
    assert_evidence 'unable to dial ecs-a-1.us-east-1.amazonaws.com .*unexpected EOF'
    assert_registered demo
    assert_agent
}
