# The binary is downloaded by the script of cluster.yaml, and the warm pool stops the host after its first boot. User data
# does not run again. At the second boot the instance must leave the pool: it registers, completes the launch hook that
# it meets then, and signals the stack.
product=none

check() {
    wait_for 60 assert_taken CompleteLifecycleAction LifecycleActionResult=CONTINUE
    wait_for 30 assert_verdict waiting
    assert_not_registered
    stop
    set_metadata '{"tags": {"instance": {"aws:autoscaling:groupName": "fleet"}},
        "autoscaling": {"target-lifecycle-state": "InService"}}'
    set_waiting '{"resources": ["fleet/Group"], "hooks": ["ready"]}'
    start
    assert_joins demo
    assert_unit ecs-bootstrap.service active
    wait_for 30 completed_hooks 2
    wait_for 30 assert_taken SignalResource 'Status=SUCCESS'
    assert_api_calls files:/ecs-bootstrap 1
}

completed_hooks() {
    assert_equal "$(grep -c '"operation": "CompleteLifecycleAction", "status": 200' "$folder/api.log")" "$1" 'the number of hooks'
}
