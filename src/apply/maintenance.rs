//! Carries out `prepare-image` and `reset-agent`: stops and starts the agent, removes lines and files, sets the agent's
//! saved state aside.
//!
//! In: a [`Cleanup`] or [`Reset`], the disk and systemd. Out: what was not removed, or an error. It removes only what
//! was decided, and each step can be repeated.

use std::time::Duration;

use super::{mode_of, remove_own_temporary_files};
use crate::boundary::disk::{Disk, Mode};
use crate::boundary::systemd::{Job, JobResult, Systemd, SystemdError};
use crate::cleanup::{Cleanup, DATA, Interrupted, NotRemoved, OWN_STATE, RESET, Reset, VERDICT};
use crate::evidence::StageError;
use crate::plan::ECS_CONFIG;
use crate::redaction::error_chain;
use crate::retry::Deadline;

/// How long a start is waited for. A start that waits for the end of user data takes longer and stays queued.
const MAX_START_TIME: Duration = Duration::from_secs(10);

/// Stops the agent's unit and waits until it is stopped.
pub async fn stop_agent(systemd: &Systemd, unit: &str, deadline: Deadline) -> Result<(), StageError> {
    ended(systemd.stop(unit).await?, unit, "stop", deadline).await
}

/// Starts the agent's unit. Returns false if the job is still queued, because it waits for the end of user data.
pub async fn start_agent(systemd: &Systemd, unit: &str, deadline: Deadline) -> Result<bool, StageError> {
    let job = systemd.start(unit).await?;
    let soon = deadline.earliest(Deadline::after(MAX_START_TIME));
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

/// Removes the lines that ecs-bootstrap wrote from `ecs.config`, then the files. Returns what could not be removed. The
/// lines are first: without the record, which is one of the files, no later run would know that ecs-bootstrap wrote
/// them.
pub fn clean(disk: &Disk, cleanup: &Cleanup) -> Vec<NotRemoved> {
    let mut left = cleanup.left.clone();
    let mut keeps_record = left.iter().any(|left| left.path.starts_with(OWN_STATE));
    disk.remove_temporary_files(ECS_CONFIG);
    remove_own_temporary_files(disk);
    if let Some(withdrawal) = &cleanup.ecs_config
        && let Err(error) = disk.replace(ECS_CONFIG, &withdrawal.new, mode_of(&withdrawal.new))
    {
        left.push(NotRemoved { path: ECS_CONFIG.to_owned(), why: error_chain(&error) });
        keeps_record = true;
    }
    for removal in &cleanup.remove {
        let path = removal.path.clone();
        if keeps_record && path.starts_with(OWN_STATE) {
            let why = format!("`{path}` stays: it records which lines of {ECS_CONFIG} ecs-bootstrap wrote");
            left.push(NotRemoved { path, why });
        } else if let Err(error) = disk.remove(&path) {
            left.push(NotRemoved { path, why: error_chain(&error) });
        }
    }
    left
}

/// Stores the steps that the reset must finish if it is interrupted. Called before the reset stops the agent.
pub fn note_reset(disk: &Disk, reset: &Reset) -> Result<(), StageError> {
    let (Some(unit), Some(set_aside)) = (&reset.start, &reset.set_aside) else { return Ok(()) };
    let note = Interrupted { unit: unit.clone(), to: set_aside.to.clone() };
    let bytes = serde_json::to_vec(&note).expect("two strings have a JSON form");
    disk.replace(RESET, &bytes, Mode::Exactly(0o600)).map_err(StageError::Write)
}

/// Sets the saved state aside. If an interrupted reset has already done that, creates the empty folder in its place.
/// Removes the last verdict, which names the container instance in that state.
pub fn set_aside(disk: &Disk, reset: &Reset) -> Result<(), StageError> {
    disk.remove(VERDICT).map_err(StageError::Write)?;
    let done = match (&reset.set_aside, &reset.was_set_aside) {
        (Some(set_aside), _) => disk.set_aside(&set_aside.from, &set_aside.to),
        (None, Some(before)) => disk.create_like(DATA, before),
        (None, None) => Ok(()),
    };
    done.map_err(StageError::Write)
}

/// Removes the stored steps: the reset is complete.
pub fn forget_reset(disk: &Disk) -> Result<(), StageError> {
    disk.remove(RESET).map_err(StageError::Write)
}
