# A company's CA is in the host's bundle, but not in that of the agent's image: only the agent rejects the certificate.
product=binary
agent_trusts=no

check() {
    wait_for 60 assert_verdict failed tls-untrusted
    assert_evidence 'certificate signed by unknown authority'
    assert_unit ecs.service active
    assert_not_registered
}
