# Two daemons must run before an ordinary task is placed, and one of them is slow. After a reboot it is the same.
product=baked
simulated_agent=required

check() {
    wait_for 60 assert_verdict ready
    assert_equal "$(placed)" 'log-router mesh web' 'the order of the tasks'
    assert_equal "$(host ecs-bootstrap status | grep -o 'daemons run: .*')" 'daemons run: `log-router`, `mesh`' 'the daemons of the verdict'
    local mesh web
    mesh=$(placed_at mesh) web=$(placed_at web)
    awk -v mesh="$mesh" -v web="$web" 'BEGIN { exit !(web >= mesh + 4) }' || fail "the task was placed at $web, the slow daemon at $mesh"
    assert_equal "$(values)" 'allowed' 'the attribute'
    reboot
    wait_for 60 assert_verdict ready
    assert_equal "$(values)" 'allowed held allowed' 'the attribute after a reboot'
}

placed() { entries '[one["request"] for one in log if one["service"] == "scheduler"]'; }
placed_at() { entries "[one[\"monotonic\"] for one in log if one[\"service\"] == \"scheduler\" and one[\"request\"] == \"$1\"]"; }
values() {
    entries '[one["value"] for call in log if call["operation"] == "PutAttributes" for one in json.loads(call["request"])["attributes"]]'
}
# A list in Python, of the entries `log` of the API's log.
entries() { python3 -c "import json, sys; log = [json.loads(line) for line in open(sys.argv[1])]; print(*$1)" "$folder/api.log"; }
