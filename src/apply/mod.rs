//! Carries out a plan: the file, then the units, in the plan's order, and nothing that the plan does not say.
//!
//! In: a plan and the world. Out: what was changed, and the jobs whose end can still be seen. A second run on the same
//! facts writes nothing and queues nothing.

mod maintenance;

use std::collections::BTreeMap;

use crate::boundary::World;
use crate::boundary::disk::{Disk, DiskError, Mode};
use crate::boundary::systemd::control::Jobs;
use crate::boundary::systemd::{Job, Systemd, SystemdError};
use crate::ecs_config::has_hidden;
use crate::effects::{Effects, QueuedJob};
use crate::evidence::StageError;
use crate::facts::Written;
use crate::host::LONGEST_FILE;
use crate::plan::{Action, ECS_CONFIG, Plan, WRITTEN};
use crate::redaction::error_chain;

pub use maintenance::{clean, forget_reset, note_reset, set_aside, start_agent, stop_agent};

/// What was changed, and the queued jobs in the order of [`Effects::jobs`].
#[derive(Debug, Default)]
pub struct Applied {
    /// What was changed.
    pub effects: Effects,
    /// The jobs, to see them end.
    pub jobs: Vec<Job>,
}

/// Writes the file, between two records of what is ours. The first names the keys of before too, so that a death at any
/// point leaves every key of ours known as ours, and none of somebody else's.
pub fn write(world: &World, plan: &Plan) -> Result<bool, StageError> {
    let config = &plan.ecs_config;
    let disk = &world.disk;
    let changed = config.changed();
    if !changed {
        disk.remove_temporary_files(ECS_CONFIG);
    } else {
        let recorded = remember(disk, &config.written);
        write_config(disk, config.old.as_deref().unwrap_or_default(), &config.new)?;
        if recorded.is_err() {
            return Ok(changed);
        }
    }
    // The agent has what it needs: what fails from here on is no reason to stop.
    let record = Written { before: BTreeMap::new(), ..config.written.clone() };
    if remember(disk, &record).is_ok_and(|written| written || changed) && !record.keys.is_empty() {
        let _ = disk.sync(WRITTEN).inspect_err(not_recorded);
    }
    Ok(changed)
}

/// Writes `ecs.config`, readable by root alone where it holds something that is shown in no output, if it still is as it
/// was read.
pub fn write_config(disk: &Disk, old: &[u8], bytes: &[u8]) -> Result<(), StageError> {
    disk.create_folder("/etc/ecs", 0o755).map_err(StageError::Write)?;
    disk.replace_unchanged(ECS_CONFIG, old, bytes, mode_of(bytes)).map_err(StageError::Write)
}

fn mode_of(config: &[u8]) -> Mode {
    match has_hidden(config) {
        true => Mode::Exactly(0o600),
        false => Mode::Keep { or: 0o644 },
    }
}

/// Whether it had to be written.
fn remember(disk: &Disk, written: &Written) -> Result<bool, DiskError> {
    store_record(disk, written).inspect_err(not_recorded)
}

fn not_recorded(error: &DiskError) {
    tracing::warn!(
        error = error_chain(error),
        "what is written could not be recorded, so it stays until somebody removes it by hand"
    );
}

fn store_record(disk: &Disk, written: &Written) -> Result<bool, DiskError> {
    let mut record = serde_json::to_vec_pretty(written).map_err(not_serializable)?;
    record.push(b'\n');
    let there = disk.read(WRITTEN, LONGEST_FILE)?;
    let nothing_to_say = there.is_none() && written.keys.is_empty();
    if there.as_deref() == Some(&record) || nothing_to_say {
        return Ok(false);
    }
    disk.replace_without_sync(WRITTEN, &record, Mode::Exactly(0o600))?;
    Ok(true)
}

fn not_serializable(error: serde_json::Error) -> DiskError {
    DiskError::Io { doing: "write", path: WRITTEN.to_owned(), source: error.into() }
}

/// Enables, starts and restarts what the plan says, without waiting for any of it. Where there is no bus yet, by
/// systemctl: then no end of a job is seen.
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
    let by = Jobs::of(disk, systemd.as_ref())?;
    for unit in wanted {
        let verb = if unit.action == Action::Restart { "restart" } else { "start" };
        let job = by.queue(verb, &unit.unit).await?;
        let id = job.as_ref().map_or(0, Job::id);
        tracing::debug!(unit = unit.unit, job = id, "queued a job");
        applied.effects.jobs.push(QueuedJob { unit: unit.unit.clone(), action: unit.action, id, result: None });
        applied.jobs.extend(job);
    }
    for unit in &plan.enable {
        match by.enable(unit).await {
            Ok(()) => applied.effects.enabled.push(unit.clone()),
            Err(error) => {
                tracing::warn!(unit, error = error_chain(&error), "the unit could not be enabled for the next boot");
            }
        }
    }
    Ok(())
}
