# The unit of SUSE's package has another name, which is found without a setting, and is not restarted.
product=baked
unit=none

check() {
    wait_for 60 assert_verdict ready
    assert_registered demo
    assert_one_cluster_line demo
    assert_unit amazon-ecs.service active
    assert_journal_has '' 'agent start allowed'
    assert_prints 'amazon-ecs.service is active, enabled' host ecs-bootstrap doctor
    host ecs-bootstrap reset-agent --yes
    wait_for 40 assert_unit amazon-ecs.service active
    reboot
    wait_for 60 assert_verdict ready
    assert_one_cluster_line demo
    # A remedy names the unit.
    host systemctl disable --now --quiet amazon-ecs.service
    assert_prints 'systemctl enable --now --no-block amazon-ecs' host bash -c '! ecs-bootstrap doctor'
}
