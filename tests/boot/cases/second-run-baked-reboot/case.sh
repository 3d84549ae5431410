# Three boots: later boots write nothing, and the container instance stays the same.
product=baked

check() {
    wait_for 30 assert_verdict ready
    local before after
    before=$(stat -c '%i %y' "$(host_path /etc/ecs/ecs.config)" "$(host_path /var/lib/ecs-bootstrap/written.json)")
    local _
    for _ in 2 3; do
        reboot
        wait_for 30 assert_verdict ready
        assert_registered demo
    done
    after=$(stat -c '%i %y' "$(host_path /etc/ecs/ecs.config)" "$(host_path /var/lib/ecs-bootstrap/written.json)")
    assert_equal "$after" "$before" 'inode and time of the written files'
    assert_one_cluster_line demo
    assert_journal_lacks '' 'ordering cycle'
}
