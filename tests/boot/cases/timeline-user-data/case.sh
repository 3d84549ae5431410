# The timeline of a host whose user data runs ecs-bootstrap and then works for a while: the picture in the documentation.
product=binary
alone=yes
simulated_agent=required

check() {
    wait_for 60 assert_verdict ready
    run_task
    assert_timeline /usr/bin/ecs-bootstrap kernel initrd
    grep -q '^ .*    ecs-bootstrap run$' "$logs/timeline/timeline.txt" || fail 'the run is not a part of user data'
}
