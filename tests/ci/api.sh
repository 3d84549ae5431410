# shellcheck shell=bash
# The simulated ECS API for a while. Sourced; in: $rollout, the program, and $work, a folder.

: "${rollout:?set by who sources this}"

# $1: the situation. Leaves $endpoint.
api_start() {
    : "${work:?a folder}"
    rm -f "$work/api.in" "$work/api.out"
    mkfifo "$work/api.in"
    "$rollout" "$1" <"$work/api.in" >"$work/api.out" &
    api=$!
    exec 9>"$work/api.in"
    local tries=100
    until [[ -s $work/api.out ]] || ((tries-- == 0)); do sleep 0.05; done
    # shellcheck disable=SC2034 # for who sources this
    endpoint=$(head -n 1 "$work/api.out")
}

# Leaves in $told what was asked, and what has become of the service.
api_end() {
    exec 9>&-
    wait "$api"
    # shellcheck disable=SC2034
    told=$(tail -n 1 "$work/api.out")
}
