//! `watch`: one check of an instance whose verification has ended. `ecs-bootstrap-watch.timer` runs it every 20 s. After
//! that, attributes follow the tags (`follow_tags`).
//!
//! In: what the last run expects, the stored verdict, and the state of the checks before. Out: the new state, and if a fault has
//! lasted for `watch.window`, a new verdict, which is reported like that of `verify`. A fault that becomes due before the next
//! check is waited for.

use std::time::{Duration, SystemTime};

use serde_json::json;

use super::handover::{self, WATCH_TIMER};
use super::verify_died::is_left_to_verify_unit;
use super::{BUS_TIMEOUT, CommandContext, LOCK_FILE_OF_WATCH};
use crate::boundary::aws::{AwsError, ContainerInstance};
use crate::boundary::disk::{DiskError, Mode};
use crate::boundary::systemd::{Systemd, SystemdError};
use crate::command_line::CommandOutput;
use crate::evidence::{StageError, Watched};
use crate::exit::Exit;
use crate::host::drain;
use crate::plan::{Expectation, WatchRules};
use crate::redaction::{self, error_chain};
use crate::render::{
    SignalOutcome, SignalTarget, VerdictDocument, VerdictState, as_json, document, verdict_text, watch_json, watch_text,
};
use crate::report::{self, SignalClient};
use crate::retry::{Deadline, fraction, pause_for};
use crate::verdict::Verdict;
use crate::watch::{BETWEEN_CALLS, Fault, Reported, Seen, State, Step, seconds, time};
use crate::{journal, verify};

const STATE: &str = "/run/ecs-bootstrap/watch.json";
/// The time between two checks (`OnUnitInactiveSec=` of the timer), and a margin.
const NEXT_CHECK: u64 = 25;
/// The most steps of a check. It waits at most once, and asks ECS at most once.
const MAX_STEPS: usize = 6;
/// The limit for a check: the wait, the probes, and the signals.
const LIMIT: Duration = Duration::from_secs(90);
/// The limit for what lets attributes follow the tags, after the check.
const FOLLOW_LIMIT: Duration = Duration::from_secs(30);
/// The limit for the signals of a report.
const SIGNALS: Duration = Duration::from_secs(30);
/// The cause that a restart of the agent removes.
const STUCK: &str = "agent-stuck";

/// The answer of ECS in this check, if ECS was asked.
type Described = Option<Result<Option<ContainerInstance>, AwsError>>;

impl CommandContext {
    /// `watch`: checks the agent once, and reports a fault that has lasted for the window.
    pub async fn watch(self) -> CommandOutput {
        self.set_deadline_after(LIMIT);
        match Box::pin(self.check()).await {
            Ok(output) => output,
            Err(error) => CommandOutput::error(Exit::Host, &error_chain(&error)),
        }
    }

    async fn check(&self) -> Result<CommandOutput, StageError> {
        let disk = &self.host_clients.disk;
        let expectation = handover::read(disk).map_err(StageError::ReadHandover)?.map(|stored| stored.expectation);
        let Some(expectation) = expectation else {
            return Ok(self.not_checked("waiting", "ecs-bootstrap has not run in this boot"));
        };
        if expectation.watch.is_none() && expectation.follow.is_none() {
            self.stop_timer().await;
            return Ok(self.not_checked("off", "`watch.enable` is off"));
        }
        let _lock = match disk.lock(LOCK_FILE_OF_WATCH) {
            Ok(lock) => lock,
            Err(DiskError::Busy { .. }) => return Ok(self.not_checked("busy", "another check runs")),
            Err(error) => return Err(StageError::Write(error)),
        };
        let output = match &expectation.watch {
            Some(rules) => Some(self.check_agent(&expectation, rules.clone()).await),
            None => None,
        };
        let Some(rules) = &expectation.follow else { return Ok(output.expect("one of both is on")) };
        self.set_deadline_after(FOLLOW_LIMIT);
        let followed = self.follow_tags(&expectation, rules).await;
        Ok(output.unwrap_or_else(|| self.not_checked("off", &format!("`watch.enable` is off; {followed}"))))
    }

    /// Checks the agent.
    async fn check_agent(&self, expectation: &Expectation, rules: WatchRules) -> CommandOutput {
        let Some(stored) = self.final_verdict() else {
            return self.not_checked("waiting", "the verification has not ended");
        };
        if expectation.drain.is_some() && drain(&self.host_clients.disk).is_some_and(|drain| drain.is_ending()) {
            return self.not_checked("ending", "the instance is about to end");
        }
        let state = self.stored_state().unwrap_or_else(|| State::new(seconds(SystemTime::now()), fraction()));
        let seen = Seen::default();
        let expectation = expectation.clone();
        let mut watch = Watch { context: self, expectation, rules, stored, state, seen, described: None };
        let outcome = Box::pin(watch.steps()).await;
        watch.send_again().await;
        watch.store();
        let (state, window) = (&watch.state, watch.rules.window);
        let stdout = if self.json {
            as_json(&redaction::json(watch_json(outcome, state, window)))
        } else {
            watch_text(outcome, state, window)
        };
        CommandOutput { stdout, stderr: String::new(), exit: Exit::Done }
    }

    /// The stored verdict, if nothing is verified any more. A verification can also end while the instance waits, in a warm
    /// pool.
    fn final_verdict(&self) -> Option<VerdictDocument> {
        report::stored_or_log(&self.host_clients.disk).filter(|stored| !is_left_to_verify_unit(stored))
    }

    fn stored_state(&self) -> Option<State> {
        let stored = self.host_clients.disk.read(STATE, crate::host::MAX_FILE_LENGTH);
        let stored = stored.inspect_err(|error| tracing::debug!(%error, "state of the watch not read")).ok().flatten();
        let state = serde_json::from_slice(&stored?);
        state
            .inspect_err(|error| tracing::debug!(error = redaction::json_error(error), "state of the watch not parsed"))
            .ok()
    }

    /// A run without `watch.enable` has followed one with it.
    async fn stop_timer(&self) {
        let stop = async {
            let systemd = Systemd::connect(Deadline::after(BUS_TIMEOUT)).await?;
            systemd.stop(WATCH_TIMER).await.map(drop)
        };
        match stop.await {
            Ok(()) | Err(SystemdError::NoSuchUnit { .. }) => {}
            Err(error) => tracing::debug!(%error, "timer of the watch not stopped"),
        }
    }

    /// The output if nothing was checked.
    fn not_checked(&self, outcome: &str, reason: &str) -> CommandOutput {
        let stdout = if self.json {
            as_json(&json!({"version": 1, "outcome": outcome, "reason": reason}))
        } else {
            format!("{reason}\n")
        };
        CommandOutput { stdout, stderr: String::new(), exit: Exit::Done }
    }
}

/// One check.
struct Watch<'c> {
    context: &'c CommandContext,
    expectation: Expectation,
    rules: WatchRules,
    /// The verdict that is in force.
    stored: VerdictDocument,
    state: State,
    /// What was last seen on this host.
    seen: Seen,
    described: Described,
}

impl Watch<'_> {
    /// Takes the steps of the check. Returns the outcome in one word.
    async fn steps(&mut self) -> &'static str {
        // Another verification has replaced the report: it has other phases.
        let is_replaced = |reported: &Reported| {
            self.stored.cause.as_ref().is_none_or(|cause| cause.id != reported.cause)
                || reported.before["phases"] != json!(self.stored.phases)
        };
        if self.state.reported.as_ref().is_some_and(is_replaced) {
            self.state.forget_report();
        }
        let window = self.rules.window.as_secs();
        let mut now = self.look().await;
        if self.stored.verdict == VerdictState::Waiting && self.seen.arn.is_none() {
            return "waiting";
        }
        for _ in 0..MAX_STEPS {
            match self.state.step(now, window) {
                Step::End if self.state.reported.is_some() => return "reported",
                Step::End => return "healthy",
                Step::WaitUntil(due) if due > now.saturating_add(NEXT_CHECK) => return "suspected",
                Step::WaitUntil(due) => {
                    pause_for(Duration::from_secs(due.saturating_sub(now))).await;
                    now = self.look().await.max(due);
                }
                Step::AskEcs => self.ask(now).await,
                Step::Report => return self.report(now).await,
                Step::Recovered => {
                    self.recover(now).await;
                    return "recovered";
                }
            }
        }
        "suspected"
    }

    /// Stores the state. Returns whether that succeeded. A check that cannot store it still reports.
    fn store(&self) -> bool {
        let bytes = as_json(&self.state).into_bytes();
        let stored = self.context.host_clients.disk.replace_without_sync(STATE, &bytes, Mode::Exactly(0o600));
        stored.inspect_err(|error| tracing::warn!(error = error_chain(error), "state of the watch not stored")).is_ok()
    }

    /// Adds what this host shows now. Returns the time.
    async fn look(&mut self) -> u64 {
        self.seen = verify::seen(&self.context.host_clients, &self.expectation).await;
        self.state.note(&self.seen);
        self.seen.at
    }

    /// Asks ECS about the container instance. That it was asked is stored first, so that nothing leads to a second call.
    async fn ask(&mut self, now: u64) {
        self.state.note_answer(now, None, false, fraction());
        let is_stored = self.store();
        let Some(arn) = self.seen.arn.as_deref().filter(|_| is_stored) else { return };
        self.described = verify::describe(&self.context.host_clients, &self.expectation, arn).await;
        let answer = match &self.described {
            Some(Ok(described)) => Some(verify::answer(now, described.as_ref())),
            _ => None,
        };
        let is_denied = matches!(&self.described, Some(Err(error)) if error.is_denied());
        if let Some(Err(error)) = &self.described {
            tracing::debug!(error = error_chain(error), "ECS did not answer about the container instance");
        }
        self.state.note_answer(now, answer, is_denied, fraction());
        self.state.note(&Seen { at: now, ..self.seen.clone() });
    }

    /// Finds the cause, and reports it if it is not the one that was reported.
    async fn report(&mut self, now: u64) -> &'static str {
        let systemd = Systemd::connect(Deadline::after(BUS_TIMEOUT)).await;
        let faults = self.state.due(now, self.rules.window.as_secs());
        let verdict = self.examine(&systemd, &faults).await;
        if !self.is_in_force(&self.stored) {
            // Another command has stored a verdict meanwhile. The next check continues from that.
            return "suspected";
        }
        let mut document = document(&verdict, self.stored.cluster.as_deref(), &self.stored.phases);
        if faults.contains(&Fault::Disconnected) {
            document.agent_connected = Some(false);
        }
        let cause = document.cause.as_ref().map_or_else(String::new, |cause| cause.id.clone());
        let earlier = self.state.reported.take();
        let is_known = earlier.as_ref().is_some_and(|earlier| earlier.cause == cause);
        let at = earlier.as_ref().filter(|_| is_known).map_or(now, |earlier| earlier.at);
        let before = earlier.map_or_else(|| json!(self.stored), |earlier| earlier.before);
        self.state.reported = Some(Reported { cause: cause.clone(), faults, at, examined_at: now, before });
        let restarts = cause == STUCK && self.rules.restarts_agent && self.state.restarted_at.is_none();
        self.state.restarted_at = self.state.restarted_at.or(restarts.then_some(now));
        if !is_known {
            self.state.unsent_tags = self.expectation.signal.tags_prefix.is_some();
            self.state.unsent_metric = self.expectation.signal.cloudwatch.then(|| cause.clone());
        }
        // Without a record of it, the agent would be restarted at each check.
        let restarts = self.store() && restarts;
        if !is_known {
            self.context.report_locally(&document, false);
            // The unit does not keep the lines of stdout, which each check prints.
            verdict_text(&document).lines().for_each(|line| tracing::warn!("{line}"));
            self.signal(&mut document, now).await;
        }
        if restarts {
            self.restart_agent(&systemd).await;
        }
        "reported"
    }

    /// The verdict about faults that have lasted for the window.
    async fn examine(&mut self, systemd: &Result<Systemd, SystemdError>, faults: &[Fault]) -> Verdict {
        let since = |fault| self.state.faults.get(&fault).copied().map(time);
        let watched = Watched {
            disconnected_since: since(Fault::Disconnected).or(since(Fault::Inactive)),
            inactive_since: since(Fault::Inactive),
            starts: self.state.starts().iter().copied().map(time).collect(),
            drops: faults.contains(&Fault::Drops),
        };
        // If the log shows that the connection is lost, an answer that ECS reports it is an old one.
        let is_old = |answer: &Result<Option<ContainerInstance>, AwsError>| {
            let is_connected = matches!(answer, Ok(Some(described)) if described.agent_connected);
            is_connected && faults.contains(&Fault::Disconnected)
        };
        let described = self.described.take().filter(|answer| !is_old(answer));
        let asked = verify::Asked { described, acs: self.state.acs.clone(), watched };
        let (host_clients, expectation) = (&self.context.host_clients, self.expectation.clone());
        let examined = verify::examine_watched(host_clients, systemd, expectation, asked);
        verify::verdict_of(&Box::pin(examined).await)
    }

    /// Restarts an agent that is stuck.
    async fn restart_agent(&self, systemd: &Result<Systemd, SystemdError>) {
        let unit = self.expectation.agent_unit.as_str();
        let restarted = match systemd {
            Ok(systemd) => systemd.restart(unit).await.map(drop),
            Err(error) => Err(error.clone()),
        };
        match restarted {
            Ok(()) => tracing::warn!(unit, "the agent is stuck; its unit is restarted, once in this boot"),
            Err(error) => {
                tracing::warn!(unit, error = error_chain(&error), "the agent is stuck, and was not restarted")
            }
        }
    }

    /// The fault is over: the verdict before it holds again, also that of a failed verification.
    async fn recover(&mut self, now: u64) {
        let Some(reported) = self.state.reported.clone() else { return };
        tracing::info!(
            priority = 5,
            message_id = journal::MESSAGE_ID_RECOVERED,
            cause = reported.cause,
            "the fault that `watch` reported is over"
        );
        self.state.unsent_tags = self.expectation.signal.tags_prefix.is_some();
        let before = serde_json::from_value::<VerdictDocument>(reported.before).ok();
        let mut before = before.filter(|_| self.is_in_force(&self.stored));
        if let Some(document) = &mut before {
            document.signals.clear();
            if let (Some(arn), Some(old)) = (&self.seen.arn, &document.container_instance_arn) {
                // It can have registered anew.
                document.text = document.text.replace(old, arn);
                document.container_instance_arn = Some(arn.clone());
            }
            self.context.report_locally(document, false);
        }
        self.state.forget_report();
        self.store();
        if let Some(mut document) = before {
            self.signal(&mut document, now).await;
        }
    }

    /// Sends what was not accepted yet: the verdict to the tags of the instance, and a fault to CloudWatch. The other targets wait for a
    /// launch, which is over.
    async fn signal(&mut self, document: &mut VerdictDocument, now: u64) {
        let deadline = Deadline::after(SIGNALS);
        let client = SignalClient::new(&self.context.host_clients, &self.expectation, deadline).await;
        let Some(client) = client else { return };
        self.state.sends_at = now.saturating_add(BETWEEN_CALLS);
        let (tags, metric) = (self.state.unsent_tags, self.state.unsent_metric.clone());
        let sent = Box::pin(client.send_watched(document, tags, metric.as_deref(), deadline)).await;
        for signal in sent.iter().filter(|signal| signal.outcome != SignalOutcome::Failed) {
            match signal.to {
                SignalTarget::InstanceTags => self.state.unsent_tags = false,
                _ => self.state.unsent_metric = None,
            }
        }
        document.signals.retain(|old| !sent.iter().any(|new| new.to == old.to));
        document.signals.extend(sent);
        if !document.signals.is_empty() && self.is_in_force(document) {
            report::store_signals(&self.context.host_clients.disk, document);
            self.stored = document.clone();
        }
    }

    /// Whether no other command has stored a verdict since this one. Each verification has other phases.
    fn is_in_force(&self, document: &VerdictDocument) -> bool {
        let id = |document: &VerdictDocument| document.cause.as_ref().map(|cause| cause.id.clone());
        let stored = report::stored_or_log(&self.context.host_clients.disk);
        stored.is_some_and(|stored| {
            stored.verdict == document.verdict && id(&stored) == id(document) && stored.phases == document.phases
        })
    }

    /// Sends again what was not accepted: a cut connection usually cuts the signals too.
    async fn send_again(&mut self) {
        let now = seconds(SystemTime::now());
        let is_unsent = self.state.unsent_tags || self.state.unsent_metric.is_some();
        if is_unsent && now >= self.state.sends_at {
            let mut document = self.stored.clone();
            self.signal(&mut document, now).await;
        }
    }
}
