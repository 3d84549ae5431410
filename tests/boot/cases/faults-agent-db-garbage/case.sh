# Both meta pages of the agent's database are garbage: the agent exits with code 1 without end.
product=baked

check() {
    wait_for 40 assert_verdict ready
    host systemctl stop ecs
    printf '%8192s' '' | dd of="$(host_path /var/lib/ecs/data/agent.db)" conv=notrunc status=none
    reboot
    wait_for 60 assert_verdict failed saved-state-unreadable
    assert_evidence 'invalid database'
    assert_unit ecs.service active
    assert_cause 'reset-agent' remedy
}
