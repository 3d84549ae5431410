//! `run`: all stages. Gather, decide and apply end within `run.deadline`; then the registration is verified, either
//! here or in `ecs-bootstrap-verify.service`.

use std::cell::Cell;
use std::time::Duration;

use super::handover::{self, IMAGES_UNIT, VERIFY_UNIT};
use super::output::{log_applied, log_warnings};
use super::phases::Phases;
use super::{CommandContext, VerifyPlace};
use crate::apply::{self, Applied};
use crate::boundary::disk::{Disk, DiskError};
use crate::boundary::systemd::{Systemd, SystemdError};
use crate::command_line::CommandOutput;
use crate::effects::Effects;
use crate::evidence::StageError;
use crate::exit::Exit;
use crate::host::pulls;
use crate::images::{PULLS, Pulls};
use crate::journal;
use crate::plan::{Expectation, Plan, cluster_name};
use crate::redaction::error_chain;
use crate::render::{Progress, VerdictDocument, VerdictState, document};
use crate::report::{self, SignalClient, with_heartbeats};
use crate::retry::{Deadline, within};
use crate::settings::warning;
use crate::verdict::Verdict;
use crate::verify;

/// How long after `run.deadline` a stage may still return its own error, which is more precise than "time is over".
const ERROR_GRACE: Duration = Duration::from_millis(500);

/// What follows after apply.
enum AfterApply {
    /// This process verifies the registration.
    Verify { plan: Box<Plan>, applied: Applied, systemd: Result<Systemd, SystemdError> },
    /// Nothing: the verify unit continues, or the instance is known to be ready. The document is already reported.
    End(Box<VerdictDocument>),
}

impl CommandContext {
    /// `run`: configures the instance, and verifies the registration as `wait` says.
    pub async fn run(self, wait: VerifyPlace) -> CommandOutput {
        let mut phases = Phases::new(self.start);
        let output = Box::pin(self.run_and_report(wait, &mut phases)).await;
        self.store_record("run", &phases, output.exit);
        output
    }

    async fn run_and_report(&self, wait: VerifyPlace, phases: &mut Phases) -> CommandOutput {
        let progress = Progress::new(self.shows_progress);
        let cluster;
        let mut signal_client = None;
        let verdict = match Box::pin(self.configure(wait, phases, &progress)).await {
            Ok(AfterApply::Verify { plan, applied, systemd }) => {
                cluster = plan.expectation.cluster.clone();
                let queued_jobs = verify::QueuedJobs { queued: applied.effects.jobs, jobs: applied.jobs };
                signal_client = SignalClient::new(&self.host_clients, &plan.expectation, self.signal_deadline()).await;
                let verdict = self.verify_registration(plan.expectation, queued_jobs, &systemd, phases, &progress);
                with_heartbeats(signal_client.as_ref(), verdict).await
            }
            Ok(AfterApply::End(document)) => {
                progress.clear();
                return self.verdict_output(&document, Exit::Done);
            }
            Err(error) => {
                cluster = None;
                verify::explained(&self.host_clients, error, &self.agent_unit()).await
            }
        };
        let mut document = document(&verdict, cluster.as_deref(), &phases.done);
        self.report_locally(&document, false);
        if signal_client.is_none() {
            signal_client = self.signal_client_after_error(&document).await;
        }
        self.signal(signal_client.as_ref(), &mut document).await;
        progress.clear();
        self.verdict_output(&document, verdict.exit())
    }

    /// Gather, decide and apply, within `run.deadline`.
    async fn configure(
        &self,
        wait: VerifyPlace,
        phases: &mut Phases,
        progress: &Progress,
    ) -> Result<AfterApply, StageError> {
        let limit = self.early_settings()?.run_deadline.value;
        self.set_deadline_after(limit);
        let activity = Activity { progress, text: Cell::new(super::WAITING_FOR_LOCK) };
        let stages = async {
            let _lock = self.lock(Deadline::after(limit), limit).await?;
            let (plan, applied, systemd) = self.apply_plan(phases, &activity).await?;
            self.continue_after_apply(wait, plan, applied, systemd, phases).await
        };
        within(Deadline::after(limit + ERROR_GRACE), stages)
            .await
            .unwrap_or_else(|_| Err(StageError::RunDeadlineExceeded { doing: activity.text.get(), deadline: limit }))
    }

    /// Makes a plan, writes `ecs.config` and queues the jobs.
    async fn apply_plan(
        &self,
        phases: &mut Phases,
        activity: &Activity<'_>,
    ) -> Result<(Plan, Applied, Result<Systemd, SystemdError>), StageError> {
        activity.set("reading instance metadata, tags and the host");
        let mut begun;
        let mut attempt = 1;
        let (plan, gathered, config_written) = loop {
            let (plan, gathered) = self.make_plan(phases, false).await?;
            begun = phases.begin();
            match apply::write(&self.host_clients, &plan) {
                // User data wrote to the file after gather had read it, so the plan must be made from the new content.
                Err(StageError::Write(DiskError::Changed { .. })) if attempt < super::MAX_WRITE_ATTEMPTS => {
                    attempt += 1
                }
                written => break (plan, gathered, written?),
            }
        };
        log_warnings(&plan);
        let wanted = plan.expectation.waits_for_images().map(|ready| &ready.images);
        if wanted.is_some_and(|images| images.holds_registration) {
            // Before the start of the agent is queued, so that it waits for the images.
            handover::store(&self.host_clients.disk, &plan, &phases.done)?;
            self.start_images(&plan, gathered.systemd.as_ref()).await;
        }
        activity.set("queueing docker and the agent");
        let mut applied = Applied::default();
        applied.effects.config_written = config_written;
        let systemd = gathered.systemd;
        let queued = apply::queue(&self.host_clients.disk, &systemd, &plan, &mut applied).await;
        phases.end("apply", begun);
        // Also if the jobs were refused: guard needs the plan at each start of the agent.
        handover::store(&self.host_clients.disk, &plan, &phases.done)?;
        queued?;
        // After the plan is stored, because guard needs it when the agent starts.
        if let Err(error) = apply::release(&systemd, &plan, &mut applied).await {
            tracing::warn!(error = error_chain(&error), "early start failed; the agent waits for user data");
        }
        log_applied(&plan, &applied);
        match wanted {
            Some(images) if !images.holds_registration => self.start_images(&plan, systemd.as_ref()).await,
            Some(_) => {}
            None => self.stop_images(systemd.as_ref()).await,
        }
        if plan.expectation.watch.is_some() || plan.expectation.follow.is_some() {
            let started = handover::start_watch(&self.host_clients, systemd.as_ref(), self.program.as_deref()).await;
            if let Err(error) = started {
                tracing::warn!(
                    error = error_chain(&error),
                    "the agent is not watched, and no attribute follows a tag: the timer was not started"
                );
            }
        }
        if plan.expectation.drain.is_some() {
            let started = handover::start_drain(&self.host_clients, systemd.as_ref(), self.program.as_deref()).await;
            if let Err(error) = started {
                tracing::warn!(
                    error = error_chain(&error),
                    "the instance is not drained before it ends: the unit was not started"
                );
            }
        }
        Ok((plan, applied, systemd))
    }

    /// Starts the unit that pulls images, unless all are present. If that fails, the verification reports it.
    async fn start_images(&self, plan: &Plan, systemd: Result<&Systemd, &SystemdError>) {
        let disk = &self.host_clients.disk;
        let known = pulls(disk);
        if has_images(&plan.expectation, known.as_ref()) {
            return;
        }
        let wanted = plan.expectation.waits_for_images().map(|ready| &ready.images);
        // Pulls that run for the same images go on. All others are begun anew: their end says nothing about these.
        let goes_on = known.as_ref().is_some_and(|pulls| !pulls.has_ended && Some(&pulls.wanted) == wanted);
        let begins_anew = known.is_some() && !goes_on;
        if begins_anew {
            forget_pulls(disk);
        }
        let program = self.program.as_deref();
        let started = handover::start_images(&self.host_clients, systemd, program, begins_anew).await;
        if let Err(error) = started {
            tracing::warn!(error = error_chain(&error), "the images are not pulled: the unit was not started");
        }
    }

    /// Ends pulls of settings that were removed: the agent may wait for them.
    async fn stop_images(&self, systemd: Result<&Systemd, &SystemdError>) {
        let disk = &self.host_clients.disk;
        let Some(pulls) = pulls(disk) else { return };
        forget_pulls(disk);
        if let (false, Ok(systemd)) = (pulls.has_ended, systemd)
            && let Err(error) = systemd.stop(IMAGES_UNIT).await
        {
            tracing::warn!(error = error_chain(&error), "the unit that pulls images was not stopped");
        }
    }

    /// Leaves the verification to its unit if it could not end here, or if `wait` asks for that.
    async fn continue_after_apply(
        &self,
        wait: VerifyPlace,
        plan: Plan,
        applied: Applied,
        systemd: Result<Systemd, SystemdError>,
        phases: &Phases,
    ) -> Result<AfterApply, StageError> {
        let is_undecided = plan.cluster.is_none();
        let blocking_unit = match (&systemd, wait) {
            // Without systemd it is not known whether the agent's start waits for this process.
            (Err(error), VerifyPlace::Here) => return Err(StageError::Systemd(error.clone())),
            (Ok(systemd), VerifyPlace::Here | VerifyPlace::HereIfPossible) if !is_undecided => {
                handover::blocking_unit(systemd, &plan, &applied.effects.jobs).await
            }
            _ => None,
        };
        if let (Some(unit), VerifyPlace::Here) = (&blocking_unit, wait) {
            return Err(StageError::Blocked { unit: unit.clone() });
        }
        if !is_undecided && blocking_unit.is_none() && wait != VerifyPlace::InVerifyUnit {
            return Ok(AfterApply::Verify { plan: Box::new(plan), applied, systemd });
        }
        if let Some(ready) = self.still_ready(&plan, &applied) {
            return Ok(AfterApply::End(Box::new(ready)));
        }
        let text = if is_undecided {
            format!("no cluster is named yet; {VERIFY_UNIT} waits for user data, which may name one")
        } else {
            format!("configured; {VERIFY_UNIT} verifies the registration")
        };
        let verdict = Verdict::Waiting { text, finding: None, container_instance_arn: None };
        let document = document(&verdict, plan.expectation.cluster.as_deref(), &phases.done);
        // Before the start of the unit, because its verdict must be the last one that is stored.
        self.report_locally(&document, true);
        handover::start(&self.host_clients, systemd.as_ref(), self.program.as_deref()).await?;
        Ok(AfterApply::End(Box::new(document)))
    }

    /// The stored verdict, if the instance was ready in the same cluster and this run changed nothing. Then there is
    /// nothing to verify.
    fn still_ready(&self, plan: &Plan, applied: &Applied) -> Option<VerdictDocument> {
        let disk = &self.host_clients.disk;
        let waits_for_images = plan.expectation.waits_for_images().is_some();
        let lacks_images = waits_for_images && !has_images(&plan.expectation, pulls(disk).as_ref());
        if applied.effects != Effects::default() || lacks_images {
            return None;
        }
        let stored = report::stored_or_log(disk)?;
        let is_noted = stored.notes.iter().any(|note| note.id == warning::REGISTRY_AUTH_NOT_READ.id);
        if is_noted != plan.expectation.registry_auth_error.is_some() {
            return None;
        }
        let name = |cluster: &Option<String>| cluster.as_deref().map(|text| cluster_name(text).to_owned());
        let is_same_cluster = name(&stored.cluster) == name(&plan.expectation.cluster);
        (stored.verdict == VerdictState::Ready && is_same_cluster).then_some(stored)
    }
}

/// Removes the state of earlier pulls.
fn forget_pulls(disk: &Disk) {
    if let Err(error) = disk.remove(PULLS) {
        tracing::debug!(error = error_chain(&error), "state of earlier pulls not removed");
    }
}

/// Whether docker has the images that are expected, if any are.
fn has_images(expectation: &Expectation, pulls: Option<&Pulls>) -> bool {
    let Some(ready) = expectation.waits_for_images() else { return true };
    pulls.is_some_and(|pulls| pulls.wanted == ready.images && pulls.is_complete())
}

/// What `run` is doing, for the progress line, `STATUS=`, and the error when time runs out.
struct Activity<'p> {
    progress: &'p Progress,
    text: Cell<&'static str>,
}

impl Activity<'_> {
    fn set(&self, text: &'static str) {
        self.text.set(text);
        self.progress.say(text);
        journal::status(text);
    }
}
