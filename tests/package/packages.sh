# shellcheck shell=bash
# What the cases of packages share. Sourced by the scripts beside it; in: the folder that packaging/build filled as the
# first argument, a case as the second. Out: the packages by name, and roots to install them into. A case is a function of
# the script that sources this; it ends with a message and 1 at the first command that does not hold.

set -Eeuo pipefail
trap 'printf "%s: line %s: \`%s\` does not hold\n" "$0" "$LINENO" "$BASH_COMMAND" >&2' ERR

dist=$(realpath "${1:?"the folder that packaging/build filled"}")
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ecs-bootstrap
mkdir -p "$cache"
export PATH=$cache/bin:$cache/tools/bin:$PATH
# shellcheck source=tests/tools.sh
source tests/tools.sh

# shellcheck disable=SC2034 # for who sources this
deb=$(echo "$dist"/ecs-bootstrap_*_*.deb)
# shellcheck disable=SC2034
rpm=$(echo "$dist"/ecs-bootstrap-*-1.*.rpm)
# shellcheck disable=SC2034
tar=$(echo "$dist"/ecs-bootstrap-*-linux.tar.gz)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Package managers want to be root, if only in a namespace of their own.
as_root() {
    if [[ $EUID == 0 ]]; then "$@"; else unshare --map-root-user "$@"; fi
}

# Makes $root a small system: a shell, a systemd that runs and only notes what it is asked for, an ECS agent's file.
fresh_root() {
    root=$work/root
    rm -rf "$root"
    mkdir -p "$root"/{bin,dev,usr/bin,tmp,root,etc/ecs,run/systemd/system,var/lib/dpkg/{info,updates}}
    touch "$root"/{dev/null,asked} "$root"/var/lib/dpkg/{status,available}
    need_busybox
    local applet
    for applet in sh rm rmdir; do cp "$busybox" "$root/bin/$applet"; done
    printf '#!/bin/sh\necho "$*" >>/asked\n' >"$root/usr/bin/systemctl"
    chmod 755 "$root/usr/bin/systemctl"
    echo 'ECS_CLUSTER=prod' >"$root/etc/ecs/ecs.config"
}

# What systemd was asked for since the last time, a line each, is exactly this.
asked() {
    diff --label wanted --label asked <(printf '%s' "${1:+$1$'\n'}") "$root/asked"
    : >"$root/asked"
}

# Runs the case that the second argument names.
run_case() { "${1:?"a case"}"; }
