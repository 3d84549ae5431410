//! Watches a rollout until it ends, and shows service events, stages and stopped tasks as they appear.
//!
//! In: a deployment and a time limit. Out: how the rollout ended, and the evidence for the catalogue of causes. It
//! changes nothing. What counts as completed is decided in `stability.rs`, what counts as failed in `failure.rs`.

mod limit;
mod result;
mod stages;
mod tasks;

pub(crate) use result::{RolloutEnd, WatchResult};

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ecs_bootstrap::retry::{Deadline, Policy, pause_for, within};

use self::limit::{Stages, TimeLimit};
use crate::activity::Phase;
use crate::apply::StartedDeployment;
use crate::cause::FoundCause;
use crate::causes;
use crate::client::{ServiceClient, call_deadline, is_transient};
use crate::evidence::{Evidence, Message};
use crate::failure::{crash_loop, has_circuit_breaker, has_failed};
use crate::observe::parse_service;
use crate::progress::Progress;
use crate::revision::Revision;
use crate::service::{Deployment, Service, Task};
use crate::stability::{RolloutState, is_complete, judge, refine};

/// Between two polls. A rollout changes fast at first.
const POLICY: Policy = Policy { first: Duration::from_secs(1), longest: Duration::from_secs(6) };
/// How long to wait for ECS to start its own rollback, if it still runs a completed deployment. Its next step is
/// checked again before anything else is changed, so the time decides only how long the command waits.
const ROLLBACK_GRACE: Duration = Duration::from_secs(60);
/// The same, if no completed deployment runs that ECS could roll back to.
const SHORT_ROLLBACK_GRACE: Duration = Duration::from_secs(8);
/// A deployment whose tasks have all run for this long since the last one stopped has recovered.
const RECOVERY: Duration = Duration::from_secs(300);
/// How long the last evidence is read after the end of the rollout.
const EVIDENCE: Duration = Duration::from_secs(30);
/// The same, after the time limit.
const LATE_EVIDENCE: Duration = Duration::from_secs(5);

/// A rollout that is being watched.
pub(crate) struct Watch<'a> {
    client: &'a ServiceClient,
    deployment: Deployment,
    /// See [`judge`].
    expected_count: Option<i64>,
    progress: &'a mut Progress,
    evidence: Evidence,
    stopped: Vec<Task>,
    /// The ids of the events that were shown.
    shown_events: BTreeSet<String>,
    last: Option<Deployment>,
    /// Since when all tasks run, and how many had stopped until then.
    all_run_since: Option<(Instant, usize)>,
    stages: Stages,
    limit: TimeLimit,
    /// The deployment by which ECS rolls back.
    rolling_back: Option<Deployment>,
    /// Why ECS gave up, and until when its own rollback is awaited.
    gave_up: Option<(String, Deadline)>,
    /// The error of the last poll, if it failed.
    last_error: Option<FoundCause>,
    /// ECS was asked to roll back this deployment.
    is_undone: bool,
    /// Stopped tasks cannot be read. The warning is shown once.
    is_without_tasks: bool,
}

impl<'a> Watch<'a> {
    /// `timeout` is the time limit of a rollout without bake times. It counts from now.
    pub(crate) fn new(
        client: &'a ServiceClient,
        started: &StartedDeployment,
        timeout: Duration,
        progress: &'a mut Progress,
    ) -> Watch<'a> {
        progress.limit(timeout);
        Watch {
            client,
            deployment: started.deployment.clone(),
            expected_count: started.expected_count,
            progress,
            evidence: Evidence::default(),
            stopped: Vec::new(),
            shown_events: BTreeSet::new(),
            last: None,
            all_run_since: None,
            stages: Stages::default(),
            limit: TimeLimit::new(timeout),
            rolling_back: None,
            gave_up: None,
            last_error: None,
            is_undone: false,
            is_without_tasks: false,
        }
    }

    /// Lets the time limit count from an earlier time: it passes at this deadline.
    pub(crate) fn ending_at(mut self, deadline: Deadline) -> Watch<'a> {
        self.limit.end_at(deadline);
        self
    }

    /// Awaits the rollback of the deployment, which ECS was asked for: its failures end nothing.
    pub(crate) fn until_undone(mut self) -> Watch<'a> {
        self.is_undone = true;
        self
    }

    /// Watches until the rollout ends, or the time limit. `revision` says where its containers log to.
    pub(crate) async fn run(mut self, revision: Option<&Revision>) -> WatchResult {
        let end = self.poll_until_end().await;
        self.progress.no_limit();
        if !matches!(end, RolloutEnd::Completed) {
            let time = if matches!(end, RolloutEnd::TimeLimit) { LATE_EVIDENCE } else { EVIDENCE };
            // The tasks that stopped since the last poll are evidence too.
            let read = async {
                self.read_stopped_tasks().await;
                if let Some(revision) = revision {
                    self.read_logs(revision).await;
                }
            };
            // Evidence that cannot be read in time is left out.
            let _ = within(Deadline::after(time), read).await;
        }
        let all_run = self.all_run_since.is_some_and(|(since, _)| since.elapsed() >= RECOVERY);
        let has_recovered = all_run || self.stages.is_scaled_up();
        let has_cause = causes::is_failure_of_revision(&self.evidence);
        WatchResult {
            has_failed: self
                .last
                .as_ref()
                .is_some_and(|last| has_failed(last, &self.stopped, has_cause, has_recovered)),
            end,
            evidence: self.evidence,
            stopped: self.stopped,
            last: self.last,
            stage: self.stages.label(),
            last_error: self.last_error,
        }
    }

    async fn poll_until_end(&mut self) -> RolloutEnd {
        let mut polls = 0;
        loop {
            let deadline = self.limit.deadline();
            match within(deadline, self.poll()).await {
                Ok(Some(end)) => return end,
                Ok(None) => {}
                Err(_) => return self.end_at_limit(),
            }
            polls += 1;
            let left = self.limit.deadline().remaining();
            pause_for(POLICY.pause(polls).min(left)).await;
            if self.limit.deadline().passed() {
                return self.end_at_limit();
            }
        }
    }

    fn end_at_limit(&mut self) -> RolloutEnd {
        match (self.rolling_back.take(), self.gave_up.take()) {
            (Some(to), _) => RolloutEnd::RolledBack { to, completed: false },
            (None, Some((reason, _))) => RolloutEnd::Failed(reason),
            (None, None) => RolloutEnd::TimeLimit,
        }
    }

    /// Polls the service once. Returns the end of the rollout if it has ended. A failed poll never ends the watch if a
    /// later one may succeed: the time limit does.
    async fn poll(&mut self) -> Option<RolloutEnd> {
        let client = self.client;
        match client.aws.describe_service(&client.cluster, &client.service, call_deadline()).await {
            Ok(raw) => {
                self.last_error = None;
                match raw.map(|raw| parse_service("DescribeServices", &raw)).transpose() {
                    Ok(Some(service)) => self.see(&service).await,
                    Ok(None) => {
                        self.progress.waiting("ECS does not show the service yet");
                        None
                    }
                    Err(finding) => Some(RolloutEnd::WatchFailed(finding)),
                }
            }
            Err(error) if is_transient(&error) => {
                self.progress.waiting(&format!("ECS does not answer, polling again: {}", error.kind));
                self.last_error = Some(causes::from_error(&error));
                self.limit.go_on();
                None
            }
            Err(error) => Some(RolloutEnd::WatchFailed(causes::from_error(&error))),
        }
    }

    /// Takes in the service of one poll. Returns the end of the rollout if it has ended.
    async fn see(&mut self, service: &Service) -> Option<RolloutEnd> {
        let judged = judge(service, &self.deployment, self.expected_count);
        if judged == RolloutState::NotVisible && !self.stages.is_known() {
            self.progress.waiting("ECS does not show the deployment yet");
            return None;
        }
        self.see_planned_times(service);
        self.show_events(service);
        self.read_stopped_tasks().await;
        let state = match self.read_stage(service).await {
            Some(stage) => refine(judged, &stage, service, &self.deployment),
            None => judged,
        };
        let shown = match &state {
            RolloutState::RollingBack(to) => Some(to),
            _ => service.deployment(&self.deployment.id),
        };
        if let Some(shown) = shown {
            self.show(shown);
        }
        self.end_of(state, service)
    }

    fn show(&mut self, shown: &Deployment) {
        let stage = self.stages.label().map(|stage| format!(", {stage}")).unwrap_or_default();
        self.progress.waiting(&format!("{}: {}{stage}", shown.label(), shown.counts()));
        self.client.activity.update(shown);
        let all_run = shown.running_count >= shown.desired_count && shown.failed_tasks == 0;
        let stopped = self.stopped.len();
        let unchanged = self.all_run_since.filter(|(_, before)| *before == stopped);
        self.all_run_since = all_run.then(|| unchanged.unwrap_or((Instant::now(), stopped)));
        self.last = Some(shown.clone());
    }

    /// The end of the rollout, if this state is one.
    fn end_of(&mut self, state: RolloutState, service: &Service) -> Option<RolloutEnd> {
        match state {
            RolloutState::Completed => Some(RolloutEnd::Completed),
            RolloutState::Failed(reason) if self.is_undone || service.rolls_back_by_itself() => {
                self.await_rollback(reason, service)
            }
            RolloutState::Failed(reason) => Some(RolloutEnd::Failed(reason)),
            RolloutState::RollingBack(to) => {
                if self.rolling_back.is_none() {
                    // A rollback has the same time limit again.
                    self.limit.restart();
                    self.progress.limit(self.limit.allowed());
                }
                self.client.activity.enter(Phase::Rollback(to.clone()));
                self.rolling_back = Some(to.clone());
                let has_failed = to.rollout_state.as_deref() == Some("FAILED");
                // Its stage says when a staged rollback has ended.
                let is_over = !self.stages.is_known() && (has_failed || is_complete(&to, service));
                is_over.then_some(RolloutEnd::RolledBack { to, completed: !has_failed })
            }
            RolloutState::RolledBack { to, completed } => Some(RolloutEnd::RolledBack { to, completed }),
            RolloutState::Superseded(by) => Some(RolloutEnd::Superseded(by)),
            RolloutState::Deleted => Some(RolloutEnd::Deleted),
            RolloutState::InProgress if !self.is_undone && !has_circuit_breaker(service) => {
                let last = self.last.as_ref()?;
                crash_loop(last, &self.stopped).map(RolloutEnd::CrashLoop)
            }
            RolloutState::InProgress | RolloutState::NotVisible => None,
        }
    }

    /// ECS starts its own rollback a moment after it has given up.
    fn await_rollback(&mut self, reason: String, service: &Service) -> Option<RolloutEnd> {
        let others = service.deployments.iter().filter(|other| other.id != self.deployment.id);
        let has_target = others.into_iter().any(|other| other.rollout_state.as_deref() == Some("COMPLETED"));
        let grace = if has_target { ROLLBACK_GRACE } else { SHORT_ROLLBACK_GRACE };
        let (reason, until) = self.gave_up.get_or_insert_with(|| (reason, Deadline::after(grace)));
        until.passed().then(|| RolloutEnd::Failed(reason.clone()))
    }

    /// Shows the service events since the deployment started, the oldest first, each once.
    fn show_events(&mut self, service: &Service) {
        let since = self.deployment.created_at;
        // ECS returns the newest first.
        let mut events: Vec<_> = service.events.iter().rev().filter(|event| event.created_at >= since).collect();
        events.sort_by(|a, b| a.created_at.total_cmp(&b.created_at));
        for event in events {
            if self.shown_events.insert(event.id.clone()) {
                self.progress.event(&event.message);
                let text = event.message.clone();
                self.evidence.messages.push(Message { from: "service event".to_owned(), text });
            }
        }
    }
}
