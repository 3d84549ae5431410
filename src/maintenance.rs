//! The two commands that remove files: `prepare-image` and `reset-agent`, and the order of their stages.
//!
//! In: the clients, and what the caller agrees to. Out: a [`CommandOutput`]. Without `--yes` nothing is written,
//! stopped or locked; with it, the lock of `run` is held. Neither command reports a verdict of the boot.

use std::time::{Duration, SystemTime};

use crate::apply;
use crate::boundary::disk::Lock;
use crate::boundary::systemd::{Systemd, SystemdError};
use crate::cleanup::{Cleanup, Leftovers, Removal, Reset};
use crate::command_line::CommandOutput;
use crate::commands::{BUS_TIMEOUT, CommandContext};
use crate::decide;
use crate::evidence::StageError;
use crate::gather;
use crate::redaction::error_chain;
use crate::render::{Progress, VerdictDocument, as_json, cleanup_json, cleanup_text, document, reset_json, reset_text};
use crate::retry::Deadline;
use crate::verify;

/// What the caller agrees to.
#[derive(Clone, Copy, Debug)]
pub struct Consent {
    /// Everything on the list is done.
    pub yes: bool,
    /// Also if tasks run, or may run.
    pub force: bool,
}

/// The connection to systemd; `None` if no system has booted from this root.
type BusState = Option<Result<Systemd, SystemdError>>;

impl CommandContext {
    /// `prepare-image`: lists or removes what must not be in an image of this instance.
    pub async fn prepare_image(self, consent: Consent) -> CommandOutput {
        match Box::pin(self.clean_for_image(consent)).await {
            Ok(mut cleanup) => {
                let refusals = documents(std::mem::take(&mut cleanup.obstacles));
                CommandOutput::success(if self.json {
                    as_json(&cleanup_json(&cleanup, &refusals, consent.yes))
                } else {
                    cleanup_text(&cleanup, &refusals, consent.yes)
                })
            }
            Err(error) => self.failure(error),
        }
    }

    /// `reset-agent`: lists the steps that move the agent's saved state away, or does them.
    pub async fn reset_agent(self, consent: Consent) -> CommandOutput {
        match Box::pin(self.move_saved_state(consent)).await {
            Ok((mut reset, started)) => {
                let refusals = documents(std::mem::take(&mut reset.obstacles));
                CommandOutput::success(if self.json {
                    as_json(&reset_json(&reset, &refusals, consent.yes, started))
                } else {
                    reset_text(&reset, &refusals, consent.yes, started)
                })
            }
            Err(error) => self.failure(error),
        }
    }

    async fn clean_for_image(&self, consent: Consent) -> Result<Cleanup, StageError> {
        let (limit, deadline) = self.limit()?;
        let (bus, _lock) = self.bus_and_lock(consent, limit, deadline).await?;
        let mut cleanup = decide::cleanup(self.leftovers(&bus, deadline).await, consent.force);
        if !consent.yes {
            return Ok(cleanup);
        }
        refuse_for_first(&mut cleanup.obstacles)?;
        if let (Some(unit), Some(Ok(systemd))) = (&cleanup.stop, &bus) {
            self.stop_agent(systemd, unit, deadline).await?;
            // The agent writes more files while it stops. Whether tasks run was decided while it could still list them.
            let mut after = decide::cleanup(self.leftovers(&bus, deadline).await, true);
            refuse_for_first(&mut after.obstacles)?;
            if let Some(unit) = after.stop {
                return Err(StageError::UnitJob { unit, action: "stop", why: "it was started again".to_owned() });
            }
            (cleanup.remove, cleanup.ecs_config, cleanup.left) = (after.remove, after.ecs_config, after.left);
        }
        let not_removed = apply::clean(&self.host_clients.disk, &cleanup);
        let is_not_removed = |removal: &&Removal| not_removed.iter().any(|left| left.path == removal.path);
        let removed = cleanup.remove.len() - cleanup.remove.iter().filter(is_not_removed).count();
        tracing::info!(removed, not_removed = not_removed.len(), "host cleaned for an image");
        if !not_removed.is_empty() {
            return Err(StageError::NotRemoved { left: not_removed.into_iter().map(|left| left.why).collect() });
        }
        Ok(cleanup)
    }

    /// Also returns whether the agent has started: `Some(false)` if its start is only queued, `None` if it is not
    /// started.
    async fn move_saved_state(&self, consent: Consent) -> Result<(Reset, Option<bool>), StageError> {
        let (limit, deadline) = self.limit()?;
        let (bus, _lock) = self.bus_and_lock(consent, limit, deadline).await?;
        let mut reset = decide::reset(self.leftovers(&bus, deadline).await, SystemTime::now(), consent.force);
        if !consent.yes {
            return Ok((reset, None));
        }
        refuse_for_first(&mut reset.obstacles)?;
        if reset.is_empty() {
            return Ok((reset, None));
        }
        let disk = &self.host_clients.disk;
        apply::note_reset(disk, &reset)?;
        let mut moved = Ok(());
        if let (Some(unit), Some(Ok(systemd))) = (&reset.stop, &bus) {
            moved = self.stop_agent(systemd, unit, deadline).await;
        }
        // Also after an error: an agent that ran before must run again, with the state that it had.
        let moved = moved.and_then(|()| apply::set_aside(disk, &reset));
        let started = match (&reset.start, &bus) {
            (Some(unit), Some(Ok(systemd))) => apply::start_agent(systemd, unit, deadline).await.map(Some),
            _ => Ok(None),
        };
        // If the start failed, the note stays, so that the next `reset-agent` finishes this one.
        let forgotten = if started.is_ok() { apply::forget_reset(disk) } else { Ok(()) };
        moved?;
        let started = started?;
        forgotten?;
        let to = reset.set_aside.as_ref().map(|set_aside| set_aside.to.as_str());
        tracing::info!(to, started, "saved state of the agent moved");
        Ok((reset, started))
    }

    async fn stop_agent(&self, systemd: &Systemd, unit: &str, deadline: Deadline) -> Result<(), StageError> {
        let progress = Progress::new(self.shows_progress);
        progress.say(&format!("stopping {unit}"));
        let stopped = apply::stop_agent(systemd, unit, deadline).await;
        progress.clear();
        stopped
    }

    /// `run.deadline`, which is also the time limit of these commands.
    fn limit(&self) -> Result<(Duration, Deadline), StageError> {
        let limit = self.early_settings()?.run_deadline.value;
        self.set_deadline_after(limit);
        Ok((limit, Deadline::after(limit)))
    }

    /// The connection to systemd, and the lock. A command that only lists takes no lock. In an image that is not booted
    /// there is neither, because no other process could hold the lock.
    async fn bus_and_lock(
        &self,
        consent: Consent,
        limit: Duration,
        deadline: Deadline,
    ) -> Result<(BusState, Option<Lock>), StageError> {
        if !self.host_clients.disk.is_booted() {
            return Ok((None, None));
        }
        let lock = if consent.yes { Some(self.lock(deadline, limit).await?) } else { None };
        Ok((Some(Systemd::connect(deadline.earliest(Deadline::after(BUS_TIMEOUT))).await), lock))
    }

    async fn leftovers(&self, bus: &BusState, deadline: Deadline) -> Leftovers {
        let unit = self.agent_unit();
        gather::leftovers(&self.host_clients, bus.as_ref(), self.last_expectation(), &unit, deadline).await
    }

    fn failure(&self, error: StageError) -> CommandOutput {
        tracing::debug!(error = error_chain(&error), "command failed");
        let verdict = verify::verdict_of_error(error);
        self.verdict_output(&document(&verdict, None, &[]), verdict.exit())
    }
}

/// An error if there is a reason not to continue.
fn refuse_for_first(obstacles: &mut Vec<StageError>) -> Result<(), StageError> {
    if obstacles.is_empty() { Ok(()) } else { Err(obstacles.remove(0)) }
}

fn documents(obstacles: Vec<StageError>) -> Vec<VerdictDocument> {
    obstacles.into_iter().map(|obstacle| document(&verify::verdict_of_error(obstacle), None, &[])).collect()
}
