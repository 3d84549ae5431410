//! Signals to Auto Scaling: heartbeats and the result of the launch hook, and the health of the instance.
//!
//! A ready instance continues. An instance that failed is abandoned, and so replaced by its group, only if
//! [`may_abandon`] allows it. Otherwise the hook is left alone, and its default result applies when its time is over
//! (Auto Scaling User Guide, "Amazon EC2 Auto Scaling lifecycle hooks"). An instance that enters a warm pool
//! continues when it has the images of `ready.images`, without them at once: its agent starts only when it leaves the pool.

use std::convert::Infallible;
use std::time::Duration;

use super::client::{CALL, GroupHook, SendOutcome, SignalClient, not_waiting};
use super::hooks::{MIN_PAUSE, only_hook};
use super::signals::signal;
use crate::boundary::aws::Transition;
use crate::boundary::imds::TARGET_STATE;
use crate::exit::Exit;
use crate::host::pulls;
use crate::redaction::error_chain;
use crate::render::{SignalOutcome, SignalStatus, SignalTarget, VerdictDocument, VerdictState};
use crate::retry::{Deadline, pause_for};

/// Pause between two requests for the target lifecycle state.
const TARGET_STATE_INTERVAL: Duration = Duration::from_secs(60);
/// Pause between two reads of the state of the images.
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);

/// Whether the group may replace this instance; if not, why. Only faults of this host (exit code 24) qualify: any other
/// fault would also occur on the replacement. If no other instance is in service, an instance that can be examined is
/// worth more than a replacement.
fn may_abandon(exit_code: u8, verdict: VerdictState, others_in_service: Option<usize>) -> Result<(), &'static str> {
    match (verdict, Exit::from_code(exit_code), others_in_service) {
        (VerdictState::Failed, Some(Exit::Host), Some(1..)) => Ok(()),
        (VerdictState::Failed, Some(Exit::Host), Some(0)) => Err("no other instance of the group is in service"),
        (VerdictState::Failed, Some(Exit::Host), None) => {
            Err("it is not known whether another instance of the group is in service")
        }
        _ => Err("the cause is not on this host, so a replacement would fail in the same way"),
    }
}

impl SignalClient {
    /// Sends heartbeats as long as the launch hook waits. It never returns.
    pub(super) async fn send_heartbeats(&self) -> Infallible {
        if self.signal.lifecycle {
            self.send_heartbeats_while_hook_waits().await;
        }
        std::future::pending().await
    }

    async fn send_heartbeats_while_hook_waits(&self) {
        let mut is_warmed = false;
        loop {
            let pause = match self.target_state().await {
                // The instance is not in a group.
                None => return,
                Some(state) if state == "InService" => match self.heartbeat().await {
                    Some(pause) => pause,
                    None => return,
                },
                Some(state) if state.starts_with("Warmed:") && !is_warmed && self.pulls_images() => {
                    let pause = self.heartbeat().await.unwrap_or(TARGET_STATE_INTERVAL);
                    self.wait_while_images_are_pulled(pause).await;
                    Duration::ZERO
                }
                Some(state) => {
                    if state.starts_with("Warmed:")
                        && !is_warmed
                        && let Ok(hook) = self.find_launch_hook().await
                    {
                        is_warmed = true;
                        self.complete(hook, true).await;
                    }
                    TARGET_STATE_INTERVAL
                }
            };
            pause_for(pause).await;
        }
    }

    /// Whether the images of `ready.images` are still being pulled, so that the instance must not be stopped yet.
    fn pulls_images(&self) -> bool {
        match (pulls(&self.host_clients.disk), self.images_by) {
            (_, None) => false,
            (Some(pulls), _) => !pulls.has_ended,
            (None, Some(limit)) => !limit.passed(),
        }
    }

    /// Waits for the end of the pulls, at most for `longest`.
    async fn wait_while_images_are_pulled(&self, longest: Duration) {
        let limit = Deadline::after(longest);
        while !limit.passed() && self.pulls_images() {
            pause_for(BETWEEN_LOOKS.min(limit.remaining())).await;
        }
    }

    /// Sends one heartbeat and returns the pause until the next; `None` if no hook waits.
    async fn heartbeat(&self) -> Option<Duration> {
        // The reason why there is no hook is part of the final report.
        let Ok(hook) = self.find_launch_hook().await else { return Some(TARGET_STATE_INTERVAL) };
        let deadline = self.by(CALL);
        let call = async { self.aws().await?.heartbeat(&hook.group, &hook.name, &self.instance_id, deadline).await };
        match call.await {
            Ok(()) => Some(hook.pause),
            Err(error) if not_waiting(&error).is_some() => None,
            Err(error) => {
                tracing::debug!(%error, "launch hook heartbeat failed");
                Some(MIN_PAUSE)
            }
        }
    }

    /// Completes the launch hook. The health of the instance is set only if the hook was not completed, since
    /// completing it already decides about the instance.
    pub(super) async fn signal_group(&self, document: &VerdictDocument, success: bool) -> Vec<SignalStatus> {
        let hook = if self.signal.lifecycle { self.signal_launch_hook(document, success).await } else { None };
        let is_completed = hook.as_ref().is_some_and(|hook| hook.outcome == SignalOutcome::Sent);
        let sets_health = self.signal.unhealthy && !success && !is_completed;
        let health = if sets_health { self.set_unhealthy(document).await } else { None };
        hook.into_iter().chain(health).collect()
    }

    /// Completes the hook, or leaves it alone; `None` if the instance is not in a group.
    async fn signal_launch_hook(&self, document: &VerdictDocument, success: bool) -> Option<SignalStatus> {
        self.target_state().await.filter(|state| state == "InService")?;
        let status = continue_or_abandon(success);
        let hook = match self.find_launch_hook().await {
            Ok(hook) => hook,
            Err(why) => return Some(signal(SignalTarget::LaunchHook, status, SignalOutcome::Failed, why)),
        };
        if success {
            return Some(self.complete(hook, true).await);
        }
        match self.may_be_replaced(document).await {
            Ok(()) => Some(self.complete(hook, false).await),
            Err(why) => {
                let detail = format!(
                    "{}: not abandoned, because {why}; when the time of the hook is over, its default result applies: \
                     {}",
                    hook.description(),
                    hook.default_result
                );
                Some(signal(SignalTarget::LaunchHook, status, SignalOutcome::Left, detail))
            }
        }
    }

    /// [`may_abandon`] with the number of other instances in service. The group and its instances are requested only if
    /// they can change the answer.
    async fn may_be_replaced(&self, document: &VerdictDocument) -> Result<(), &'static str> {
        may_abandon(document.exit_code, document.verdict, Some(1))?;
        let others = match self.group().await {
            Some(group) => self.others_in_service(&group).await,
            None => None,
        };
        may_abandon(document.exit_code, document.verdict, others)
    }

    async fn complete(&self, hook: &GroupHook, success: bool) -> SignalStatus {
        let done = |outcome, detail| signal(SignalTarget::LaunchHook, continue_or_abandon(success), outcome, detail);
        let outcome = self
            .send(async |deadline| {
                self.aws().await?.complete(&hook.group, &hook.name, &self.instance_id, success, deadline).await
            })
            .await;
        match outcome {
            SendOutcome::Sent => done(SignalOutcome::Sent, hook.description()),
            SendOutcome::NotWaiting(message) => {
                done(SignalOutcome::NotWaiting, format!("{}: {message}", hook.description()))
            }
            SendOutcome::Failed(error) => {
                let remedy = "allow the instance's role `autoscaling:CompleteLifecycleAction` on the group";
                done(SignalOutcome::Failed, format!("{}: {}; {remedy}", hook.description(), error_chain(&error)))
            }
        }
    }

    /// Sets the instance unhealthy, so that its group replaces it, by the rule of [`may_abandon`]; `None` if the
    /// instance is not in a group. Auto Scaling ignores it within the grace period of the group.
    async fn set_unhealthy(&self, document: &VerdictDocument) -> Option<SignalStatus> {
        self.target_state().await.filter(|state| state == "InService")?;
        let done = |outcome, detail: String| Some(signal(SignalTarget::Health, "Unhealthy", outcome, detail));
        if let Err(why) = self.may_be_replaced(document).await {
            return done(SignalOutcome::Left, format!("not set, because {why}"));
        }
        let outcome = self.send(async |deadline| self.aws().await?.set_unhealthy(&self.instance_id, deadline).await);
        match outcome.await {
            SendOutcome::Sent => done(SignalOutcome::Sent, "the group replaces this instance".to_owned()),
            SendOutcome::NotWaiting(message) => done(SignalOutcome::NotWaiting, message),
            SendOutcome::Failed(error) => {
                let remedy = "allow the instance's role `autoscaling:SetInstanceHealth` on the group";
                done(SignalOutcome::Failed, format!("{}; {remedy}", error_chain(&error)))
            }
        }
    }

    /// How many other instances of the group are in service and healthy; `None` if that cannot be found out.
    async fn others_in_service(&self, group: &str) -> Option<usize> {
        let deadline = self.by(CALL);
        let call = async { self.aws().await?.others_in_service(group, &self.instance_id, deadline).await };
        let others = call.await;
        others.inspect_err(|error| tracing::warn!(%error, "instances of the Auto Scaling group not read")).ok()
    }

    /// The target lifecycle state; `None` if the instance is not in a group, or instance metadata does not answer.
    async fn target_state(&self) -> Option<String> {
        let state = match self.host_clients.imds.get(TARGET_STATE, self.by(CALL)).await {
            Ok(state) => state?,
            Err(error) => {
                tracing::debug!(%error, "target lifecycle state not read");
                return None;
            }
        };
        Some(String::from_utf8_lossy(&state).trim().to_owned()).filter(|state| !state.is_empty())
    }

    /// The hook that the settings name, otherwise the only launch hook of the group; or why there is none.
    async fn find_launch_hook(&self) -> Result<&GroupHook, String> {
        self.launch_hook.get_or_try_init(async || self.look_up_launch_hook().await).await
    }

    async fn look_up_launch_hook(&self) -> Result<GroupHook, String> {
        const SETTING: &str = "signal.hook";
        let wanted = self.signal.hook.as_deref();
        match self.hooks(Transition::Launching).await {
            Ok((group, hooks)) => only_hook(&group, hooks, wanted, ("launch", SETTING)),
            Err(error) => error.hook_by_name(wanted, SETTING),
        }
    }
}

/// The result that a launch hook takes.
fn continue_or_abandon(success: bool) -> &'static str {
    if success { "CONTINUE" } else { "ABANDON" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fault_of_this_host_may_be_abandoned_and_only_while_another_instance_is_in_service() {
        for (exit, verdict, others, allowed) in [
            (Exit::Host, VerdictState::Failed, Some(1), true),
            (Exit::Host, VerdictState::Failed, Some(9), true),
            (Exit::Host, VerdictState::Failed, Some(0), false),
            (Exit::Host, VerdictState::Failed, None, false),
            (Exit::Host, VerdictState::Unknown, Some(3), false),
            (Exit::Host, VerdictState::Ready, Some(3), false),
            (Exit::Cluster, VerdictState::Failed, Some(3), false),
            (Exit::Permission, VerdictState::Failed, Some(3), false),
            (Exit::Settings, VerdictState::Failed, Some(3), false),
            (Exit::Network, VerdictState::Failed, Some(3), false),
            (Exit::NotRegistered, VerdictState::Failed, Some(3), false),
            (Exit::Aws, VerdictState::Failed, Some(3), false),
        ] {
            assert_eq!(may_abandon(exit.code(), verdict, others).is_ok(), allowed, "{exit:?} {verdict:?} {others:?}");
        }
    }
}
