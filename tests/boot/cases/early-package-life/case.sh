# The agent's package changes its unit, then ecs-bootstrap is removed: the unit of early start follows.
product=deb
early=yes
files_of_case=$logs/root

# Builds a package with another version of the agent's unit.
agent_package() {
    local tree=$logs/agent
    mkdir -p "$files_of_case/srv" "$tree/DEBIAN" "$tree/lib/systemd/system"
    sed 's/^Description=.*/& (new)/' "$here/agent/units/amazon-linux/ecs.service" >"$tree/lib/systemd/system/ecs.service"
    printf 'Package: amazon-ecs-init\nVersion: 2\nArchitecture: all\nMaintainer: boot tests\nDescription: agent\n' \
        >"$tree/DEBIAN/control"
    dpkg-deb --root-owner-group --build "$tree" "$files_of_case/srv/agent.deb" >/dev/null
}
agent_package

check() {
    assert_joins demo
    assert_property ecs.service FragmentPath /etc/systemd/system/ecs.service
    # A change without a package manager is reported.
    host sed -i 's/^Description=.*/& (edited)/' /usr/lib/systemd/system/ecs.service
    host ecs-bootstrap plan |& grep -q '\[early-start\].*another version' || fail 'plan does not report a stale unit'
    host ecs-bootstrap doctor |& grep -q '\[early-start\].*another version' || fail 'doctor does not report a stale unit'
    # dpkg's trigger makes the unit again.
    host dpkg --install /srv/agent.deb
    assert_file_has /etc/systemd/system/ecs.service '^Description=.* \(new\)$'
    assert_property ecs.service NeedDaemonReload no
    ! host ecs-bootstrap plan |& grep -q 'early-start' || fail 'plan reports a unit that is up to date'
    local before
    before=$(agent_processes)
    # Turned off and on by hand.
    host /usr/lib/ecs-bootstrap/early-start remove
    host systemctl daemon-reload
    assert_property ecs.service FragmentPath /lib/systemd/system/ecs.service
    host /usr/lib/ecs-bootstrap/early-start install
    host systemctl daemon-reload
    assert_property ecs.service FragmentPath /etc/systemd/system/ecs.service
    host dpkg --remove ecs-bootstrap
    assert_equal "$(agent_processes)" "$before" 'the agent after the removal'
    assert_no_file /etc/systemd/system/ecs.service
    assert_no_file /etc/systemd/system/cloud-final.service.wants
    assert_no_file /usr/lib/ecs-bootstrap
    assert_property ecs.service FragmentPath /lib/systemd/system/ecs.service
    reboot
    wait_for 30 assert_agent
}
