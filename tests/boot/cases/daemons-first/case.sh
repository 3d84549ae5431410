# Two daemons must run before an ordinary task is placed, and one of them is slow. After a reboot, for some seconds ECS and the
# agent still report the tasks of the boot before as running, and the order must be the same.
product=baked
simulated_agent=required

check() {
    wait_for 60 assert_verdict ready
    assert_order 0
    # shellcheck disable=SC2016 # the names are in backticks
    assert_equal "$(host ecs-bootstrap status | grep -o 'daemons run: .*')" 'daemons run: `log-router`, `mesh`' 'the daemons of the verdict'
    assert_equal "$(values)" 'allowed' 'the attribute'
    reboot
    wait_for 60 assert_verdict ready
    assert_equal "$(values)" 'allowed held allowed' 'the attribute after a reboot'
    assert_order 1
    [[ $(host ecs-bootstrap status) != *task-not-held* ]] || fail 'the tasks of the earlier boot are reported'
}

# The tasks of a boot, the first with number 0: the daemons are placed first, and the ordinary one when the slow daemon runs.
assert_order() {
    local boot=$1 mesh web
    wait_for 20 assert_placed web "$boot"
    mesh=$(entries "[one['monotonic'] for one in placed if one['request'] == 'mesh'][$boot:][:1]")
    web=$(entries "[one['monotonic'] for one in placed if one['request'] == 'web'][$boot:][:1]")
    awk -v mesh="$mesh" -v web="$web" 'BEGIN { exit !(web >= mesh + 4) }' ||
        fail "in boot $boot the task was placed at $web, the slow daemon at $mesh"
}

assert_placed() { [[ -n $(entries "[1 for one in placed if one['request'] == '$1'][$2:]") ]] || fail "no task of $1 was placed"; }
values() {
    entries '[one["value"] for call in log if call["operation"] == "PutAttributes"
              for one in json.loads(call["request"])["attributes"] if one["name"] == "ecs-bootstrap.tasks"]'
}
# A list in Python, of the entries `log` of the API's log, or of those about placed tasks.
entries() {
    python3 -c "import json, sys
log = [json.loads(line) for line in open(sys.argv[1])]
placed = [one for one in log if one['service'] == 'scheduler']
print(*$1)" "$folder/api.log"
}
