# The agent waits in a warm pool, and says so once. Meanwhile the health check of its container logs an error every 30 s.
product=binary

check() {
    wait_for 60 assert_file_has /var/log/ecs/ecs-agent.log 'health check .* failed with error'
    assert_verdict waiting
    assert_not_registered
    set_metadata '{"autoscaling": {"target-lifecycle-state": "InService"}}'
    wait_for 90 assert_verdict ready
    assert_registered demo
}
