# shellcheck shell=bash
# Shared by `bed` and `run`: folders, the functions beside this file, and the options of a host.

die() {
    printf 'bed: %s\n' "$1" >&2
    exit "${2:-1}"
}

here=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ecs-bootstrap
bed_cache=$cache/boot
readonly cgroup_prefix=ecs-bed
mkdir -p "$bed_cache"
# shellcheck source=tests/tools.sh
source "$here/../tools.sh"
# shellcheck source=tests/boot/bed.d/machine.sh
source "$here/bed.d/machine.sh"
# shellcheck source=tests/boot/bed.d/binary.sh
source "$here/bed.d/binary.sh"
# shellcheck source=tests/boot/bed.d/root.sh
source "$here/bed.d/root.sh"
# shellcheck source=tests/boot/bed.d/given.sh
source "$here/bed.d/given.sh"
# shellcheck source=tests/boot/bed.d/image.sh
source "$here/bed.d/image.sh"
# shellcheck source=tests/boot/bed.d/moto.sh
source "$here/bed.d/moto.sh"
# shellcheck source=tests/boot/bed.d/host.sh
source "$here/bed.d/host.sh"
export PATH=$cache/bin:$PATH

# The options of a host with their defaults; `bed --help` explains them.
default_options() {
    unit=amazon-linux enabled=yes cloud_final=amazon docker=normal product=none early=no binary='' user_data='' metadata='' aws=''
    files_of_case='' agent_trusts=yes imds_late=0 network_late=0 hop_limit=64 region=us-east-1 moto='' tie=()
}

check_options() {
    local one
    for one in "unit $unit amazon-linux generic-rpm deb none" "enabled $enabled yes no" "cloud_final $cloud_final amazon debian" \
        "docker $docker normal slow broken" "agent_trusts $agent_trusts yes no" "product $product none binary baked deb" "early $early yes no"; do
        local words
        read -ra words <<<"$one"
        [[ " ${words[*]:2} " == *" ${words[1]} "* ]] ||
            die "\`${words[0]}=${words[1]}\`: ${words[0]} must be one of: ${words[*]:2}" 2
    done
    [[ $product == none || -x $binary ]] || die "product=$product needs binary=FILE" 2
    # packaging/build puts the deb beside the binary.
    deb=''
    [[ $early == no || $product == baked || $product == deb ]] || die 'early=yes needs product=baked or product=deb' 2
    [[ $product != deb ]] || deb=$(find "$(dirname "$(realpath "$binary")")" -maxdepth 1 -name 'ecs-bootstrap_*.deb' | head -n 1)
    [[ $product != deb || -n $deb ]] || die "there is no ecs-bootstrap_*.deb beside $binary" 2
    # Each host has its own account, so that hosts share one moto server but no data in it. $1: the host's name.
    account=$(printf '%012d' $((0x$(sha256sum <<<"$1" | cut -c1-10) % 900000000000 + 100000000000)))
}
