# An image that was not prepared, and whose `run` fails: the file names a cluster, so the agent starts, with a warning.
product=baked

check() {
    wait_for 30 assert_verdict ready
    assert_registered demo
    echo 'clutser = "typo"' >"$(host_path /etc)/ecs-bootstrap.toml"
    host bash -c 'mkdir -p /etc/ecs-bootstrap && mv /etc/ecs-bootstrap.toml /etc/ecs-bootstrap/config.toml'
    become_another_instance '{}'
    reboot
    wait_for 20 assert_verdict failed setting-invalid
    wait_for 20 assert_journal_has ecs.service 'was written on the instance from which this image was made'
    wait_for 30 assert_registered demo
}
