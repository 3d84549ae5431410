# shellcheck shell=bash
# Starts and stops the simulated ECS API. Sourced. In: $rollout, the program of the simulator, and $work, a folder.

: "${rollout:?must be set by the script that sources this file}"

# Starts it. $1: the situation. Sets $endpoint.
api_start() {
    : "${work:?must be a folder}"
    rm -f "$work/api.in" "$work/api.out"
    mkfifo "$work/api.in"
    "$rollout" "$1" <"$work/api.in" >"$work/api.out" &
    api=$!
    exec 9>"$work/api.in"
    local tries=100
    until [[ -s $work/api.out ]] || ((tries-- == 0)); do sleep 0.05; done
    # shellcheck disable=SC2034 # for the script that sources this file
    endpoint=$(head -n 1 "$work/api.out")
}

# Stops it. Sets $state to JSON: the calls, and the final state of the service.
api_end() {
    exec 9>&-
    wait "$api"
    # shellcheck disable=SC2034
    state=$(tail -n 1 "$work/api.out")
}
