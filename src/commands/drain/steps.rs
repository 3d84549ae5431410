//! The steps of the draining: the hook, the status DRAINING, the tasks, and the end.
//!
//! In: the state of the draining. Out: the new state. A call that fails is a failure of its step, and is made again later.

use std::time::Duration;

use super::Work;
use crate::boundary::aws::{AwsError, AwsErrorKind};
use crate::drain::{DrainFailure, DrainReason, DrainStep, TasksSeen};
use crate::redaction::{self, error_chain};
use crate::report::{SignalClient, drain_failure};
use crate::retry::Deadline;
use crate::{journal, report, verify};

/// The limit for one call of ECS.
const CALL: Duration = Duration::from_secs(10);
/// The same, if EC2 takes the instance soon.
const SHORT_CALL: Duration = Duration::from_secs(4);
/// The limit for a request to the agent.
const AGENT: Duration = Duration::from_secs(2);
/// The time between two calls that count the tasks.
const BETWEEN_COUNTS: Duration = Duration::from_secs(15);
/// The time until a call that was denied is made again.
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(30);
/// The same, if another attempt can soon succeed.
const SOON: Duration = Duration::from_secs(5);
/// How often the hook is looked up before a group counts as one without a hook: tags can be missing for a moment.
const MIN_LOOKUPS: u32 = 3;
/// The most attempts to deregister, before the hook is completed without it.
const MAX_DEREGISTRATIONS: u32 = 6;
/// The time until an agent that does not answer does not run. It is down for some seconds when it restarts.
const AGENT_GONE: Duration = Duration::from_secs(60);
/// The time until an instance whose agent does not answer has no container instance, in seconds.
const WITHOUT_AGENT: u64 = 30;

impl Work<'_> {
    /// Looks up the terminating hook.
    pub(super) async fn find_hook(&mut self) {
        // Anew: a client keeps tags, also if they could not be read.
        self.client = SignalClient::for_termination(&self.context.host_clients, &self.expectation).await;
        let found = self.client.terminating_hooks(self.rules.hook.as_deref()).await;
        self.lookups += 1;
        self.drain.by_ecs = found.by_ecs.unwrap_or(self.drain.by_ecs);
        let outcome = match found.own {
            Ok(hook) => {
                self.drain.hook = Some(hook.name().to_owned());
                self.hook = Some(hook);
                Ok(())
            }
            Err(failure) if failure.reason == DrainReason::NoHook => {
                (self.hook, self.drain.hook) = (None, None);
                // The hook of ECS is enough.
                if self.drain.by_ecs { Ok(()) } else { Err(failure) }
            }
            // The hook that is known is used.
            Err(_) if self.hook.is_some() => Ok(()),
            Err(failure) => Err(failure),
        };
        self.drain.set_longest(self.rules.deadline, self.heartbeat_timeout());
        let is_denied = outcome.as_ref().is_err_and(|failure| failure.reason == DrainReason::Denied);
        self.put_off(DrainStep::FindHook, if is_denied { BETWEEN_ATTEMPTS } else { SOON });
        self.drain.note(DrainStep::FindHook, outcome);
    }

    /// Does what is due.
    pub(super) async fn step(&mut self) {
        if self.lacks_hook() && self.is_due(DrainStep::FindHook) {
            self.find_hook().await;
        }
        self.send_heartbeat().await;
        self.find_container_instance().await;
        self.set_draining().await;
        let is_known = self.drain.container_instance_arn.is_some();
        // Whether the group has a hook beside that of ECS decides whether its tasks are waited for.
        let is_open = self.drain.is_left_to_ecs() && self.lacks_hook();
        if !self.drain.is_over() && !is_open && (is_known || self.now() >= self.without_agent()) {
            let seen = self.tasks().await;
            self.drain.note_tasks(&seen, self.now());
            // The calls may have taken some time.
            self.send_heartbeat().await;
        }
        if self.drain.is_over() && self.is_due(DrainStep::CompleteHook) {
            self.finish().await;
        }
    }

    /// When an instance whose agent does not answer has no container instance.
    fn without_agent(&self) -> u64 {
        self.drain.noticed_at.unwrap_or(0).saturating_add(WITHOUT_AGENT)
    }

    /// Whether the hook is missing, and another lookup can find it.
    fn lacks_hook(&self) -> bool {
        let reason = self.drain.failure_of(DrainStep::FindHook).map(|failure| failure.reason);
        let may_exist = match reason {
            Some(DrainReason::NoHook) => self.lookups < MIN_LOOKUPS,
            Some(DrainReason::Denied | DrainReason::Other) => true,
            // This process, which may have been restarted, has not looked, or the hook of ECS is enough.
            None => self.lookups == 0,
        };
        self.drain.is_terminated() && self.hook.is_none() && may_exist
    }

    /// Sends a heartbeat until the hook is completed. If that fails, nothing keeps the hook waiting.
    async fn send_heartbeat(&mut self) {
        let is_needed = self.drain.is_terminated() && !self.has_tried_completion;
        let Some(hook) = self.hook.clone().filter(|_| is_needed) else { return };
        if !self.is_due(DrainStep::Heartbeat) {
            return;
        }
        let outcome = self.client.heartbeat_of(&hook).await;
        let waits = outcome.as_ref().is_ok_and(|waits| *waits);
        self.drain.hook_has_waited |= waits;
        self.put_off(DrainStep::Heartbeat, if waits { hook.pause() } else { SOON });
        self.drain.note(DrainStep::Heartbeat, outcome.map(drop));
    }

    /// The container instance that the agent reports, otherwise that of the stored verdict.
    async fn find_container_instance(&mut self) {
        if self.drain.container_instance_arn.is_some() {
            return;
        }
        let host_clients = &self.context.host_clients;
        let of_agent = verify::container_instance_arn(host_clients, &self.expectation).await;
        self.is_arn_of_agent = of_agent.is_some();
        let stored = || report::stored_or_log(&host_clients.disk)?.container_instance_arn;
        self.drain.container_instance_arn = of_agent.or_else(stored);
        if self.is_arn_of_agent && self.earlier_arn.is_some() && self.drain.container_instance_arn != self.earlier_arn {
            // It has registered anew.
            self.drain.is_deregistered = false;
        }
    }

    async fn set_draining(&mut self) {
        let is_done = self.drain.is_left_to_ecs() || self.drain.is_draining || self.drain.is_deregistered;
        let Some(arn) = self.drain.container_instance_arn.clone().filter(|_| !is_done) else { return };
        if !self.is_due(DrainStep::SetDraining) {
            return;
        }
        let outcome = self.call_ecs(&arn, DrainStep::SetDraining).await;
        self.drain.is_draining = matches!(outcome, Ok(true));
        if matches!(outcome, Ok(false)) {
            // That of an old verdict proves nothing, until the agent has had time to answer.
            let is_certain = self.is_arn_of_agent || self.now() >= self.without_agent();
            self.drain.is_deregistered = is_certain;
            self.drain.container_instance_arn = self.drain.container_instance_arn.take().filter(|_| is_certain);
        }
        let is_denied = outcome.as_ref().is_err_and(|failure| failure.reason == DrainReason::Denied);
        self.put_off(DrainStep::SetDraining, if is_denied { BETWEEN_ATTEMPTS } else { SOON });
        self.drain.note(DrainStep::SetDraining, outcome.map(drop));
    }

    /// The limit of a call.
    fn call_deadline(&self) -> Deadline {
        Deadline::after(if self.drain.ends_at.is_some() { SHORT_CALL } else { CALL })
    }

    /// Sets the status, or deregisters. Returns whether ECS knows the container instance.
    async fn call_ecs(&self, arn: &str, step: DrainStep) -> Result<bool, DrainFailure> {
        let other = |text: String| DrainFailure { reason: DrainReason::Other, text };
        let cluster = verify::cluster_of(&self.expectation, arn);
        let cluster = cluster.ok_or_else(|| other("the cluster is not known".to_owned()))?;
        let aws = self.client.aws().await.map_err(|error| drain_failure(&error))?;
        let outcome = match step {
            DrainStep::Deregister => aws.deregister(cluster, arn, self.call_deadline()).await.map(Ok),
            _ => aws.set_draining(cluster, arn, self.call_deadline()).await,
        };
        match outcome {
            Ok(Ok(())) => Ok(true),
            Ok(Err(reason)) if reason == "MISSING" || reason == "INACTIVE" => Ok(false),
            Ok(Err(reason)) => Err(other(format!("ECS did not set the status DRAINING: {reason}"))),
            Err(error) if is_unknown_instance(&error) => Ok(false),
            Err(error) => Err(drain_failure(&error)),
        }
    }

    /// The tasks of the agent; if it has none or does not answer, the number of ECS.
    async fn tasks(&mut self) -> TasksSeen {
        let tasks = self.context.host_clients.agent.tasks(Deadline::after(AGENT)).await;
        let tasks = tasks.and_then(|claim| claim.trusted(|_| None));
        let tasks = tasks.inspect_err(|error| tracing::debug!(%error, "tasks of the agent not read")).ok();
        self.agent_gone_at = match &tasks {
            Some(_) => None,
            None => Some(self.agent_gone_at.unwrap_or_else(|| Deadline::after(AGENT_GONE))),
        };
        let of_agent: Option<Vec<String>> = tasks.map(|tasks| {
            let open = tasks.iter().filter(|task| task.known_status != "STOPPED");
            open.map(|task| {
                let id = task.arn.rsplit('/').next().unwrap_or_default();
                redaction::line(&format!("{}:{} {id}", task.family, task.version))
            })
            .collect()
        });
        let is_open = of_agent.as_ref().is_some_and(|tasks| !tasks.is_empty());
        let of_ecs = if is_open { None } else { self.count_tasks().await };
        let is_agent_gone = self.agent_gone_at.is_some_and(|gone_at| gone_at.passed());
        TasksSeen { of_agent, is_agent_gone, of_ecs, can_ask_ecs: self.can_count }
    }

    /// The number of running and pending tasks of ECS, if it is due.
    async fn count_tasks(&mut self) -> Option<u64> {
        let arn = self.drain.container_instance_arn.clone()?;
        if !self.is_due(DrainStep::CountTasks) {
            return None;
        }
        self.put_off(DrainStep::CountTasks, BETWEEN_COUNTS);
        let cluster = verify::cluster_of(&self.expectation, &arn).unwrap_or_default();
        let count = async { self.client.aws().await?.count_tasks(cluster, &arn, self.call_deadline()).await };
        let count = count.await;
        self.can_count = !count.as_ref().is_err_and(|error| error.is_denied());
        if let Err(error) = &count {
            tracing::debug!(error = error_chain(error), "ECS did not say how many tasks run");
        }
        count.ok()
    }

    /// Deregisters the container instance, and lets the group go on.
    async fn finish(&mut self) {
        self.put_off(DrainStep::CompleteHook, BETWEEN_ATTEMPTS);
        // The agent can have registered meanwhile.
        self.find_container_instance().await;
        let deregisters = self.drain.terminates && !self.drain.is_left_to_ecs() && !self.drain.is_deregistered;
        if let Some(arn) = self.drain.container_instance_arn.clone().filter(|_| deregisters) {
            let outcome = self.call_ecs(&arn, DrainStep::Deregister).await;
            self.drain.is_deregistered = outcome.is_ok();
            let may_recover = outcome.as_ref().is_err_and(|failure| failure.reason == DrainReason::Other);
            self.drain.note(DrainStep::Deregister, outcome.map(drop));
            self.deregistrations += 1;
            if may_recover && self.deregistrations < MAX_DEREGISTRATIONS {
                self.put_off(DrainStep::CompleteHook, SOON);
                return;
            }
        }
        self.complete_hook().await;
        let has_no_hook = self.hook.is_none() && !self.lacks_hook();
        self.drain.has_ended = !self.drain.is_terminated() || self.drain.is_completed || has_no_hook;
        if self.drain.has_ended {
            let tasks = self.drain.tasks.as_ref().map_or(0, Vec::len);
            let (is_deregistered, is_hook_completed) = (self.drain.is_deregistered, self.drain.is_completed);
            tracing::warn!(
                priority = 5,
                message_id = journal::MESSAGE_ID_DRAIN,
                tasks,
                is_deregistered,
                is_hook_completed,
                "the draining has ended"
            );
        } else if self.hook.is_none() {
            self.put_off(DrainStep::CompleteHook, SOON);
        }
    }

    async fn complete_hook(&mut self) {
        let Some(hook) = self.hook.clone().filter(|_| self.drain.is_terminated() && !self.drain.is_completed) else {
            return;
        };
        // Before the call, after which the instance can end at any time.
        self.tell();
        let outcome = self.client.complete_termination(&hook).await;
        let has_passed = self.drain.until.is_none_or(|until| self.now() >= until);
        match outcome {
            // It does not wait yet.
            Ok(false) if !self.drain.hook_has_waited => {
                self.put_off(DrainStep::CompleteHook, if has_passed { BETWEEN_ATTEMPTS } else { SOON });
            }
            Ok(_) => self.drain.is_completed = true,
            Err(_) => {}
        }
        self.has_tried_completion = true;
        self.drain.note(DrainStep::CompleteHook, outcome.map(drop));
    }
}

/// Whether ECS does not know the container instance, or no longer.
fn is_unknown_instance(error: &AwsError) -> bool {
    let AwsErrorKind::Service { code: Some(code), message, .. } = &error.kind else { return false };
    let text = message.to_string().to_ascii_lowercase();
    text.contains("container instance")
        && matches!(code.as_str(), "InvalidParameterException" | "ClientException")
        && ["not found", "inactive"].iter().any(|words| text.contains(words))
}
