# guard or its input is broken in several ways: the agent starts if and only if its file names a cluster.
product=baked

check() {
    assert_joins demo
    # systemd passes ecs.config as the environment to the agent's unit, and so to guard.
    host bash -c 'printf "ECS_BOOTSTRAP_ROOT=/nonexistent\nECS_BOOTSTRAP_LOG=!!\n" >>/etc/ecs/ecs.config'
    starts
    host bash -c 'yes "# filler" | head -c 1500000 >>/etc/ecs/ecs.config'
    starts
    host bash -c 'rm /run/ecs-bootstrap/plan.json && mkdir /run/ecs-bootstrap/plan.json'
    starts
    host bash -c 'mv /usr/bin/ecs-bootstrap /usr/bin/ecs-bootstrap.away'
    starts
    host bash -c 'printf "#!/bin/sh\nkill -SEGV \$\$\n" >/usr/bin/ecs-bootstrap && chmod 0755 /usr/bin/ecs-bootstrap'
    starts
    host bash -c 'mv -f /usr/bin/ecs-bootstrap.away /usr/bin/ecs-bootstrap'
    host bash -c 'rmdir /run/ecs-bootstrap/plan.json && echo ECS_LOGLEVEL=info >/etc/ecs/ecs.config'
    host systemctl stop ecs.service
    host systemctl reset-failed ecs.service
    host systemctl start --no-block ecs.service
    wait_for 20 assert_journal_has ecs.service 'no-cluster-named'
    assert_no_agent
}

# A new start of the unit starts the agent.
starts() {
    host systemctl stop ecs.service
    assert_no_agent
    host systemctl reset-failed ecs.service
    host systemctl start --no-block ecs.service
    wait_for 20 assert_agent
    assert_unit ecs.service active
}
