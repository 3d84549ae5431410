# shellcheck shell=bash
# Finds the programs that the tests need. Missing programs are installed (as root) or fetched into the cache folder.
#
# Sourced by tests/run, tests/try and other scripts. In: a `$cache` folder. Out: programs in PATH. Outside the cache
# folder it changes the machine only with `apt-get install`, and only as root.

fetched=${cache:?'must be set by the script that sources this file'}/debian

# shellcheck disable=SC2034 # for the scripts that source this file
awscli='awscli==1.46.3'

say() { printf '%s\n' "$*" >&2; }

have() { command -v "$1" >/dev/null; }

# Installs Debian packages, only as root. If that fails, it updates the package lists first: a minimal image has none.
apt_install() {
    [[ $EUID == 0 ]] && have apt-get || return 1
    say "installing $* (apt-get)"
    local install=(env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends)
    "${install[@]}" "$@" >"$cache/apt.log" 2>&1 && return
    { apt-get update && "${install[@]}" "$@"; } >>"$cache/apt.log" 2>&1 && return
    tail -n 5 "$cache/apt.log" >&2
    return 1
}

# Unpacks Debian packages below $fetched. Needs no privilege.
apt_fetch() {
    have apt-get && have dpkg-deb || return 1
    say "fetching $* into $fetched"
    local downloads=$cache/apt/archives own=()
    rm -rf "$downloads"
    mkdir -p "$downloads" "$fetched" || return 1
    if ! (cd "$downloads" && apt-get download --quiet "$@") >"$cache/apt.log" 2>&1; then
        # This machine has no package lists: fetch them into the cache folder.
        mkdir -p "$cache/apt/lists/partial" "$cache/apt/cache/archives/partial" || return 1
        own=(-o "Dir::State::Lists=$cache/apt/lists" -o "Dir::Cache=$cache/apt/cache" -o Debug::NoLocking=1)
        if ! (cd "$downloads" && apt-get "${own[@]}" update && apt-get "${own[@]}" download "$@") >>"$cache/apt.log" 2>&1
        then
            tail -n 5 "$cache/apt.log" >&2
            return 1
        fi
    fi
    local package
    for package in "$downloads"/*.deb; do
        dpkg-deb -x "$package" "$fetched" || return 1
    done
}

# Prints the mirror of this machine's own packages, so that building a root needs no other network access.
debian_mirror() {
    local file
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources}; do
        [[ ! -e $file ]] || cat "$file"
    done | awk '/^(deb|URIs:) / { for (i = 2; i <= NF && !found; i++) if ($i ~ /^https?:.*\/debian\/?$/) { print $i; found = 1 } }'
}

# Makes a wrapper in PATH that runs a program with the libraries that were fetched for it.
# $1: the name. $2: the program. $3: a line of bash to run before it.
wrap() {
    local libraries
    # `find` fails if nothing was fetched, which is not an error.
    libraries=$({ find "$fetched"/{,usr/}lib -maxdepth 1 -type d -name '*-linux-gnu*' 2>/dev/null || true; } | paste -sd:)
    mkdir -p "$cache/bin" || return 1
    {
        printf '#!/usr/bin/env bash\n'
        # shellcheck disable=SC2016 # expanded when the wrapper runs
        [[ -z $libraries ]] || printf 'export LD_LIBRARY_PATH=%q${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}\n' "$libraries"
        printf '%s\n' "${3:-}"
        printf 'exec %q "$@"\n' "$2"
    } >"$cache/bin/$1"
    chmod +x "$cache/bin/$1"
}

# Builds a tool from crates.io in its pinned version into the cache folder. $1: its name.
need_cargo_tool() {
    local tree tool=$cache/tools/bin/$1 version said toolchain
    tree=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/..
    # packaging/build pins the version of the tool that it uses.
    case $1 in
    cargo-deny) version=0.20.2 said=$("$tool" --version 2>/dev/null || true) ;;
    cargo-cyclonedx)
        version=$(sed -n 's/^readonly cargo_cyclonedx=//p' "$tree/packaging/build")
        said=$("$tool" cyclonedx --version 2>/dev/null || true)
        ;;
    *) say "the version of \`$1\` is not pinned in tests/tools.sh" && return 1 ;;
    esac
    export PATH=$cache/tools/bin:$PATH
    [[ $said != *" $version" ]] || return 0
    say "installing $1 $version (crates.io; some minutes, once)"
    # Built outside the tree, because .cargo/config.toml is only for the project's binaries, but with its toolchain.
    toolchain=$(sed -n 's/^channel = "\(.*\)"/\1/p' "$tree/rust-toolchain.toml")
    local build=(env "RUSTUP_TOOLCHAIN=$toolchain" "CARGO_TARGET_DIR=$cache/tools/build")
    (cd "$cache" && "${build[@]}" cargo install --quiet --locked --root "$cache/tools" "$1@$version") || return 1
    rm -rf "$cache/tools/build"
}

# Builds the book of docs. Without watch and serve it needs far fewer crates.
need_mdbook() {
    local tree version=0.5.4 toolchain
    tree=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/..
    export PATH=$cache/tools/bin:$PATH
    [[ $("$cache/tools/bin/mdbook" --version 2>/dev/null || true) != *" v$version" ]] || return 0
    say "installing mdbook $version (crates.io; about two minutes, once)"
    # As in need_cargo_tool: with the toolchain of the project, but not with its .cargo/config.toml.
    toolchain=$(sed -n 's/^channel = "\(.*\)"/\1/p' "$tree/rust-toolchain.toml")
    local build=(env "RUSTUP_TOOLCHAIN=$toolchain" "CARGO_TARGET_DIR=$cache/tools/build")
    (cd "$cache" && "${build[@]}" cargo install --quiet --locked --no-default-features --features search --root "$cache/tools" \
        "mdbook@$version") || return 1
    rm -rf "$cache/tools/build"
}

# The tools of packaging/build, except the toolchain, gcc and dpkg.
need_packaging_tools() {
    need_cargo_tool cargo-cyclonedx && need_jq && need_rpm
}

need_jq() {
    have jq && return
    apt_install jq && return
    apt_fetch jq libjq1 libonig5 && wrap jq "$fetched/usr/bin/jq" && "$cache/bin/jq" --version >/dev/null
}

# The message bus for the simulated systemd.
need_dbus_daemon() {
    have dbus-daemon && return
    apt_install dbus-daemon && return
    apt_fetch dbus-daemon dbus-session-bus-common libdbus-1-3 libexpat1 libapparmor1 libcap-ng0 || return 1
    # `--session` would read a file below /usr/share, where it is not installed.
    wrap dbus-daemon "$fetched/usr/bin/dbus-daemon" \
        "set -- \"\${@/#--session/--config-file=$fetched/usr/share/dbus-1/session.conf}\""
    "$cache/bin/dbus-daemon" --version >/dev/null
}

# strace makes system calls fail.
need_strace() {
    have strace && return
    apt_install strace && return
    apt_fetch strace libunwind8 liblzma5 && wrap strace "$fetched/usr/bin/strace" &&
        "$cache/bin/strace" --version >/dev/null
}

# What tests/bench/run measures with, and what it compares with.
need_bench_tools() {
    local pair missing=()
    for pair in ip:iproute2 openssl:openssl valgrind:valgrind strace:strace curl:curl gcc:gcc unshare:util-linux \
        systemctl:systemd; do
        have "${pair%:*}" || missing+=("${pair#*:}")
    done
    ((${#missing[@]} == 0)) || apt_install "${missing[@]}" || return 1
    need_python
}

need_shellcheck() {
    have shellcheck && return
    apt_install shellcheck && return
    apt_fetch shellcheck libgmp10 libffi8 && wrap shellcheck "$fetched/usr/bin/shellcheck" &&
        "$cache/bin/shellcheck" --version >/dev/null
}

# rpm and rpmbuild.
need_rpm() {
    have rpm && have rpmbuild && return
    apt_install rpm && return
    apt_fetch rpm rpm-common librpm9 librpmbuild9 librpmio9 libelf1 libdw1 liblua5.3-0 libmagic1 libmagic-mgc libpopt0 \
        libgcrypt20 libgomp1 libgpg-error0 libsqlite3-0 libzstd1 libcap2 liblzma5 libbz2-1.0 zlib1g || return 1
    # Their configuration is not at the paths that are compiled in.
    local settings="export RPM_CONFIGDIR=$fetched/usr/lib/rpm MAGIC=$fetched/usr/lib/file/magic.mgc"
    wrap rpm "$fetched/usr/bin/rpm" "$settings" && wrap rpmbuild "$fetched/usr/bin/rpmbuild" "$settings" &&
        rpmbuild --version >/dev/null
}

# Only systemctl, to enable units below a root. No systemd is started on this machine.
need_systemctl() {
    have systemctl && return
    apt_fetch systemd libsystemd-shared libcap2 libcrypt1 libgcrypt20 libgpg-error0 liblz4-1 liblzma5 libmount1 libblkid1 \
        libpcre2-8-0 libseccomp2 libselinux1 libssl3 libzstd1 libacl1 libaudit1 libcap-ng0 libkmod2 libpam0g libip4tc2 ||
        return 1
    # Its shared library is in a private folder.
    local own
    own=$(dirname "$(find "$fetched" -name 'libsystemd-shared-*.so' -print -quit)")
    wrap systemctl "$fetched/bin/systemctl" "LD_LIBRARY_PATH+=:$own" && "$cache/bin/systemctl" --version >/dev/null
}

# A static shell that runs in an empty root. Sets $busybox to its path.
need_busybox() {
    for busybox in busybox "$fetched/bin/busybox"; do
        # Debian's package `busybox` is linked dynamically.
        busybox=$(command -v "$busybox") && { ldd "$busybox" 2>&1 || true; } | grep -q 'not a dynamic' && return
    done
    apt_fetch busybox-static && busybox=$fetched/bin/busybox && "$busybox" true
}

# Sets $python to a Python that can make a virtual environment.
need_python() {
    local needed='import ssl, venv'
    # On Debian, ensurepip is in a separate package, which only root can install.
    [[ $EUID != 0 ]] || needed+=', ensurepip'
    for python in python3 /usr/bin/python3 "$cache/bin/python3"; do
        have "$python" && "$python" -c "$needed" 2>/dev/null && return
    done
    python=/usr/bin/python3
    apt_install python3 python3-venv && return
    local version
    version=$(apt-cache depends python3 2>/dev/null | sed -n 's/^ *Depends: python\(3\.[0-9]*\)$/\1/p')
    version=${version:-3.11}
    apt_fetch "python$version" "python$version-minimal" "libpython$version-minimal" "libpython$version-stdlib" \
        media-types libexpat1 zlib1g libssl3 libffi8 libbz2-1.0 liblzma5 libsqlite3-0 libuuid1 libreadline8 libtinfo6 \
        libncursesw6 libdb5.3 || return 1
    python=$cache/bin/python3
    wrap python3 "$fetched/usr/bin/python$version" && "$python" -c "$needed"
}

# A Python with cloud-init's modules, in PATH as cloud-init-python. They are only unpacked: an installed cloud-init would
# run at the next boot of this machine.
need_cloud_init() {
    local python modules=$fetched/usr/lib/python3/dist-packages
    [[ -d $modules/cloudinit ]] || apt_fetch cloud-init python3-yaml python3-requests python3-urllib3 python3-chardet \
        python3-idna python3-certifi python3-six || return 1
    need_python || return 1
    # Debian's own, with which its cloud-init runs.
    [[ ! -x /usr/bin/python3 ]] || python=/usr/bin/python3
    wrap cloud-init-python "$python" "export PYTHONPATH=$modules" &&
        "$cache/bin/cloud-init-python" -c 'import cloudinit.user_data, cloudinit.handlers.shell_script'
}

# Makes a virtual environment with some requirements, and makes it again when a requirement changes.
# $1: its folder. $2: the pinned requirements, with spaces between them.
need_venv() {
    [[ $(cat "$1/requirement" 2>/dev/null) != "$2" ]] || return 0
    local python pip=() requirements
    need_python || return 1
    read -ra requirements <<<"$2"
    say "installing $2 (PyPI) into $1"
    rm -rf "$1"
    if ! "$python" -m venv "$1" >"$cache/venv.log" 2>&1; then
        apt_fetch python3-pip-whl && "$python" -m venv --clear --without-pip "$1" || return 1
        pip=(env "PYTHONPATH=$(printf '%s' "$fetched"/usr/share/python-wheels/pip-*.whl)")
    fi
    # The venv's python is a link to the Python that made it, which may need the fetched libraries.
    wrap venv-python "$1/bin/python" &&
        "${pip[@]}" "$cache/bin/venv-python" -m pip install --quiet --disable-pip-version-check "${requirements[@]}" &&
        printf '%s' "$2" >"$1/requirement"
}
