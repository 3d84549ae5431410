# Something between the agent and ACS, such as a proxy, refuses the WebSocket. The endpoint itself takes connections.
product=binary

check() {
    wait_for 60 assert_verdict failed acs-refused
    assert_evidence 'unable to dial ecs-a-1.us-east-1.amazonaws.com response: .*403 Forbidden.*: websocket: bad handshake'
    assert_registered demo
    assert_agent
}
