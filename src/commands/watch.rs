//! `watch`: one check of an instance whose verification has ended. `ecs-bootstrap-watch.timer` runs it every 20 s.
//!
//! In: what the last run expects, the stored verdict, and the state of the checks before. Out: the new state, and if a fault has
//! lasted for `watch.window`, a new verdict, which is reported like that of `verify`. A fault that becomes due before the next
//! check is waited for.

use std::time::{Duration, SystemTime};

use serde_json::json;

use super::handover::{self, WATCH_TIMER};
use super::{BUS_TIMEOUT, CommandContext, LOCK_FILE_OF_WATCH};
use crate::boundary::aws::{AwsError, AwsErrorKind, ContainerInstance};
use crate::boundary::disk::{DiskError, Mode};
use crate::boundary::systemd::{Systemd, SystemdError};
use crate::command_line::CommandOutput;
use crate::evidence::{StageError, Watched};
use crate::exit::Exit;
use crate::plan::{Expectation, WatchRules};
use crate::redaction::{self, error_chain};
use crate::render::{VerdictDocument, VerdictState, as_json, document, watch_text};
use crate::report::{self, SignalClient};
use crate::retry::{Deadline, fraction, pause_for};
use crate::watch::{Fault, Reported, Seen, State, Step, seconds, time};
use crate::{journal, verify};

const STATE: &str = "/run/ecs-bootstrap/watch.json";
/// The time between two checks (`OnUnitInactiveSec=` of the timer), and a margin.
const NEXT_CHECK: u64 = 25;
/// The most steps of a check. It waits at most once, and asks ECS at most once.
const MAX_STEPS: usize = 6;
/// The limit for a check: the wait, the probes, and the signals.
const LIMIT: Duration = Duration::from_secs(90);
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
        let Some(expectation) = expectation else { return Ok(self.said("ecs-bootstrap has not run in this boot")) };
        let Some(rules) = expectation.watch.clone() else {
            self.stop_timer().await;
            return Ok(self.said("`watch.enable` is off"));
        };
        let is_final = |stored: &VerdictDocument| !matches!(stored.verdict, VerdictState::Waiting | VerdictState::None);
        let Some(stored) = report::stored_or_log(disk).filter(is_final) else {
            return Ok(self.said("the verification has not ended"));
        };
        let _lock = match disk.lock(LOCK_FILE_OF_WATCH) {
            Ok(lock) => lock,
            Err(DiskError::Busy { .. }) => return Ok(self.said("another check runs")),
            Err(error) => return Err(StageError::Write(error)),
        };
        let before = self.stored_state();
        let mut state = before.clone().unwrap_or_else(|| State::new(seconds(SystemTime::now()), fraction()));
        // Another command has replaced the report.
        let is_replaced = |reported: &Reported| stored.cause.as_ref().is_none_or(|cause| cause.id != reported.cause);
        if state.reported.as_ref().is_some_and(is_replaced) {
            state.forget_report();
        }
        let mut watch = Watch { context: self, expectation, rules, stored, described: None };
        let outcome = watch.steps(&mut state).await;
        if before.as_ref() != Some(&state) {
            disk.replace_without_sync(STATE, as_json(&state).as_bytes(), Mode::Exactly(0o600))
                .map_err(StageError::Write)?;
        }
        let outcome = outcome?;
        let window = watch.rules.window;
        let stdout = if self.json {
            as_json(&redaction::json(
                json!({"version": 1, "outcome": outcome, "faults": state.faults, "ecs": state.answer}),
            ))
        } else {
            watch_text(outcome, &state, window)
        };
        Ok(CommandOutput { stdout, stderr: String::new(), exit: Exit::Done })
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

    fn said(&self, text: &str) -> CommandOutput {
        let stdout = if self.json {
            as_json(&json!({"version": 1, "outcome": "off", "reason": text}))
        } else {
            format!("{text}\n")
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
    described: Described,
}

impl Watch<'_> {
    /// Takes the steps of the check. Returns the outcome in one word.
    async fn steps(&mut self, state: &mut State) -> Result<&'static str, StageError> {
        let window = self.rules.window.as_secs();
        let mut now = self.look(state).await;
        for _ in 0..MAX_STEPS {
            match state.step(now, window) {
                Step::End if state.reported.is_some() => return Ok("reported"),
                Step::End => return Ok("healthy"),
                Step::WaitUntil(due) if due > now + NEXT_CHECK => return Ok("suspected"),
                Step::WaitUntil(due) => {
                    pause_for(Duration::from_secs(due.saturating_sub(now))).await;
                    now = self.look(state).await.max(due);
                }
                Step::AskEcs => self.ask(state, now).await,
                Step::Report => {
                    self.report(state, now).await;
                    return Ok("reported");
                }
                Step::Recovered => {
                    self.recover(state).await;
                    return Ok("recovered");
                }
            }
        }
        Ok("suspected")
    }

    /// Adds what this host shows now. Returns the time.
    async fn look(&self, state: &mut State) -> u64 {
        let seen: Seen = verify::seen(&self.context.host_clients, &self.expectation).await;
        state.note(&seen);
        seen.at
    }

    /// Asks ECS about the container instance.
    async fn ask(&mut self, state: &mut State, now: u64) {
        let seen: Seen = verify::seen(&self.context.host_clients, &self.expectation).await;
        let described = match seen.arn.as_deref() {
            Some(arn) => verify::describe(&self.context.host_clients, &self.expectation, arn).await,
            None => None,
        };
        let answer = match &described {
            Some(Ok(described)) => Some(verify::answer(now, described.as_ref())),
            _ => None,
        };
        let is_denied = matches!(&described, Some(Err(error)) if matches!(error.kind, AwsErrorKind::Denied { .. }));
        if let Some(Err(error)) = &described {
            tracing::debug!(error = error_chain(error), "ECS did not answer about the container instance");
        }
        state.note_answer(now, answer, is_denied, fraction());
        state.note(&Seen { at: now, ..seen });
        self.described = described;
    }

    /// Finds the cause, and reports it if it is not the one that was reported.
    async fn report(&mut self, state: &mut State, now: u64) {
        let systemd = Systemd::connect(Deadline::after(BUS_TIMEOUT)).await;
        let faults = state.due(now, self.rules.window.as_secs());
        let since = |fault| state.faults.get(&fault).copied().map(time);
        let watched = Watched {
            disconnected_since: since(Fault::Disconnected).or(since(Fault::Inactive)),
            starts: state.starts().iter().copied().map(time).collect(),
            drops: faults.contains(&Fault::Drops),
        };
        let (host_clients, expectation) = (&self.context.host_clients, self.expectation.clone());
        let examined = verify::examine_watched(host_clients, &systemd, expectation, self.described.take(), watched);
        let verdict = verify::verdict_of_fault(&Box::pin(examined).await);
        let mut document = document(&verdict, self.stored.cluster.as_deref(), &self.stored.phases);
        let cause = document.cause.as_ref().map_or_else(String::new, |cause| cause.id.clone());
        let reported = state.reported.as_ref();
        let is_known = reported.is_some_and(|reported| reported.cause == cause)
            || (reported.is_none() && self.stored.cause.as_ref().is_some_and(|stored| stored.id == cause));
        let before = match reported {
            Some(reported) => reported.before.clone(),
            None => json!(self.stored),
        };
        state.reported = Some(Reported { cause: cause.clone(), faults, at: now, before });
        if is_known {
            return;
        }
        self.context.report_locally(&document, false);
        self.signal(&mut document).await;
        if cause == STUCK && self.rules.restarts_agent && state.restarted_at.is_none() {
            state.restarted_at = Some(now);
            self.restart_agent(&systemd).await;
        }
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

    /// The verdict before the report holds again. A failure of the verification does not end here, because `watch` does not check
    /// all that it checked.
    async fn recover(&self, state: &mut State) {
        let Some(reported) = state.forget_report() else { return };
        let before = serde_json::from_value::<VerdictDocument>(reported.before).ok();
        let Some(mut document) = before.filter(|before| before.verdict == VerdictState::Ready) else { return };
        document.signals.clear();
        self.context.report_locally(&document, false);
        tracing::info!(
            priority = 5,
            message_id = journal::MESSAGE_ID_RECOVERED,
            cause = reported.cause,
            "the fault that `watch` reported is over"
        );
        self.signal(&mut document).await;
    }

    /// Sends the verdict to the tags of the instance and to CloudWatch. The other targets wait for a launch, which is over.
    async fn signal(&self, document: &mut VerdictDocument) {
        let deadline = Deadline::after(SIGNALS);
        let client = SignalClient::new(&self.context.host_clients, &self.expectation, deadline).await;
        let Some(client) = client else { return };
        document.signals = Box::pin(client.send_watched(document, deadline)).await;
        if !document.signals.is_empty() {
            report::store_signals(&self.context.host_clients.disk, document);
        }
    }
}
