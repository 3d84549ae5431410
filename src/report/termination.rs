//! The terminating hook of the Auto Scaling group, for `drain`: which hook it is, its heartbeats, and its end.
//!
//! In: a [`SignalClient`]. Out: the hook, or the step that failed. It decides nothing.

use std::time::Duration;

use super::client::{CALL, GroupHook, SignalClient, not_waiting};
use super::hooks::{HooksError, only_hook};
use crate::boundary::HostClients;
use crate::boundary::aws::{AwsError, Transition};
use crate::drain::{DrainFailure, DrainReason, MANAGED_HOOK};
use crate::plan::Expectation;
use crate::redaction::error_chain;
use crate::retry::Deadline;

const SETTING: &str = "drain.hook";

/// The terminating hooks of the group.
pub struct TerminatingHooks {
    /// The hook to complete, or why there is none.
    pub own: Result<GroupHook, DrainFailure>,
    /// Whether ECS drains the instances that the group terminates (managed draining); `None` if that is not known.
    pub by_ecs: Option<bool>,
}

impl GroupHook {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pause between two heartbeats.
    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// How long it waits for a heartbeat; `None` if that is not known.
    pub fn heartbeat_timeout(&self) -> Option<Duration> {
        self.heartbeat_timeout
    }
}

/// A call that failed, as the step of the draining.
pub fn drain_failure(error: &AwsError) -> DrainFailure {
    let reason = if error.is_denied() { DrainReason::Denied } else { DrainReason::Other };
    DrainFailure { reason, text: error_chain(error) }
}

impl SignalClient {
    /// A client for the terminating hook. It sends no verdict.
    pub async fn for_termination(host_clients: &HostClients, expectation: &Expectation) -> SignalClient {
        SignalClient::of(host_clients, expectation, Deadline::after(CALL)).await
    }

    /// The terminating hooks of the group: the one that `wanted` names, otherwise the only one beside that of ECS.
    pub async fn terminating_hooks(&self, wanted: Option<&str>) -> TerminatingHooks {
        let (group, hooks) = match self.hooks(Transition::Terminating).await {
            Ok(found) => found,
            Err(error) => {
                let reason = match &error {
                    HooksError::NoGroup => DrainReason::NoHook,
                    HooksError::Tags(error) | HooksError::Call { error, .. } => drain_failure(error).reason,
                };
                let own = error.hook_by_name(wanted, SETTING).map_err(|text| DrainFailure { reason, text });
                return TerminatingHooks { own, by_ecs: None };
            }
        };
        let by_ecs = hooks.iter().any(|hook| hook.name == MANAGED_HOOK);
        let others = hooks.into_iter().filter(|hook| hook.name != MANAGED_HOOK).collect();
        let own = only_hook(&group, others, wanted, ("terminating", SETTING));
        let own = own.map_err(|text| DrainFailure { reason: DrainReason::NoHook, text });
        TerminatingHooks { own, by_ecs: Some(by_ecs) }
    }

    /// Sends one heartbeat. Returns whether the hook waits.
    pub async fn heartbeat_of(&self, hook: &GroupHook) -> Result<bool, DrainFailure> {
        let deadline = self.by(CALL);
        waits(async { self.aws().await?.heartbeat(&hook.group, &hook.name, &self.instance_id, deadline).await }.await)
    }

    /// Completes the hook with CONTINUE, so that the group terminates the instance. Returns whether the hook was waiting.
    pub async fn complete_termination(&self, hook: &GroupHook) -> Result<bool, DrainFailure> {
        let deadline = self.by(CALL);
        waits(
            async { self.aws().await?.complete(&hook.group, &hook.name, &self.instance_id, true, deadline).await }
                .await,
        )
    }
}

/// Whether the hook waits, from the outcome of a call about it. It may not wait yet: Auto Scaling first deregisters the instance
/// from its load balancer (Amazon EC2 Auto Scaling User Guide, "How lifecycle hooks work").
fn waits(outcome: Result<(), AwsError>) -> Result<bool, DrainFailure> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if not_waiting(&error).is_some() => Ok(false),
        Err(error) => Err(drain_failure(&error)),
    }
}
