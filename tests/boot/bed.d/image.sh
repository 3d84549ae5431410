# shellcheck shell=bash
# Builds the files that all hosts share, below `$bed_cache`: the Debian root, the CA, the image of the agent, ecs-init. In:
# `$bed_cache`, `$here`, and `$given`: a folder with another agent and ecs-init than the simulated ones, see given.sh.
#
# Each is built once, under a lock, into a folder whose name contains the hash of its inputs. A host never writes there.

hash_of() { cat -- "$@" | sha256sum | cut -c1-16; }

# Makes a folder unless it exists. $1: the folder. The rest: a command that fills the folder in its last argument.
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

# Makes two images of the agent: `agent.tar` with its own certificates, and `trusting.tar` that has the CA too.
fill_images() {
    mkdir -p "$1"
    if [[ -n $given ]]; then
        cp "$given/agent.tar" "$1/agent.tar"
    else
        python3 "$here/agent/pack.py" simulated "$root/etc/ssl/certs/ca-certificates.crt" "$1/agent.tar"
    fi
    python3 "$here/agent/pack.py" trust "$1/agent.tar" "$tls/ca.pem" "$1/trusting.tar"
}

# Makes the layer above the root that every host has: ecs-init, the agent's image, and the CA in the trusted
# certificates.
fill_common() {
    local common=$1
    mkdir -p "$common"/usr/libexec "$common"/var/{cache,lib}/ecs "$common/etc/ssl/certs"
    install -m 755 "${given:-$here/agent}/amazon-ecs-init" "$common/usr/libexec/amazon-ecs-init"
    install -m 644 "$images/trusting.tar" "$common/var/cache/ecs/ecs-agent.tar"
    # 2 means: load the image at the next start, later only if it is missing. The packages ship this value.
    printf 2 >"$common/var/cache/ecs/state"
    cat "$root/etc/ssl/certs/ca-certificates.crt" "$tls/ca.pem" >"$common/etc/ssl/certs/ca-certificates.crt"
}

# Builds all, and sets $root, $tls, $images and $common to their folders.
build() {
    mkdir -p "$bed_cache"
    root=$bed_cache/root-$(hash_of "$here/bed.d/root.sh")
    once "$root" fill_root
    tls=$bed_cache/tls-$(hash_of "$here/bed.d/root.sh")
    once "$tls" fill_tls
    # The name of the folder of a given agent contains the hash of its files.
    images=$bed_cache/images-$(hash_of "$here"/{bed.d/image.sh,websocket.py,agent/pack.py} "$here"/agent/ecs_agent/*.py \
        "$tls/ca.pem" <(echo "$given"))
    once "$images" fill_images
    common=$bed_cache/common-$(hash_of "$here/bed.d/image.sh" "$here/agent/amazon-ecs-init" <(echo "$images"))
    once "$common" fill_common
}
