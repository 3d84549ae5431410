# The agent's database was cut, as after a full disk: the agent panics. Only its stderr has the trace.
product=baked

check() {
    wait_for 40 assert_verdict ready
    host systemctl stop ecs
    truncate --size 9000 "$(host_path /var/lib/ecs/data/agent.db)"
    reboot
    wait_for 60 assert_verdict failed saved-state-unreadable
    assert_evidence 'database'
    assert_cause 'reset-agent' remedy
    assert_file_has /var/log/ecs/ecs-init.log 'Agent exited with code 2'
    assert_file_has /var/log/ecs/ecs-init.log 'msg=""'
    # ecs-init removes the container of a run, with its output, before the next one.
    host sh -c 'for attempt in $(seq 150); do
        docker logs ecs-agent 2>&1 >/dev/null | grep -q "fatal error: fault" && exit 0
        sleep 0.2
    done
    exit 1' || fail 'there is no trace on stderr'
}
