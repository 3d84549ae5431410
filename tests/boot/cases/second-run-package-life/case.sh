# Install, upgrade, remove and purge the package on a running host: the agent and its container are not disturbed.
# The agent's unit is not enabled at first: without ecs-bootstrap the agent would have joined `default` by now.
product=none
enabled=no
files_of_case=$logs/root

# Builds the package, and a copy of it with an older version.
packages() {
    mkdir -p "$files_of_case/srv" "$logs/deb"
    "$here/../../packaging/build" --binary "${of_run[0]}" --only deb --out "$logs/deb" >/dev/null
    cp "$logs"/deb/*.deb "$files_of_case/srv/new.deb"
    dpkg-deb --raw-extract "$files_of_case/srv/new.deb" "$logs/deb/old"
    sed -i 's/^Version: .*/Version: 0.0.1/' "$logs/deb/old/DEBIAN/control"
    dpkg-deb --root-owner-group -Zgzip -z1 --build "$logs/deb/old" "$files_of_case/srv/old.deb" >/dev/null
}
packages

check() {
    host dpkg --install /srv/old.deb
    host systemctl enable ecs-bootstrap.service ecs.service
    host ecs-bootstrap run --wait
    assert_registered demo
    local before
    before=$(agent_process)
    host dpkg --install /srv/new.deb
    assert_equal "$(agent_process)" "$before" 'the agent after the upgrade'
    assert_equal "$(unit_property ecs-bootstrap.service UnitFileState)" enabled
    host ecs-bootstrap verify
    reboot
    wait_for 30 assert_verdict ready
    assert_journal_has '' 'agent start allowed'
    before=$(agent_process)
    host dpkg --remove ecs-bootstrap
    assert_equal "$(agent_process)" "$before" 'the agent after the removal'
    assert_one_cluster_line demo
    host systemctl restart ecs.service
    wait_for 20 assert_agent
    host dpkg --purge ecs-bootstrap
    assert_no_file /var/lib/ecs-bootstrap
    assert_one_cluster_line demo
    assert_unit ecs.service active
    assert_equal "$(find "$(host_path /etc/systemd)" "$(host_path /usr/lib/systemd)" -name '*ecs-bootstrap*')" '' 'what is left'
}

agent_process() {
    unit_property ecs.service MainPID
    agent_processes
}
