# The group terminates the instance. Its terminating hook gets heartbeats until the task has ended, then the container instance is
# deregistered and the hook is completed. The process is killed meanwhile. `watch` does not report the agent that ECS no longer knows.
product=baked
simulated_agent=required

check() {
    assert_joins demo
    wait_for 20 assert_placed
    assert_unit ecs-bootstrap-drain.service active
    assert_api_calls ecs:UpdateContainerInstancesState 0
    local cpu
    cpu=$(unit_property ecs-bootstrap-drain.service CPUUsageNSec)
    sleep 20
    echo "drain: $((($(unit_property ecs-bootstrap-drain.service CPUUsageNSec) - cpu) / 20000)) us of CPU time in one second," \
        "$(look_in grep VmHWM "/proc/$(unit_property ecs-bootstrap-drain.service MainPID)/status")"
    set_metadata '{"tags": {"instance": {"ecs-bootstrap:cluster": "demo", "aws:autoscaling:groupName": "fleet"}}, "autoscaling": {"target-lifecycle-state": "Terminated"}}'
    wait_for 15 assert_taken UpdateContainerInstancesState DRAINING
    # shellcheck disable=SC2016 # the names are in backticks
    wait_for 10 host_says 'drain: the target lifecycle state is `Terminated`; the container instance is DRAINING; running tasks: 1'
    host systemctl kill --signal=KILL ecs-bootstrap-drain.service
    wait_for 15 assert_property ecs-bootstrap-drain.service NRestarts 1
    wait_for 60 assert_taken CompleteLifecycleAction LifecycleActionResult=CONTINUE
    wait_for 10 assert_unit ecs-bootstrap-drain.service inactive
    assert_api_calls ecs:UpdateContainerInstancesState 1
    assert_api_calls autoscaling:CompleteLifecycleAction 1
    assert_order
    # shellcheck disable=SC2016
    host_says 'its tasks have ended; deregistered; hook `drain` completed'
    assert_verdict ready
    # The agent logs that ECS does not know it. Two windows of `watch` pass.
    sleep 60
    assert_verdict ready
    assert_journal_lacks ecs-bootstrap-watch.service 'cause|error'
    assert_journal_has ecs-bootstrap-drain.service 'the instance is about to end'
    assert_journal_has ecs-bootstrap-drain.service 'the draining has ended'
}

# The scheduler places tasks when it is asked about them, as the simulated agent does.
assert_placed() {
    host curl --silent http://127.0.0.1:51678/v1/tasks >/dev/null
    grep -q '"operation": "placed"' "$folder/api.log" || fail 'no task was placed'
}

host_says() { [[ $(host ecs-bootstrap status) == *"$1"* ]] || fail "status does not say \`$1\`: $(host ecs-bootstrap status)"; }

# At least two heartbeats, the deregistration 25 s after the status DRAINING or later, and then the end of the hook.
assert_order() {
    python3 -c 'import json, sys
log = [json.loads(line) for line in open(sys.argv[1])]
def times(operation):
    return [one["monotonic"] for one in log if one["operation"] == operation and one["status"] == 200]
heartbeats = times("RecordLifecycleActionHeartbeat")
draining, deregistered, completed = (times(name)[0] for name in ("UpdateContainerInstancesState", "DeregisterContainerInstance", "CompleteLifecycleAction"))
print(f"heartbeats {heartbeats}, draining {draining}, deregistered {deregistered}, completed {completed}")
sys.exit(not (len(heartbeats) >= 2 and draining + 25 <= deregistered <= completed <= draining + 60))' "$folder/api.log" || fail 'the order is wrong'
}
