//! The steps of the draining: the hook, the status DRAINING, the tasks, and the end.
//!
//! In: the state of the draining. Out: the new state. A call that fails is a failure of its step, and is made again later.

use super::Work;
use crate::drain::{DrainFailure, DrainReason, DrainStep, TasksSeen};
use crate::redaction::{self, error_chain};
use crate::report::{SignalClient, drain_failure};
use crate::retry::Deadline;
use crate::settings::DrainTrigger;
use crate::{journal, report, verify};
use std::time::Duration;

/// The limit for one call of ECS.
const CALL: Duration = Duration::from_secs(20);
/// The limit for a request to the agent.
const AGENT: Duration = Duration::from_secs(2);
/// The time between two calls that count the tasks, in seconds.
const BETWEEN_COUNTS: u64 = 15;
/// The time until a call that failed is made again, in seconds.
const BETWEEN_ATTEMPTS: u64 = 30;
/// The same, if another attempt can soon succeed.
const SOON: u64 = 5;
/// The most attempts to deregister, before the hook is completed without it. A Spot instance has time for three.
const MAX_DEREGISTRATIONS: u32 = 6;
/// The time until an instance whose agent does not answer has no container instance, in seconds.
const WITHOUT_AGENT: u64 = 30;

impl Work<'_> {
    /// Looks up the terminating hook.
    pub(super) async fn find_hook(&mut self) {
        // Anew: a client keeps tags, also if they could not be read.
        self.client = SignalClient::for_termination(&self.context.host_clients, &self.expectation).await;
        let found = self.client.terminating_hooks(self.rules.hook.as_deref()).await;
        self.drain.by_ecs = found.by_ecs;
        let outcome = match found.own {
            Ok(hook) => {
                self.drain.hook = Some(hook.name().to_owned());
                self.hook = Some(hook);
                Ok(())
            }
            // The hook of ECS is enough.
            Err(failure) if found.by_ecs && failure.reason == DrainReason::NoHook => Ok(()),
            Err(failure) => Err(failure),
        };
        self.put_off(DrainStep::FindHook, BETWEEN_ATTEMPTS);
        self.drain.note(DrainStep::FindHook, outcome);
    }

    /// Does what is due.
    pub(super) async fn step(&mut self) {
        let is_terminated = self.drain.trigger == Some(DrainTrigger::Termination);
        let now = self.now();
        // If ECS drains the group, there may be no other hook; a process that was restarted looks once.
        let may_exist = !self.drain.by_ecs || !self.due.contains_key(&DrainStep::FindHook);
        if is_terminated && self.hook.is_none() && may_exist && self.is_due(DrainStep::FindHook) {
            self.find_hook().await;
        }
        self.send_heartbeat().await;
        self.find_container_instance().await;
        self.set_draining().await;
        let is_known = self.drain.container_instance_arn.is_some();
        let waits_for_agent = !is_known && now < self.drain.noticed_at.unwrap_or(0).saturating_add(WITHOUT_AGENT);
        if !waits_for_agent && !self.drain.is_over() {
            let seen = self.tasks().await;
            self.drain.note_tasks(&seen, self.now());
        }
        if self.drain.is_over() && self.is_due(DrainStep::CompleteHook) {
            self.put_off(DrainStep::CompleteHook, BETWEEN_ATTEMPTS);
            self.finish().await;
        }
    }

    /// Whether the hook is not known because of a call that may succeed later.
    fn may_find_hook(&self) -> bool {
        let failure = self.drain.failure_of(DrainStep::FindHook);
        self.hook.is_none() && failure.is_some_and(|failure| failure.reason != DrainReason::NoHook)
    }

    async fn send_heartbeat(&mut self) {
        let Some(hook) = self.hook.clone().filter(|_| self.drain.trigger == Some(DrainTrigger::Termination)) else {
            return;
        };
        if !self.is_due(DrainStep::Heartbeat) {
            return;
        }
        let outcome = self.client.heartbeat_of(&hook).await;
        self.put_off(DrainStep::Heartbeat, hook.pause().as_secs());
        self.drain.note(DrainStep::Heartbeat, outcome);
    }

    /// The container instance that the agent reports, otherwise that of the stored verdict.
    async fn find_container_instance(&mut self) {
        if self.drain.container_instance_arn.is_some() {
            return;
        }
        let host_clients = &self.context.host_clients;
        let of_agent = verify::container_instance_arn(host_clients, &self.expectation).await;
        let stored = || report::stored_or_log(&host_clients.disk)?.container_instance_arn;
        self.drain.container_instance_arn = of_agent.or_else(stored);
    }

    async fn set_draining(&mut self) {
        let is_done = self.drain.by_ecs || self.drain.is_draining || self.drain.is_deregistered;
        let Some(arn) = self.drain.container_instance_arn.clone().filter(|_| !is_done) else { return };
        if !self.is_due(DrainStep::SetDraining) {
            return;
        }
        let outcome = self.call_ecs(&arn, DrainStep::SetDraining).await;
        self.drain.is_draining = outcome.is_ok();
        let is_denied = outcome.as_ref().is_err_and(|failure| failure.reason == DrainReason::Denied);
        self.put_off(DrainStep::SetDraining, if is_denied { BETWEEN_ATTEMPTS } else { SOON });
        self.drain.note(DrainStep::SetDraining, outcome);
    }

    /// Sets the status, or deregisters.
    async fn call_ecs(&self, arn: &str, step: DrainStep) -> Result<(), DrainFailure> {
        let other = |text: String| DrainFailure { reason: DrainReason::Other, text };
        let cluster =
            verify::cluster_of(&self.expectation, arn).ok_or_else(|| other("the cluster is not known".to_owned()))?;
        let aws = self.client.aws().await.map_err(|error| drain_failure(&error))?;
        let deadline = Deadline::after(CALL);
        let outcome = match step {
            DrainStep::Deregister => aws.deregister(cluster, arn, deadline).await.map(Ok),
            _ => aws.set_draining(cluster, arn, deadline).await,
        };
        let accepted = outcome.map_err(|error| drain_failure(&error))?;
        accepted.map_err(|reason| other(format!("ECS did not set the status DRAINING: {reason}")))
    }

    /// The tasks of the agent; if it has none or does not answer, the number of ECS.
    async fn tasks(&mut self) -> TasksSeen {
        let tasks = self.context.host_clients.agent.tasks(Deadline::after(AGENT)).await;
        let tasks = tasks.and_then(|claim| claim.trusted(|_| None));
        let tasks = tasks.inspect_err(|error| tracing::debug!(%error, "tasks of the agent not read")).ok();
        let of_agent = tasks.map(|tasks| {
            let open = tasks.iter().filter(|task| task.known_status != "STOPPED");
            let id = |arn: &str| arn.rsplit('/').next().unwrap_or_default().to_owned();
            open.map(|task| redaction::line(&format!("{}:{} {}", task.family, task.version, id(&task.arn)))).collect()
        });
        let mut seen = TasksSeen { of_agent, of_ecs: None, can_ask_ecs: self.can_count };
        let is_open = seen.of_agent.as_ref().is_some_and(|tasks| !tasks.is_empty());
        let Some(arn) = self.drain.container_instance_arn.clone().filter(|_| !is_open && self.can_count) else {
            return seen;
        };
        if !self.is_due(DrainStep::CountTasks) {
            return seen;
        }
        let cluster = verify::cluster_of(&self.expectation, &arn).unwrap_or_default();
        let count = async { self.client.aws().await?.count_tasks(cluster, &arn, Deadline::after(CALL)).await };
        match count.await {
            Ok(count) => seen.of_ecs = Some(count),
            Err(error) => {
                self.can_count = !error.is_denied();
                tracing::debug!(error = error_chain(&error), "ECS did not say how many tasks run");
            }
        }
        seen.can_ask_ecs = self.can_count;
        self.put_off(DrainStep::CountTasks, BETWEEN_COUNTS);
        seen
    }

    /// Deregisters the container instance, and lets the group go on.
    async fn finish(&mut self) {
        let arn = self.drain.container_instance_arn.clone();
        let deregisters = self.drain.terminates && !self.drain.by_ecs && !self.drain.is_deregistered;
        if let Some(arn) = arn.filter(|_| deregisters) {
            let outcome = self.call_ecs(&arn, DrainStep::Deregister).await;
            self.drain.is_deregistered = outcome.is_ok();
            let may_recover = outcome.as_ref().is_err_and(|failure| failure.reason == DrainReason::Other);
            self.drain.note(DrainStep::Deregister, outcome);
            self.deregistrations += 1;
            if may_recover && self.deregistrations < MAX_DEREGISTRATIONS {
                self.put_off(DrainStep::CompleteHook, SOON);
                return;
            }
        }
        let is_terminated = self.drain.trigger == Some(DrainTrigger::Termination);
        if let Some(hook) = self.hook.clone().filter(|_| is_terminated && !self.drain.is_completed) {
            // Before the call, after which the instance can end at any time.
            self.tell();
            let outcome = self.client.complete_termination(&hook).await;
            self.drain.is_completed = outcome.is_ok();
            self.drain.note(DrainStep::CompleteHook, outcome);
        }
        self.drain.has_ended =
            !is_terminated || self.drain.is_completed || (self.hook.is_none() && !self.may_find_hook());
        if self.drain.has_ended {
            let tasks = self.drain.tasks.as_ref().map_or(0, Vec::len);
            let (is_deregistered, hook) = (self.drain.is_deregistered, self.drain.is_completed);
            tracing::warn!(
                priority = 5,
                message_id = journal::MESSAGE_ID_DRAIN,
                tasks,
                is_deregistered,
                is_hook_completed = hook,
                "the draining has ended"
            );
        }
    }
}
