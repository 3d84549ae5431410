# The verification is killed repeatedly: systemd restarts it, and when no restart is left, that is the verdict.
product=baked
simulated_agent=required

check() {
    wait_for 30 assert_unit ecs-bootstrap-verify.service active
    assert_property ecs-bootstrap-verify.service OOMScoreAdjust -500
    assert_property ecs-bootstrap-verify.service MemoryMax 134217728
    dies
    wait_for 20 assert_property ecs-bootstrap-verify.service NRestarts 1
    wait_for 20 assert_unit ecs-bootstrap-verify.service active
    host ecs-bootstrap status
    # systemd does not restart it after a stop by hand, so nothing verifies.
    host systemctl stop ecs-bootstrap-verify.service
    assert_prints 'verify-died' host bash -c '! ecs-bootstrap status'
    host systemctl reset-failed ecs-bootstrap-verify.service
    host systemctl start ecs-bootstrap-verify.service
    local round
    for round in 1 2 3 4 5; do
        wait_for 20 assert_property ecs-bootstrap-verify.service NRestarts $((round - 1))
        wait_for 20 assert_unit ecs-bootstrap-verify.service active
        dies
    done
    wait_for 30 assert_verdict failed verify-died
    assert_unit ecs-bootstrap-verify.service failed
    assert_property ecs-bootstrap-verify-failed.service Result success
}

dies() { host systemctl kill --kill-who=main --signal=KILL ecs-bootstrap-verify.service; }
