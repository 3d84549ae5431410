//! Notes about an instance that cannot be drained before it ends (`drain.on`).

use super::cause::{Cause, Class};
use super::layer::Layer;
use crate::drain::{Drain, DrainReason, DrainState};
use crate::evidence::Evidence;

const DEFAULTS: Cause = Cause { layer: Layer::Tasks, is_only_note: true, class: Class::Waiting, ..Cause::DEFAULTS };

/// A permission is missing.
pub(super) static DENIED: Cause = Cause {
    id: "drain-denied",
    title: "the role is not allowed to make a call that `drain.on` needs",
    symptoms: "when the instance ends, ECS stops its tasks without a replacement, or the terminating hook waits until its time-out",
    proof: "AccessDenied for one of the calls that find and complete the terminating hook, set the status DRAINING, or deregister the \
            container instance; another error is `drain-call-failed`, and an answer without a hook is `drain-no-hook`",
    look_alikes: &["drain-call-failed", "drain-no-hook"],
    remedy: "allow the action that the evidence names (`ecs-bootstrap plan --iam`, docs/reference/iam.md). If the instance does not end \
             yet, `systemctl restart ecs-bootstrap-drain` looks up the hook again",
    source: "Amazon ECS Service Authorization Reference; Amazon EC2 Auto Scaling Service Authorization Reference",
    note: |evidence| failures(evidence, DrainReason::Denied),
    ..DEFAULTS
};

/// There is no hook, or there are several.
pub(super) static NO_HOOK: Cause = Cause {
    id: "drain-no-hook",
    title: "the Auto Scaling group has no terminating hook that `drain` can complete, so a termination leaves no time for the tasks",
    symptoms: "when the group terminates the instance, its tasks end within seconds",
    proof: "autoscaling:DescribeLifecycleHooks returns no hook for autoscaling:EC2_INSTANCE_TERMINATING beside that of ECS, or several, \
            or not the one of `drain.hook`; or the instance has no tag with its group; if the call is denied, it is `drain-denied`",
    look_alikes: &["drain-denied"],
    remedy: "add a hook: `aws autoscaling put-lifecycle-hook --auto-scaling-group-name GROUP --lifecycle-hook-name drain \
             --lifecycle-transition autoscaling:EC2_INSTANCE_TERMINATING --heartbeat-timeout 300 --default-result CONTINUE`; or name one of \
             several with `drain.hook`. Then `systemctl restart ecs-bootstrap-drain`",
    source: "Amazon EC2 Auto Scaling User Guide, \"Add lifecycle hooks to your Auto Scaling group\"",
    note: |evidence| failures(evidence, DrainReason::NoHook),
    ..DEFAULTS
};

/// A call fails for another reason.
pub(super) static CALL_FAILED: Cause = Cause {
    id: "drain-call-failed",
    title: "a call that `drain.on` needs fails",
    symptoms: "when the instance ends, ECS stops its tasks without a replacement, or the terminating hook waits until its time-out",
    proof: "a call that finds or completes the terminating hook, sets the status DRAINING, or deregisters the container instance fails \
            with another error than AccessDenied; AccessDenied is `drain-denied`",
    look_alikes: &["drain-denied"],
    remedy: "see the error in the evidence; the call is made again. If the instance does not end yet, `systemctl restart \
             ecs-bootstrap-drain` looks up the hook again",
    source: "Amazon ECS API Reference, \"Common Errors\"; Amazon EC2 Auto Scaling API Reference, \"Common Errors\"",
    note: |evidence| failures(evidence, DrainReason::Other),
    ..DEFAULTS
};

/// Tasks ran when the time was over.
pub(super) static TASKS_LEFT: Cause = Cause {
    id: "drain-tasks-left",
    title: "tasks ran when the time to drain the instance was over",
    symptoms: "tasks end with the instance, without the time that they need",
    proof: "the agent has tasks that have not stopped, or ECS counts some, after `drain.deadline`, 15 s before EC2 takes a Spot instance, \
            or 1 min before the hook cannot wait longer; a status that could not be set is `drain-denied` or `drain-call-failed`",
    look_alikes: &["drain-denied", "drain-call-failed"],
    remedy: "DRAINING ends only tasks of services, and only as fast as their `minimumHealthyPercent`, the capacity of the other \
             instances, their load balancer and `stopTimeout` allow (`aws ecs describe-services`, events). A task of RunTask must end by \
             itself. Otherwise set a longer `drain.deadline`",
    source: "Amazon ECS Developer Guide, \"Draining Amazon ECS container instances\"",
    note: |evidence| {
        let drain = evidence.drain.as_ref().filter(|drain| drain.state == DrainState::TasksLeft)?;
        let unknown = || vec!["the agent did not say which tasks it has".to_owned()];
        let tasks = drain.tasks.as_ref().filter(|tasks| !tasks.is_empty());
        Some(tasks.map_or_else(unknown, |tasks| tasks.iter().map(|task| format!("task {task}")).collect()))
    },
    ..DEFAULTS
};

fn failures(evidence: &Evidence, reason: DrainReason) -> Option<Vec<String>> {
    let drain: &Drain = evidence.drain.as_ref()?;
    let failed = drain.failures.iter().map(|failed| &failed.failure).filter(|failure| failure.reason == reason);
    let lines: Vec<String> = failed.map(|failure| failure.text.clone()).collect();
    (!lines.is_empty()).then_some(lines)
}
