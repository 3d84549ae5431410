# shellcheck shell=bash
# Checks what this machine needs to run hosts: programs, root, namespaces. In: `$cache`. Out: programs in PATH, or an
# error.

# Each pair is a program and its Debian package. dnsmasq-base has the program without the service.
need_programs() {
    local missing=() pair
    for pair in systemd-nspawn:systemd-container mmdebstrap:mmdebstrap dnsmasq:dnsmasq-base ip:iproute2 \
        unshare:util-linux flock:util-linux setpriv:util-linux openssl:openssl python3:python3; do
        have "${pair%%:*}" || missing+=("${pair#*:}")
    done
    [[ ${#missing[@]} == 0 ]] || apt_install "${missing[@]}" ||
        die "these packages are needed and could not be installed: ${missing[*]}"
}

# A host needs an overlay, a network and a cgroup, which only root can make. Tries them, since a container may forbid
# them.
need_namespaces() {
    [[ $EUID == 0 ]] || die 'booting hosts needs root'
    # shellcheck disable=SC2016 # expanded by the inner shell
    unshare --mount --pid --net --fork --kill-child --mount-proc bash -c '
        set -e
        mount -t tmpfs tmpfs /run
        mkdir /run/{lower,upper,work,root,v2}
        mount -t overlay overlay -o lowerdir=/run/lower,upperdir=/run/upper,workdir=/run/work /run/root
        mount -t cgroup2 cgroup2 /run/v2
        mkdir "/run/v2/$0" && rmdir "/run/v2/$0"
        ip link add eth0 type veth peer name eth1' "$cgroup_prefix-probe-$$" ||
        die 'on this machine root cannot make mount, PID and network namespaces, an overlay, a veth pair or a cgroup'
}
