//! `verify`, and the verification that `run` does in its own process.
//!
//! In: what the last run of this boot expects, or without such a run, what a run would expect now. Out: one verdict,
//! which is reported and signalled. The configuration of the host is not changed.

use std::time::{Duration, SystemTime};

use super::phases::Phases;
use super::release::with_release;
use super::{BUS_TIMEOUT, CommandContext, handover};
use crate::boundary::systemd::{Systemd, SystemdError};
use crate::command_line::CommandOutput;
use crate::evidence::StageError;
use crate::exit::Exit;
use crate::facts;
use crate::journal;
use crate::plan::Expectation;
use crate::render::{Progress, VerdictDocument, VerdictState, document};
use crate::report::{self, SignalClient, with_heartbeats};
use crate::retry::Deadline;
use crate::settings::Rank;
use crate::settings::merge::merge;
use crate::verdict::Verdict;
use crate::verify;

impl CommandContext {
    /// `verify`: observes until there is a verdict.
    pub async fn verify(self) -> CommandOutput {
        journal::ready("reading what to verify");
        let mut phases = Phases::new(self.start);
        let output = Box::pin(self.verify_and_report(&mut phases)).await;
        self.store_record("verify", &phases, output.exit);
        output
    }

    async fn verify_and_report(&self, phases: &mut Phases) -> CommandOutput {
        let progress = Progress::new(self.shows_progress);
        let expectation = match self.expectation(phases).await {
            Ok(expectation) => expectation,
            Err(error) => {
                let verdict = verify::explained(&self.host_clients, error, &self.agent_unit()).await;
                let mut document = document(&verdict, None, &phases.done);
                self.report_locally(&document, false);
                self.signal(self.signal_client_after_error(&document).await.as_ref(), &mut document).await;
                return self.verdict_output(&document, verdict.exit());
            }
        };
        let cluster = expectation.cluster.clone();
        let systemd = Systemd::connect(Deadline::after(BUS_TIMEOUT)).await;
        let queued_jobs = verify::QueuedJobs::default();
        let signal_client = SignalClient::new(&self.host_clients, &expectation, self.signal_deadline()).await;
        let verdict = self.verify_registration(expectation, queued_jobs, &systemd, phases, &progress);
        let verdict = with_release(&self.host_clients.disk, &systemd, verdict);
        let verdict = with_heartbeats(signal_client.as_ref(), verdict).await;
        let mut document = match self.refusal_of_guard(&verdict) {
            // Guard has reported it.
            Some(document) => document,
            None => {
                let document = document(&verdict, cluster.as_deref(), &phases.done);
                self.report_locally(&document, false);
                document
            }
        };
        self.signal(signal_client.as_ref(), &mut document).await;
        progress.clear();
        let exit = Exit::from_code(document.exit_code).unwrap_or(Exit::Internal);
        self.verdict_output(&document, exit)
    }

    /// The stored failure of guard, if the verification found no cause: an agent that guard does not start cannot
    /// register.
    fn refusal_of_guard(&self, verdict: &Verdict) -> Option<VerdictDocument> {
        if !verdict.is_unknown() {
            return None;
        }
        let stored = report::stored_or_log(&self.host_clients.disk);
        // Guard has no phases. A verdict with phases is of an earlier verification, or of `watch`.
        stored.filter(|stored| stored.verdict == VerdictState::Failed && stored.phases.is_empty())
    }

    /// What to verify. If a run left that, its phases become the first phases of this command.
    pub(super) async fn expectation(&self, phases: &mut Phases) -> Result<Expectation, StageError> {
        let handover = handover::read(&self.host_clients.disk).map_err(StageError::ReadHandover)?;
        let Some(handover) = handover else {
            return Ok(self.make_plan(phases, false).await?.0.expectation);
        };
        let settings = merge(&self.early_fragments()?);
        phases.done = handover.phases;
        let mut expectation = handover.expectation;
        // A deadline on the command line of `verify` overrides that of the run.
        if settings.verify_deadline.source.rank > Rank::Config {
            expectation.deadline = settings.verify_deadline.value;
        }
        Ok(expectation)
    }

    /// The verify stage. Each thing that it waits for is shown, and each preliminary verdict is reported.
    pub(super) async fn verify_registration(
        &self,
        expectation: Expectation,
        queued_jobs: verify::QueuedJobs,
        systemd: &Result<Systemd, SystemdError>,
        phases: &mut Phases,
        progress: &Progress,
    ) -> Verdict {
        let begun = phases.begin();
        progress.say("waiting for the agent");
        let cluster = expectation.cluster.clone();
        let age = age(&expectation);
        let earlier_phases = phases.done.clone();
        let mut last_modified = handover::modified(&self.host_clients.disk);
        let callbacks = verify::ProgressCallbacks {
            on_waiting: &mut |waiting| {
                progress.say(&format!("waiting for {waiting}"));
                journal::status(&format!("waiting for {waiting}"));
            },
            on_interim: &mut |verdict| {
                self.report_locally(&document(verdict, cluster.as_deref(), &earlier_phases), false);
            },
            on_deadline: &|deadline| self.set_deadline(deadline),
            // A second run may leave another expectation while this one is verified.
            new_expectation: &mut || {
                let modified = handover::modified(&self.host_clients.disk);
                let is_changed = std::mem::replace(&mut last_modified, modified) != modified;
                if is_changed { self.last_expectation() } else { None }
            },
        };
        let verdict =
            Box::pin(verify::verdict(&self.host_clients, systemd, expectation, queued_jobs, age, callbacks)).await;
        phases.end("verify", begun);
        verdict
    }
}

/// Time since the launch of the instance.
fn age(expectation: &Expectation) -> Option<Duration> {
    facts::since(expectation.pending_time.as_deref()?, SystemTime::now())
}
