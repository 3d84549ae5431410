# A daemon never runs: after `ready.deadline` the verdict names it, and no ordinary task is placed. With `at-deadline = "allow"` the
# next verification is ready with a note.
product=baked
simulated_agent=required

check() {
    wait_for 60 assert_verdict failed
    local said
    said=$(host ecs-bootstrap status || true)
    # shellcheck disable=SC2016 # the names are in backticks
    [[ $said == *'[daemons-not-running]'*'seen: `mesh`: its task is PENDING'* ]] || fail "$said"
    local code=0
    said=$(host ecs-bootstrap doctor) || code=$?
    [[ $said == *daemons-not-running* && $code == 13 ]] || fail "doctor ended with $code: $said"
    [[ $(<"$folder/api.log") != *'"operation": "placed", "status": 200, "request": "web"'* ]] || fail 'a task was placed'
    host sh -c 'echo at-deadline = \"allow\" >>/etc/ecs-bootstrap/config.toml && systemctl restart ecs-bootstrap'
    wait_for 60 assert_verdict ready
    said=$(host ecs-bootstrap status)
    [[ $said == *'note: [daemons-not-running]'*mesh* ]] || fail "$said"
}
