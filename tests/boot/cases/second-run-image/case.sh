# An image of a running instance, booted as another instance: the cluster of the first instance is not used.
product=baked

check() {
    wait_for 30 assert_verdict ready
    assert_registered demo
    become_another_instance '{"tags": {"instance": {"ecs-bootstrap:cluster": "other"}}}'
    reboot
    assert_joins other
    assert_file_has /etc/ecs/ecs.config '^# by hand$'
    # Nothing names a cluster for the third instance: the line that ecs-bootstrap wrote on the second is not used.
    become_another_instance '{}'
    reboot
    wait_for 30 assert_verdict failed user-data-absent
    assert_no_agent
    assert_not_registered
    assert_equal "$(cluster_lines)" '' 'the cluster line'
}
