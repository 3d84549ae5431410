//! The stage `apply`: carries out a plan. It writes the file, then starts or restarts the units, in the order of the
//! plan.
//!
//! In: a plan and the clients. Out: the changes, and the queued jobs. It does nothing that is not in the plan. A second
//! run on the same facts writes nothing and queues nothing.

mod maintenance;

use std::collections::BTreeMap;

use crate::boundary::HostClients;
use crate::boundary::disk::{Disk, DiskError, Mode};
use crate::boundary::systemd::control::Jobs;
use crate::boundary::systemd::{Job, Systemd, SystemdError};
use crate::cleanup::OWN_STATE;
use crate::ecs_config::has_hidden;
use crate::effects::{Effects, QueuedJob};
use crate::evidence::StageError;
use crate::facts::{AFTER_USER_DATA_UNIT, USER_DATA_TARGET, WriteRecord};
use crate::host::MAX_FILE_LENGTH;
use crate::plan::{Action, ECS_CONFIG, Plan, RUN_FOLDER, WRITTEN};
use crate::redaction::error_chain;

pub use maintenance::{clean, forget_reset, note_reset, set_aside, start_agent, stop_agent};

/// The changes, and the queued jobs in the order of [`Effects::jobs`].
#[derive(Debug, Default)]
pub struct Applied {
    pub(crate) effects: Effects,
    /// The jobs, to wait for their end.
    pub jobs: Vec<Job>,
}

/// Writes the file, and a record of the written keys before and after it. The first record also contains the old keys.
/// So if the process dies at any point, the record contains all keys that ecs-bootstrap wrote, and no others. Returns
/// whether the file changed.
pub fn write(host_clients: &HostClients, plan: &Plan) -> Result<bool, StageError> {
    let config = &plan.ecs_config;
    let disk = &host_clients.disk;
    let changed = config.changed();
    let recorded = changed.then(|| remember(disk, &config.written));
    if changed {
        write_config(disk, config.old.as_deref().unwrap_or_default(), &config.new)?;
    } else {
        disk.remove_temporary_files(ECS_CONFIG);
    }
    // After the file, which the agent waits for.
    remove_own_temporary_files(disk);
    if recorded.is_some_and(|recorded| recorded.is_err()) {
        return Ok(changed);
    }
    // The agent's file is written, so an error from here on is only logged.
    let record = WriteRecord { before: BTreeMap::new(), ..config.written.clone() };
    if remember(disk, &record).is_ok_and(|written| written || changed) && !record.keys.is_empty() {
        let _ = disk.sync(WRITTEN).inspect_err(log_not_recorded);
    }
    Ok(changed)
}

/// Removes the temporary files that killed processes have left in the folders of ecs-bootstrap.
fn remove_own_temporary_files(disk: &Disk) {
    [RUN_FOLDER, OWN_STATE].iter().for_each(|folder| disk.remove_all_temporary_files(folder));
}

/// Writes `ecs.config`, if it has not changed since it was read. If it contains a secret, only root can read it.
pub fn write_config(disk: &Disk, old: &[u8], bytes: &[u8]) -> Result<(), StageError> {
    disk.create_folder("/etc/ecs", 0o755).map_err(StageError::Write)?;
    disk.replace_unchanged(ECS_CONFIG, old, bytes, mode_of(bytes)).map_err(StageError::Write)
}

fn mode_of(config: &[u8]) -> Mode {
    if has_hidden(config) { Mode::Exactly(0o600) } else { Mode::Keep { or: 0o644 } }
}

/// Stores the record; an error is logged. Returns whether it had to be written.
fn remember(disk: &Disk, written: &WriteRecord) -> Result<bool, DiskError> {
    store_record(disk, written).inspect_err(log_not_recorded)
}

fn log_not_recorded(error: &DiskError) {
    tracing::warn!(
        error = error_chain(error),
        "record of the written keys not stored; a later run will not remove them"
    );
}

fn store_record(disk: &Disk, written: &WriteRecord) -> Result<bool, DiskError> {
    let mut record = serde_json::to_vec_pretty(written).map_err(not_serializable)?;
    record.push(b'\n');
    let stored = disk.read(WRITTEN, MAX_FILE_LENGTH)?;
    let is_not_needed = stored.is_none() && written.keys.is_empty();
    if stored.as_deref() == Some(&record) || is_not_needed {
        return Ok(false);
    }
    disk.replace_without_sync(WRITTEN, &record, Mode::Exactly(0o600))?;
    Ok(true)
}

fn not_serializable(error: serde_json::Error) -> DiskError {
    DiskError::Io { doing: "write", path: WRITTEN.to_owned(), source: error.into() }
}

/// [`release_now`], if the plan says so. If the unit that applies what user data writes later cannot be queued, the agent
/// keeps waiting.
pub async fn release(
    systemd: &Result<Systemd, SystemdError>,
    plan: &Plan,
    applied: &mut Applied,
) -> Result<(), SystemdError> {
    let (Some(early), Ok(systemd)) = (&plan.early, systemd) else { return Ok(()) };
    if !early.starts {
        tracing::info!(why = early.why, "the agent waits for user data");
    }
    if !early.release {
        return Ok(());
    }
    applied.effects.released = release_now(systemd).await?;
    tracing::info!(released = applied.effects.released, "the agent need not wait for user data");
    Ok(())
}

/// Lets the agent start before user data has ended. Returns whether it was waiting.
pub async fn release_now(systemd: &Systemd) -> Result<bool, SystemdError> {
    systemd.start(AFTER_USER_DATA_UNIT).await?;
    systemd.cancel_job(USER_DATA_TARGET).await
}

/// Queues the starts and restarts of the plan and enables its units, without waiting for the jobs. If the bus does not
/// run yet, this uses systemctl; the end of such a job is not reported.
pub async fn queue(
    disk: &Disk,
    systemd: &Result<Systemd, SystemdError>,
    plan: &Plan,
    applied: &mut Applied,
) -> Result<(), StageError> {
    let wanted = plan.units.iter().filter(|unit| unit.action != Action::Leave);
    let wanted: Vec<_> = wanted.collect();
    if wanted.is_empty() && plan.enable.is_empty() {
        return Ok(());
    }
    let jobs = Jobs::of(disk, systemd.as_ref())?;
    for unit in wanted {
        let verb = if unit.action == Action::Restart { "restart" } else { "start" };
        let job = jobs.queue(verb, &unit.unit).await?;
        let id = job.as_ref().map_or(0, Job::id);
        tracing::debug!(unit = unit.unit, job = id, "job queued");
        applied.effects.jobs.push(QueuedJob { unit: unit.unit.clone(), action: unit.action, id, result: None });
        applied.jobs.extend(job);
    }
    for unit in &plan.enable {
        match jobs.enable(unit).await {
            Ok(()) => applied.effects.enabled.push(unit.clone()),
            Err(error) => {
                tracing::warn!(unit, error = error_chain(&error), "unit not enabled for the next boot");
            }
        }
    }
    Ok(())
}
