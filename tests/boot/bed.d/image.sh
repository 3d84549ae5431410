# shellcheck shell=bash
# Builds what all hosts share, below `$bed_cache`: the Debian root, the agent's stand-in, the CA. In: `$bed_cache`, `$here`, the cache.
#
# Each is made once, under a lock, into a folder that carries the hash of what it is made from; a host never writes there.

readonly suite=bookworm
# isc-dhcp-client, which cloud-init's Ec2Local takes, comes with cloud-init. iptables is dockerd's.
readonly packages=systemd,systemd-sysv,dbus,udev,iproute2,iptables,cloud-init,docker.io,ca-certificates,python3,procps,curl,kmod
# Certificates are for these.
readonly regions=(us-east-1 eu-west-1)

hash_of() { cat -- "$@" | sha256sum | cut -c1-16; }

# Makes a folder unless it is there. $1: the folder. The rest: what fills the folder that is named as its last argument.
once() {
    local folder=$1 lock
    shift
    [[ ! -d $folder ]] || return 0
    exec {lock}>"$bed_cache/build.lock"
    flock "$lock"
    if [[ ! -d $folder ]]; then
        rm -rf "$folder.part"
        "$@" "$folder.part"
        mv "$folder.part" "$folder"
    fi
    exec {lock}>&-
}

# A Debian that boots as a container and takes itself for an EC2 instance.
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
    # A first boot.
    : >"$root/etc/machine-id"
    rm -f "$root/etc/hostname"
    # As on the AMI, docker runs because ecs.service wants it. A case with Debian's units enables it again.
    rm -f "$root"/etc/systemd/system/*.wants/{docker,containerd}.{service,socket}
    # Not the folder of its state: one that is in the lower layer of an overlay cannot be renamed, as on a disk it can.
    mkdir -p "$root/etc/ecs" "$root/var/lib/ecs" "$root/var/log/ecs" "$root/var/cache/ecs"
    # What python would compile at each first use, in an overlay that is thrown away.
    chroot "$root" python3 -m compileall -q /usr/lib/python3 /usr/lib/python3.11 >/dev/null 2>&1 || true
}

set_up_cloud_init() {
    local root=$1
    # The generator that looks for a data source refuses Ec2 in a container.
    echo 'policy: enabled' >"$root/etc/cloud/ds-identify.cfg"
    cat >"$root/etc/cloud/cloud.cfg.d/99-bed.cfg" <<'CONFIG'
datasource_list: [ Ec2 ]
# The address alone: the default list holds a name whose look-up costs 10 s.
datasource: { Ec2: { metadata_urls: [ 'http://169.254.169.254' ], timeout: 5, max_wait: 120 } }
# There are no locales here, and cloud-config.service would fail.
locale: false
apt: { preserve_sources_list: true }
CONFIG
}

set_up_network() {
    local root=$1 wants=$1/etc/systemd/system
    # cloud-init writes for systemd-networkd, where there is neither ifupdown nor netplan.
    mkdir -p "$wants"/{multi-user,network-online}.target.wants
    ln -sf /lib/systemd/system/systemd-networkd.service "$wants/multi-user.target.wants/"
    ln -sf /lib/systemd/system/systemd-networkd-wait-online.service "$wants/network-online.target.wants/"
    rm -f "$root/etc/resolv.conf"
    echo 'nameserver 10.77.0.1' >"$root/etc/resolv.conf"
}

# Units that only cost time, or that touch the kernel which all hosts share. None bears on how an agent starts.
leave_out() {
    local unit
    for unit in sys-kernel-debug.mount sys-kernel-tracing.mount e2scrub_reap.service fstrim.timer e2scrub_all.timer \
        apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer; do
        ln -sf /dev/null "$1/etc/systemd/system/$unit"
    done
}

# A CA, and a certificate of the regional endpoints signed by it.
fill_tls() {
    local tls=$1 names='' region
    mkdir -p "$tls"
    for region in "${regions[@]}"; do
        names+=",DNS:*.$region.amazonaws.com,DNS:*.$region.api.aws"
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

# What every host has over the root: ecs-init, the agent's image, the CA among those that the host trusts.
fill_common() {
    local common=$1
    mkdir -p "$common"/usr/libexec "$common"/var/{cache,lib}/ecs "$common/etc/ssl/certs"
    install -m 755 "$here/agent/amazon-ecs-init" "$common/usr/libexec/amazon-ecs-init"
    python3 "$here/agent/pack.py" "$here/agent/agent.py" "$common/var/cache/ecs/ecs-agent.tar"
    # "Load it always, then only if it is missing", as the packages ship it.
    printf 2 >"$common/var/cache/ecs/state"
    cat "$root/etc/ssl/certs/ca-certificates.crt" "$tls/ca.pem" >"$common/etc/ssl/certs/ca-certificates.crt"
}

# Leaves the folders in $root, $tls and $common.
build() {
    mkdir -p "$bed_cache"
    root=$bed_cache/root-$(hash_of "$here/bed.d/image.sh")
    once "$root" fill_root
    tls=$bed_cache/tls-$(hash_of "$here/bed.d/image.sh")
    once "$tls" fill_tls
    common=$bed_cache/common-$(hash_of "$here/bed.d/image.sh" "$here"/agent/{amazon-ecs-init,pack.py,agent.py} "$tls/ca.pem")
    once "$common" fill_common
}
