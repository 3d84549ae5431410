# An instance of a warm pool has its images before it is stopped: its launch hook gets heartbeats until then. When it is started in
# service, docker has them.
product=baked

check() {
    local image=111122223333.dkr.ecr.us-east-1.amazonaws.com/team/app:1
    wait_for 30 assert_taken RecordLifecycleActionHeartbeat LifecycleHookName=ready
    wait_for 90 assert_taken CompleteLifecycleAction LifecycleActionResult=CONTINUE
    host docker image inspect "$image" >/dev/null || fail 'the instance continued without the image'
    assert_not_registered
    stop
    set_metadata '{"tags": {"instance": {"ecs-bootstrap:cluster": "demo", "aws:autoscaling:groupName": "fleet"}}, "autoscaling": {"target-lifecycle-state": "InService"}}'
    start
    assert_joins demo
    assert_prints "image: .$image. is present, 0.0 MB in" host ecs-bootstrap status
}
