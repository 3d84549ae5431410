# shellcheck shell=bash
# Shared by the tests of packages, which source it. In: the output folder of packaging/build as the first argument, a
# case as the second. Out: the paths of the packages, and roots to install them into. A case is a function of the
# script that sources this file. It ends with a message and exit code 1 at the first command that fails.

set -Eeuo pipefail
trap 'printf "%s: line %s: \`%s\` failed\n" "$0" "$LINENO" "$BASH_COMMAND" >&2' ERR

dist=$(realpath "${1:?"the output folder of packaging/build is needed"}")
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ecs-bootstrap
mkdir -p "$cache"
export PATH=$cache/bin:$cache/tools/bin:$PATH
# shellcheck source=tests/tools.sh
source tests/tools.sh

# shellcheck disable=SC2034 # for the scripts that source this file
deb=$(echo "$dist"/ecs-bootstrap_*_*.deb)
# shellcheck disable=SC2034
rpm=$(echo "$dist"/ecs-bootstrap-*-1.*.rpm)
# shellcheck disable=SC2034
tar=$(echo "$dist"/ecs-bootstrap-*-linux.tar.gz)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Package managers need root; root in a user namespace is enough.
as_root() {
    if [[ $EUID == 0 ]]; then "$@"; else unshare --map-root-user "$@"; fi
}

# Makes a small system in $root: a shell, a systemctl that only records its arguments, and an ecs.config.
fresh_root() {
    root=$work/root
    rm -rf "$root"
    mkdir -p "$root"/{bin,dev,usr/bin,tmp,root,etc/ecs,run/systemd/system,var/lib/dpkg/{info,updates}}
    touch "$root"/{dev/null,asked} "$root"/var/lib/dpkg/{status,available}
    need_busybox
    local applet
    for applet in sh rm rmdir awk cat chmod grep ln mkdir mv readlink sha256sum; do cp "$busybox" "$root/bin/$applet"; done
    printf '#!/bin/sh\necho "$*" >>/asked\n' >"$root/usr/bin/systemctl"
    chmod 755 "$root/usr/bin/systemctl"
    echo 'ECS_CLUSTER=prod' >"$root/etc/ecs/ecs.config"
}

# The calls of systemctl since the last check, one per line, are exactly these.
asked() {
    diff --label wanted --label asked <(printf '%s' "${1:+$1$'\n'}") "$root/asked"
    : >"$root/asked"
}

# Runs the case that the second argument names.
run_case() { "${1:?"the name of a case is needed"}"; }
