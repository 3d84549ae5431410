# A unit with another name starts the agent with `docker run`, and is enabled (`units.agent`).
product=baked
unit=none

check() {
    wait_for 60 assert_verdict ready
    assert_registered demo
    assert_one_cluster_line demo
    assert_no_warning
    assert_journal_has '' 'agent start allowed'
    assert_evidence_of_unit
    # Another configuration restarts the unit.
    local container
    container=$(container_id)
    printf 'units.agent = "run-ecs-agent.service"\n[agent]\nECS_LOGLEVEL = "debug"\n' >"$(host_path /etc/ecs-bootstrap/config.toml)"
    host systemctl restart ecs-bootstrap
    wait_for 40 another_container "$container"
    assert_prints 'ECS_LOGLEVEL=debug' host docker inspect --format '{{.Config.Env}}' ecs-agent
    wait_for 60 assert_verdict ready
    # The agent registers again, with another state.
    host ecs-bootstrap reset-agent --yes
    wait_for 60 two_container_instances
    reboot
    wait_for 60 assert_verdict ready
    assert_one_cluster_line demo
    assert_api_calls ecs:CreateCluster 0
    # The unit ends with its agent, and systemd starts it again: the reason is in the log of the agent, not in the unit.
    set_faults '{"ecs:RegisterContainerInstance": {"status": 400, "code": "AccessDeniedException", "message": "is not authorized"}}'
    printf 'units.agent = "run-ecs-agent.service"\nverify.deadline = "15s"\n' >"$(host_path /etc/ecs-bootstrap/config.toml)"
    host ecs-bootstrap reset-agent --yes
    host systemctl restart ecs-bootstrap
    wait_for 40 assert_verdict failed register-denied
}

assert_no_warning() {
    assert_prints '"warnings": \[\]' host ecs-bootstrap plan --json
}

assert_evidence_of_unit() {
    assert_prints 'run-ecs-agent.service is active, enabled' host ecs-bootstrap doctor
}

container_id() { host docker inspect --format '{{.Id}}' ecs-agent; }

another_container() { [[ $(container_id) != "$1" ]]; }

two_container_instances() { (($(container_instances | wc -l) == 2)); }
