# A value in the agent's database is not JSON: the agent gives up with code 5, and `reset-agent` resolves this.
product=baked

check() {
    wait_for 40 assert_verdict ready
    host systemctl stop ecs
    sed -i 's/"demo"/=demo"/' "$(host_path /var/lib/ecs/data/agent.db)"
    reboot
    wait_for 60 assert_verdict failed saved-state-unreadable
    assert_property ecs.service ExecMainStatus 5
    assert_evidence 'failed to load previous data from BoltDB: .*cluster-name'
    assert_cause 'reset-agent' remedy
    host ecs-bootstrap reset-agent --yes
    host ecs-bootstrap run --wait
    assert_verdict ready
}
