# shellcheck shell=bash
# The words of a case: what `check` can do to its host, and what it can promise of it.
#
# An assertion that does not hold says what it saw and ends the case. `wait_for 20 assert_...` gives it time. They look at
# the host itself (files, units, journal, processes) and at what the AWS API was asked, never at the bed.

fail() {
    printf 'assertion: %s\n' "$*" >&2
    exit 1
}

# Repeats an assertion, or any command, until it holds. $1: for so many seconds.
wait_for() {
    local deadline=$((SECONDS + $1)) limit=$1
    shift
    until ("$@") >/dev/null 2>&1; do
        ((SECONDS < deadline)) || break
        is_up "$name" || fail 'the host is gone'
        sleep 0.2
    done
    # Once more for its words, and for what it leaves.
    "$@" || fail "\`$*\` did not come true in $limit s"
}

### The host

# Runs a command in the host, in a unit of its own: its output and exit code are the command's.
host() { execute "$name" "$@"; }

# The same without a unit, ten times as fast: for what only reads.
look_in() { look "$name" "$@"; }

# Where a file of the host lies here.
host_path() { printf '/proc/%s/root%s' "$(need_leader "$name")" "$1"; }

host_file() { cat -- "$(host_path "$1")"; }

# Reboots and waits until the boot has ended. $1: for so many seconds at most.
reboot() {
    reboot_host "$name"
    wait_for_boot "$name" "${1:-60}"
}

# $1: what the agent's stand-in shall do at its next start, see agent/agent.py.
tell_stand_in() { printf '%s\n' "$1" >"$(host_path /etc/ecs-stand-in.json)"; }

# $1: what aws/faults.json holds from now on.
set_faults() {
    printf '%s\n' "$1" >"$folder/aws/faults.new"
    mv "$folder/aws/faults.new" "$folder/aws/faults.json"
}

# $1: what is merged into the instance metadata from now on, instead of the case's own.
set_metadata() {
    printf '%s\n' "$1" >"$folder/metadata.new"
    mv "$folder/metadata.new" "$folder/metadata.json"
}

# From the next boot on this is another instance, as if an image had been made of its disk. $1: its metadata.
become_another_instance() {
    python3 "$here/bed.d/ask.py" launch "$moto" "$account" "$region" >"$folder/instance.new"
    mv "$folder/instance.new" "$folder/instance.json"
    set_metadata "$1"
}

instance_id() { python3 "$here/bed.d/ask.py" field "$folder/instance.json" instance_id; }

unit_property() { look "$name" systemctl show --property "$2" --value "$1"; }

journal() { look "$name" journalctl --no-pager --output cat ${1:+--unit "$1"}; }

### Promises

assert_equal() { [[ $1 == "$2" ]] || fail "${3:-the value} is \`$1\`, not \`$2\`"; }

assert_file_has() {
    local text
    text=$(host_file "$1") || fail "there is no $1"
    grep -Eq -- "$2" <<<"$text" || fail "$1 has no line like \`$2\`; it ends: $(tail -n 3 <<<"$text")"
}

assert_no_file() { [[ ! -e $(host_path "$1") ]] || fail "$1 is there"; }

# The lines of ecs.config that name a cluster.
cluster_lines() { host_file /etc/ecs/ecs.config 2>/dev/null | grep -E '^[[:space:]]*ECS_CLUSTER' || true; }

assert_one_cluster_line() {
    local lines
    lines=$(cluster_lines)
    [[ $lines == "ECS_CLUSTER=$1" ]] || fail "the cluster lines of ecs.config are \`$lines\`, not \`ECS_CLUSTER=$1\` alone"
}

# Container instances of this very instance, in whatever cluster, a line each: cluster, status, ARN.
container_instances() {
    python3 "$here/bed.d/ask.py" instances "$moto" "$account" "$region" "$(instance_id)"
}

# One ACTIVE container instance of this very instance, in this cluster and in no other.
assert_registered() {
    local all
    all=$(container_instances)
    [[ $all == "$1 ACTIVE arn:"* && $all != *$'\n'* ]] ||
        fail "its container instances are \`$all\`, not one that is ACTIVE in \`$1\`"
}

assert_not_registered() {
    local all
    all=$(container_instances)
    [[ -z $all ]] || fail "it registered: \`$all\`"
}

# The agent, told by the way it is started: in its container, by nothing else.
agent_runs() { look "$name" pgrep --full '^/usr/bin/python3 -u /agent.py' >/dev/null; }

assert_agent() { agent_runs || fail 'no agent runs'; }

assert_no_agent() { ! agent_runs || fail 'an agent runs'; }

# $1: a unit. $2: its ActiveState.
assert_unit() {
    local state
    state=$(unit_property "$1" ActiveState)
    [[ $state == "$2" ]] || fail "$1 is $state ($(unit_property "$1" Result)), not $2"
}

# $1: a unit. $2: a property. $3: its value.
assert_property() { assert_equal "$(unit_property "$1" "$2")" "$3" "$2 of $1"; }

# $1: a unit, or nothing for all. $2: a regular expression.
assert_journal_has() {
    local text
    text=$(journal "$1")
    grep -Eq -- "$2" <<<"$text" || fail "the journal of ${1:-the host} has nothing like \`$2\`; it ends: $(tail -n 3 <<<"$text")"
}

assert_journal_lacks() {
    local found
    found=$(journal "$1" | grep -E -- "$2" || true)
    [[ -z $found ]] || fail "the journal of ${1:-the host} has \`${found%%$'\n'*}\`"
}

assert_console_has() { grep -Eq -- "$1" "$folder/console.log" || fail "the console has nothing like \`$1\`"; }

# What ecs-bootstrap says to whoever asks. $1: the verdict. $2: the cause's id, or nothing.
assert_verdict() {
    local status verdict cause
    status=$(host_path /run/ecs-bootstrap/status.json)
    [[ -e $status ]] || fail 'there is no verdict'
    verdict=$(python3 "$here/bed.d/ask.py" field "$status" verdict)
    cause=$(python3 "$here/bed.d/ask.py" field "$status" cause.id)
    [[ $verdict == "$1" && ( -z ${2:-} || $cause == "$2" ) ]] ||
        fail "the verdict is \`$verdict\` ($cause), not \`$1\`${2:+ ($2)}: $(python3 "$here/bed.d/ask.py" field "$status" text)"
}

# What nearly every case comes to: the instance is in this cluster, by one line of its file, and that is the verdict.
assert_joins() {
    wait_for 40 assert_verdict ready
    assert_registered "$1"
    assert_one_cluster_line "$1"
}

# How often something was asked of AWS. $1: `service:Operation`, a glob.
api_calls() { python3 "$here/bed.d/ask.py" calls "$folder/api.log" "$@"; }

assert_api_calls() { assert_equal "$(api_calls "$1")" "$2" "the number of calls \`$1\`"; }

# $1: an operation. $2: what its form held, in one call at least that was answered well.
assert_taken() {
    local calls
    calls=$(grep -F "\"operation\": \"$1\", \"status\": 200" "$folder/api.log" || true)
    [[ $calls == *"$2"* ]] || fail "no $1 with \`$2\` was taken: $calls"
}
