//! What an agent and we have left on this host: files, lines, tasks, and whether an agent still runs.
//!
//! A symbolic link in place of a folder, and a folder that cannot be looked into, are facts here; decide judges them.

use crate::boundary::World;
use crate::boundary::agent::{AgentError, Metadata, Task};
use crate::boundary::disk::{Disk, DiskError};
use crate::boundary::docker::DockerError;
use crate::boundary::systemd::{Systemd, SystemdError};
use crate::causes::chain;
use crate::cleanup::{AgentRuns, DATA, FOLDERS, Interrupted, Left, Leftovers, OF_THIS_BOOT, RESET, Registered};
use crate::evidence::Stop;
use crate::facts::{Known, Written};
use crate::host::{LONGEST_FILE, saved_agent, units, written};
use crate::plan::{ECS_CONFIG, WRITTEN};
use crate::retry::Deadline;

/// On each container of a task (`agent/engine/docker_task_engine.go`, labelPrefix).
const TASK_ARN: &str = "com.amazonaws.ecs.task-arn";

/// Everything that the two commands decide by. `systemd` is `None` where none has booted from this root.
pub async fn leftovers(
    world: &World,
    systemd: Option<&Result<Systemd, SystemdError>>,
    deadline: Deadline,
) -> Leftovers {
    let mut leftovers = files(&world.disk);
    let Some(systemd) = systemd else { return leftovers };
    let metadata = world.agent.metadata(deadline).await;
    let container = world.docker.container("ecs-agent", deadline).await;
    leftovers.agent = agent(systemd).await;
    leftovers.answers = metadata.is_ok() || matches!(&container, Ok(Some(container)) if container.running);
    leftovers.has_container = matches!(container, Ok(Some(_)));
    leftovers.registered = metadata.as_ref().ok().and_then(registered);
    leftovers.tasks = tasks(world, &metadata, deadline).await;
    leftovers
}

fn files(disk: &Disk) -> Leftovers {
    let mut leftovers = Leftovers {
        found: Vec::new(),
        set_aside: Vec::new(),
        unreadable: Vec::new(),
        data_is_mounted: disk.is_mounted(DATA),
        elsewhere: Vec::new(),
        ecs_config: Ok(None),
        written: Written::default(),
        agent: AgentRuns::NotBooted,
        answers: false,
        registered: None,
        tasks: Known::Yes(Vec::new()),
        saved: saved_agent(disk),
        has_container: false,
        interrupted: read_interrupted(disk),
    };
    for folder in FOLDERS {
        let entries = leftovers.known(folder, disk.entries(folder));
        let entries = entries.unwrap_or_default();
        // A volume for the state is part of the image. One for the logs may be everybody's.
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
        let entry = leftovers.known(&path, disk.entry(&path));
        leftovers.found.extend(entry.flatten());
    }
    leftovers.written = written(disk);
    if !leftovers.written.keys.is_empty() {
        let read = disk.read_regular(ECS_CONFIG, LONGEST_FILE).map_err(Stop::Read);
        leftovers.ecs_config = read.map(|state| state.map(|state| state.bytes));
    }
    let record = disk.read(WRITTEN, LONGEST_FILE).err();
    leftovers.unreadable.extend(record.map(|error| Left { path: WRITTEN.to_owned(), why: chain(&error) }));
    leftovers
}

impl Leftovers {
    /// What was found, or nothing, with the reason kept where it belongs.
    fn known<T>(&mut self, path: &str, found: Result<T, DiskError>) -> Option<T> {
        match found {
            Ok(found) => return Some(found),
            Err(error @ DiskError::Symlink { .. }) => self.elsewhere.push(error),
            Err(error) => self.unreadable.push(Left { path: path.to_owned(), why: chain(&error) }),
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
    let bytes = disk.read(RESET, LONGEST_FILE).ok().flatten()?;
    serde_json::from_slice(&bytes).ok()
}

async fn agent(systemd: &Result<Systemd, SystemdError>) -> AgentRuns {
    let asked = match systemd {
        Ok(systemd) => units(systemd).await,
        Err(error) => Err(error.clone()),
    };
    match asked.map(|units| units.agent) {
        Ok(agent) if agent.load_state.as_deref() == Some("not-found") => AgentRuns::NotInstalled,
        Ok(agent) => AgentRuns::Unit(agent),
        Err(error) => AgentRuns::Unknown(error),
    }
}

fn registered(metadata: &Metadata) -> Option<Registered> {
    let Metadata { cluster, container_instance_arn, .. } = metadata.clone();
    (!container_instance_arn.is_empty()).then_some(Registered { cluster, container_instance_arn })
}

/// What a registered agent says. Of one that is not, docker knows: containers outlive their agent.
async fn tasks(world: &World, metadata: &Result<Metadata, AgentError>, deadline: Deadline) -> Known<Vec<Task>> {
    if metadata.as_ref().ok().and_then(registered).is_some() {
        let is_there = |task: &Task| task.known_status != "STOPPED";
        return match world.agent.tasks(deadline).await {
            Ok(tasks) => Known::Yes(tasks.into_iter().filter(is_there).collect()),
            Err(error) => Known::Unknown(chain(&error)),
        };
    }
    match world.docker.running(TASK_ARN, deadline).await {
        Ok(labels) => {
            let mut tasks: Vec<Task> = labels.iter().filter_map(of_labels).collect();
            tasks.sort_by(|one, other| one.arn.cmp(&other.arn));
            tasks.dedup();
            Known::Yes(tasks)
        }
        // Where docker does not run, nor does a container.
        Err(DockerError::NoSocket { .. } | DockerError::Refused { .. }) => Known::Yes(Vec::new()),
        Err(error) => Known::Unknown(chain(&error)),
    }
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
