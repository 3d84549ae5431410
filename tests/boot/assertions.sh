# shellcheck shell=bash
# The functions for cases: what `check` can do with its host, and what it can assert.
#
# A failed assertion prints what it saw and ends the case. `wait_for 20 assert_...` gives it 20 s. Assertions examine
# the host itself (files, units, journal, processes) and the calls to the AWS API, never the test environment.

fail() {
    printf 'assertion: %s\n' "$*" >&2
    exit 1
}

# Repeats an assertion, or any command, until it succeeds. $1: the limit in seconds.
wait_for() {
    local deadline=$((SECONDS + $1)) limit=$1
    shift
    until ("$@") >/dev/null 2>&1; do
        ((SECONDS < deadline)) || break
        is_up "$name" || fail 'the host has ended'
        sleep 0.2
    done
    # The last attempt shows its output and keeps its effects.
    "$@" || fail "\`$*\` did not succeed within $limit s"
}

### The host

# Runs a command in the host, in its own unit. Output and exit code are those of the command.
host() { execute "$name" "$@"; }

# Runs a command in the host without a unit: ten times as fast, for commands that only read.
look_in() { look "$name" "$@"; }

# The path of a file of the host as seen from here.
host_path() { printf '/proc/%s/root%s' "$(need_leader "$name")" "$1"; }

host_file() { cat -- "$(host_path "$1")"; }

# Reboots and waits until the boot has ended. $1: the limit in seconds.
reboot() {
    reboot_host "$name"
    wait_for_boot "$name" "${1:-60}"
}

# Stops the host, as a warm pool does. Its disk stays.
stop() { stop_host "$name"; }

# Starts the stopped host and waits until the boot has ended. $1: the limit in seconds.
start() {
    start_host "$name"
    wait_for_boot "$name" "${1:-60}"
}

# Replaces aws/waiting.json. What was signalled before waits again. $1: the new content.
set_waiting() {
    printf '%s\n' "$1" >"$folder/aws/waiting.new"
    mv "$folder/aws/waiting.new" "$folder/aws/waiting.json"
}

# Replaces aws/faults.json. $1: the new content.
set_faults() {
    printf '%s\n' "$1" >"$folder/aws/faults.new"
    mv "$folder/aws/faults.new" "$folder/aws/faults.json"
}

# Replaces the case's metadata.json. $1: JSON that is merged into the instance metadata.
set_metadata() {
    printf '%s\n' "$1" >"$folder/metadata.new"
    mv "$folder/metadata.new" "$folder/metadata.json"
}

# From the next boot on the host is another instance, as if an image had been made of its disk. $1: its metadata.
become_another_instance() {
    python3 "$here/bed.d/ask.py" launch "$moto" "$account" "$region" >"$folder/instance.new"
    mv "$folder/instance.new" "$folder/instance.json"
    set_metadata "$1"
}

instance_id() { python3 "$here/bed.d/ask.py" field "$folder/instance.json" instance_id; }

unit_property() { look "$name" systemctl show --property "$2" --value "$1"; }

journal() { look "$name" journalctl --no-pager --output cat ${1:+--unit "$1"}; }

### Assertions

assert_equal() { [[ $1 == "$2" ]] || fail "${3:-the value} is \`$1\`, not \`$2\`"; }

assert_file_has() {
    local text
    text=$(host_file "$1") || fail "$1 cannot be read"
    grep -Eq -- "$2" <<<"$text" || fail "$1 has no line that matches \`$2\`; its end: $(tail -n 3 <<<"$text")"
}

# Runs a command and fails unless it succeeds and prints a line that matches. $1: a regular expression. The rest: the command.
assert_prints() {
    local pattern=$1 text
    shift
    text=$("$@") || fail "\`$*\` failed: $text"
    grep -q -- "$pattern" <<<"$text" || fail "\`$*\` prints no line that matches \`$pattern\`: $text"
}

assert_no_file() { [[ ! -e $(host_path "$1") ]] || fail "$1 exists"; }

# The lines of ecs.config that name a cluster.
cluster_lines() { host_file /etc/ecs/ecs.config 2>/dev/null | grep -E '^[[:space:]]*ECS_CLUSTER' || true; }

assert_one_cluster_line() {
    local lines
    lines=$(cluster_lines)
    [[ $lines == "ECS_CLUSTER=$1" ]] ||
        fail "the cluster lines of ecs.config are \`$lines\`, not only \`ECS_CLUSTER=$1\`"
}

# Prints the container instances of this EC2 instance in all clusters, one per line: cluster, status, ARN.
container_instances() {
    python3 "$here/bed.d/ask.py" instances "$moto" "$account" "$region" "$(instance_id)"
}

# This EC2 instance has exactly one container instance: ACTIVE, in this cluster.
assert_registered() {
    local all
    all=$(container_instances)
    [[ $all == "$1 ACTIVE arn:"* && $all != *$'\n'* ]] ||
        fail "the container instances are \`$all\`, not exactly one that is ACTIVE in \`$1\`"
}

assert_not_registered() {
    local all
    all=$(container_instances)
    [[ -z $all ]] || fail "the instance registered: \`$all\`"
}

# Prints the processes of the agent. Its container alone uses this command line, that of the real agent or of the simulated one.
agent_processes() { look "$name" pgrep --full '^(/usr/bin/python3 -u )?/agent( |$)'; }

agent_runs() { agent_processes >/dev/null; }

assert_agent() { agent_runs || fail 'the agent does not run'; }

assert_no_agent() { ! agent_runs || fail 'the agent runs'; }

# $1: a unit. $2: its ActiveState.
assert_unit() {
    local state
    state=$(unit_property "$1" ActiveState)
    [[ $state == "$2" ]] || fail "$1 is $state ($(unit_property "$1" Result)), not $2"
}

# $1: a unit. $2: a property. $3: its value.
assert_property() { assert_equal "$(unit_property "$1" "$2")" "$3" "$2 of $1"; }

# $1: a unit, or an empty string for all units. $2: a regular expression.
assert_journal_has() {
    local text
    text=$(journal "$1")
    grep -Eq -- "$2" <<<"$text" ||
        fail "the journal of ${1:-the host} has no line that matches \`$2\`; its end: $(tail -n 3 <<<"$text")"
}

assert_journal_lacks() {
    local found
    found=$(journal "$1" | grep -E -- "$2" || true)
    [[ -z $found ]] || fail "the journal of ${1:-the host} has \`${found%%$'\n'*}\`"
}

assert_console_has() { grep -Eq -- "$1" "$folder/console.log" || fail "the console has no line that matches \`$1\`"; }

# The stored verdict. $1: the verdict. $2: the cause's id, optional.
assert_verdict() {
    local status verdict cause
    status=$(host_path /run/ecs-bootstrap/status.json)
    [[ -e $status ]] || fail 'there is no verdict'
    verdict=$(python3 "$here/bed.d/ask.py" field "$status" verdict)
    cause=$(python3 "$here/bed.d/ask.py" field "$status" cause.id)
    [[ $verdict == "$1" && ( -z ${2:-} || $cause == "$2" ) ]] ||
        fail "the verdict is \`$verdict\` ($cause), not \`$1\`${2:+ ($2)}: $(python3 "$here/bed.d/ask.py" field "$status" text)"
}

# A line of the verdict's evidence. $1: a regular expression.
assert_evidence() { assert_cause "$1" evidence; }

# The text of the verdict's cause: evidence, remedy, title. $1: a regular expression. $2: only this part, optional.
assert_cause() {
    local text
    text=$(python3 "$here/bed.d/ask.py" field "$(host_path /run/ecs-bootstrap/status.json)" "cause${2:+.$2}")
    grep -Eq -- "$1" <<<"$text" || fail "the ${2:-cause} has nothing that matches \`$1\`: $text"
}

# The expectation of most cases: the verdict is ready, and the instance is in this cluster, by one line of its file.
assert_joins() {
    wait_for 40 assert_verdict ready
    assert_registered "$1"
    assert_one_cluster_line "$1"
}

# The number of AWS calls. $1: `service:Operation`, a glob.
api_calls() { python3 "$here/bed.d/ask.py" calls "$folder/api.log" "$@"; }

assert_api_calls() { assert_equal "$(api_calls "$1")" "$2" "the number of calls \`$1\`"; }

# At least one successful call contains a text. $1: the operation. $2: the text in the request.
assert_taken() {
    local calls
    calls=$(grep -F "\"operation\": \"$1\", \"status\": 200" "$folder/api.log" || true)
    [[ $calls == *"$2"* ]] || fail "no successful $1 contains \`$2\`: $calls"
}

# The timeline of this boot is what systemd, the journal, docker and the logs say, within 20 ms. $1: the path of the binary
# in the host. The others: the events that are missing.
assert_timeline() {
    local from=$logs/timeline containers
    rm -rf "$from" && mkdir "$from"
    host "$1" timeline --json >"$from/timeline.json"
    host "$1" timeline >"$from/timeline.txt"
    look_in systemctl show >"$from/manager"
    look_in systemctl show --all '*' \
        --property=Id,InactiveExitTimestampMonotonic,ActiveEnterTimestampMonotonic,InactiveEnterTimestampMonotonic >"$from/units"
    look_in journalctl --boot --no-pager --output=json >"$from/journal"
    look_in systemd-analyze time >"$from/analyze"
    look_in systemd-analyze blame --no-pager >"$from/blame"
    look_in systemd-analyze critical-chain --no-pager ecs.service >"$from/chain"
    look_in docker logs --timestamps ecs-agent >"$from/agent.log" 2>&1
    mapfile -t containers < <(look_in docker ps --all --quiet)
    look_in docker inspect "${containers[@]}" >"$from/containers"
    host_file /var/log/cloud-init.log >"$from/cloud-init.log"
    look_in python3 -c 'import json; print(json.dumps(json.load(open("/run/cloud-init/instance-data.json"))["ds"]["dynamic"]["instance-identity"]["document"]))' >"$from/document"
    cp "$folder/imds.log" "$from/metadata.log"
    shift
    python3 "$here/bed.d/timeline.py" "$from" "$@" >"$from/comparison" || { cat "$from/comparison"; fail "the timeline differs"; }
}

# A container that looks like one of a task, because the simulated agent runs none.
run_task() {
    host docker run --detach --name ecs-web-1 --network none --volume /usr:/usr:ro --volume /lib:/lib:ro \
        --volume /lib64:/lib64:ro --label com.amazonaws.ecs.task-arn=arn:aws:ecs:us-east-1:1:task/demo/1 \
        --label com.amazonaws.ecs.container-name=web --entrypoint /usr/bin/sleep amazon/amazon-ecs-agent:latest 1000 \
        >/dev/null
}
