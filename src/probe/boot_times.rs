//! Reads what `timeline` needs: the times of systemd, of the journal, and of the logs of cloud-init, docker and the agent.
//!
//! In: the clients. Out: the sources of a timeline, each with the reason if it could not be read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::boundary::HostClients;
use crate::boundary::disk::Disk;
use crate::boundary::docker::{Docker, DockerError};
use crate::boundary::imds::Imds;
use crate::boundary::journalctl;
use crate::boundary::systemd::{DualTime, ManagerTimes, Systemd, SystemdError, UnitTimestamps};
use crate::evidence::agent_log;
use crate::host::AGENT_LOG;
use crate::redaction::{self, error_chain};
use crate::retry::{Deadline, within};
use crate::timeline::Instance;
use crate::timeline::assemble::MESSAGE_IDS;
use crate::timeline::record::CommandRecord;
use crate::timeline::sources::{
    AgentContainer, BootTimes, JournalEntry, Launch, LoggedLine, Moment, Read, Sources, UNITS, UnitTimes, waited_for,
};

/// The records of the commands of this boot.
const RECORDS: [&str; 2] = ["/run/ecs-bootstrap/run.json", "/run/ecs-bootstrap/verify.json"];
/// The size limit of a record. One with all requests and long paths has 30 kB.
const MAX_RECORD_LENGTH: usize = 256 * 1024;

const IDENTITY_DOCUMENT: &str = "dynamic/instance-identity/document";
/// cloud-init's copy of the metadata of this boot, in which the document is at `ds.dynamic.instance-identity.document`.
const INSTANCE_DATA: &str = "/run/cloud-init/instance-data.json";
/// cloud-init's marks for what it does once for each instance.
const SEMAPHORES: &str = "/var/lib/cloud/instance/sem";
const CLOUD_INIT_LOG: &str = "/var/log/cloud-init.log";
/// A boot writes 130 kB to it.
const MAX_LOG_LENGTH: usize = 4 * 1024 * 1024;
const LOG_FOLDER: &str = "/var/log/ecs";
/// The agent's log has a file for each hour, and keeps a day.
const MAX_AGENT_LOGS: usize = 30;
const MAX_AGENT_LOG_LENGTH: usize = 1024 * 1024;
const AGENT: &str = "ecs-agent";
/// How long after the start of its container the output of the agent is read.
const AGENT_START: Duration = Duration::from_secs(15 * 60);
/// The labels that the agent sets on the containers of tasks.
const TASK_LABEL: &str = "com.amazonaws.ecs.task-arn";
const NAME_LABEL: &str = "com.amazonaws.ecs.container-name";
/// The name of containers that the agent adds to a task, for example to keep its network.
const INTERNAL: &str = "~internal~";
const MAX_TASK_CONTAINERS: usize = 30;
/// How long to wait for instance metadata, which the local copy of cloud-init can replace.
const MAX_METADATA_TIME: Duration = Duration::from_secs(2);

/// Reads all sources until the deadline.
pub(crate) async fn boot_times(host_clients: &HostClients, deadline: Deadline) -> Sources {
    let (disk, docker) = (&host_clients.disk, &host_clients.docker);
    let systemd = async {
        match Systemd::connect(deadline).await {
            Ok(systemd) => (
                by(deadline, systemd.manager_times()).await.map(boot_of),
                by(deadline, units_of_systemd(&systemd)).await,
            ),
            Err(error) => (Err(error_chain(&error)), Err(error_chain(&error))),
        }
    };
    // Before the output of the agent's container, so that each line of the log is in the output too.
    let agent_log = agent_lines(disk);
    let ((boot, units), (journal, last_of_earlier_boot), launch, agent_container, task_starts) = tokio::join!(
        systemd,
        of_journal(disk, deadline),
        launch(&host_clients.imds, disk, deadline),
        agent_container(docker, deadline),
        task_starts(docker, deadline),
    );
    Sources {
        boot,
        units,
        journal,
        last_of_earlier_boot,
        once_per_instance: disk
            .modified(SEMAPHORES)
            .map(|modified| modified.map(unix_us))
            .map_err(|error| error_chain(&error)),
        launch,
        cloud_init_log: tail(disk, CLOUD_INIT_LOG),
        agent_log,
        agent_container,
        task_starts,
        records: RECORDS.iter().filter_map(|path| record(disk, path)).collect(),
    }
}

/// The record of a command; `None` if there is none, or if another version of ecs-bootstrap wrote it.
pub(crate) fn record(disk: &Disk, path: &str) -> Option<CommandRecord> {
    let bytes = disk.read(path, MAX_RECORD_LENGTH).unwrap_or_else(|error| {
        tracing::debug!(error = error_chain(&error), "record of a command not read");
        None
    });
    let mut record: CommandRecord = serde_json::from_slice(&bytes?).ok()?;
    for step in record.stages.iter_mut().chain(&mut record.requests) {
        step.name = redaction::line(&step.name);
    }
    Some(record)
}

/// The answer of calls to systemd, which have one deadline together: a boot has hundreds of units, so that a time limit for
/// each call limits nothing.
async fn by<T>(deadline: Deadline, calls: impl Future<Output = Result<T, SystemdError>>) -> Read<T> {
    match within(deadline, calls).await {
        Ok(answer) => answer.map_err(|error| error_chain(&error)),
        Err(_) => Err("systemd did not answer in time when its properties were read".to_owned()),
    }
}

/// The times of [`UNITS`], and of the units that they waited for. An error ends the reading: without one of the units, it
/// would not be known what the others waited for.
async fn units_of_systemd(systemd: &Systemd) -> Result<BTreeMap<String, UnitTimes>, SystemdError> {
    let mut units: BTreeMap<String, UnitTimes> = BTreeMap::new();
    let mut open: Vec<String> = UNITS.map(str::to_owned).into();
    let mut visited: BTreeSet<String> = BTreeSet::new();
    while let Some(name) = open.pop() {
        if !visited.insert(name.clone()) {
            continue;
        }
        let Some(after) = read_unit(systemd, &name, &mut units).await? else { continue };
        for before in after {
            if !units.contains_key(&before) {
                read_unit(systemd, &before, &mut units).await?;
            }
        }
        // The predecessors of the unit that this one waited for may not be read yet.
        open.extend(waited_for(&name, &units).map(|(before, _)| before.to_owned()));
    }
    Ok(units)
}

/// Reads a unit, unless systemd does not have it or it has been read. Returns what it is ordered after.
async fn read_unit(
    systemd: &Systemd,
    name: &str,
    units: &mut BTreeMap<String, UnitTimes>,
) -> Result<Option<Vec<String>>, SystemdError> {
    if let Some(known) = units.get(name) {
        return Ok(Some(known.after.clone()));
    }
    match systemd.unit_times(name).await {
        Ok(times) if times.load_state.as_deref() == Some("not-found") => Ok(None),
        Ok(times) => {
            let times = unit_of(times);
            let after = times.after.clone();
            units.insert(name.to_owned(), times);
            Ok(Some(after))
        }
        Err(SystemdError::NoSuchUnit { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn moment(time: DualTime) -> Moment {
    let signed = |us: u64| i64::try_from(us).unwrap_or(i64::MAX);
    Moment { monotonic_us: signed(time.monotonic_us), unix_us: signed(time.unix_us) }
}

fn boot_of(times: ManagerTimes) -> BootTimes {
    let ManagerTimes { kernel, initrd, userspace, finish } = times;
    BootTimes {
        kernel: kernel.map(moment),
        initrd: initrd.map(moment),
        userspace: userspace.map(moment),
        finish: finish.map(moment),
    }
}

fn unit_of(times: UnitTimestamps) -> UnitTimes {
    UnitTimes {
        inactive_exit: times.inactive_exit.map(moment),
        active_enter: times.active_enter.map(moment),
        inactive_enter: times.inactive_enter.map(moment),
        after: times.after,
    }
}

async fn of_journal(disk: &Disk, deadline: Deadline) -> (Read<Vec<JournalEntry>>, Read<Option<i64>>) {
    let unreadable = || "journalctl does not show the journal to this user, or there is none".to_owned();
    let (messages, earlier) = tokio::join!(
        journalctl::messages_with_ids(disk, &MESSAGE_IDS, deadline),
        journalctl::end_of_earlier_boot(disk, deadline)
    );
    let entry = |message: journalctl::LoggedMessage| JournalEntry {
        at: moment(DualTime { monotonic_us: message.monotonic_us, unix_us: message.unix_us }),
        message_id: message.message_id,
        unit: message.unit,
    };
    let messages = messages.map(|messages| messages.into_iter().map(entry).collect()).ok_or_else(unreadable);
    let earlier = earlier.map(|end| end.and_then(|end| i64::try_from(end).ok())).ok_or_else(unreadable);
    (messages, earlier)
}

/// The identity document: of instance metadata, otherwise cloud-init's copy of this boot.
async fn launch(imds: &Imds, disk: &Disk, deadline: Deadline) -> Read<Launch> {
    let deadline = deadline.earliest(Deadline::after(MAX_METADATA_TIME));
    let why = match imds.get(IDENTITY_DOCUMENT, deadline).await {
        Ok(Some(document)) => {
            let document = serde_json::from_slice(&document).unwrap_or_default();
            return launch_of(&document, "instance metadata");
        }
        Ok(None) => "instance metadata has no identity document".to_owned(),
        Err(error) => error_chain(&error),
    };
    let copy = disk.read(INSTANCE_DATA, MAX_LOG_LENGTH).ok().flatten();
    let copy: Value = copy.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    match &copy["ds"]["dynamic"]["instance-identity"]["document"] {
        Value::Null => Err(why),
        document => launch_of(document, INSTANCE_DATA),
    }
}

fn launch_of(document: &Value, source: &str) -> Read<Launch> {
    let is_word = |text: &&str| {
        (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
    };
    let word = |field: &str| document[field].as_str().filter(is_word).map(str::to_owned);
    let pending = document["pendingTime"].as_str().and_then(|time| humantime::parse_rfc3339(time).ok());
    match (pending, word("instanceId")) {
        (Some(pending), Some(instance_id)) => Ok(Launch {
            pending_unix_us: unix_us(pending),
            instance: Instance { instance_id, instance_type: word("instanceType"), image_id: word("imageId") },
            source: source.to_owned(),
        }),
        _ => Err(format!("the identity document from {source} has no valid `pendingTime`")),
    }
}

fn tail(disk: &Disk, path: &str) -> Read<String> {
    match disk.tail(path, MAX_LOG_LENGTH) {
        Ok(Some(tail)) => Ok(String::from_utf8_lossy(&tail.bytes).into_owned()),
        Ok(None) => Err(format!("there is no `{path}`")),
        Err(error) => Err(error_chain(&error)),
    }
}

/// The lines of all files of the agent's log. The file of the present hour has no date, and comes last.
fn agent_lines(disk: &Disk) -> Read<Vec<LoggedLine>> {
    let name = AGENT_LOG.rsplit('/').next().unwrap_or_default();
    let mut names = disk.list(LOG_FOLDER).map_err(|error| error_chain(&error))?;
    names.retain(|found| found.starts_with(name));
    names.sort_by_key(|found| (found == name, found.clone()));
    if names.is_empty() {
        return Err(format!("there is no `{AGENT_LOG}`"));
    }
    let mut lines = Vec::new();
    let first = names.len().saturating_sub(MAX_AGENT_LOGS);
    for name in &names[first..] {
        let tail =
            disk.tail(&format!("{LOG_FOLDER}/{name}"), MAX_AGENT_LOG_LENGTH).map_err(|error| error_chain(&error))?;
        lines.extend(tail.into_iter().flat_map(|tail| logged(&tail.bytes)));
    }
    Ok(lines)
}

/// The lines of the agent's log that have a time.
fn logged(bytes: &[u8]) -> Vec<LoggedLine> {
    let lines = agent_log::attempts(bytes).into_iter().flatten();
    lines.filter_map(|line| Some(LoggedLine { unix_us: unix_us(line.time?), message: line.message })).collect()
}

async fn agent_container(docker: &Docker, deadline: Deadline) -> Read<AgentContainer> {
    let error = |error: DockerError| error_chain(&error);
    let Some(container) = docker.container(AGENT, deadline).await.map_err(error)? else {
        return Err(format!("docker has no container `{AGENT}`"));
    };
    let Some(started) = started(&container.started_at) else {
        return Err(format!("the container `{AGENT}` has not started"));
    };
    let since = started.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let times = (since, since + AGENT_START.as_secs());
    let output = docker.output_with_times(AGENT, times, deadline).await;
    let output = output.map(|output| timed_lines(&output)).map_err(error);
    Ok(AgentContainer { started_unix_us: unix_us(started), output })
}

/// Lines with a time in RFC 3339 before them.
fn timed_lines(output: &[u8]) -> Vec<LoggedLine> {
    let text = String::from_utf8_lossy(output);
    let line = |line: &str| {
        let (time, message) = line.split_once(' ')?;
        let time = humantime::parse_rfc3339(time).ok()?;
        Some(LoggedLine { unix_us: unix_us(time), message: message.to_owned() })
    };
    text.lines().filter_map(line).collect()
}

async fn task_starts(docker: &Docker, deadline: Deadline) -> Read<Vec<i64>> {
    let containers = docker.oldest(TASK_LABEL, MAX_TASK_CONTAINERS, deadline).await;
    let containers = containers.map_err(|error| error_chain(&error))?;
    let is_of_task =
        |labels: &BTreeMap<String, String>| !labels.get(NAME_LABEL).is_some_and(|name| name.starts_with(INTERNAL));
    let containers = containers.iter().filter(|(labels, _)| is_of_task(labels));
    Ok(containers.filter_map(|(_, container)| started(&container.started_at)).map(unix_us).collect())
}

/// The time at which docker started a container; `None` for year 1, which means never.
fn started(text: &str) -> Option<SystemTime> {
    humantime::parse_rfc3339(text).ok().filter(|time| *time > SystemTime::UNIX_EPOCH)
}

fn unix_us(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_and_without_a_time_are_distinguished() {
        let lines = timed_lines(b"2026-11-29T20:53:57.958880747Z level=info msg=\"Registered\"\nno time\n");
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].unix_us % 1_000_000, 958_880);
        assert_eq!(started("0001-01-01T00:00:00Z"), None);
        let lines = logged(b"level=info time=2026-11-29T20:53:57Z msg=\"one\"\nlevel=info msg=\"two\"\n");
        assert_eq!(lines.iter().map(|line| line.message.as_str()).collect::<Vec<_>>(), ["one"]);
    }

    #[test]
    fn an_identity_document_without_a_valid_time_is_refused() {
        let document =
            serde_json::json!({"instanceId": "i-1", "pendingTime": "2026-11-29T20:53:52Z", "imageId": "a b"});
        let launch = launch_of(&document, "here").unwrap();
        assert_eq!((launch.instance.instance_id.as_str(), launch.instance.image_id), ("i-1", None));
        assert!(launch_of(&serde_json::json!({"instanceId": "i-1", "pendingTime": "soon"}), "here").is_err());
        assert!(launch_of(&Value::Null, "here").is_err());
    }
}
