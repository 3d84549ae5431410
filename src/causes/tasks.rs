//! Causes of a registered instance that takes no tasks, because of `ready.daemons`.

use super::cause::{Cause, Class};
use super::layer::Layer;
use super::view::credentials::ROLE_MAY_BE_LATE;
use crate::boundary::aws::AwsError;
use crate::evidence::task_hold::{ALLOWED, ATTRIBUTE, DaemonState, TaskHold, allows_tasks};
use crate::evidence::{Evidence, TaskStart};
use crate::exit::Exit;
use crate::readiness::{registered, takes_tasks};
use crate::redaction::{error_chain, line};

const DEFAULTS: Cause = Cause { layer: Layer::Tasks, when_registered: true, ..Cause::DEFAULTS };

/// The symptoms if a call of `ready.daemons` fails.
const NOT_PLACED: &str = "the instance is in the cluster, and tasks with the placement constraint \
                          `attribute:ecs-bootstrap.tasks == allowed` are not placed on it";

/// A daemon does not run.
pub(super) static NOT_RUNNING: Cause = Cause {
    id: "daemons-not-running",
    title: "the instance is registered, and a daemon that `ready.daemons` requires does not run on it",
    symptoms: "the container instance is ACTIVE and its agent connected, and tasks with the placement constraint \
               `attribute:ecs-bootstrap.tasks == allowed` are not placed on it",
    proof: "a service of `ready.daemons` has no task of this boot on this instance that is RUNNING, and HEALTHY if an \
            essential container has a health check; if a call of ECS fails, the cause is `hold-denied` or `hold-call-failed`",
    look_alikes: &["hold-denied", "hold-call-failed"],
    class: Class::Retry,
    exit: Exit::NotRegistered,
    exit_after_deadline: Exit::NotRegistered,
    remedy: "find out why the service has no running task on this instance (`aws ecs describe-services`, its events and \
             stopped tasks), then `systemctl restart ecs-bootstrap-verify --no-block`; or correct its name in `ready.daemons` or \
             take it out, then `systemctl restart ecs-bootstrap --no-block`",
    source: "Amazon ECS Developer Guide, \"Daemon\"; aws/containers-roadmap#428",
    check: |evidence| {
        let hold = waiting(evidence)?;
        if blocking_call(evidence).is_some() {
            return None;
        }
        let is_draining = evidence.described().is_some_and(|one| one.status == "DRAINING");
        let draining =
            is_draining.then(|| "the container instance is DRAINING, so ECS places no daemon on it".to_owned());
        Some(draining.into_iter().chain(lines_of_missing(hold.states()?)?).collect())
    },
    note: |evidence| lines_of_missing(allowed_after_deadline(evidence)?.states()?),
    ..DEFAULTS
};

/// The role lacks a permission of `ready.daemons`.
pub(super) static DENIED: Cause = Cause {
    id: "hold-denied",
    title: "the role is not allowed to make a call that `ready.daemons` needs",
    symptoms: NOT_PLACED,
    proof: "AccessDenied for one of the calls that read the daemons or set the attribute; if the registration itself is \
            denied, the agent has no ARN, and the cause is `register-denied`",
    look_alikes: &["register-denied", "daemons-not-running"],
    class: Class::Settling(ROLE_MAY_BE_LATE),
    exit: Exit::Permission,
    exit_after_deadline: Exit::Permission,
    remedy: "allow the action that the evidence names (docs/reference/iam.md, `ecs-bootstrap plan --iam`), then \
             `systemctl restart ecs-bootstrap-verify --no-block`",
    source: "Amazon ECS Service Authorization Reference",
    check: |evidence| failed(blocking_call(evidence)?, evidence, true),
    note: |evidence| failed(noted_call(evidence)?, evidence, true),
    ..DEFAULTS
};

/// A call of `ready.daemons` fails for another reason.
pub(super) static CALL_FAILED: Cause = Cause {
    id: "hold-call-failed",
    title: "a call that `ready.daemons` needs fails",
    symptoms: NOT_PLACED,
    proof: "the calls that read the daemons or set the attribute fail with another error than AccessDenied, while the agent \
            is registered; AccessDenied is `hold-denied`",
    look_alikes: &["hold-denied", "daemons-not-running"],
    class: Class::Retry,
    exit: Exit::Aws,
    exit_after_deadline: Exit::Aws,
    remedy: "see the error in the evidence; `systemctl restart ecs-bootstrap-verify --no-block` tries again",
    source: "Amazon ECS API Reference, \"Common Errors\"",
    check: |evidence| failed(blocking_call(evidence)?, evidence, false),
    note: |evidence| failed(noted_call(evidence)?, evidence, false),
    ..DEFAULTS
};

/// Only a note: tasks without the constraint are not held back.
pub(super) static TASK_NOT_HELD: Cause = Cause {
    id: "task-not-held",
    is_only_note: true,
    title: "a task was placed on this instance before its daemons ran",
    symptoms: "a task starts without the daemon that it needs",
    proof: "the agent knew a task of another service than those of `ready.daemons = \"all\"` before tasks were allowed; \
            without such a task, a daemon that does not run is `daemons-not-running`",
    look_alikes: &["daemons-not-running"],
    remedy: "give its service the placement constraint `attribute:ecs-bootstrap.tasks == allowed`: without it, ECS places its \
             tasks on every instance",
    source: "Amazon ECS Developer Guide, \"Use custom attributes with Amazon ECS\"",
    note: |evidence| {
        let conditions = evidence.expectation.as_ref()?.waits_for_daemons()?;
        let hold = evidence.task_hold.as_ref().filter(|hold| hold.is_allowed())?;
        let is_all = conditions.named().is_none();
        Some(hold.placed_early()).filter(|early| is_all && !early.is_empty())
    },
    ..DEFAULTS
};

/// Only a note: the instance has joined.
pub(super) static NOT_STARTED: Cause = Cause {
    id: "task-not-started",
    is_only_note: true,
    title: "a task of `start-tasks` was not started on this instance",
    symptoms: "the instance is ready, and a task that it should run from its start is missing",
    proof: "ecs:StartTask failed or placed no task, or the agent did not say which tasks it runs; a daemon service that has no \
            task here is `daemons-not-running`",
    look_alikes: &["daemons-not-running"],
    remedy: "read the reason. `RESOURCE:...` and `ATTRIBUTE`: the instance is too small or lacks what the definition requires. Denied: \
             allow ecs:StartTask and iam:PassRole for the roles of the definition (docs/how-to/start-tasks.md). Then \
             `systemctl restart ecs-bootstrap-verify --no-block`",
    source: "Amazon ECS API Reference, StartTask; Amazon ECS Developer Guide, \"API failures messages\"",
    note: |evidence| {
        let failed = |start: &TaskStart| {
            let failure = error_chain(start.failure.as_ref()?);
            Some(format!("`{}`: {failure}", line(&start.definition)))
        };
        let failures: Vec<String> = evidence.task_starts.iter().flatten().filter_map(failed).collect();
        (!failures.is_empty()).then_some(failures)
    },
    ..DEFAULTS
};

/// The wait for daemons of an instance that is registered and takes no tasks yet.
fn waiting(evidence: &Evidence) -> Option<&TaskHold> {
    let hold = evidence.task_hold.as_ref()?;
    (!takes_tasks(evidence) && registered(evidence).is_some()).then_some(hold)
}

/// The wait for daemons of an instance that was allowed to take tasks at `ready.deadline`.
fn allowed_after_deadline(evidence: &Evidence) -> Option<&TaskHold> {
    evidence.task_hold.as_ref().filter(|hold| hold.is_allowed() && evidence.is_ready_without)
}

/// The failed call because of which the instance takes no tasks. If tasks are allowed at the deadline in any case, only the
/// call that allows them counts.
fn blocking_call(evidence: &Evidence) -> Option<&AwsError> {
    let hold = waiting(evidence)?;
    if evidence.expectation.as_ref()?.ready.as_ref()?.allows_after_deadline() {
        return hold.allowed.as_ref().and_then(|answer| answer.as_ref().err());
    }
    hold.failed_call()
}

/// The failed call that is a note on an instance that takes tasks: it was not known which daemons run, or tasks could be
/// placed before they ran because an earlier boot had allowed them.
fn noted_call(evidence: &Evidence) -> Option<&AwsError> {
    let hold = evidence.task_hold.as_ref().filter(|hold| hold.is_allowed())?;
    hold.held_error.as_ref().or(hold.failed_call().filter(|_| evidence.is_ready_without))
}

/// The failed call, and whether an earlier boot has left the permission to place tasks.
fn failed(error: &AwsError, evidence: &Evidence, is_denied: bool) -> Option<Vec<String>> {
    if error.is_denied() != is_denied {
        return None;
    }
    let is_left = evidence.described().is_some_and(allows_tasks);
    let left = (is_left && waiting(evidence).is_some())
        .then(|| format!("an earlier boot has left `{ATTRIBUTE} = {ALLOWED}`: ECS places tasks on the instance"));
    Some([error_chain(error)].into_iter().chain(left).collect())
}

fn lines_of_missing(daemons: Vec<DaemonState>) -> Option<Vec<String>> {
    let missing = daemons.into_iter().filter(|daemon| !daemon.running);
    let lines: Vec<String> = missing.map(|daemon| format!("`{}`: {}", daemon.name, daemon.detail)).collect();
    (!lines.is_empty()).then_some(lines)
}
