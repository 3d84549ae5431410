//! Causes that lie in the host itself: its disks, its memory, SELinux, and files that cannot be written.

use super::{Cause, Class, Layer};
use crate::boundary::disk::DiskError;
use crate::boundary::kernel::{Memory, Pressure, Space};
use crate::evidence::{Evidence, StageError};
use crate::exit::Exit;
use crate::redaction::error_chain;

const MIB: u64 = 1024 * 1024;
/// Less than this is little for an image of the agent and a container's layer.
const LITTLE: u64 = 100 * MIB;
/// On a file system that is smaller than this, one percent counts instead.
const SMALL: u64 = 1024 * MIB;
/// Nobody can work with less.
const NOTHING: u64 = 16 * MIB;
const ENOSPC: &str = "no space left on device";

/// What was written, or has to be, has no room.
pub(super) static DISK_FULL: Cause = Cause {
    id: "disk-full",
    layer: Layer::Host,
    title: "a file system is full",
    symptoms: "docker, ecs-init or the agent fail or hang with all sorts of errors, often after months",
    proof: "statvfs(3) of the folders that they write to, or ENOSPC from whoever fails; a hung docker with space left is \
            `docker-hung`",
    look_alikes: &["docker-hung", "docker-failed", "ecs-init-failed", "agent-image-load-failed"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "make room (`docker system prune -a`, `journalctl --vacuum-size=100M`) or use a larger volume",
    source: "agent#536 #632 #349; write(2) ENOSPC",
    check: |evidence| {
        if let Some(StageError::Write(error @ DiskError::Full { .. })) = &evidence.stop {
            return Some(vec![error_chain(error)]);
        }
        let full = evidence.host.space.iter().filter(|space| is_full(space));
        let tight = full.map(said_of).collect::<Vec<_>>();
        let host = &evidence.host;
        let journals = || host.docker_journal.iter().chain(&host.agent_journal).flatten();
        let journaled = || journals().find(|line| line.contains(ENOSPC)).map(|line| format!("journal: `{line}`"));
        let logged = evidence.init_logged(&[ENOSPC]).or_else(|| evidence.agent_logged(&[ENOSPC])).or_else(journaled);
        let is_used_up = evidence.host.space.iter().any(is_used_up);
        let explains = match logged.is_some() {
            true => evidence.is_failing() || !tight.is_empty(),
            false if is_used_up => evidence.is_failing() || evidence.timed_out,
            false => !tight.is_empty() && fails_as_without_room(evidence),
        };
        explains.then(|| tight.into_iter().chain(logged).collect())
    },
    note: |evidence| {
        let full: Vec<String> = evidence.host.space.iter().filter(|space| is_full(space)).map(said_of).collect();
        (!full.is_empty()).then_some(full)
    },
    ..Cause::PLAIN
};

/// A file system of an image, which is always full, has neither blocks nor inodes left.
fn is_image(space: &Space) -> bool {
    space.total_bytes == 0 || (space.free_bytes == 0 && space.free_inodes == 0)
}

fn is_full(space: &Space) -> bool {
    let limit = if space.total_bytes < SMALL { space.total_bytes / 100 } else { LITTLE };
    let inodes = space.total_inodes > 0 && space.free_inodes < space.total_inodes / 100;
    !is_image(space) && (space.free_bytes < limit || (inodes && space.free_inodes < 1000))
}

fn is_used_up(space: &Space) -> bool {
    let bytes = space.free_bytes == 0 || (space.free_bytes < NOTHING && space.total_bytes >= SMALL);
    !is_image(space) && (bytes || (space.total_inodes > 0 && space.free_inodes == 0))
}

/// What fails so may do it for want of room, where nothing else is said.
fn fails_as_without_room(evidence: &Evidence) -> bool {
    let is_docker = evidence.docker_failed().is_some() && super::docker::is_unexplained(evidence);
    let is_init = || {
        let last = ["could not load", "could not download", "could not start Agent", "could not create"];
        evidence.init_logged(&last).is_some()
    };
    let is_agent = || evidence.agent_end().is_some() && evidence.agent_error().is_none();
    is_docker || is_init() || is_agent()
}

fn said_of(space: &Space) -> String {
    let (path, left, all) = (&space.path, space.free_bytes / MIB, space.total_bytes / MIB);
    match space.total_inodes {
        0 => format!("`{path}` has {left} of {all} MiB left"),
        inodes => format!("`{path}` has {left} of {all} MiB and {} of {inodes} inodes left", space.free_inodes),
    }
}

/// Read-only, forbidden, or an error of the device.
pub(super) static WRITE_REFUSED: Cause = Cause {
    id: "write-refused",
    layer: Layer::Host,
    title: "a file of this host cannot be read or written",
    symptoms: "`ecs.config` stays as the image has it, and the agent joins `default` or nothing",
    proof: "the error of the system call, with its path; a full disk says ENOSPC and is `disk-full`",
    look_alikes: &["disk-full", "ecs-config-unusable"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "run it as root on a writable file system; `ecs.config` is as it was before",
    source: "rename(2)",
    check: |evidence| match &evidence.stop {
        Some(StageError::ReadHandover(error)) if misplaced(error).is_none() => Some(vec![error_chain(error)]),
        Some(StageError::Write(error)) if !matches!(error, DiskError::Full { .. }) => {
            let is_named = misplaced(error).is_some_and(|path| is_own(path) || is_agents(path));
            (!is_named).then(|| vec![error_chain(error)])
        }
        _ => None,
    },
    ..Cause::PLAIN
};

/// The path where something else is in the place of a file or of a folder.
pub(super) fn misplaced(error: &DiskError) -> Option<&str> {
    match error {
        DiskError::Symlink { path, .. } | DiskError::NotAFile { path, .. } | DiskError::NotAFolder { path, .. } => {
            Some(path)
        }
        _ => None,
    }
}

/// Whether the path is one that ecs-bootstrap alone writes.
fn is_own(path: &str) -> bool {
    ["/run/ecs-bootstrap", "/var/lib/ecs-bootstrap"].iter().any(|folder| path.starts_with(folder))
}

/// Whether the path belongs to the agent's configuration.
pub(super) fn is_agents(path: &str) -> bool {
    path.starts_with("/etc/ecs")
}

/// Nobody else has a reason to write there: a mistake of a script, or an attack.
pub(super) static OWN_FILE_UNUSABLE: Cause = Cause {
    id: "own-file-unusable",
    layer: Layer::Host,
    title: "something else is in the place of a file of ecs-bootstrap",
    symptoms: "each run ends at its lock, its plan or its record, and `ecs.config` is as it was",
    proof: "below /run/ecs-bootstrap or /var/lib/ecs-bootstrap a path is a symbolic link, a folder, a FIFO or a device where \
            ecs-bootstrap has a file, or a file where it has a folder",
    look_alikes: &["write-refused", "ecs-config-unusable"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "look at the named path (`ls -ld`), move it away, and run `ecs-bootstrap` again; it makes the file anew",
    source: "open(2) O_NOFOLLOW, O_DIRECTORY",
    check: |evidence| match &evidence.stop {
        Some(StageError::ReadHandover(error) | StageError::Write(error)) if misplaced(error).is_some_and(is_own) => {
            Some(vec![error_chain(error)])
        }
        _ => None,
    },
    ..Cause::PLAIN
};

/// A file system of a server that is gone, or a reader of our output that does not read.
pub(super) static CALL_HANGS: Cause = Cause {
    id: "call-hangs",
    layer: Layer::Host,
    title: "a system call of ecs-bootstrap does not return",
    symptoms: "the command ends 10 s after its deadline at the latest, whatever it was doing",
    proof: "neither an answer nor the deadline has ended the command, so its thread is blocked in the kernel: a file system \
            that hangs (NFS, FUSE, EBS), or a pipe that nobody reads",
    look_alikes: &["run-late", "docker-hung"],
    class: Class::Retry,
    exit: Exit::NotRegistered,
    exit_after_deadline: Exit::NotRegistered,
    remedy: "see `cat /proc/mounts` for network file systems and `dmesg` for `blocked for more than`, then run it again",
    source: "ecs-bootstrap's own timer",
    check: |evidence| match &evidence.stop {
        Some(stop @ StageError::Hangs { .. }) => Some(vec![error_chain(stop)]),
        _ => None,
    },
    ..Cause::PLAIN
};

/// The bits of the mode say yes, the label says no.
pub(super) static SELINUX_DENIED: Cause = Cause {
    id: "selinux-denied",
    layer: Layer::Host,
    title: "SELinux keeps the agent from docker's socket or from its files",
    symptoms: "permission denied in ecs-init.log or from docker, although owner and mode are right",
    proof: "SELinux enforces, and an AVC record of this boot names docker's socket or the agent's files; without such a \
            record it is the mode of the file",
    look_alikes: &["write-refused", "docker-failed", "ecs-init-failed"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "`restorecon -Rv /var/lib/ecs /etc/ecs /var/log/ecs /run/docker.sock`; else a policy module: \
             `ausearch -m avc -ts boot | audit2allow -M ecs-agent && semodule -i ecs-agent.pp`",
    source: "init#24; roadmap#1888; agent#1113",
    check: |evidence| {
        let host = &evidence.host;
        // An agent that comes as far as its registration has docker and its files: then somebody else was denied.
        let is_kept = host.enforcing == Some(true) && evidence.is_failing() && evidence.refusal().is_none();
        let denied = host.denials.last().filter(|_| is_kept)?;
        Some(vec!["SELinux is enforcing".to_owned(), format!("audit: `{denied}`")])
    },
    ..Cause::PLAIN
};

/// Nothing gets its turn, or the kernel makes room by killing.
pub(super) static HOST_OVERLOADED: Cause = Cause {
    id: "host-overloaded",
    layer: Layer::Host,
    title: "the host has no memory left for docker and the agent",
    symptoms: "agentConnected goes to and fro or stays false, and all else on the host is slow too",
    proof: "MemAvailable below 5 %, tasks that wait for memory most of the time (PSI), or an OOM kill; the network is open, \
            else it is `acs-unreachable`, and memory is scarce, else it is `agent-stuck`",
    look_alikes: &["acs-unreachable", "agent-stuck", "docker-hung"],
    class: Class::Retry,
    exit: Exit::NotRegistered,
    exit_after_deadline: Exit::Host,
    remedy: "use a larger instance type, set ECS_RESERVED_MEMORY and memory limits of the tasks",
    source: "agent#753 #1292 #643; Documentation/accounting/psi.rst",
    check: |evidence| {
        let killed = evidence.killed();
        if !evidence.stays_disconnected() && (killed.is_none() || evidence.container_instance_arn().is_some()) {
            return None;
        }
        let host = &evidence.host;
        let memory = host.memory.filter(|Memory { total_kib, available_kib }| *available_kib < total_kib / 20);
        let memory = memory.map(|memory| {
            format!("{} of {} MiB of memory are available", memory.available_kib / 1024, memory.total_kib / 1024)
        });
        let pressure = host.pressure.filter(|Pressure { some, full }| *some > 60 || *full > 20);
        let pressure = pressure.map(|waits| format!("tasks waited for memory {} % of the last 10 s", waits.some));
        let oom = host.oom_kills.last().map(|line| format!("kernel: `{line}`"));
        let seen: Vec<String> = [memory, pressure, oom].into_iter().flatten().collect();
        (!seen.is_empty()).then(|| seen.into_iter().chain(killed).collect())
    },
    when_registered: true,
    ..Cause::PLAIN
};

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
    fn a_full_disk_is_a_cause_only_where_something_fails_on_it() {
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
    fn a_killed_agent_is_overload_only_with_proof_of_it() {
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
    fn a_denial_counts_where_selinux_enforces_and_something_fails() {
        let mut evidence = with(5000, 30_000, 500_000, true);
        evidence.host.denials = vec!["avc:  denied  { connectto } path=\"/run/docker.sock\"".to_owned()];
        assert_eq!(ids(&evidence), ["docker-failed"]);
        evidence.host.enforcing = Some(true);
        assert_eq!(ids(&evidence), ["selinux-denied", "docker-failed"]);
        let refused = b"level=error msg=\"Unable to register as a container instance with ECS\" error=\"new\"\n";
        evidence.agent_log = crate::evidence::agent_log::last_attempt(refused);
        assert!(!ids(&evidence).contains(&"selinux-denied"));
        evidence.agent_log = Vec::new();
        evidence.units = Some(Ok(healthy_units()));
        assert_eq!(ids(&evidence), Vec::<&str>::new());
    }
}
