//! Finds what the agent and ecs-bootstrap left on this host: files, lines of `ecs.config`, tasks, and whether an agent
//! runs.
//!
//! In: the clients. Out: [`Leftovers`]. A symbolic link in place of a folder and a folder that cannot be read are facts
//! here; decide judges them.

use crate::boundary::HostClients;
use crate::boundary::agent::{AgentError, AgentMetadata, Task};
use crate::boundary::disk::{Disk, DiskError};
use crate::boundary::docker::DockerError;
use crate::boundary::systemd::{Systemd, SystemdError};
use crate::cleanup::{AgentRuns, DATA, FOLDERS, Interrupted, Leftovers, NotRemoved, OF_THIS_BOOT, RESET, Registered};
use crate::evidence::{Evidence, StageError};
use crate::facts::{Fact, Units, WriteRecord};
use crate::host::{MAX_FILE_LENGTH, agent_config, read_or_log, saved_agent, units, written};
use crate::plan::{ECS_CONFIG, Expectation, WRITTEN};
use crate::probe;
use crate::redaction::error_chain;
use crate::retry::Deadline;

/// The label of each container of a task (`agent/engine/docker_task_engine.go`, labelPrefix).
const TASK_ARN: &str = "com.amazonaws.ecs.task-arn";

/// Everything that `prepare-image` and `reset-agent` base their decisions on. `systemd` is `None` if systemd did not
/// boot from this root; `expectation` is the one of the last run of this boot; `agent_unit` is the value of `units.agent`.
pub async fn leftovers(
    host_clients: &HostClients,
    systemd: Option<&Result<Systemd, SystemdError>>,
    expectation: Option<Expectation>,
    agent_unit: &str,
    deadline: Deadline,
) -> Leftovers {
    let mut leftovers = files(&host_clients.disk);
    let Some(systemd) = systemd else { return leftovers };
    let config = agent_config(&host_clients.disk);
    let files = probe::files(&host_clients.disk, &config);
    let known = Evidence { expectation, config, files, ..Evidence::default() };
    let metadata = known.trusted(host_clients.agent.metadata(deadline).await);
    let container = host_clients.docker.container("ecs-agent", deadline).await;
    let units = match systemd {
        Ok(systemd) => units(systemd, agent_unit).await,
        Err(error) => Err(error.clone()),
    };
    let is_docker_down = units.as_ref().is_ok_and(|units| units.docker.active_state.as_deref() == Some("inactive"));
    leftovers.agent = agent(units);
    leftovers.agent_answers = metadata.is_ok() || matches!(&container, Ok(Some(container)) if container.running);
    leftovers.has_container = matches!(container, Ok(Some(_)));
    leftovers.registered = metadata.as_ref().ok().and_then(registered);
    leftovers.tasks = tasks(host_clients, leftovers.registered.is_some(), is_docker_down, deadline).await;
    leftovers.port_taken = metadata.err().filter(|error| matches!(error, AgentError::Untrusted { .. }));
    leftovers
}

fn files(disk: &Disk) -> Leftovers {
    let mut leftovers = Leftovers {
        root: disk.alternate_root(),
        found: Vec::new(),
        set_aside: Vec::new(),
        unreadable: Vec::new(),
        data_is_mounted: disk.is_mounted(DATA),
        elsewhere: Vec::new(),
        ecs_config: Ok(None),
        written: WriteRecord::default(),
        agent: AgentRuns::NotBooted,
        agent_answers: false,
        port_taken: None,
        registered: None,
        tasks: Fact::Known(Vec::new()),
        saved: saved_agent(disk),
        has_container: false,
        interrupted: read_interrupted(disk),
    };
    for folder in FOLDERS {
        let entries = leftovers.found_or_recorded(folder, disk.entries(folder));
        let entries = entries.unwrap_or_default();
        // A mounted volume with the agent's state is part of the image. One with logs can be shared with other hosts.
        if folder != DATA && !entries.is_empty() && disk.is_mounted(folder) {
            leftovers.elsewhere.push(DiskError::Mounted { doing: "clear", path: folder.to_owned() });
        }
        leftovers.found.extend(entries);
    }
    let beside = disk.list("/var/lib/ecs").unwrap_or_default();
    leftovers.set_aside =
        beside.iter().filter(|name| is_set_aside(name)).map(|name| format!("/var/lib/ecs/{name}")).collect();
    let single = leftovers.set_aside.clone().into_iter().chain(OF_THIS_BOOT.map(str::to_owned));
    for path in single {
        let entry = leftovers.found_or_recorded(&path, disk.entry(&path));
        leftovers.found.extend(entry.flatten());
    }
    leftovers.written = written(disk);
    let config = disk.read_regular(ECS_CONFIG, MAX_FILE_LENGTH).map(|state| state.map(|state| state.bytes));
    // If ecs-bootstrap wrote no line of the file, an unreadable file does not prevent the cleanup.
    leftovers.ecs_config = if leftovers.written.keys.is_empty() {
        Ok(config.inspect_err(|error| tracing::debug!(error = error_chain(error), "file not read")).unwrap_or_default())
    } else {
        config.map_err(StageError::Read)
    };
    let record = disk.read(WRITTEN, MAX_FILE_LENGTH).err();
    leftovers.unreadable.extend(record.map(|error| NotRemoved { path: WRITTEN.to_owned(), why: error_chain(&error) }));
    leftovers
}

impl Leftovers {
    /// The value, or `None` and the error is recorded in the leftovers.
    fn found_or_recorded<T>(&mut self, path: &str, found: Result<T, DiskError>) -> Option<T> {
        match found {
            Ok(found) => return Some(found),
            Err(error @ DiskError::Symlink { .. }) => self.elsewhere.push(error),
            Err(error) => self.unreadable.push(NotRemoved { path: path.to_owned(), why: error_chain(&error) }),
        }
        None
    }
}

fn is_set_aside(name: &str) -> bool {
    let stamp = name.strip_prefix("data.").map(str::as_bytes);
    const FORM: &[u8] = b"0000-00-00T00-00-00Z";
    stamp.is_some_and(|stamp| {
        let fits = |(byte, form): (&u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == form };
        stamp.len() == FORM.len() && stamp.iter().zip(FORM).all(fits)
    })
}

fn read_interrupted(disk: &Disk) -> Option<Interrupted> {
    let bytes = read_or_log(disk, RESET)?;
    let parsed = serde_json::from_slice(&bytes);
    parsed.inspect_err(|error| tracing::debug!(%error, path = RESET, "invalid record ignored")).ok()
}

fn agent(units: Result<Units, SystemdError>) -> AgentRuns {
    match units.map(|units| units.agent) {
        Ok(agent) if agent.load_state.as_deref() == Some("not-found") => AgentRuns::NotInstalled,
        Ok(agent) => AgentRuns::Unit(agent),
        Err(error) => AgentRuns::Unknown(error),
    }
}

fn registered(metadata: &AgentMetadata) -> Option<Registered> {
    let AgentMetadata { cluster, container_instance_arn, .. } = metadata.clone();
    (!container_instance_arn.is_empty()).then_some(Registered { cluster, container_instance_arn })
}

/// The running tasks, from docker and from a registered agent. Both are needed: containers keep running without their
/// agent, and the agent knows tasks whose containers have not started yet. If only one of them answers, its list is
/// used; if none does, the tasks are unknown.
async fn tasks(
    host_clients: &HostClients,
    is_registered: bool,
    is_docker_down: bool,
    deadline: Deadline,
) -> Fact<Vec<Task>> {
    let of_agent = if is_registered {
        host_clients.agent.tasks(deadline).await.and_then(|claim| claim.trusted(|_| None)).map(Some)
    } else {
        Ok(None)
    };
    let of_docker = host_clients.docker.running(TASK_ARN, deadline).await;
    let (of_agent, of_docker) = match (of_agent, of_docker) {
        (Ok(tasks), Ok(labels)) => (tasks, labels),
        // The agent's list is complete, and docker lists every running container: each is sufficient alone.
        (Ok(Some(tasks)), Err(_)) => (Some(tasks), Vec::new()),
        (Err(_), Ok(labels)) => (None, labels),
        // A docker that was stopped also stopped its containers; one that crashed did not.
        (Ok(None), Err(DockerError::NoSocket { .. })) => return Fact::Known(Vec::new()),
        (Ok(None), Err(DockerError::Refused { .. })) if is_docker_down => return Fact::Known(Vec::new()),
        (Ok(None), Err(error)) => return Fact::Unknown(error_chain(&error)),
        (Err(agent_error), Err(docker_error)) => {
            return Fact::Unknown(format!("{}; {}", error_chain(&agent_error), error_chain(&docker_error)));
        }
    };
    let of_agent = of_agent.unwrap_or_default();
    // The agent's status takes precedence: a container of a task that the agent has stopped is about to end.
    let is_new = |task: &Task| of_agent.iter().all(|known| known.arn != task.arn);
    let mut tasks: Vec<Task> = of_docker.iter().filter_map(of_labels).filter(is_new).collect();
    tasks.extend(of_agent.iter().filter(|task| task.known_status != "STOPPED").cloned());
    tasks.sort_by(|one, other| one.arn.cmp(&other.arn));
    tasks.dedup();
    Fact::Known(tasks)
}

fn of_labels(labels: &std::collections::BTreeMap<String, String>) -> Option<Task> {
    let label = |name: &str| labels.get(&format!("com.amazonaws.ecs.{name}")).cloned();
    Some(Task {
        arn: label("task-arn")?,
        family: label("task-definition-family").unwrap_or_default(),
        version: label("task-definition-version").unwrap_or_default(),
        known_status: "RUNNING".to_owned(),
    })
}
