# The timeline of a host with the units in its image, and of its second boot.
product=baked
alone=yes
simulated_agent=required

check() {
    wait_for 40 assert_verdict ready
    wait_for 20 assert_unit ecs-bootstrap-verify.service inactive
    run_task
    # A container has no kernel of its own.
    assert_timeline /usr/bin/ecs-bootstrap kernel initrd
    local table=$logs/timeline/timeline.txt
    grep -q '^seconds since the launch of i-' "$table" || fail "the table does not begin with the launch: $(head -n 1 "$table")"
    grep -q '^\* .*registered  *agent-started' "$table" || fail 'the registration is not on the critical path'

    host /usr/bin/ecs-bootstrap timeline --prometheus /var/lib/ecs.prom >/dev/null
    assert_prints '^ecs_bootstrap_timeline_event_start_seconds{event="registered",lane="agent"} ' host_file /var/lib/ecs.prom

    # User data and launch belong to the first boot. No task is started again.
    reboot
    wait_for 40 assert_verdict ready
    wait_for 20 assert_unit ecs-bootstrap-verify.service inactive
    assert_timeline /usr/bin/ecs-bootstrap kernel initrd launch user-data first-task
}
