//! What both gather and verify read of the host: the units that matter, the agent's configuration and saved state.
//!
//! In: a disk or systemd. Out: facts. It judges nothing and writes nothing.

use std::collections::BTreeMap;

use crate::boundary::disk::{Disk, DiskError};
use crate::boundary::systemd::{Systemd, SystemdError, UnitState};
use crate::ecs_config::{effective, read};
use crate::facts::saved_state::{SavedState, Unreadable, from_bolt, from_json};
use crate::facts::{Known, SavedAgent, Units};
use crate::plan::{ECS_CONFIG, VENDOR_ECS_CONFIG};

/// No settings file and no `ecs.config` is longer.
pub(crate) const LONGEST_FILE: usize = 1024 * 1024;
/// The agent's database grows with its tasks.
const LONGEST_STATE: usize = 64 * 1024 * 1024;
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

/// What an agent has saved on this disk; `None` when none has. The old JSON file counts only while the database names
/// no agent version, as for the agent itself (`agent/app/data.go`).
pub fn saved_agent(disk: &Disk) -> Option<SavedAgent> {
    let database = saved(disk, BOLT, from_bolt);
    let has_version = |saved: &SavedAgent| match &saved.state {
        Known::Yes(state) => state.as_ref().is_some_and(|state| state.agent_version.is_some()),
        Known::Unknown(_) => true,
    };
    if database.as_ref().is_some_and(has_version) {
        return database;
    }
    saved(disk, JSON, from_json).or(database)
}

fn saved(disk: &Disk, path: &str, parse: fn(&[u8]) -> Result<Option<SavedState>, Unreadable>) -> Option<SavedAgent> {
    let read = || disk.read(path, LONGEST_STATE).transpose();
    let parsed = |bytes: Result<Vec<u8>, DiskError>| match bytes {
        Ok(bytes) => Known::from_result(parse(&bytes)),
        Err(error) => Known::Unknown(error.to_string()),
    };
    let mut state = parsed(read()?);
    if state.get().is_none() {
        // The agent may have been writing; a second look tells.
        state = read().map_or(state, parsed);
    }
    Some(SavedAgent { state, modified: disk.modified(path).ok().flatten() })
}
