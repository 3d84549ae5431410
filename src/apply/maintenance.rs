//! Carries out what `prepare-image` and `reset-agent` decided: the agent stopped and started, lines and files removed,
//! its saved state set aside.
//!
//! In: what was decided, and the parties it concerns. Out: what is left, or what stopped it. It removes nothing that
//! was not decided, and each step may be done again.

use std::time::Duration;

use super::mode_of;
use crate::boundary::disk::{Disk, Mode};
use crate::boundary::systemd::{Job, JobResult, Systemd, SystemdError};
use crate::cleanup::{Cleanup, DATA, Interrupted, NotRemoved, OWN_STATE, RESET, Reset};
use crate::evidence::StageError;
use crate::plan::ECS_CONFIG;
use crate::redaction::error_chain;
use crate::retry::Deadline;

/// A start that waits for the end of user data is queued, and not waited for.
const LONGEST_START: Duration = Duration::from_secs(10);

/// Stops the agent's unit and sees it stopped.
pub async fn stop_agent(systemd: &Systemd, unit: &str, deadline: Deadline) -> Result<(), StageError> {
    ended(systemd.stop(unit).await?, unit, "stop", deadline).await
}

/// Starts the agent's unit. Whether it has started: its job may wait for the end of user data.
pub async fn start_agent(systemd: &Systemd, unit: &str, deadline: Deadline) -> Result<bool, StageError> {
    let job = systemd.start(unit).await?;
    let soon = deadline.earliest(Deadline::after(LONGEST_START));
    match job.ended(soon).await {
        Ok(JobResult::Done) => Ok(true),
        Err(SystemdError::Pending { .. }) => Ok(false),
        other => Err(not_done(other, unit, "start")),
    }
}

async fn ended(job: Job, unit: &str, action: &'static str, deadline: Deadline) -> Result<(), StageError> {
    match job.ended(deadline).await {
        Ok(JobResult::Done) => Ok(()),
        other => Err(not_done(other, unit, action)),
    }
}

fn not_done(result: Result<JobResult, SystemdError>, unit: &str, action: &'static str) -> StageError {
    let why = match result {
        Ok(result) => format!("its job ended as `{result:?}`"),
        Err(error) => error_chain(&error),
    };
    StageError::UnitJob { unit: unit.to_owned(), action, why }
}

/// Takes our lines out of `ecs.config`, then removes the files; what could not be is told. The lines first: without our
/// record of them they would look like somebody else's for ever.
pub fn clean(disk: &Disk, cleanup: &Cleanup) -> Vec<NotRemoved> {
    let mut left = cleanup.left.clone();
    let mut keeps_record = left.iter().any(|left| left.path.starts_with(OWN_STATE));
    disk.remove_temporaries(ECS_CONFIG);
    if let Some(withdrawal) = &cleanup.ecs_config
        && let Err(error) = disk.replace(ECS_CONFIG, &withdrawal.new, mode_of(&withdrawal.new))
    {
        left.push(NotRemoved { path: ECS_CONFIG.to_owned(), why: error_chain(&error) });
        keeps_record = true;
    }
    for removal in &cleanup.remove {
        let path = removal.path.clone();
        if keeps_record && path.starts_with(OWN_STATE) {
            let why = format!("`{path}` stays: it says which lines of {ECS_CONFIG} are ours");
            left.push(NotRemoved { path, why });
        } else if let Err(error) = disk.remove(&path) {
            left.push(NotRemoved { path, why: error_chain(&error) });
        }
    }
    left
}

/// Notes what a reset has to finish, before it stops anything.
pub fn note_reset(disk: &Disk, reset: &Reset) -> Result<(), StageError> {
    let (Some(unit), Some(set_aside)) = (&reset.start, &reset.set_aside) else { return Ok(()) };
    let note = Interrupted { unit: unit.clone(), to: set_aside.to.clone() };
    let bytes = serde_json::to_vec(&note).expect("two strings have a JSON form");
    disk.replace(RESET, &bytes, Mode::Exactly(0o600)).map_err(StageError::Write)
}

/// Sets the saved state aside, or sees to it that an interrupted reset has left a folder in its place.
pub fn set_aside(disk: &Disk, reset: &Reset) -> Result<(), StageError> {
    let done = match (&reset.set_aside, &reset.was_set_aside) {
        (Some(set_aside), _) => disk.set_aside(&set_aside.from, &set_aside.to),
        (None, Some(before)) => disk.create_like(DATA, before),
        (None, None) => Ok(()),
    };
    done.map_err(StageError::Write)
}

/// The reset has nothing to finish any more.
pub fn forget_reset(disk: &Disk) -> Result<(), StageError> {
    disk.remove(RESET).map_err(StageError::Write)
}
