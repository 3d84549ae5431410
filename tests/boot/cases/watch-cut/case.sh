# The connection to ACS is cut after the instance was ready: the cause is reported within the window and 30 s, on each channel that
# is on, with one call of ECS at most. The end of the fault is reported too. Without `watch.enable`, the timer ends.
product=baked
alone=yes

check() {
    local cut reported describes
    assert_joins demo
    wait_for 40 assert_property ecs-bootstrap-watch.timer ActiveState active
    wait_for 60 assert_property ecs-bootstrap-watch.service Result success
    describes=$(api_calls ecs:DescribeContainerInstances)
    assert_prints '^healthy' host ecs-bootstrap watch
    set_faults '{"acs": {"ends": true}, "ecs:Poll": {"drop": true}}'
    cut=$(date +%s)
    wait_for 75 assert_verdict failed acs-refused
    reported=$(stat --format %Y "$(host_path /run/ecs-bootstrap/status.json)")
    echo "reported $((reported - cut)) s after the cut (window 30 s, at most 60 s)"
    ((reported - cut >= 28 && reported - cut <= 60)) || fail "reported after $((reported - cut)) s"
    assert_cause 'unexpected EOF' evidence
    wait_for 10 assert_journal_has ecs-bootstrap-watch.service 'the instance is registered, and not ready'
    wait_for 10 assert_taken CreateTags acs-refused
    # Checks that find nothing new leave nothing in the journal.
    host systemctl start ecs-bootstrap-watch.service
    assert_journal_lacks '' 'ecs-bootstrap-watch.service - '
    assert_equal "$(api_calls ecs:DescribeContainerInstances)" "$describes" 'the number of calls within five minutes'
    set_faults '{}'
    wait_for 180 assert_verdict ready
    wait_for 10 assert_journal_has ecs-bootstrap-watch.service 'the fault that `watch` reported is over'
    wait_for 10 assert_taken CreateTags ready
    host sh -c 'sed -i s/true/false/ /etc/ecs-bootstrap/config.toml && systemctl restart ecs-bootstrap'
    wait_for 60 assert_property ecs-bootstrap-watch.timer ActiveState inactive
}
