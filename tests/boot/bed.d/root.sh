# shellcheck shell=bash
# Fills the root file system of all hosts, and the CA that they trust. In: `$bed_cache`. Out: the folders in their last
# argument; `build` in image.sh calls them.

readonly suite=bookworm
# cloud-init depends on isc-dhcp-client, which its Ec2Local data source uses. dockerd needs iptables.
readonly packages=systemd,systemd-sysv,dbus,udev,iproute2,iptables,cloud-init,docker.io,ca-certificates,python3,procps,curl,kmod
# The regions that get certificates.
readonly regions=(us-east-1 eu-west-1)

# Builds a Debian that boots in a container and believes that it is an EC2 instance.
fill_root() {
    local root=$1 mirror log=$bed_cache/mmdebstrap.log
    mirror=$(debian_mirror)
    say "building a $suite root from ${mirror:-the default mirror} (half a minute, once)"
    mmdebstrap --mode=root --variant=minbase --include="$packages" --components=main \
        --aptopt='Acquire::Check-Valid-Until "false"' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        "$suite" "$root" ${mirror:+"$mirror"} >"$log" 2>&1 || { tail -n 20 "$log" >&2 && die 'mmdebstrap failed'; }
    set_up_cloud_init "$root"
    set_up_network "$root"
    leave_out "$root"
    # Without a machine id, the next boot is a first boot.
    : >"$root/etc/machine-id"
    rm -f "$root/etc/hostname"
    # As on the AMI, docker starts because ecs.service wants it. A case with Debian's units enables docker again.
    rm -f "$root"/etc/systemd/system/*.wants/{docker,containerd}.{service,socket}
    # Without /var/lib/ecs/data: a folder in the lower layer of an overlay cannot be renamed, and reset-agent renames
    # it.
    mkdir -p "$root/etc/ecs" "$root/var/lib/ecs" "$root/var/log/ecs" "$root/var/cache/ecs"
    # Otherwise each host would compile these again, into an overlay that is thrown away.
    chroot "$root" python3 -m compileall -q /usr/lib/python3 /usr/lib/python3.11 >/dev/null 2>&1 || true
}

set_up_cloud_init() {
    local root=$1
    # cloud-init's generator does not accept the Ec2 data source in a container.
    echo 'policy: enabled' >"$root/etc/cloud/ds-identify.cfg"
    cat >"$root/etc/cloud/cloud.cfg.d/99-bed.cfg" <<'CONFIG'
datasource_list: [ Ec2 ]
# Only the address: the default list contains a name whose look-up takes 10 s.
datasource: { Ec2: { metadata_urls: [ 'http://169.254.169.254' ], timeout: 5, max_wait: 120 } }
# There are no locales here, so cloud-config.service would fail.
locale: false
apt: { preserve_sources_list: true }
CONFIG
}

set_up_network() {
    local root=$1 wants=$1/etc/systemd/system
    # Without ifupdown and netplan, cloud-init writes configuration for systemd-networkd.
    mkdir -p "$wants"/{multi-user,network-online}.target.wants
    ln -sf /lib/systemd/system/systemd-networkd.service "$wants/multi-user.target.wants/"
    ln -sf /lib/systemd/system/systemd-networkd-wait-online.service "$wants/network-online.target.wants/"
    rm -f "$root/etc/resolv.conf"
    echo 'nameserver 10.77.0.1' >"$root/etc/resolv.conf"
}

# Masks units that only take time, or that change the kernel, which all hosts share. None affects how an agent starts.
leave_out() {
    local unit
    for unit in sys-kernel-debug.mount sys-kernel-tracing.mount e2scrub_reap.service fstrim.timer e2scrub_all.timer \
        apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer; do
        ln -sf /dev/null "$1/etc/systemd/system/$unit"
    done
}

# Makes a CA, and a certificate for the regional endpoints that the CA signed.
fill_tls() {
    local tls=$1 names='' region
    mkdir -p "$tls"
    for region in "${regions[@]}"; do
        names+=",DNS:*.$region.amazonaws.com,DNS:*.$region.api.aws,DNS:api.ecr.$region.amazonaws.com"
        names+=",DNS:*.dkr.ecr.$region.amazonaws.com"
    done
    (
        cd "$tls"
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj '/CN=boot bed CA' \
            -addext 'keyUsage=critical,keyCertSign' -keyout ca.key -out ca.pem
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=boot bed' -keyout key.pem -out request.pem
        openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -out leaf.pem \
            -extfile <(printf 'subjectAltName=%s\nbasicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth' "${names#,}")
        cat leaf.pem ca.pem >chain.pem
    ) >"$bed_cache/openssl.log" 2>&1 || { tail -n 5 "$bed_cache/openssl.log" >&2 && die 'openssl failed'; }
}
