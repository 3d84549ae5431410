# shellcheck shell=bash
# One host from `up` to `down`. In: `$bed_cache`, `$root`, `$tls`, `$common`, `$moto`. Out: a folder
# `$bed_cache/hosts/NAME`, and a keeper process (see bed.d/keeper) that contains everything else of the host.
#
# The keeper holds a lock on hosts/NAME.lock while it or any of its children lives. So the lock shows whether a host is
# running, also to a later run that finds files of an interrupted one.

host_folder() { printf '%s/hosts/%s' "$bed_cache" "$1"; }

# $1: a host's name. Each option is in the variable of the same name, see `bed --help`.
up() {
    local name=$1 folder lock keeper
    folder=$(host_folder "$name")
    mkdir -p "$bed_cache/hosts"
    exec {lock}>"$folder.lock"
    flock --nonblock "$lock" || die "the host \`$name\` already exists"
    rm -rf "$folder"
    mkdir -p "$folder/files" "$folder/aws"
    lay_out "$folder"
    {
        printf '%s=%q\n' root "$root" common "$common" tls "$tls" moto "$moto" region "$region" account "$account" deb "$deb" early "$early" \
            imds_late "$imds_late" network_late "$network_late" hop_limit "$hop_limit" \
            cgroup "$cgroup_prefix-$name" outside "$(readlink /proc/self/ns/net)"
    } >"$folder/options"
    # `--kill-child` and `$tie`: when the outer process ends, the inner one ends, and so does the host.
    "${tie[@]}" unshare --mount --pid --net --fork --kill-child --mount-proc --propagation private \
        "$here/bed.d/keeper" "$folder" </dev/null >"$folder/keeper.log" 2>&1 &
    keeper=$!
    disown "$keeper" # otherwise the shell would report its end
    echo "$keeper" >"$folder/keeper.pid"
    exec {lock}>&-
    # The keeper waits at most 10 s for the servers first.
    local deadline=$((SECONDS + 30))
    local pid
    until pid=$(leader "$name") && [[ -S /proc/$pid/root/run/systemd/private ]]; do
        if [[ ! -d /proc/$keeper ]] || ((SECONDS >= deadline)); then
            cat "$folder"/{keeper,console}.log >&2
            die "$name: PID 1 did not start"
        fi
        sleep 0.05
    done
}

# Writes the files in which the host differs from the common root into the host's folder.
lay_out() {
    local files=$1/files units=$1/files/etc/systemd/system usr=$1/files/usr/lib/systemd/system
    [[ -z $user_data ]] || cp "$user_data" "$1/user-data"
    [[ -z $metadata ]] || cp "$metadata" "$1/metadata.json"
    [[ -z $aws ]] || cp -r "$aws/." "$1/aws/"
    mkdir -p "$units/multi-user.target.wants" "$usr" "$files/usr/bin" "$files/etc/docker"
    [[ $unit == none ]] || install -m 644 "$here/agent/units/$unit/ecs.service" "$usr/ecs.service"
    [[ $unit == none || $enabled != yes ]] || ln -s /lib/systemd/system/ecs.service "$units/multi-user.target.wants/"
    [[ $unit != deb ]] || ln -s /lib/systemd/system/docker.service "$units/multi-user.target.wants/"
    # Only Debian and Ubuntu order cloud-final after multi-user.target; a drop-in cannot remove that.
    [[ $cloud_final == debian ]] || sed -e '/^After=multi-user.target/d' -e '/^Before=apt-daily.service/d' \
        "$root/lib/systemd/system/cloud-final.service" >"$units/cloud-final.service"
    [[ $agent_trusts == yes ]] || install -D -m 644 "$images/agent.tar" "$files/var/cache/ecs/ecs-agent.tar"
    case $docker in
    slow)
        mkdir "$units/docker.service.d"
        printf '[Service]\nExecStartPre=/bin/sleep 12\n' >"$units/docker.service.d/slow.conf"
        ;;
    broken) echo '{ "no-such-setting": true }' >"$files/etc/docker/daemon.json" ;;
    esac
    case $product in
    binary | baked) install -m 755 "$binary" "$files/usr/bin/ecs-bootstrap" ;;
    esac
    case $product in
    baked) bake "$usr" "$units" ;;
    esac
    [[ $product != baked || $early != yes ]] || {
        install -D -m 755 "$here/../../packaging/early-start" "$files/usr/lib/ecs-bootstrap/early-start"
        "$files/usr/lib/ecs-bootstrap/early-start" install "$files" >"$1/early-start.log"
    }
    # The binary, so that user data can download it.
    mkdir "$1/served"
    [[ -z $binary ]] || ln "$binary" "$1/served/ecs-bootstrap" 2>/dev/null || cp "$binary" "$1/served/ecs-bootstrap"
    [[ -z $files_of_case ]] || cp -a "$files_of_case/." "$files/"
}

# Installs the units of this tree like the package. $1: folder for the package's units. $2: for the administrator's.
bake() {
    cp -r "$here/../../systemd/." "$1/"
    # The package has it for the unit on SUSE.
    cp -r "$1/ecs.service.d" "$1/amazon-ecs.service.d"
    chmod -R u=rwX,go=rX "$1"
    local file wanted_by
    for file in "$1"/ecs-bootstrap*.service; do
        wanted_by=$(sed -n 's/^WantedBy=//p' "$file")
        [[ -n $wanted_by ]] || continue
        mkdir -p "$2/$wanted_by.wants"
        ln -s "/lib/systemd/system/${file##*/}" "$2/$wanted_by.wants/"
    done
}

# Prints the host's PID 1 as seen here: a child of systemd-nspawn, which is a child of the keeper, which is a child of
# its `unshare`. The result is stored, because the kernel's list of children can be incomplete while children end.
leader() {
    local folder keeper inner child
    folder=$(host_folder "$1")
    child=$(read_if_there "$folder/leader.pid")
    if is_leader "$child"; then
        echo "$child"
        # Traps use this function too, and in a trap a bare `return` returns the status from before the trap.
        return 0
    fi
    keeper=$(read_if_there "$folder/keeper.pid")
    inner=$(children "$keeper")
    for child in $(children "$inner"); do
        [[ $(read_if_there "/proc/$child/comm") == systemd-nspawn ]] || continue
        child=$(children "$child")
        child=${child%% *}
        if is_leader "$child"; then
            echo "$child" >"$folder/leader.pid"
            echo "$child"
            return 0
        fi
    done
    return 1
}

# Whether a process is a systemd whose parent is systemd-nspawn, and not a zombie.
is_leader() {
    local stat parent
    [[ -n $1 ]] || return 1
    stat=$(read_if_there "/proc/$1/stat")
    [[ $stat =~ ^$1\ \(systemd\)\ [^ZX]\ ([0-9]+) ]] || return 1
    parent=$(read_if_there "/proc/${BASH_REMATCH[1]}/comm")
    [[ $parent == systemd-nspawn ]]
}

# Prints a file, or nothing if it does not exist: processes can end at any time.
read_if_there() { cat -- "$1" 2>/dev/null || true; }

# The kernel's list ends with a space.
children() {
    local list=''
    [[ -z $1 ]] || list=$(read_if_there "/proc/$1/task/$1/children")
    echo "${list% }"
}

is_up() { [[ -e $(host_folder "$1").lock ]] && ! flock --nonblock "$(host_folder "$1").lock" true; }

need_leader() {
    local _
    for _ in {1..40}; do
        leader "$1" && return 0
        is_up "$1" || break
        sleep 0.05
    done
    die "the host \`$1\` is not running"
}

# Runs a command as a unit of the host. A process that enters from outside would belong to no unit.
execute() {
    local pid
    pid=$(need_leader "$1") || exit
    shift
    nsenter --target "$pid" --all -- systemd-run --quiet --wait --pipe --collect --service-type=exec -- "$@"
}

# Runs a command that only reads, without a unit: ten times as fast.
look() {
    local pid
    pid=$(need_leader "$1") || exit
    shift
    nsenter --target "$pid" --all -- "$@"
}

# Waits until cloud-init is done and no job is queued. $1: the host. $2: the limit in seconds.
wait_for_boot() {
    local deadline=$((SECONDS + ${2:-120})) pid
    # The final stage of cloud-init writes result.json last.
    until pid=$(leader "$1") && [[ -e /proc/$pid/root/run/cloud-init/result.json ]]; do
        ((SECONDS < deadline)) || { say "$1: cloud-init is not done after ${2:-120} s" && return 1; }
        is_up "$1" || { say "$1: the host has ended" && return 1; }
        sleep 0.1
    done
    local status=0
    timeout $((deadline - SECONDS + 1)) nsenter --target "$pid" --all systemctl is-system-running --wait >/dev/null || status=$?
    [[ $status != 124 ]] || { say "$1: jobs are still queued after ${2:-120} s" && return 1; }
}

# Reboots, and returns when the next PID 1 runs.
reboot_host() {
    local before after deadline=$((SECONDS + 60))
    before=$(need_leader "$1") || exit
    nsenter --target "$before" --all systemctl --no-block reboot
    until after=$(leader "$1") && [[ $after != "$before" && -S /proc/$after/root/run/systemd/private ]]; do
        ((SECONDS < deadline)) || die "$1 did not boot again within 60 s"
        sleep 0.1
    done
}

# Powers a host off, and returns when no process of it is left. Its disk and its servers stay.
stop_host() {
    local leader deadline=$((SECONDS + 60))
    leader=$(need_leader "$1") || exit
    touch "$(host_folder "$1")/stopped"
    nsenter --target "$leader" --all systemctl --no-block poweroff
    while [[ -d /proc/$leader ]]; do
        ((SECONDS < deadline)) || die "$1 did not stop within 60 s"
        sleep 0.1
    done
}

# Starts a host that was stopped, and returns when its PID 1 runs.
start_host() {
    local leader deadline=$((SECONDS + 60))
    rm "$(host_folder "$1")/stopped"
    until leader=$(leader "$1") && [[ -S /proc/$leader/root/run/systemd/private ]]; do
        ((SECONDS < deadline)) || die "$1 did not start within 60 s"
        sleep 0.1
    done
}

# Ends a host and removes what remains of it on this machine: its folder and its cgroups, which are empty then.
down() {
    local name=$1 folder
    folder=$(host_folder "$name")
    if is_up "$name" && [[ -s $folder/keeper.pid ]]; then
        kill -KILL "$(<"$folder/keeper.pid")" 2>/dev/null || true
        flock --timeout 20 "$folder.lock" true || die "the host \`$name\` did not end within 20 s"
    fi
    remove_cgroup "$cgroup_prefix-$name"
    rm -rf "$folder" "$folder.lock"
}

# Removes it from the cgroup version 2 tree, wherever this machine has mounted that.
remove_cgroup() {
    # shellcheck disable=SC2016 # expanded by the inner shell
    unshare --mount --propagation private bash -c '
        mount -t cgroup2 cgroup2 /sys/fs/cgroup && cd /sys/fs/cgroup || exit 1
        for _ in $(seq 50); do
            [[ -d $0 ]] || exit 0
            find "$0" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1
        done
        [[ ! -d $0 ]]' "$1" || say "the cgroup $1 could not be removed"
}

# Removes what interrupted runs left behind.
sweep() {
    local lock name
    for lock in "$bed_cache"/hosts/*.lock; do
        [[ -e $lock ]] || continue
        name=$(basename "$lock" .lock)
        is_up "$name" || down "$name"
    done
    # Scratch folders of runs. Here too the lock shows whether the run is alive.
    for lock in "$bed_cache"/run.*.lock; do
        [[ ! -e $lock ]] || ! flock --nonblock "$lock" true || rm -rf "${lock%.lock}" "$lock"
    done
}
