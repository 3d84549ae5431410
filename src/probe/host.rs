//! The host probe: disk space, memory, listeners, docker's answers and logs, SELinux denials.
//!
//! In: the clients, and facts from earlier probes. Out: a [`HostState`]. The journal is read only if a unit has failed,
//! because reading it starts a process.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::{join, join4};

use crate::boundary::HostClients;
use crate::boundary::disk::Disk;
use crate::boundary::journalctl::{self, JournalSource};
use crate::boundary::kernel;
use crate::boundary::systemd::UnitState;
use crate::evidence::host::{HostState, denials, is_bridge_off, journal_of_last_start, not_json, oom_kills};
use crate::facts::Units;
use crate::host::{device, known_or_log};
use crate::retry::Deadline;

/// The limit for docker's answers. docker answers from memory, so a daemon that needs longer hangs, or its host does.
const DOCKER: Duration = Duration::from_secs(3);
/// The folders that docker, ecs-init and the agent write to.
const FOLDERS: [&str; 6] = ["/", "/var/lib/docker", "/var/lib/ecs", "/etc/ecs", "/var/log", "/var/lib/containerd"];
/// Those of them that docker, ecs-init and the agent need to start.
const WRITTEN: [&str; 3] = ["/var/lib/docker", "/var/lib/ecs", "/var/log"];
const DAEMON_JSON: &str = "/etc/docker/daemon.json";
const AUDIT_LOG: &str = "/var/log/audit/audit.log";
/// The size limit in bytes of `daemon.json`, and of the end of the audit log that is read.
const MAX_FILE_LENGTH: usize = 256 * 1024;
/// The label of each container of a task (`agent/engine/docker_task_engine.go`).
const TASK_LABEL: &str = "com.amazonaws.ecs.task-arn";

/// Facts from earlier probes that decide what this probe reads.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostContext {
    pub(crate) units: Option<Units>,
    /// Whether a process may have been killed. Then the kernel's log is read.
    pub(crate) is_killed: bool,
}

/// Whether a unit has failed and its journal has not been read yet.
pub(crate) fn wants_journal(units: &Units, seen: &HostState) -> bool {
    (is_failing(&units.docker) && seen.docker_journal.is_none())
        || (is_failing(&units.agent) && seen.agent_journal.is_none())
}

fn is_failing(unit: &UnitState) -> bool {
    let is = |state: &Option<String>, word: &str| state.as_deref().is_some_and(|state| state.starts_with(word));
    is(&unit.active_state, "failed")
        || is(&unit.sub_state, "auto-restart")
        || (is(&unit.active_state, "activating") && unit.restarts.is_some_and(|restarts| restarts > 0))
}

/// Runs the probe; ends at the deadline.
pub(crate) async fn host(host_clients: &HostClients, context: HostContext, deadline: Deadline) -> HostState {
    let disk = &host_clients.disk;
    let units = context.units.as_ref();
    let journal = async |unit: Option<&UnitState>| {
        let unit = unit.filter(|unit| is_failing(unit))?;
        let lines = journalctl::lines(disk, JournalSource::Unit(&unit.name, booted(disk)), deadline).await;
        Some(journal_of_last_start(&lines.unwrap_or_default()))
    };
    let enforcing = kernel::selinux_enforces(disk);
    let audited = known_or_log(disk.tail(AUDIT_LOG, MAX_FILE_LENGTH));
    let is_failing = units.is_some_and(|units| is_failing(&units.docker) || is_failing(&units.agent));
    let needs_kernel_log = context.is_killed || (enforcing == Some(true) && audited.is_none() && is_failing);
    let kernel_log = async {
        if !needs_kernel_log {
            return String::new();
        }
        journalctl::lines(disk, JournalSource::Kernel, deadline).await.unwrap_or_default()
    };
    // If docker is not known to run, it is not asked: a connection could start it (docker.socket).
    let is_docker_up = units.is_some_and(|units| units.docker.active_state.as_deref() == Some("active"));
    let docker = async {
        if !is_docker_up {
            return (None, None);
        }
        let soon = deadline.earliest(Deadline::after(DOCKER));
        let (version, list) =
            join(host_clients.docker.version(soon), host_clients.docker.running(TASK_LABEL, soon)).await;
        (Some(version), Some(list.map(drop)))
    };
    let (docker_journal, agent_journal, kernel_log, (docker_version, docker_list)) =
        join4(journal(units.map(|units| &units.docker)), journal(units.map(|units| &units.agent)), kernel_log, docker)
            .await;
    let audited = audited.map(|tail| String::from_utf8_lossy(&tail.bytes).into_owned()).unwrap_or_default();
    let denied = denials(&format!("{audited}\n{kernel_log}"), booted(disk));
    let daemon_json = known_or_log(disk.read(DAEMON_JSON, MAX_FILE_LENGTH));
    HostState {
        is_examined: true,
        space: kernel::spaces(disk, &FOLDERS),
        read_only: kernel::read_only(disk, &WRITTEN),
        memory: kernel::memory(disk),
        pressure: kernel::pressure(disk),
        docker_version,
        docker_list,
        daemon_json: daemon_json.as_ref().and_then(|bytes| not_json(bytes)),
        is_bridge_off: daemon_json.as_ref().is_some_and(|bytes| is_bridge_off(bytes)),
        docker_journal,
        agent_journal,
        oom_kills: oom_kills(&kernel_log),
        enforcing,
        denials: denied,
        listeners: host_clients.agent.listeners(),
        gpu: device(disk, "nvidia").get().copied(),
    }
}

/// The boot time of this host in seconds since 1970; 0 if it is unknown.
fn booted(disk: &Disk) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    kernel::uptime(disk).map_or(0, |uptime| now.saturating_sub(uptime))
}
