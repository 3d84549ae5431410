# A tag and the life cycle change between two boots: the keys that they caused go, and keys of other writers stay.
product=baked

check() {
    wait_for 30 assert_verdict ready
    assert_file_has /etc/ecs/ecs.config '^ECS_ENABLE_SPOT_INSTANCE_DRAINING=true$'
    assert_file_has /etc/ecs/ecs.config '^ECS_LOGLEVEL=debug$'
    echo 'ECS_IMAGE_PULL_BEHAVIOR=once' >>"$(host_path /etc/ecs/ecs.config)"
    set_metadata '{"tags": {"instance": {"ecs-bootstrap:cluster": "demo"}}, "instance-life-cycle": "on-demand"}'
    reboot
    wait_for 30 assert_verdict ready
    assert_equal "$(sort "$(host_path /etc/ecs/ecs.config)" | paste -sd' ')" 'ECS_CLUSTER=demo ECS_IMAGE_PULL_BEHAVIOR=once' \
        'ecs.config'
    assert_registered demo
}
