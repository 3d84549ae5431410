//! Carries out a plan: the file, then the units, in the plan's order, and nothing that the plan does not say.
//!
//! In: a plan and the world. Out: what was changed, and the jobs whose end can still be seen. A second run on the same
//! facts writes nothing and queues nothing.

mod care;

use crate::boundary::World;
use crate::boundary::disk::{Disk, Mode};
use crate::boundary::systemd::{Job, Systemd, SystemdError};
use crate::causes::chain;
use crate::ecs_config::read;
use crate::effects::{Effects, QueuedJob};
use crate::evidence::Stop;
use crate::host::LONGEST_FILE;
use crate::plan::{Action, ECS_CONFIG, Plan, WRITTEN};
use crate::settings::agent_variables;

pub use care::{clean, forget_reset, note_reset, set_aside, start_agent, stop_agent};

/// What was changed, and the queued jobs in the order of [`Effects::jobs`].
#[derive(Debug, Default)]
pub struct Applied {
    /// What was changed.
    pub effects: Effects,
    /// The jobs, to see them end.
    pub jobs: Vec<Job>,
}

/// Writes the file. Before the record of what is ours, so that a death between the two leaves a key of ours looking
/// foreign, never a foreign one looking ours.
pub fn write(world: &World, plan: &Plan) -> Result<bool, Stop> {
    let config = &plan.ecs_config;
    let changed = config.changed();
    if changed {
        world.disk.create_folder("/etc/ecs", 0o755).map_err(Stop::Write)?;
        let lines = read(&config.new);
        let mode = match lines.iter().any(|line| agent_variables::is_secret(&line.key)) {
            true => Mode::Exactly(0o600),
            false => Mode::Keep { or: 0o644 },
        };
        world.disk.replace(ECS_CONFIG, &config.new, mode).map_err(Stop::Write)?;
    }
    if let Err(error) = remember(&world.disk, plan) {
        // The agent has what it needs; but these keys will look like somebody else's.
        tracing::warn!(
            error = chain(&error),
            "what was written could not be recorded, so it stays until somebody removes it by hand"
        );
    }
    Ok(changed)
}

fn remember(disk: &Disk, plan: &Plan) -> Result<(), Stop> {
    let written = &plan.ecs_config.written;
    let mut record = serde_json::to_vec_pretty(written).map_err(|error| Stop::Write(not_serializable(error)))?;
    record.push(b'\n');
    let there = disk.read(WRITTEN, LONGEST_FILE).map_err(Stop::Write)?;
    let nothing_to_say = there.is_none() && written.keys.is_empty();
    if there.as_deref() == Some(&record) || nothing_to_say {
        return Ok(());
    }
    disk.create_folder("/var/lib/ecs-bootstrap", 0o755).map_err(Stop::Write)?;
    disk.replace(WRITTEN, &record, Mode::Exactly(0o600)).map_err(Stop::Write)
}

fn not_serializable(error: serde_json::Error) -> crate::boundary::disk::DiskError {
    crate::boundary::disk::DiskError::Io { doing: "writing", path: WRITTEN.into(), source: error.into() }
}

/// Enables, starts and restarts what the plan says, without waiting for any of it.
pub async fn queue(systemd: &Result<Systemd, SystemdError>, plan: &Plan, applied: &mut Applied) -> Result<(), Stop> {
    let wanted: Vec<_> =
        plan.units.iter().filter(|unit| unit.action != Action::Leave || plan.enable.contains(&unit.unit)).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let systemd = systemd.as_ref().map_err(|error| Stop::Systemd(error.clone()))?;
    for unit in wanted {
        let job = match unit.action {
            Action::Start | Action::Unknown => systemd.start(&unit.unit).await?,
            Action::Restart => systemd.restart(&unit.unit).await?,
            Action::Leave => continue,
        };
        tracing::debug!(unit = unit.unit, job = job.id(), "queued a job");
        applied.effects.jobs.push(QueuedJob {
            unit: unit.unit.clone(),
            action: unit.action,
            id: job.id(),
            result: None,
        });
        applied.jobs.push(job);
    }
    for unit in &plan.enable {
        match systemd.enable(unit).await {
            Ok(()) => applied.effects.enabled.push(unit.clone()),
            Err(error) => {
                tracing::warn!(unit, error = chain(&error), "the unit could not be enabled for the next boot");
            }
        }
    }
    Ok(())
}
