# An image made of a running instance, booted as another: what the first one wrote names nothing there.
product=baked

check() {
    wait_for 30 assert_verdict ready
    assert_registered demo
    become_another_instance '{"tags": {"instance": {"ecs-bootstrap:cluster": "other"}}}'
    reboot
    assert_joins other
    assert_file_has /etc/ecs/ecs.config '^# by hand$'
    # Nothing names one there: the line of the first two is not taken for one, and nothing joins by it.
    become_another_instance '{}'
    reboot
    wait_for 30 assert_verdict failed user-data-absent
    assert_no_agent
    assert_not_registered
    assert_equal "$(cluster_lines)" '' 'the cluster line'
}
