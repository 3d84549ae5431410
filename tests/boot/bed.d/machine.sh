# shellcheck shell=bash
# What the bed needs of this machine: programs, root, namespaces. In: `$cache`. Out: programs in PATH, or a reason why not.

# Programs, and the Debian packages that bring them. dnsmasq-base has the program without the service.
need_programs() {
    local missing=() pair
    for pair in systemd-nspawn:systemd-container mmdebstrap:mmdebstrap dnsmasq:dnsmasq-base ip:iproute2 \
        unshare:util-linux flock:util-linux setpriv:util-linux openssl:openssl python3:python3; do
        have "${pair%%:*}" || missing+=("${pair#*:}")
    done
    [[ ${#missing[@]} == 0 ]] || apt_install "${missing[@]}" ||
        die "these packages are needed and could not be installed: ${missing[*]}"
}

# Nothing here can be had without root in the first place: overlay, network and cgroup of a whole host.
need_namespaces() {
    [[ $EUID == 0 ]] || die 'the bed boots whole hosts, and must be root for that'
    # shellcheck disable=SC2016 # expanded by the inner shell
    unshare --mount --pid --net --fork --kill-child --mount-proc bash -c '
        set -e
        mount -t tmpfs tmpfs /run
        mkdir /run/{lower,upper,work,root,v2}
        mount -t overlay overlay -o lowerdir=/run/lower,upperdir=/run/upper,workdir=/run/work /run/root
        mount -t cgroup2 cgroup2 /run/v2
        mkdir "/run/v2/$0" && rmdir "/run/v2/$0"
        ip link add eth0 type veth peer name eth1' "$cgroup_prefix-probe-$$" ||
        die 'this machine does not let root make mount, PID and network namespaces, an overlay, a veth pair and a cgroup'
}

# Of where this machine's own packages come from, so that the bed needs no other way out than it has.
debian_mirror() {
    local file
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources}; do
        [[ ! -e $file ]] || cat "$file"
    done | awk '/^(deb|URIs:) / { for (i = 2; i <= NF && !found; i++) if ($i ~ /^https?:.*\/debian\/?$/) { print $i; found = 1 } }'
}
