# kill -9 at any point of a run: the file is always whole, and the next run completes the work.
product=baked

check() {
    wait_for 30 assert_verdict ready
    local round level
    for round in {1..40}; do
        level=$([[ $((round % 2)) == 0 ]] && echo info || echo debug)
        host bash -c "ecs-bootstrap run --no-wait --set agent.ECS_LOGLEVEL=$level >/dev/null 2>&1 & sleep 0.0$(((round * 7) % 60 + 10)); kill -9 \$! 2>/dev/null; wait"
        assert_one_cluster_line demo
        assert_file_has /etc/ecs/ecs.config '^ECS_LOGLEVEL=(debug|info)$|^ECS_CLUSTER=demo$'
    done
    # These changes restart the agent more often than its unit may start (systemd.unit(5), StartLimitBurst=).
    host systemctl reset-failed ecs.service
    host ecs-bootstrap run --no-wait
    assert_equal "$(host_file /etc/ecs/ecs.config)" ECS_CLUSTER=demo ecs.config
    assert_equal "$(find "$(host_path /etc/ecs)" "$(host_path /var/lib/ecs-bootstrap)" -type f -printf '%f ')" \
        'ecs.config written.json ' 'the files'
    host ecs-bootstrap run --wait
    assert_registered demo
}
