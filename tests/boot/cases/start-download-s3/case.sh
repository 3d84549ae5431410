# The script of cluster.yaml downloads the binary from S3 with the role of the instance. The policy of the role takes
# effect after a delay: the first two requests are denied.
product=none

check() {
    assert_joins demo
    assert_api_calls s3:GetObject 3
    wait_for 30 assert_taken SignalResource 'Status=SUCCESS'
    wait_for 30 assert_taken CompleteLifecycleAction LifecycleActionResult=CONTINUE
}
