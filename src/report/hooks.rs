//! The lifecycle hooks of this instance's Auto Scaling group: which one is completed, and how often it needs a heartbeat.
//!
//! In: tags, settings, and `autoscaling:DescribeLifecycleHooks`. Out: a [`GroupHook`], or why there is none.

use std::time::Duration;

use super::client::{CALL, GROUP, GroupHook, SignalClient};
use crate::boundary::aws::{AwsError, LifecycleHook, Transition};
use crate::redaction::error_chain;

/// Bounds of the pause between heartbeats. The shortest time-out of a hook is 30 s; an unknown one is treated as that.
pub(super) const MIN_PAUSE: Duration = Duration::from_secs(10);
const MAX_PAUSE: Duration = Duration::from_secs(300);

impl GroupHook {
    fn of(group: &str, hook: LifecycleHook) -> GroupHook {
        GroupHook {
            group: group.to_owned(),
            name: hook.name,
            pause: (hook.heartbeat_timeout / 2).clamp(MIN_PAUSE, MAX_PAUSE),
            default_result: hook.default_result,
            heartbeat_timeout: Some(hook.heartbeat_timeout),
        }
    }

    pub(super) fn description(&self) -> String {
        format!("hook `{}` of group `{}`", self.name, self.group)
    }
}

/// Why the hooks are not known.
pub(super) enum HooksError {
    /// The instance has no tag with the name of the group.
    NoGroup,
    /// Its tags were not read.
    Tags(AwsError),
    /// They were not read.
    Call { group: String, error: AwsError },
}

impl HooksError {
    /// The hook with the name that a setting has, if the group is known: the name is enough to complete it. Otherwise the error
    /// as text.
    pub(super) fn hook_by_name(self, wanted: Option<&str>, setting: &str) -> Result<GroupHook, String> {
        match (self, wanted) {
            (HooksError::NoGroup, _) => Err(format!(
                "the Auto Scaling group is not known: the instance has no tag `{GROUP}`; enable tags in instance metadata"
            )),
            (HooksError::Tags(error), _) => {
                Err(format!("the tags of the instance, which name its group, were not read: {}", error_chain(&error)))
            }
            (HooksError::Call { group, .. }, Some(name)) => {
                let (name, default_result) = (name.to_owned(), "not known".to_owned());
                Ok(GroupHook { group, name, pause: MIN_PAUSE, default_result, heartbeat_timeout: None })
            }
            (HooksError::Call { group, error }, None) => {
                let remedy = format!("allow `autoscaling:DescribeLifecycleHooks`, or name the hook with `{setting}`");
                Err(format!("the hooks of `{group}` were not read: {}; {remedy}", error_chain(&error)))
            }
        }
    }
}

impl SignalClient {
    /// The group and its hooks for a transition.
    pub(super) async fn hooks(&self, transition: Transition) -> Result<(String, Vec<LifecycleHook>), HooksError> {
        let Some(group) = self.group().await else {
            return Err(self.tags_error.take().map_or(HooksError::NoGroup, HooksError::Tags));
        };
        let call = async { self.aws().await?.lifecycle_hooks(&group, transition, self.by(CALL)).await };
        match call.await {
            Ok(hooks) => Ok((group, hooks.into_iter().filter(|hook| is_hook_name(&hook.name)).collect())),
            Err(error) => Err(HooksError::Call { group, error }),
        }
    }

    pub(super) async fn group(&self) -> Option<String> {
        self.setting_or_tag(&None, GROUP).await
    }
}

/// The hook that a setting names, otherwise the only one. `what` is `launch` or `terminating`.
pub(super) fn only_hook(
    group: &str,
    hooks: Vec<LifecycleHook>,
    wanted: Option<&str>,
    (what, setting): (&str, &str),
) -> Result<GroupHook, String> {
    let names: Vec<_> = hooks.iter().map(|hook| format!("`{}`", hook.name)).collect();
    let is_wanted = |name: &str| wanted.is_none_or(|wanted| wanted == name);
    let mut found = hooks.into_iter().filter(|hook| is_wanted(&hook.name));
    match (found.next(), found.next()) {
        (Some(hook), None) => Ok(GroupHook::of(group, hook)),
        (None, _) if names.is_empty() => Err(format!("the group `{group}` has no {what} hook")),
        (None, _) => {
            let wanted = wanted.unwrap_or_default();
            Err(format!("the group `{group}` has no {what} hook `{wanted}`; it has {}", names.join(", ")))
        }
        (Some(_), Some(_)) => Err(format!(
            "the group `{group}` has several {what} hooks: {}; name one with `{setting}`",
            names.join(", ")
        )),
    }
}

/// Amazon EC2 Auto Scaling API Reference, LifecycleHook, LifecycleHookName.
fn is_hook_name(name: &str) -> bool {
    (1..=255).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_/".contains(&b))
}
