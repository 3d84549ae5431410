//! What both gather and verify read of the host: the units that matter, the agent's configuration and saved state.
//!
//! In: a disk or systemd. Out: facts. It judges nothing and writes nothing.

use std::collections::BTreeMap;

use crate::boundary::disk::{Disk, DiskError};
use crate::boundary::systemd::{Systemd, SystemdError, UnitState};
use crate::ecs_config::{effective, joined, read};
use crate::facts::saved_state::{SavedState, Unreadable, from_bolt_at, from_json};
use crate::facts::{Known, SavedAgent, Units, Written};
use crate::plan::{AGENT_JSON, ECS_CONFIG, VENDOR_ECS_CONFIG, WRITTEN};

/// No settings file and no `ecs.config` is longer.
pub(crate) const LONGEST_FILE: usize = 1024 * 1024;
/// What agents before 1.44 wrote grows with their tasks. Of the database of newer ones only a few pages are read.
const LONGEST_STATE: usize = 16 * 1024 * 1024;
/// The agent's own log.
pub(crate) const AGENT_LOG: &str = "/var/log/ecs/ecs-agent.log";
/// That of ecs-init, which starts it.
pub(crate) const INIT_LOG: &str = "/var/log/ecs/ecs-init.log";
const BOLT: &str = "/var/lib/ecs/data/agent.db";
const JSON: &str = "/var/lib/ecs/data/ecs_agent_data.json";

/// The units that matter.
pub async fn units(systemd: &Systemd) -> Result<Units, SystemdError> {
    let ask = async |name| match systemd.unit(name).await {
        Err(SystemdError::NoSuchUnit { .. }) => Ok(absent(name)),
        answer => answer,
    };
    let (docker, agent, cloud_final) =
        futures_util::future::try_join3(ask("docker.service"), ask("ecs.service"), ask("cloud-final.service")).await?;
    let is_absent = |unit: &UnitState| unit.load_state.as_deref() == Some("not-found");
    let agent = match is_absent(&agent) {
        // SUSE's name for it.
        true => Some(ask("amazon-ecs.service").await?).filter(|other| !is_absent(other)).unwrap_or(agent),
        false => agent,
    };
    Ok(Units { docker, agent, cloud_final })
}

fn absent(name: &str) -> UnitState {
    UnitState { name: name.to_owned(), load_state: Some("not-found".to_owned()), ..UnitState::default() }
}

/// What the agent is configured with: both files by ecs-init's own rules. Files that cannot be read count as empty.
pub fn agent_config(disk: &Disk) -> BTreeMap<String, String> {
    let mut config = BTreeMap::new();
    for path in [VENDOR_ECS_CONFIG, ECS_CONFIG] {
        let bytes = disk.read(path, LONGEST_FILE).ok().flatten().unwrap_or_default();
        let lines = read(&bytes);
        config.extend(effective(&lines).into_iter().map(|(key, line)| (key.to_owned(), line.value.clone())));
    }
    config
}

/// The cluster that the agent would join with the files as they are.
pub fn joined_cluster(disk: &Disk) -> Option<String> {
    let read = |path| disk.read(path, LONGEST_FILE).ok().flatten().unwrap_or_default();
    joined(&read(ECS_CONFIG), &read(VENDOR_ECS_CONFIG), &read(AGENT_JSON))
}

/// What an agent has saved on this disk; `None` when none has. The old JSON file counts only while the database names
/// no agent version, as for the agent itself (`agent/app/data.go`).
pub fn saved_agent(disk: &Disk) -> Option<SavedAgent> {
    let database = saved(disk, BOLT, bolt);
    let has_version = |saved: &SavedAgent| match &saved.state {
        Known::Yes(state) => state.as_ref().is_some_and(|state| state.agent_version.is_some()),
        Known::Unknown(_) => true,
    };
    if database.as_ref().is_some_and(has_version) {
        return database;
    }
    saved(disk, JSON, json).or(database)
}

fn saved(disk: &Disk, path: &str, read: fn(&Disk, &str) -> Option<Known<Option<SavedState>>>) -> Option<SavedAgent> {
    let mut state = read(disk, path)?;
    if state.get().is_none() {
        // The agent may have been writing; a second look tells.
        state = read(disk, path).unwrap_or(state);
    }
    Some(SavedAgent { state, modified: disk.modified(path).ok().flatten() })
}

fn bolt(disk: &Disk, path: &str) -> Option<Known<Option<SavedState>>> {
    let file = disk.random_access(path).transpose()?;
    Some(parsed(file, |file| from_bolt_at(&|at, length| file.read_at(at, length), file.size)))
}

fn json(disk: &Disk, path: &str) -> Option<Known<Option<SavedState>>> {
    let bytes = disk.read(path, LONGEST_STATE).transpose()?;
    Some(parsed(bytes, |bytes| from_json(&bytes)))
}

fn parsed<T>(
    read: Result<T, DiskError>,
    parse: impl FnOnce(T) -> Result<Option<SavedState>, Unreadable>,
) -> Known<Option<SavedState>> {
    match read {
        Ok(read) => Known::from_result(parse(read)),
        Err(error) => Known::Unknown(error.to_string()),
    }
}

/// Whether a numbered device of this name is there: `/dev/nvidia0`, `/dev/neuron0`.
pub(crate) fn device(disk: &Disk, name: &str) -> Known<bool> {
    match disk.list("/dev") {
        Ok(entries) if entries.is_empty() => Known::Unknown("no /dev".to_owned()),
        Ok(entries) => Known::Yes(entries.iter().any(|entry| {
            entry.strip_prefix(name).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
        })),
        Err(error) => Known::Unknown(error.to_string()),
    }
}

/// What an earlier run wrote; nothing where the record is absent or cannot be understood.
pub fn written(disk: &Disk) -> Written {
    let bytes = disk.read(WRITTEN, LONGEST_FILE).ok().flatten();
    bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// Whether cloud-init is at work: it makes its folder first and `result.json` last (cloud-init, "Boot stages").
pub(crate) fn user_data_runs(disk: &Disk) -> Known<bool> {
    let exists = |path| disk.exists(path);
    Known::from_result(exists("/run/cloud-init").and_then(|begun| Ok(begun && !exists("/run/cloud-init/result.json")?)))
}

/// The process of user data, if any, that starts or restarts the agent's unit by systemctl(1) and waits for the end: its
/// number and what it asks for. Its command line is user data, and not repeated.
pub fn blocking_start(disk: &Disk, agent_unit: &str) -> Option<(u32, String)> {
    const LONGEST: usize = 4096;
    let read = |pid: u32, file: &str| disk.read(&format!("/proc/{pid}/{file}"), LONGEST).ok().flatten();
    let processes = disk.list("/proc").ok()?;
    processes.iter().filter_map(|name| name.parse().ok()).find_map(|pid: u32| {
        let control_group = read(pid, "cgroup")?;
        if !String::from_utf8_lossy(&control_group).contains("/cloud-final.service") {
            return None;
        }
        let arguments = read(pid, "cmdline")?;
        let arguments: Vec<_> = arguments.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        waits_for_start(&arguments, agent_unit).map(|verb| (pid, format!("systemctl {verb} {agent_unit}")))
    })
}

/// The verb, if this command line is a systemctl that waits for a start of the unit.
fn waits_for_start(arguments: &[impl AsRef<str>], unit: &str) -> Option<&'static str> {
    let mut arguments = arguments.iter().map(AsRef::as_ref);
    let is_systemctl = arguments.next().is_some_and(|program: &str| program.rsplit('/').next() == Some("systemctl"));
    let arguments: Vec<&str> = arguments.collect();
    let has = |argument| arguments.contains(&argument);
    let starts = ["start", "restart", "reload-or-restart", "try-restart"].into_iter().find(|verb| has(verb));
    let enables = || ["enable", "reenable"].into_iter().find(|verb| has("--now") && has(verb));
    let names = has(unit) || unit.strip_suffix(".service").is_some_and(has);
    starts.or_else(enables).filter(|_| is_systemctl && names && !has("--no-block"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_systemctl_that_waits_for_the_agent_is_found() {
        let waits = |line: &str| waits_for_start(&line.split(' ').collect::<Vec<_>>(), "ecs.service").is_some();
        for line in ["systemctl start ecs", "/bin/systemctl restart docker ecs.service", "systemctl enable --now ecs"] {
            assert!(waits(line), "{line}");
        }
        for line in
            ["systemctl start --no-block ecs", "systemctl enable ecs", "systemctl start docker", "sh -c start ecs"]
        {
            assert!(!waits(line), "{line}");
        }
    }
}
