# The timeline of a host that never ran ecs-bootstrap: its user data names the cluster as usual.
product=none
alone=yes
simulated_agent=required

check() {
    wait_for 40 assert_registered demo
    wait_for 20 assert_unit ecs.service active
    wait_for 20 assert_prints 'Connected to ACS' look_in sh -c 'docker logs ecs-agent 2>&1'
    run_task
    cp "$binary" "$(host_path /usr/local/bin/ecs-bootstrap)"
    assert_timeline /usr/local/bin/ecs-bootstrap kernel initrd run verify reported
}
