# A stack and a launch hook wait for an instance of a group: both get its verdict from the units in the image, over TLS
# and under the real names of the services. The time from launch to ready is stored as a metric. The next boot does not
# signal the stack again and stores no metric. The first signals are throttled.
product=baked

check() {
    assert_joins demo
    wait_for 30 assert_taken CompleteLifecycleAction LifecycleActionResult=CONTINUE
    wait_for 30 assert_taken SignalResource "Status=SUCCESS"
    assert_taken SignalResource "UniqueId=$(instance_id)"
    assert_taken PutMetricData 'MetricName=LaunchToReady'
    assert_taken RecordLifecycleActionHeartbeat LifecycleHookName=ready
    local said
    said=$(host ecs-bootstrap status)
    [[ $said == *'signal: CONTINUE to launch-hook, sent'*'signal: SUCCESS to cloudformation, sent'* ]] || fail "$said"
    [[ $said == *'signal: LaunchToReady to cloudwatch, sent: launch at '*': ready after '* ]] || fail "$said"
    reboot
    wait_for 40 assert_verdict ready
    wait_for 20 host_says 'already'
    assert_equal "$(grep -c '"operation": "SignalResource", "status": 200' "$folder/api.log")" 1 'the number of signals'
    assert_equal "$(grep -c '"operation": "PutMetricData"' "$folder/api.log")" 1 'the number of metrics'
}

host_says() { [[ $(host ecs-bootstrap status) == *"$1"* ]] || fail "status does not say \`$1\`"; }
