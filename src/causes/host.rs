//! Causes in the host itself: disk space, memory, SELinux, and files that cannot be written.

use std::time::Duration;

use super::cause::{Cause, Class};
use super::layer::Layer;
use super::view::docker::{configuration_fault, storage_fault};
use super::view::file_paths::{is_own_path, wrong_type};
use crate::boundary::disk::DiskError;
use crate::boundary::kernel::{Memory, Pressure, Space};
use crate::evidence::{Evidence, StageError};
use crate::exit::Exit;
use crate::redaction::error_chain;

const MIB: u64 = 1024 * 1024;
/// With less free space there may be no room for the agent's image and the layer of a container. In bytes.
const LOW_SPACE: u64 = 100 * MIB;
/// On a smaller file system the limit is one percent instead. In bytes.
const SMALL_FILE_SYSTEM: u64 = 1024 * MIB;
/// With less free space nothing works. In bytes.
const NO_SPACE: u64 = 16 * MIB;
const ENOSPC: &str = "no space left on device";
/// Words of a line about ENOSPC that is not about a disk.
const NOT_DISKS: [&str; 3] = ["inotify", "/sys/", "epoll"];
const EROFS: &str = "read-only file system";

/// A file system to which Docker, the agent or ecs-bootstrap writes.
pub(super) static DISK_FULL: Cause = Cause {
    id: "disk-full",
    layer: Layer::Host,
    title: "a file system is full",
    symptoms: "Docker, ecs-init or the agent fail or hang with various errors, often after months of uptime",
    proof: "statvfs(3) of the folders that these programs write to, or ENOSPC in the log of the program that fails; if \
            Docker hangs with space left, the cause is `docker-hung`",
    look_alikes: &["docker-hung", "docker-failed", "ecs-init-failed", "agent-image-load-failed"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "free disk space (`docker system prune -a`, `journalctl --vacuum-size=100M`) or use a larger volume",
    source: "aws/amazon-ecs-agent#536 #632 #349; write(2) ENOSPC",
    check: |evidence| {
        if let Some(StageError::Write(error @ DiskError::Full { .. })) = &evidence.stage_error {
            return Some(vec![error_chain(error)]);
        }
        let full = full_file_systems(evidence);
        let host = &evidence.host;
        let journals = || host.docker_journal.iter().chain(&host.agent_journal).flatten();
        let journaled = || journals().find(|line| line.contains(ENOSPC)).map(|line| format!("journal: `{line}`"));
        let logged = evidence.init_logged(&[ENOSPC]).or_else(|| evidence.agent_logged(&[ENOSPC])).or_else(journaled);
        // The kernel returns this error also for limits that are no file systems.
        let logged = logged.filter(|line| !NOT_DISKS.iter().any(|words| line.contains(words)));
        let is_used_up = evidence.host.space.iter().any(is_used_up);
        let is_cause = if logged.is_some() {
            evidence.is_failing() || !full.is_empty()
        } else if is_used_up {
            evidence.is_failing() || evidence.timed_out
        } else {
            !full.is_empty() && may_fail_from_full_disk(evidence)
        };
        is_cause.then(|| full.into_iter().chain(logged).collect())
    },
    note: |evidence| {
        let full = full_file_systems(evidence);
        (!full.is_empty()).then_some(full)
    },
    ..Cause::DEFAULTS
};

/// Evidence lines for the file systems with too little free space.
fn full_file_systems(evidence: &Evidence) -> Vec<String> {
    evidence.host.space.iter().filter(|space| is_full(space)).map(describe_space).collect()
}

/// Whether this is a read-only file system image (squashfs), which always has no free blocks and no free inodes.
fn is_image(space: &Space) -> bool {
    space.total_bytes == 0 || (space.free_bytes == 0 && space.free_inodes == 0)
}

fn is_full(space: &Space) -> bool {
    let limit = if space.total_bytes < SMALL_FILE_SYSTEM { space.total_bytes / 100 } else { LOW_SPACE };
    let inodes = space.total_inodes > 0 && space.free_inodes < space.total_inodes / 100;
    !is_image(space) && (space.free_bytes < limit || (inodes && space.free_inodes < 1000))
}

fn is_used_up(space: &Space) -> bool {
    let bytes = space.free_bytes == 0 || (space.free_bytes < NO_SPACE && space.total_bytes >= SMALL_FILE_SYSTEM);
    !is_image(space) && (bytes || (space.total_inodes > 0 && space.free_inodes == 0))
}

/// Whether Docker, ecs-init or the agent fails in a way that a full disk causes, without another explanation.
fn may_fail_from_full_disk(evidence: &Evidence) -> bool {
    let docker_fails = evidence.docker_failed().is_some()
        && configuration_fault(evidence).is_none()
        && storage_fault(evidence).is_none();
    let init_fails = || {
        let errors = ["could not load", "could not download", "could not start Agent", "could not create"];
        evidence.init_logged(&errors).is_some()
    };
    let agent_fails = || evidence.agent_end().is_some() && evidence.agent_error().is_none();
    docker_fails || init_fails() || agent_fails()
}

fn describe_space(space: &Space) -> String {
    let (path, free, total) = (&space.path, space.free_bytes / MIB, space.total_bytes / MIB);
    match space.total_inodes {
        0 => format!("`{path}` has {free} of {total} MiB left"),
        inodes => format!("`{path}` has {free} of {total} MiB and {} of {inodes} inodes left", space.free_inodes),
    }
}

/// The kernel mounts a damaged file system read-only, and some images do it on purpose.
pub(super) static READ_ONLY: Cause = Cause {
    id: "file-system-read-only",
    layer: Layer::Host,
    title: "a file system that docker, ecs-init or the agent writes to is mounted read-only",
    symptoms: "docker, ecs-init or the agent fails, or exits repeatedly, with `read-only file system`",
    proof: "the mount options of the file system of one of the folders that these programs write to have `ro`, and a program fails; if \
            ecs-bootstrap itself cannot write, the cause is `write-refused`",
    look_alikes: &["write-refused"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "find the reason in `dmesg` (an error of the device) and /etc/fstab, mount it writable (`mount -o remount,rw \
             PATH`), then `systemctl restart docker ecs --no-block`",
    source: "proc_pid_mountinfo(5), super options; ext4(5) errors=remount-ro",
    check: |evidence| {
        let folders = evidence.host.read_only.iter();
        let mut seen: Vec<String> = folders.map(|path| format!("`{path}` is on a read-only file system")).collect();
        if seen.is_empty() || !evidence.is_failing() {
            return None;
        }
        seen.extend(evidence.agent_logged(&[EROFS]).or_else(|| evidence.init_logged(&[EROFS])));
        Some(seen)
    },
    ..Cause::DEFAULTS
};

/// A read-only file system, missing permission, or an I/O error of the device.
pub(super) static WRITE_REFUSED: Cause = Cause {
    id: "write-refused",
    yields_to: &["own-file-unusable", "ecs-config-unusable"],
    layer: Layer::Host,
    title: "a file on this host cannot be read or written",
    symptoms: "`ecs.config` stays as it is in the image, and the agent joins `default` or does not join",
    proof: "the error of the system call and its path; if the error is ENOSPC, the cause is `disk-full`",
    look_alikes: &["disk-full", "ecs-config-unusable"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "run ecs-bootstrap as root on a writable file system; `ecs.config` is unchanged",
    source: "rename(2)",
    check: |evidence| match &evidence.stage_error {
        Some(StageError::ReadHandover(error)) if wrong_type(error).is_none() => Some(vec![error_chain(error)]),
        Some(StageError::Write(error)) if !matches!(error, DiskError::Full { .. }) => Some(vec![error_chain(error)]),
        _ => None,
    },
    ..Cause::DEFAULTS
};

/// No other program should write there: a mistake in a script, or an attack.
pub(super) static OWN_FILE_UNUSABLE: Cause = Cause {
    id: "own-file-unusable",
    layer: Layer::Host,
    title: "a path that belongs to ecs-bootstrap has the wrong file type",
    symptoms: "each run stops at its lock, its plan or its record, and `ecs.config` is unchanged",
    proof: "below /run/ecs-bootstrap or /var/lib/ecs-bootstrap, a path is a symbolic link, a folder, a FIFO or a \
            device where ecs-bootstrap keeps a file, or a file where it keeps a folder",
    look_alikes: &["write-refused", "ecs-config-unusable"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "inspect the named path (`ls -ld`), move it away, and run `ecs-bootstrap` again, which creates it again",
    source: "open(2) O_NOFOLLOW, O_DIRECTORY",
    check: |evidence| match &evidence.stage_error {
        Some(StageError::ReadHandover(error) | StageError::Write(error))
            if wrong_type(error).is_some_and(is_own_path) =>
        {
            Some(vec![error_chain(error)])
        }
        _ => None,
    },
    ..Cause::DEFAULTS
};

/// A file system whose server is gone, or a pipe for the output that is not read.
pub(super) static CALL_HANGS: Cause = Cause {
    id: "call-hangs",
    layer: Layer::Host,
    title: "a system call of ecs-bootstrap does not return",
    symptoms: "the command ends at most 10 s after its deadline, whatever it was doing",
    proof: "the command still ran after its deadline, so a system call is blocked in the kernel: a file system that hangs \
            (NFS, FUSE, EBS), or a pipe without a reader",
    look_alikes: &["run-late", "docker-hung"],
    class: Class::Retry,
    exit: Exit::NotRegistered,
    exit_after_deadline: Exit::NotRegistered,
    remedy: "check /proc/mounts for network file systems and `dmesg` for `blocked for more than`, then run ecs-bootstrap again",
    source: "ecs-bootstrap's own timer",
    check: |evidence| match &evidence.stage_error {
        Some(error @ StageError::Hangs { .. }) => Some(vec![error_chain(error)]),
        _ => None,
    },
    ..Cause::DEFAULTS
};

/// The file mode allows the access, but the SELinux label does not.
pub(super) static SELINUX_DENIED: Cause = Cause {
    id: "selinux-denied",
    layer: Layer::Host,
    title: "SELinux denies the agent access to Docker's socket or to its own files",
    symptoms: "permission denied in ecs-init.log or from Docker, although owner and mode are right",
    proof: "SELinux is enforcing, and an AVC record of this boot names Docker's socket or the agent's files (without \
            such a record, the file mode denies the access); if a file operation of ecs-bootstrap itself fails, the \
            cause is `write-refused`",
    look_alikes: &["write-refused", "docker-failed", "ecs-init-failed"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "`restorecon -Rv /var/lib/ecs /etc/ecs /var/log/ecs /run/docker.sock`; if that does not help, add a policy \
             module: `ausearch -m avc -ts boot | audit2allow -M ecs-agent && semodule -i ecs-agent.pp`",
    source: "aws/amazon-ecs-init#24; aws/containers-roadmap#1888; aws/amazon-ecs-agent#1113",
    check: |evidence| {
        let host = &evidence.host;
        // An agent that tried to register can use Docker and its files, so the denial was for another program.
        let is_affected = host.enforcing == Some(true) && evidence.is_failing() && evidence.refusal().is_none();
        let denied = host.denials.last().filter(|_| is_affected)?;
        Some(vec!["SELinux is enforcing".to_owned(), format!("audit: `{denied}`")])
    },
    ..Cause::DEFAULTS
};

/// Processes wait for memory, or the kernel kills them to free memory.
pub(super) static HOST_OVERLOADED: Cause = Cause {
    id: "host-overloaded",
    layer: Layer::Host,
    title: "the host has too little memory for Docker and the agent",
    symptoms: "agentConnected changes often or stays false, and everything else on the host is slow too",
    proof: "MemAvailable below 5 %, processes that wait for memory most of the time (PSI), or an OOM kill; the cause \
            is `acs-unreachable` if the network path is closed, and `agent-stuck` if there is enough memory",
    look_alikes: &["acs-unreachable", "agent-stuck", "docker-hung"],
    class: Class::Retry,
    exit: Exit::NotRegistered,
    exit_after_deadline: Exit::Host,
    remedy: "use a larger instance type, or set ECS_RESERVED_MEMORY and memory limits for the tasks",
    source: "aws/amazon-ecs-agent#753 #1292 #643; Linux, Documentation/accounting/psi.rst",
    check: |evidence| {
        let killed = evidence.killed();
        if !evidence.stays_disconnected() && (killed.is_none() || evidence.container_instance_arn().is_some()) {
            return None;
        }
        let host = &evidence.host;
        let memory = host.memory.filter(|Memory { total_kib, available_kib }| *available_kib < total_kib / 20);
        let memory = memory.map(|memory| {
            format!("{} of {} MiB memory are available", memory.available_kib / 1024, memory.total_kib / 1024)
        });
        let pressure = host.pressure.filter(|Pressure { some, full }| *some > 60 || *full > 20);
        let pressure = pressure.map(|waits| format!("processes waited for memory {} % of the last 10 s", waits.some));
        let of_host = host.oom_kills.iter().rfind(|line| !is_of_control_group(line));
        let oom = of_host.map(|line| format!("kernel: `{line}`"));
        let seen: Vec<String> = [memory, pressure, oom].into_iter().flatten().collect();
        (!seen.is_empty()).then(|| seen.into_iter().chain(killed).collect())
    },
    when_registered: true,
    ..Cause::DEFAULTS
};

/// The host has memory, and the agent's control group may not use it.
pub(super) static MEMORY_LIMIT: Cause = Cause {
    id: "agent-memory-limit",
    layer: Layer::Host,
    title: "the memory limit of a control group kills Docker or the agent",
    symptoms: "the agent exits repeatedly with code 137, although the host has free memory",
    proof: "the kernel logs that it killed a process because of the memory limit of its control group, and Docker or the agent \
            was killed; if the host itself has too little memory, the cause is `host-overloaded`",
    look_alikes: &["host-overloaded", "agent-exits"],
    class: Class::Lasting(Duration::from_secs(20)),
    exit: Exit::NotRegistered,
    exit_after_deadline: Exit::Host,
    remedy: "raise or remove the limit of the control group that the evidence names (MemoryMax= of its unit or slice, \
             `cgroup-parent` in /etc/docker/daemon.json), then `systemctl restart docker --no-block`",
    source: "Linux, Documentation/admin-guide/cgroup-v2.rst, memory.max; systemd.resource-control(5)",
    check: |evidence| {
        let line = evidence.host.oom_kills.iter().rfind(|line| is_of_control_group(line))?;
        Some(vec![format!("kernel: `{line}`"), evidence.killed()?])
    },
    ..Cause::DEFAULTS
};

/// Whether the kernel killed a process because of the limit of a control group (mm/oom_kill.c).
fn is_of_control_group(line: &str) -> bool {
    line.contains("CONSTRAINT_MEMCG") || line.contains("Memory cgroup out of memory")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{healthy_units, ids};
    use super::*;
    use crate::causes::notes;

    fn with(free_mib: u64, total_mib: u64, free_inodes: u64, is_failing: bool) -> Evidence {
        let mut evidence = Evidence::default();
        let (free_bytes, total_bytes) = (free_mib * MIB, total_mib * MIB);
        let (path, total_inodes) = ("/".to_owned(), 1_000_000);
        evidence.host.space = vec![Space { path, total_bytes, free_bytes, total_inodes, free_inodes }];
        evidence.host.docker_journal = Some(Vec::new());
        let mut units = healthy_units();
        if is_failing {
            units.docker.active_state = Some("failed".to_owned());
        }
        evidence.units = Some(Ok(units));
        evidence
    }

    #[test]
    fn a_full_disk_is_a_cause_only_if_a_program_fails() {
        for (free, inodes, is_failing, expected) in [
            (5, 500_000, true, &["disk-full", "docker-failed"][..]),
            (50, 500_000, true, &["disk-full", "docker-failed"]),
            (5000, 0, true, &["disk-full", "docker-failed"]),
            (5000, 500_000, true, &["docker-failed"]),
            (0, 0, true, &["docker-failed"]),
            (5, 500_000, false, &[]),
        ] {
            assert_eq!(ids(&with(free, 30_000, inodes, is_failing)), expected, "{free} MiB, {inodes} inodes");
        }
        assert_eq!(notes(&with(50, 30_000, 500_000, false))[0].cause.id, "disk-full");
        assert!(notes(&with(900, 30_000, 500_000, false)).is_empty());
        assert!(notes(&with(2, 64, 500_000, false)).is_empty());
    }

    #[test]
    fn a_killed_agent_is_overload_only_if_memory_is_short() {
        let mut evidence = with(5000, 30_000, 500_000, true);
        if let Some(Ok(units)) = &mut evidence.units {
            units.docker.result = Some("oom-kill".to_owned());
        }
        assert_eq!(ids(&evidence), ["docker-failed"]);
        evidence.host.memory = Some(Memory { total_kib: 1_000_000, available_kib: 20_000 });
        assert_eq!(ids(&evidence), ["host-overloaded", "docker-failed"]);
        evidence.host.memory = None;
        evidence.host.pressure = Some(Pressure { some: 60, full: 20 });
        assert_eq!(ids(&evidence), ["docker-failed"]);
        evidence.host.pressure = Some(Pressure { some: 61, full: 0 });
        assert_eq!(ids(&evidence), ["host-overloaded", "docker-failed"]);
    }

    #[test]
    fn an_avc_record_is_a_cause_only_if_selinux_enforces_and_a_program_fails() {
        let mut evidence = with(5000, 30_000, 500_000, true);
        evidence.host.denials = vec!["avc:  denied  { connectto } path=\"/run/docker.sock\"".to_owned()];
        assert_eq!(ids(&evidence), ["docker-failed"]);
        evidence.host.enforcing = Some(true);
        assert_eq!(ids(&evidence), ["selinux-denied", "docker-failed"]);
        let refused = b"level=error msg=\"Unable to register as a container instance with ECS\" error=\"new\"\n";
        evidence.agent_log = crate::evidence::agent_log::last_attempt(refused);
        assert!(!ids(&evidence).contains(&"selinux-denied"));
        evidence.agent_log = Default::default();
        evidence.units = Some(Ok(healthy_units()));
        assert_eq!(ids(&evidence), Vec::<&str>::new());
    }
}
