//! Reads the facts about the host that both gather and verify need: three units, and the agent's configuration and
//! saved state.
//!
//! In: a disk or systemd. Out: facts. It decides nothing and writes nothing.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use sha2::{Digest, Sha256};

use crate::boundary::disk::{Disk, DiskError};
use crate::boundary::kernel;
use crate::boundary::systemd::{Systemd, SystemdError, UnitState};
use crate::drain::{DRAIN, Drain, LOCK as DRAIN_LOCK};
use crate::ecs_config::{agent_cluster, effective, read};
use crate::facts::saved_state::{SavedState, Unreadable, from_bolt_at, from_json};
use crate::facts::{
    AFTER_USER_DATA_UNIT, AGENT_UNITS, EarlyUnit, Fact, NO_UNIT, SavedAgent, USER_DATA_TARGET, Units, WriteRecord,
    is_after,
};
use crate::followed_tags::FollowedTags;
use crate::images::{LOCK, PULLS, Pulls};
use crate::plan::{AGENT_JSON, ECS_CONFIG, VENDOR_ECS_CONFIG, WRITTEN};

/// The size limit of a settings file and of `ecs.config`, in bytes.
pub(crate) const MAX_FILE_LENGTH: usize = 1024 * 1024;
/// The size limit of `ecs_agent_data.json`, in bytes. Agents before 1.44 wrote it, and it grows with their tasks. Of
/// the database of newer agents only a few pages are read.
const MAX_STATE_LENGTH: usize = 16 * 1024 * 1024;
/// The agent's own log.
pub(crate) const AGENT_LOG: &str = "/var/log/ecs/ecs-agent.log";
/// The log of ecs-init, which starts the agent.
pub(crate) const INIT_LOG: &str = "/var/log/ecs/ecs-init.log";
const BOLT: &str = "/var/lib/ecs/data/agent.db";
const JSON: &str = "/var/lib/ecs/data/ecs_agent_data.json";

/// The states of the units of docker, the agent and cloud-final, with their main processes. A unit that is not installed has
/// the load state `not-found`. `agent` is the value of `units.agent`, or the name of the unit in a plan.
pub async fn units(systemd: &Systemd, agent: &str) -> Result<Units, SystemdError> {
    let (docker, cloud_final) = ("docker.service", "cloud-final.service");
    units_of(systemd, agent, systemd.unit_with_process(docker), systemd.unit_with_process(cloud_final)).await
}

/// As [`units`], without the main processes of docker and cloud-final, which no plan depends on.
pub async fn units_to_plan(systemd: &Systemd, agent: &str) -> Result<Units, SystemdError> {
    units_of(systemd, agent, systemd.unit("docker.service"), systemd.unit("cloud-final.service")).await
}

async fn units_of(
    systemd: &Systemd,
    agent: &str,
    docker: impl Future<Output = Result<UnitState, SystemdError>>,
    cloud_final: impl Future<Output = Result<UnitState, SystemdError>>,
) -> Result<Units, SystemdError> {
    let known = |state| match state {
        Err(SystemdError::NoSuchUnit { unit }) => Ok(absent(&unit)),
        state => state,
    };
    let ask = async |name| known(systemd.unit_with_process(name).await);
    let (docker, cloud_final) = (docker.map(known), cloud_final.map(known));
    let agent = async {
        if agent == NO_UNIT {
            return Ok(absent(NO_UNIT));
        }
        let is_absent = |unit: &UnitState| unit.load_state.as_deref() == Some("not-found");
        let [usual, on_suse] = AGENT_UNITS;
        let is_usual = agent == "auto" || AGENT_UNITS.contains(&agent);
        let state = ask(if is_usual { usual } else { agent }).await?;
        if is_usual && is_absent(&state) {
            return Ok(Some(ask(on_suse).await?).filter(|other| !is_absent(other)).unwrap_or(state));
        }
        Ok(state)
    };
    let (docker, agent, cloud_final) = futures_util::future::try_join3(docker, agent, cloud_final).await?;
    // Asked only with early start, so that it costs nothing otherwise.
    let (mut user_data_target, mut after_user_data) = (None, None);
    if is_after(&agent, USER_DATA_TARGET) {
        user_data_target = Some(known(systemd.unit(USER_DATA_TARGET).await)?);
        after_user_data = Some(ask(AFTER_USER_DATA_UNIT).await?);
    }
    Ok(Units { docker, agent, cloud_final, user_data_target, after_user_data })
}

/// With early start, it makes cloud-final.service start [`USER_DATA_TARGET`].
const TARGET_LINK: &str = "/etc/systemd/system/cloud-final.service.wants/ecs-bootstrap-user-data.target";

/// The agent's unit that `packaging/early-start` made; its first three lines name the source.
pub fn early_unit(disk: &Disk) -> Result<EarlyUnit, DiskError> {
    const MARK: &[u8] = b"# ecs-bootstrap early start: ";
    for name in AGENT_UNITS {
        let path = format!("/etc/systemd/system/{name}");
        let Some(unit) = disk.read(&path, MAX_FILE_LENGTH)?.filter(|unit| unit.starts_with(MARK)) else { continue };
        let unit = String::from_utf8_lossy(&unit);
        let header = |field: &str| unit.lines().take(3).find_map(|line| line.strip_prefix(field)).unwrap_or_default();
        let (source, recorded) = (header("# source: "), header("# sha256: "));
        return Ok(match disk.read(source, MAX_FILE_LENGTH)? {
            None => EarlyUnit::WithoutSource(source.to_owned()),
            Some(bytes) => {
                let sum: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
                match sum == recorded {
                    false => EarlyUnit::Stale(source.to_owned()),
                    // A link to /dev/null has no text.
                    true if read_or_log(disk, TARGET_LINK).unwrap_or_default().is_empty() => EarlyUnit::WithoutTarget,
                    true => EarlyUnit::Current,
                }
            }
        });
    }
    Ok(EarlyUnit::Absent)
}

fn absent(name: &str) -> UnitState {
    UnitState { name: name.to_owned(), load_state: Some("not-found".to_owned()), ..UnitState::default() }
}

/// The variables of both `ecs.config` files, read by the rules of ecs-init. A file that cannot be read has no
/// variables.
pub fn agent_config(disk: &Disk) -> BTreeMap<String, String> {
    let mut config = BTreeMap::new();
    for path in [VENDOR_ECS_CONFIG, ECS_CONFIG] {
        let bytes = read_or_log(disk, path).unwrap_or_default();
        let lines = read(&bytes);
        config.extend(effective(&lines).into_iter().map(|(key, line)| (key.to_owned(), line.value.clone())));
    }
    config
}

/// The cluster that the agent would join with the current files.
pub fn joined_cluster(disk: &Disk) -> Option<String> {
    let read = |path| read_or_log(disk, path).unwrap_or_default();
    agent_cluster(&read(ECS_CONFIG), &read(VENDOR_ECS_CONFIG), &read(AGENT_JSON))
}

/// The content of a file, or nothing with the error in the log. For files that are optional: the caller continues as if
/// there were none.
pub(crate) fn read_or_log(disk: &Disk, path: &str) -> Option<Vec<u8>> {
    known_or_log(disk.read(path, MAX_FILE_LENGTH))
}

/// What was read, or nothing with the error in the log. The level is `debug` because verify reads the same files again
/// and again.
pub(crate) fn known_or_log<T>(read: Result<Option<T>, DiskError>) -> Option<T> {
    read.inspect_err(|error| tracing::debug!(%error, "file not read")).ok().flatten()
}

/// The state that an agent saved on this disk; `None` if there is none. The old JSON file is used only if the database
/// contains no agent version, as in the agent itself (`agent/app/data.go`).
pub fn saved_agent(disk: &Disk) -> Option<SavedAgent> {
    let database = saved(disk, BOLT, bolt);
    let has_version = |saved: &SavedAgent| match &saved.state {
        Fact::Known(state) => state.as_ref().is_some_and(|state| state.agent_version.is_some()),
        Fact::Unknown(_) => true,
    };
    if database.as_ref().is_some_and(has_version) {
        return database;
    }
    saved(disk, JSON, json).or(database)
}

fn saved(disk: &Disk, path: &str, read: fn(&Disk, &str) -> Option<SavedContent>) -> Option<SavedAgent> {
    let mut content = read(disk, path)?;
    if !matches!(content, Ok(Ok(Some(_)))) {
        // The agent may have written to the file during the read, so it is read a second time.
        content = read(disk, path).unwrap_or(content);
    }
    let is_damaged = matches!(content, Ok(Err(_)));
    let state = match content {
        Ok(parsed) => Fact::from_result(parsed),
        Err(error) => Fact::Unknown(error.to_string()),
    };
    Some(SavedAgent { state, is_damaged, modified: known_or_log(disk.modified(path)) })
}

/// The content of a file with saved state, or why it could not be read.
type SavedContent = Result<Result<Option<SavedState>, Unreadable>, DiskError>;

fn bolt(disk: &Disk, path: &str) -> Option<SavedContent> {
    let file = disk.random_access(path).transpose()?;
    Some(file.map(|file| from_bolt_at(&|at, length| file.read_at(at, length), file.size)))
}

fn json(disk: &Disk, path: &str) -> Option<SavedContent> {
    let bytes = disk.read(path, MAX_STATE_LENGTH).transpose()?;
    Some(bytes.map(|bytes| from_json(&bytes)))
}

/// Whether `/dev` has a numbered device of this name: `/dev/nvidia0`, `/dev/neuron0`.
pub(crate) fn device(disk: &Disk, name: &str) -> Fact<bool> {
    match disk.list("/dev") {
        Ok(entries) if entries.is_empty() => Fact::Unknown("no /dev".to_owned()),
        Ok(entries) => Fact::Known(numbered(&entries, name) > 0),
        Err(error) => Fact::Unknown(error.to_string()),
    }
}

/// How many NVIDIA devices the host has: one for each GPU. 0 if that is not known.
pub(crate) fn gpu_devices(disk: &Disk) -> usize {
    disk.list("/dev").map_or(0, |entries| numbered(&entries, "nvidia"))
}

fn numbered(entries: &[String], name: &str) -> usize {
    let is_numbered = |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit());
    entries.iter().filter(|entry| entry.strip_prefix(name).is_some_and(is_numbered)).count()
}

/// The id of this boot; `None` if it is not known. A container has the id of its kernel's boot, so that the start of PID 1 is
/// added.
pub fn boot_id(disk: &Disk) -> Option<String> {
    let bytes = disk.read("/proc/sys/kernel/random/boot_id", 64).ok()??;
    let id = String::from_utf8_lossy(&bytes);
    let id = Some(id.trim()).filter(|id| !id.is_empty())?;
    Some(format!("{id}.{}", kernel::init_started(disk).unwrap_or_default()))
}

/// Where the state of attributes that follow tags is stored.
pub const FOLLOWED_TAGS: &str = "/var/lib/ecs-bootstrap/attributes.json";

/// What is known about attributes that follow tags; `None` if nothing is.
pub fn followed_tags(disk: &Disk) -> Option<FollowedTags> {
    stored_state(disk, FOLLOWED_TAGS)
}

/// The same, if a check of this boot has stored it.
pub fn followed_tags_of_this_boot(disk: &Disk) -> Option<FollowedTags> {
    followed_tags(disk).filter(|known| known.boot.is_some() && known.boot == boot_id(disk))
}

/// The state of the pulls of `ready.images`; `None` if there is none. If their process has died, they have ended.
pub fn pulls(disk: &Disk) -> Option<Pulls> {
    let mut pulls: Pulls = stored_state(disk, PULLS)?;
    // Another user cannot take the lock; then the state is believed.
    if !pulls.has_ended && disk.lock(LOCK).is_ok() {
        pulls.end();
    }
    Some(pulls)
}

/// The state of the draining in this boot; `None` if there is none.
pub fn drain(disk: &Disk) -> Option<Drain> {
    stored_state(disk, DRAIN)
}

/// The state that a command has stored as JSON; `None` if there is none, or an invalid one, which is logged.
fn stored_state<T: serde::de::DeserializeOwned>(disk: &Disk, path: &str) -> Option<T> {
    let parsed = serde_json::from_slice(&read_or_log(disk, path)?);
    parsed.inspect_err(|error| tracing::debug!(%error, path, "invalid state ignored")).ok()
}

/// Whether a process drains, or waits for a reason to. Only root can know that.
pub fn is_drain_running(disk: &Disk) -> bool {
    disk.lock(DRAIN_LOCK).is_err()
}

/// The record of what earlier runs wrote to `ecs.config`. It is empty if the file is absent or invalid: then no line is
/// treated as written by ecs-bootstrap.
pub fn written(disk: &Disk) -> WriteRecord {
    let Some(bytes) = read_or_log(disk, WRITTEN) else { return WriteRecord::default() };
    serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        tracing::debug!(%error, path = WRITTEN, "invalid record ignored");
        WriteRecord::default()
    })
}

/// Whether cloud-init is running: it creates its folder first and `result.json` last (cloud-init, "Boot stages").
pub(crate) fn user_data_runs(disk: &Disk) -> Fact<bool> {
    let exists = |path| disk.exists(path);
    Fact::from_result(exists("/run/cloud-init").and_then(|begun| Ok(begun && !exists("/run/cloud-init/result.json")?)))
}

/// The PID and command of a user data process that starts or restarts the agent's unit with systemctl(1) and waits for
/// it; `None` if there is none. The real command line is user data, so the returned one is rebuilt from verb and unit.
pub fn blocking_start(disk: &Disk, agent_unit: &str) -> Option<(u32, String)> {
    const MAX_BYTES: usize = 4096;
    // A process can end between the listing and the read.
    let read = |pid: u32, file: &str| disk.read(&format!("/proc/{pid}/{file}"), MAX_BYTES).ok().flatten();
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

/// Whether this process runs in a unit, as the commands of the unit do.
pub fn runs_in_unit(disk: &Disk, unit: &str) -> bool {
    let control_group = read_or_log(disk, "/proc/self/cgroup").unwrap_or_default();
    String::from_utf8_lossy(&control_group).contains(&format!("/{unit}"))
}

/// The verb, if this command line is a systemctl that starts the unit and waits for it.
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
