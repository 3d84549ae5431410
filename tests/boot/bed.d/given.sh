# shellcheck shell=bash
# Takes the real agent and the real ecs-init in place of the simulated ones. In: two files, `$bed_cache`. Out: a folder with
# `agent.tar` and `amazon-ecs-init`, whose name contains the hash of both, in `$given` and in the environment of the cases.

export ECS_BED_GIVEN=${ECS_BED_GIVEN:-}
given=$ECS_BED_GIVEN

# $1: an image archive. $2: ecs-init, or a deb or rpm that contains it.
take_given() {
    local file
    for file in "$1" "$2"; do [[ -r $file && -f $file ]] || die "$file: there is no such file, or it cannot be read" 2; done
    python3 "$here/agent/pack.py" check "$1" || die "$1 cannot be used as the agent's image" 2
    given=$bed_cache/given-$(cat -- "$1" "$2" | sha256sum | cut -c1-16)
    once "$given" fill_given "$1" "$2"
    ECS_BED_GIVEN=$given
}

fill_given() {
    mkdir -p "$3/package"
    case $(magic "$2" 0 4) in
    7f454c46 | 2321*) cp -- "$2" "$3/amazon-ecs-init" ;; # ELF, or a script
    213c6172) dpkg-deb --extract "$2" "$3/package" || die "$2: dpkg-deb cannot unpack it" 2 ;;
    edabeedb)
        have bsdtar || apt_install libarchive-tools || die 'bsdtar is needed to unpack an rpm, and could not be installed'
        bsdtar -xf "$2" -C "$3/package" || die "$2: bsdtar cannot unpack it" 2
        ;;
    *) die "$2 is neither a program nor a deb or rpm package" 2 ;;
    esac
    local inside
    for inside in "$3"/package/usr/{libexec,sbin}/amazon-ecs-init; do
        [[ ! -f $inside ]] || cp -- "$inside" "$3/amazon-ecs-init"
    done
    [[ -f $3/amazon-ecs-init ]] || die "$2 contains no amazon-ecs-init" 2
    check_machine "$3/amazon-ecs-init" "$2"
    chmod 755 "$3/amazon-ecs-init"
    rm -rf "$3/package"
    cp -- "$1" "$3/agent.tar"
}

# Prints bytes of a file in hexadecimal. $1: the file. $2: the first byte. $3: how many.
magic() { od -An -v -t x1 -j "$2" -N "$3" -- "$1" | tr -d ' \n'; }

check_machine() {
    local wanted
    case $(uname -m) in
    x86_64) wanted=3e00 ;;
    aarch64) wanted=b700 ;;
    esac
    [[ $(magic "$1" 0 4) != 7f454c46 || $(magic "$1" 18 2) == "${wanted:-}" ]] ||
        die "$2: its amazon-ecs-init is for another processor than $(uname -m)" 2
}
