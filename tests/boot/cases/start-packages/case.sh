# The agent is installed by `packages:` at boot, after an upgrade of all packages, so its unit appears late.
product=binary
unit=none
files_of_case=$logs/root

# A package repository on the host's disk that holds the agent's package. The host's apt knows no other.
agent_package() {
    local package=$logs/package repository=$files_of_case/srv/packages deb
    mkdir -p "$package/DEBIAN" "$package/usr/lib/systemd/system" "$repository" "$files_of_case/etc/apt"
    install -m 644 "$here/agent/units/amazon-linux/ecs.service" "$package/usr/lib/systemd/system/ecs.service"
    printf '%s\n' 'Package: ecs-init' 'Version: 1.0' 'Architecture: all' 'Maintainer: nobody' 'Description: the agent' \
        >"$package/DEBIAN/control"
    printf '#!/bin/sh\nsystemctl daemon-reload\n' >"$package/DEBIAN/postinst"
    chmod 755 "$package/DEBIAN/postinst"
    deb=$repository/ecs-init_1.0_all.deb
    dpkg-deb --root-owner-group --build "$package" "$deb" >/dev/null
    {
        cat "$package/DEBIAN/control"
        printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n' "${deb##*/}" "$(stat -c %s "$deb")" "$(sha256sum "$deb" | cut -d ' ' -f 1)"
    } >"$repository/Packages"
    echo 'deb [trusted=yes] file:/srv/packages ./' >"$files_of_case/etc/apt/sources.list"
}
agent_package

check() {
    assert_joins prod
    # The sample sets `units.enable`: the next boot starts the agent without user data.
    assert_equal "$(unit_property ecs.service UnitFileState)" enabled
    reboot
    wait_for 30 assert_agent
    assert_registered prod
}
