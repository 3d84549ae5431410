#!/usr/bin/env bash
# Installs the static binary of ecs-rollout in a CI job, and verifies its checksum first. It needs no package manager
# and no root, and works on every Linux with bash, curl and sha256sum, on x86-64 and arm64.
#
# Usage: install.sh [FOLDER]
# FOLDER must be in the PATH of the later steps (default: /usr/local/bin).
#
# Environment, one of:
#   ECS_ROLLOUT_URL, ECS_ROLLOUT_SHA256   the URL of the binary (not of a package) and its checksum
#   ECS_ROLLOUT_RELEASE                   the URL of a release: https://github.com/OWNER/REPO/releases/download/v0.1.0.
#                                         The file is that of this processor. Its checksum is ECS_ROLLOUT_SHA256 or, if
#                                         that is empty, the one in SHA256SUMS of the release, which detects a
#                                         corrupted download, but not a release that someone replaced
set -euo pipefail
umask 022

target=${1:-/usr/local/bin}
download() { curl --proto '=https' --fail --silent --show-error --location --retry 3 --output "$1" "$2"; }

mkdir -p "$target"
# In the same file system, so that the last step is a rename. Only its owner can write to it, or look into it.
work=$(mktemp -d "$target/.ecs-rollout.XXXXXX")
trap 'rm -rf "$work"' EXIT

url=${ECS_ROLLOUT_URL:-}
sha256=${ECS_ROLLOUT_SHA256:-}
if [[ -z $url ]]; then
    release=${ECS_ROLLOUT_RELEASE:?set ECS_ROLLOUT_RELEASE, or ECS_ROLLOUT_URL and ECS_ROLLOUT_SHA256}
    version=${release##*/}
    case $(uname -m) in
    x86_64 | amd64) processor=x86_64 ;;
    aarch64 | arm64) processor=aarch64 ;;
    *) printf 'error: there is no binary for the processor %s\n' "$(uname -m)" >&2 && exit 1 ;;
    esac
    file=ecs-rollout-${version#v}-$processor-linux
    url=$release/$file
    if [[ -z $sha256 ]]; then
        download "$work/SHA256SUMS" "$release/SHA256SUMS"
        sha256=$(awk -v file="$file" '$2 == file { print $1 }' "$work/SHA256SUMS")
    fi
fi
[[ $sha256 =~ ^[0-9a-f]{64}$ ]] ||
    { printf 'error: the checksum of %s is not known: set ECS_ROLLOUT_SHA256\n' "$url" >&2 && exit 1; }

download "$work/ecs-rollout" "$url"
printf '%s  %s\n' "$sha256" "$work/ecs-rollout" | sha256sum --check --quiet
chmod 755 "$work/ecs-rollout"
mv "$work/ecs-rollout" "$target/ecs-rollout"
"$target/ecs-rollout" --version
