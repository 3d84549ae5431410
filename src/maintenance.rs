//! The second corridor: the two commands that remove things, one short function each.
//!
//! In: the world, and what was consented to. Out: a [`CommandOutput`]. Without consent nothing is written, stopped or locked;
//! with it the same lock is held as by a run. Neither command makes a verdict of the boot, so nothing is told to anybody
//! but the caller.

use std::time::{Duration, SystemTime};

use crate::apply;
use crate::boot::{BUS, Boot};
use crate::boundary::disk::Lock;
use crate::boundary::systemd::{Systemd, SystemdError};
use crate::cleanup::{Cleanup, Leftovers, Removal, Reset};
use crate::command_line::CommandOutput;
use crate::decide;
use crate::evidence::StageError;
use crate::exit::Exit;
use crate::gather;
use crate::redaction::error_chain;
use crate::render::{Document, Progress, as_json, cleanup_json, cleanup_text, document, reset_json, reset_text};
use crate::retry::Deadline;
use crate::verify;

/// What the caller agrees to.
#[derive(Clone, Copy, Debug)]
pub struct Consent {
    /// To all that the list holds.
    pub yes: bool,
    /// Even though tasks run, or may.
    pub force: bool,
}

/// systemd, where one has booted from this root.
type Bus = Option<Result<Systemd, SystemdError>>;

impl Boot {
    /// `prepare-image`: lists what must not be in an image of this instance, or removes it.
    pub async fn prepare_image(self, consent: Consent) -> CommandOutput {
        match Box::pin(self.clean(consent)).await {
            Ok(mut cleanup) => {
                let obstacles = documents(std::mem::take(&mut cleanup.obstacles));
                let stdout = match self.json {
                    true => as_json(&cleanup_json(&cleanup, &obstacles, consent.yes)),
                    false => cleanup_text(&cleanup, &obstacles, consent.yes),
                };
                CommandOutput { stdout, stderr: String::new(), exit: Exit::Done }
            }
            Err(stop) => self.stopped(stop),
        }
    }

    /// `reset-agent`: lists what setting the agent's saved state aside would do, or does it.
    pub async fn reset_agent(self, consent: Consent) -> CommandOutput {
        match Box::pin(self.reset(consent)).await {
            Ok((mut reset, started)) => {
                let obstacles = documents(std::mem::take(&mut reset.obstacles));
                let stdout = match self.json {
                    true => as_json(&reset_json(&reset, &obstacles, consent.yes, started)),
                    false => reset_text(&reset, &obstacles, consent.yes, started),
                };
                CommandOutput { stdout, stderr: String::new(), exit: Exit::Done }
            }
            Err(stop) => self.stopped(stop),
        }
    }

    async fn clean(&self, consent: Consent) -> Result<Cleanup, StageError> {
        let (limit, deadline) = self.limit()?;
        let (bus, _lock) = self.bus_and_lock(consent, limit, deadline).await?;
        let mut cleanup = decide::cleanup(self.leftovers(&bus, deadline).await, consent.force);
        if !consent.yes {
            return Ok(cleanup);
        }
        none_in_the_way(&mut cleanup.obstacles)?;
        if let (Some(unit), Some(Ok(systemd))) = (&cleanup.stop, &bus) {
            self.stop_agent(systemd, unit, deadline).await?;
            // In stopping it has written more. Its tasks were judged while it could tell them.
            let mut after = decide::cleanup(self.leftovers(&bus, deadline).await, true);
            none_in_the_way(&mut after.obstacles)?;
            if let Some(unit) = after.stop {
                return Err(StageError::UnitJob { unit, action: "stop", why: "it runs again".to_owned() });
            }
            (cleanup.remove, cleanup.ecs_config, cleanup.left) = (after.remove, after.ecs_config, after.left);
        }
        let left = apply::clean(&self.world.disk, &cleanup);
        let is_left = |removal: &&Removal| left.iter().any(|left| left.path == removal.path);
        let kept = cleanup.remove.iter().filter(is_left).count();
        tracing::info!(removed = cleanup.remove.len() - kept, left = left.len(), "cleaned the host for an image");
        match left.is_empty() {
            true => Ok(cleanup),
            false => Err(StageError::NotRemoved { left: left.into_iter().map(|left| left.why).collect() }),
        }
    }

    async fn reset(&self, consent: Consent) -> Result<(Reset, Option<bool>), StageError> {
        let (limit, deadline) = self.limit()?;
        let (bus, _lock) = self.bus_and_lock(consent, limit, deadline).await?;
        let mut reset = decide::reset(self.leftovers(&bus, deadline).await, SystemTime::now(), consent.force);
        if !consent.yes {
            return Ok((reset, None));
        }
        none_in_the_way(&mut reset.obstacles)?;
        if reset.is_empty() {
            return Ok((reset, None));
        }
        let disk = &self.world.disk;
        apply::note_reset(disk, &reset)?;
        let mut moved = Ok(());
        if let (Some(unit), Some(Ok(systemd))) = (&reset.stop, &bus) {
            moved = self.stop_agent(systemd, unit, deadline).await;
        }
        // Whatever did not work: an agent that ran before runs again, with the state that it had.
        let moved = moved.and_then(|()| apply::set_aside(disk, &reset));
        let started = match (&reset.start, &bus) {
            (Some(unit), Some(Ok(systemd))) => apply::start_agent(systemd, unit, deadline).await.map(Some),
            _ => Ok(None),
        };
        // Otherwise the note stays, and doing it again finishes it.
        let forgotten = if started.is_ok() { apply::forget_reset(disk) } else { Ok(()) };
        moved?;
        let started = started?;
        forgotten?;
        let to = reset.set_aside.as_ref().map(|set_aside| set_aside.to.as_str());
        tracing::info!(to, started, "set the agent's saved state aside");
        Ok((reset, started))
    }

    async fn stop_agent(&self, systemd: &Systemd, unit: &str, deadline: Deadline) -> Result<(), StageError> {
        let progress = Progress::new(self.watched);
        progress.say(&format!("stopping {unit}"));
        let stopped = apply::stop_agent(systemd, unit, deadline).await;
        progress.clear();
        stopped
    }

    /// `run.deadline`, which bounds these commands too.
    fn limit(&self) -> Result<(Duration, Deadline), StageError> {
        let limit = self.early()?.run_deadline.value;
        self.may_take(limit);
        Ok((limit, Deadline::after(limit)))
    }

    /// The bus of a system that has booted from this root, and the lock: whoever only looks takes none, and where nothing
    /// has booted, nobody could hold it.
    async fn bus_and_lock(
        &self,
        consent: Consent,
        limit: Duration,
        deadline: Deadline,
    ) -> Result<(Bus, Option<Lock>), StageError> {
        if !self.world.disk.is_booted() {
            return Ok((None, None));
        }
        let lock = if consent.yes { Some(self.lock(deadline, limit).await?) } else { None };
        Ok((Some(Systemd::connect(deadline.earliest(Deadline::after(BUS))).await), lock))
    }

    async fn leftovers(&self, bus: &Bus, deadline: Deadline) -> Leftovers {
        gather::leftovers(&self.world, bus.as_ref(), self.expected(), deadline).await
    }

    fn stopped(&self, stop: StageError) -> CommandOutput {
        tracing::debug!(error = error_chain(&stop), "stopped");
        let verdict = verify::stopped(stop);
        self.report(&document(&verdict, None, &[]), verdict.exit())
    }
}

/// The first obstacle ends it.
fn none_in_the_way(obstacles: &mut Vec<StageError>) -> Result<(), StageError> {
    if obstacles.is_empty() { Ok(()) } else { Err(obstacles.remove(0)) }
}

fn documents(obstacles: Vec<StageError>) -> Vec<Document> {
    obstacles.into_iter().map(|stop| document(&verify::stopped(stop), None, &[])).collect()
}
