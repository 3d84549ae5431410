# shellcheck shell=bash
# Starts and stops the simulated ECS API. To be sourced, with $rollout (the program) and $work (a folder) set.

: "${rollout:?the script that sources this file must set it}"

# $1: the situation. Sets $endpoint.
api_start() {
    : "${work:?a folder}"
    rm -f "$work/api.in" "$work/api.out"
    mkfifo "$work/api.in"
    "$rollout" "$1" <"$work/api.in" >"$work/api.out" &
    api=$!
    exec 9>"$work/api.in"
    local tries=100
    until [[ -s $work/api.out ]] || ((tries-- == 0)); do sleep 0.05; done
    # shellcheck disable=SC2034 # used by the script that sources this file
    endpoint=$(head -n 1 "$work/api.out")
}

# Sets $result: the recorded calls, the service and the revisions, as JSON.
api_end() {
    exec 9>&-
    wait "$api"
    # shellcheck disable=SC2034
    result=$(tail -n 1 "$work/api.out")
}
