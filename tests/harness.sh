# shellcheck shell=bash
# Runs tests and counts their results.
#
# Sourced by tests/run and tests/arm64/run, after tests/tools.sh. In: the folder `$cache`, and the name of the running
# tier in `$tier`. Out: `summary` prints the failures and `N passed, N failed`.

: "${cache:?must be set by the script that sources this file}"
tier=''
passed=0
failed=0
failures=() # `TIER: TEST`; printed again at the end
not_checked=()

pass() { passed=$((passed + 1)) && printf 'ok: %s\n' "$1"; }
fail() { failed=$((failed + 1)) && failures+=("$tier: $1") && printf 'FAILED: %s\n' "$1"; }

# Adds the names of failed tests on stdin to `failures`.
remember_failures() {
    local name
    while IFS= read -r name; do failures+=("$tier: $name"); done
}

# Prints the names of the failed tests in a log of `cargo test`, one in each line: of tests/hostile its lines
# `FAILED: NAME`, of others the last list `failures:` above the summary.
failed_tests() {
    awk '/^FAILED: / { print substr($0, 9) }
        /^failures:$/ { in_list = 1; names = "" }
        in_list && /^    / { names = names substr($0, 5) "\n" }
        /^test result:/ { printf "%s", names; in_list = 0; names = "" }' "$1"
}

# Runs a command and counts its result as one test. $1: what is tested. The rest: the command.
check() {
    local tested=$1
    shift
    if "$@"; then pass "$tested"; else fail "$tested"; fi
}

# Fails because a program that the tier needs cannot be installed. $1: the program.
unavailable() { fail "$1 is needed, and could not be installed or fetched"; }

# Runs a command that prints the summary lines of Rust's test harness, and adds their numbers. A run that breaks off
# counts as one failure. $1: how to name the command. The rest: the command.
rust_tests() {
    local named=$1 log status=0 ok bad
    log=$(mktemp) # both scripts may run at the same time
    shift
    "$@" 2>&1 | tee "$log" || status=$?
    read -r ok bad < <(sed -nE 's/^test result: .* ([0-9]+) passed; ([0-9]+) failed;.*/\1 \2/p' "$log" |
        awk '{ ok += $1; bad += $2 } END { print ok + 0, bad + 0 }')
    passed=$((passed + ok))
    failed=$((failed + bad))
    remember_failures < <(failed_tests "$log")
    rm "$log"
    if ((status != 0 && bad == 0)); then
        fail "\`$named\` ended with $status"
    elif ((ok + bad == 0)); then
        fail "\`$named\` ran no test"
    fi
}

cargo_test() { rust_tests "cargo test $*" cargo test --locked --no-fail-fast "$@"; }

# Runs a command whose last line is `N passed, N failed`, and adds its numbers. A run that breaks off counts as one
# failure.
counted() {
    local log ok='' bad='' status=0
    log=$(mktemp)
    "$@" 2>"$log.stderr" | tee "$log" || status=$?
    read -r ok bad < <(sed -nE '$s/^([0-9]+) passed, ([0-9]+) failed$/\1 \2/p' "$log") || true
    passed=$((passed + ${ok:-0}))
    failed=$((failed + ${bad:-0}))
    remember_failures < <(sed -n 's/^FAILED: //p' "$log")
    local line
    while IFS= read -r line; do not_checked+=("$line"); done < <(sed -n 's/^NOT CHECKED: //p' "$log")
    ((status == 0 || ${bad:-0} > 0)) || { tail -n 20 "$log.stderr" >&2 && fail "\`$*\` ended with $status"; }
    rm "$log" "$log.stderr"
}

# Removes what the caller's environment would change, and sets what cargo needs.
prepare_environment() {
    local name
    mkdir -p "$cache"
    export PATH=$cache/bin:$PATH CARGO_TARGET_DIR=$cache/target INSTA_UPDATE=no
    # Flags of the caller would replace the flags that make the binary static. Tests never see the caller's AWS settings.
    unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS CARGO_BUILD_TARGET
    for name in $(compgen -v AWS_) $(compgen -v ECS_BOOTSTRAP_); do unset "$name"; done
    # cargo may need the proxy of this host. The simulators on loopback must be reached without it.
    NO_PROXY=127.0.0.1,::1,localhost${NO_PROXY:+,$NO_PROXY}
    export NO_PROXY no_proxy=$NO_PROXY
}

# Runs `tier_NAME`, between its heading and its numbers. $1: the name.
run_tier() {
    local began=$SECONDS passed_before=$passed failed_before=$failed
    tier=$1
    printf '\n== %s (%s)\n' "$tier" "$(date +%T)"
    "tier_$tier"
    printf -- '-- %s: %d passed, %d failed, %d s\n' \
        "$tier" $((passed - passed_before)) $((failed - failed_before)) $((SECONDS - began))
}

# Prints the failures and, as the last line, the numbers. Returns 0 if all tests passed and at least one ran.
summary() {
    printf '\n'
    ((${#failures[@]} == 0)) || printf 'FAILED: %s\n' "${failures[@]}"
    ((${#not_checked[@]} == 0)) || printf 'NOT CHECKED: %s\n' "${not_checked[@]}"
    printf '%d passed, %d failed\n' "$passed" "$failed"
    ((passed > 0 && failed == 0))
}
