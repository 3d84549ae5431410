//! The launch hook of the Auto Scaling group: kept waiting while verification runs, and ended by the verdict.
//!
//! An instance that is ready goes on. One that is not is abandoned, and replaced by the group, only by the rule of
//! [`may_abandon`]; else the hook is left alone, and when its time is over its own default result decides (Auto Scaling
//! User Guide, "Amazon EC2 Auto Scaling lifecycle hooks"). On its way into a warm pool an instance goes on too: its agent
//! starts when it comes out of it.

use std::convert::Infallible;
use std::time::Duration;

use super::signal::{GROUP, SendOutcome, SignalClient, nobody_waits, signalled};
use crate::boundary::imds::TARGET_STATE;
use crate::exit::Exit;
use crate::render::{Document, Signalled};
use crate::retry::pause_for;

/// How long one question may take.
const CALL: Duration = Duration::from_secs(20);
/// Between two looks at where Auto Scaling wants the instance.
const LOOK: Duration = Duration::from_secs(60);
/// Bounds of the pause between heartbeats. The shortest time-out of a hook is 30 s; an unknown one is taken for that.
const SHORTEST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);

/// The hook that waits for this instance.
#[derive(Clone, Debug)]
pub(super) struct Hook {
    group: String,
    name: String,
    pause: Duration,
    default_result: String,
}

/// Whether a group may lose an instance for this exit code, with so many others in service; why not. A fault that is not
/// this host's own would only come again on the next one, and a group without another instance is better with one that
/// somebody can look at.
pub(super) fn may_abandon(exit_code: u8, verdict: &str, others_in_service: Option<usize>) -> Result<(), &'static str> {
    match (verdict, Exit::from_code(exit_code), others_in_service) {
        ("failed", Some(Exit::Host), Some(1..)) => Ok(()),
        ("failed", Some(Exit::Host), Some(0)) => Err("no other instance of the group is in service"),
        ("failed", Some(Exit::Host), None) => Err("whether another instance of the group is in service is not known"),
        _ => Err("the cause is not this host's own: another instance would come to the same"),
    }
}

impl SignalClient {
    /// Heartbeats, as long as the hook waits. It never ends by itself.
    pub(super) async fn keep_hook(&self) -> Infallible {
        if self.signal.lifecycle {
            self.keep_hook_while_it_waits().await;
        }
        std::future::pending().await
    }

    async fn keep_hook_while_it_waits(&self) {
        let mut is_warmed = false;
        loop {
            let pause = match self.target_state().await {
                // Not in a group.
                None => return,
                Some(state) if state == "InService" => match self.beat().await {
                    Some(pause) => pause,
                    None => return,
                },
                Some(state) => {
                    if state.starts_with("Warmed:")
                        && !is_warmed
                        && let Ok(hook) = self.found().await
                    {
                        is_warmed = true;
                        self.complete(hook, true).await;
                    }
                    LOOK
                }
            };
            pause_for(pause).await;
        }
    }

    /// One heartbeat, and how long until the next; none where no hook waits.
    async fn beat(&self) -> Option<Duration> {
        // Why there is none is told at the end.
        let Ok(hook) = self.found().await else { return Some(LOOK) };
        let deadline = self.by(CALL);
        let beat = async { self.aws().await?.heartbeat(&hook.group, &hook.name, &self.instance_id, deadline).await };
        match beat.await {
            Ok(()) => Some(hook.pause),
            Err(error) if nobody_waits(&error).is_some() => None,
            Err(error) => {
                tracing::debug!(%error, "no heartbeat to the launch hook");
                Some(SHORTEST)
            }
        }
    }

    /// Ends the hook, or leaves it; nothing where the instance is in no group.
    pub(super) async fn end_hook(&self, document: &Document, success: bool) -> Option<Signalled> {
        self.target_state().await.filter(|state| state == "InService")?;
        let status = if success { "CONTINUE" } else { "ABANDON" };
        let hook = match self.found().await {
            Ok(hook) => hook,
            Err(why) => return Some(signalled("launch-hook", status, "failed", why)),
        };
        if success {
            return Some(self.complete(hook, true).await);
        }
        // Whatever happens, nothing is abandoned for another cause than this host's: then nobody is asked.
        let is_hosts = may_abandon(document.exit_code, &document.verdict, Some(1)).is_ok();
        let others = match is_hosts {
            true => self.others(&hook.group).await,
            false => None,
        };
        match may_abandon(document.exit_code, &document.verdict, others) {
            Ok(()) => Some(self.complete(hook, false).await),
            Err(why) => {
                let detail = format!(
                    "{}: {why}; when its time is over its default result decides, {}",
                    named(hook),
                    hook.default_result
                );
                Some(signalled("launch-hook", status, "left", detail))
            }
        }
    }

    async fn complete(&self, hook: &Hook, go_on: bool) -> Signalled {
        let status = if go_on { "CONTINUE" } else { "ABANDON" };
        let came = self
            .tried(async |deadline| {
                self.aws().await?.complete(&hook.group, &hook.name, &self.instance_id, go_on, deadline).await
            })
            .await;
        match came {
            SendOutcome::Sent => signalled("launch-hook", status, "sent", named(hook)),
            SendOutcome::NotWaiting(why) => {
                signalled("launch-hook", status, "not-waiting", format!("{}: {why}", named(hook)))
            }
            SendOutcome::Failed(error) => {
                let remedy = "allow `autoscaling:CompleteLifecycleAction` on the group to the instance's role";
                let detail = format!("{}: {}; {remedy}", named(hook), crate::causes::chain(&error));
                signalled("launch-hook", status, "failed", detail)
            }
        }
    }

    /// Lets the group replace the instance, by the same rule; nothing where it is in no group. Auto Scaling itself passes it
    /// over inside the grace period of the group.
    pub(super) async fn set_unhealthy(&self, document: &Document) -> Option<Signalled> {
        self.target_state().await.filter(|state| state == "InService")?;
        let done = |outcome: &str, detail: String| Some(signalled("health", "Unhealthy", outcome, detail));
        let others = match (may_abandon(document.exit_code, &document.verdict, Some(1)), self.group().await) {
            (Ok(()), Some(group)) => self.others(&group).await,
            _ => None,
        };
        if let Err(why) = may_abandon(document.exit_code, &document.verdict, others) {
            return done("left", why.to_owned());
        }
        let came = self.tried(async |deadline| self.aws().await?.set_unhealthy(&self.instance_id, deadline).await);
        match came.await {
            SendOutcome::Sent => done("sent", "the group replaces this instance".to_owned()),
            SendOutcome::NotWaiting(why) => done("not-waiting", why),
            SendOutcome::Failed(error) => {
                let remedy = "allow `autoscaling:SetInstanceHealth` on the group to the instance's role";
                done("failed", format!("{}; {remedy}", crate::causes::chain(&error)))
            }
        }
    }

    async fn group(&self) -> Option<String> {
        self.named(&None, GROUP).await
    }

    async fn others(&self, group: &str) -> Option<usize> {
        let deadline = self.by(CALL);
        let asked = async { self.aws().await?.others_in_service(group, &self.instance_id, deadline).await };
        let others = asked.await;
        others.inspect_err(|error| tracing::warn!(%error, "the other instances of the group are not known")).ok()
    }

    async fn target_state(&self) -> Option<String> {
        let answer = self.world.imds.get(TARGET_STATE, self.by(CALL)).await.ok().flatten()?;
        Some(String::from_utf8_lossy(&answer).trim().to_owned()).filter(|state| !state.is_empty())
    }

    /// The hook of the settings, else the only launch hook of the group; or why there is none.
    async fn found(&self) -> Result<&Hook, String> {
        let find = async || {
            let Some(group) = self.group().await else {
                return Err(format!(
                    "the tag `{GROUP}` of this instance is not known; allow tags in instance metadata"
                ));
            };
            let asked = async { self.aws().await?.launch_hooks(&group, self.by(CALL)).await };
            let hooks = match asked.await {
                Ok(hooks) => hooks,
                // The name is enough to end it.
                Err(error) => match &self.signal.hook {
                    Some(name) => {
                        let default_result = "which is not known".to_owned();
                        return Ok(Hook { group, name: name.clone(), pause: SHORTEST, default_result });
                    }
                    None => {
                        let remedy = "allow `autoscaling:DescribeLifecycleHooks`, or name it by `signal.hook`";
                        return Err(format!(
                            "the launch hook of `{group}`: {}; {remedy}",
                            crate::causes::chain(&error)
                        ));
                    }
                },
            };
            // Amazon EC2 Auto Scaling API Reference, LifecycleHook, LifecycleHookName.
            let is_name = |name: &str| {
                (1..=255).contains(&name.len())
                    && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_/".contains(&b))
            };
            let hooks: Vec<_> = hooks.into_iter().filter(|hook| is_name(&hook.name)).collect();
            let names: Vec<_> = hooks.iter().map(|hook| hook.name.clone()).collect();
            let wanted = |name: &str| self.signal.hook.as_deref().is_none_or(|wanted| wanted == name);
            let mut fitting = hooks.into_iter().filter(|hook| wanted(&hook.name));
            match (fitting.next(), fitting.next()) {
                (Some(hook), None) => Ok(Hook {
                    group,
                    name: hook.name,
                    pause: (hook.heartbeat_timeout / 2).clamp(SHORTEST, LONGEST),
                    default_result: hook.default_result,
                }),
                (None, _) => Err(format!("the group `{group}` has no such launch hook; it has {names:?}")),
                (Some(_), Some(_)) => {
                    Err(format!("the group `{group}` has several launch hooks, {names:?}; name one by `signal.hook`"))
                }
            }
        };
        self.hook.get_or_try_init(find).await
    }
}

fn named(hook: &Hook) -> String {
    format!("hook `{}` of group `{}`", hook.name, hook.group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fault_of_this_host_in_a_group_that_goes_on_costs_it_an_instance() {
        for (exit, verdict, others, allowed) in [
            (Exit::Host, "failed", Some(1), true),
            (Exit::Host, "failed", Some(9), true),
            (Exit::Host, "failed", Some(0), false),
            (Exit::Host, "failed", None, false),
            (Exit::Host, "unknown", Some(3), false),
            (Exit::Host, "ready", Some(3), false),
            (Exit::Cluster, "failed", Some(3), false),
            (Exit::Permission, "failed", Some(3), false),
            (Exit::Settings, "failed", Some(3), false),
            (Exit::Network, "failed", Some(3), false),
            (Exit::NotRegistered, "failed", Some(3), false),
            (Exit::Aws, "failed", Some(3), false),
        ] {
            assert_eq!(may_abandon(exit.code(), verdict, others).is_ok(), allowed, "{exit:?} {verdict} {others:?}");
        }
    }
}
