# A fault of this host, in a group with other instances in service: the stack gets FAILURE and the hook ABANDON, and the
# verdict is the same as without signals.
product=baked
docker=broken

check() {
    wait_for 90 assert_verdict failed docker-config-invalid
    wait_for 40 assert_taken CompleteLifecycleAction LifecycleActionResult=ABANDON
    wait_for 40 assert_taken SignalResource Status=FAILURE
    assert_property ecs-bootstrap-verify.service ExecMainStatus 24
    local said
    said=$(host ecs-bootstrap status) || true
    [[ $said == *'signal: ABANDON to launch-hook, sent'*'signal: FAILURE to cloudformation, sent'* ]] || fail "$said"
}
