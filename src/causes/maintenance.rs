//! Causes why `prepare-image` and `reset-agent` stop or do only a part of their work.

use super::cause::{Cause, Class};
use super::layer::Layer;
use crate::evidence::StageError;
use crate::exit::Exit;
use crate::redaction::error_chain;

/// An agent without its saved state leaves the containers of its tasks running, and ECS starts the tasks elsewhere.
pub(super) static TASKS_RUN: Cause = Cause {
    id: "tasks-running",
    layer: Layer::Agent,
    title: "the instance runs tasks, and a reset would leave their containers running unmanaged",
    symptoms: "ECS shows the tasks as running, and their containers would continue after the reset",
    proof: "the agent or Docker lists tasks that have not stopped; if neither answers, the cause is `tasks-unknown`",
    look_alikes: &["tasks-unknown"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "drain it (`aws ecs update-container-instances-state --cluster NAME --container-instances ARN --status \
             DRAINING`) and wait until its tasks have stopped; or ignore the tasks with `--force`",
    source: "Amazon ECS Developer Guide, \"Draining Amazon ECS container instances\"",
    check: |evidence| match &evidence.stage_error {
        Some(StageError::TasksRun { tasks }) => Some(tasks.clone()),
        _ => None,
    },
    ..Cause::DEFAULTS
};

/// Unknown must not be treated as "no tasks".
pub(super) static TASKS_UNKNOWN: Cause = Cause {
    id: "tasks-unknown",
    layer: Layer::Agent,
    title: "it cannot be determined whether the instance runs tasks",
    symptoms: "`docker ps` fails or hangs",
    proof: "neither introspection nor Docker answered; if one of them lists tasks, the cause is `tasks-running`",
    look_alikes: &["tasks-running", "docker-hung"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "run `docker ps` as root; if no task runs, or none matters, continue with `--force`",
    source: "the agent's introspection and docker's list of containers",
    check: |evidence| match &evidence.stage_error {
        Some(StageError::TasksUnknown { why }) => Some(vec![why.clone()]),
        _ => None,
    },
    ..Cause::DEFAULTS
};

/// Started by hand: stopping the unit would not stop it.
pub(super) static RUNS_OUTSIDE: Cause = Cause {
    id: "agent-outside-systemd",
    layer: Layer::Agent,
    title: "an agent is running that systemd did not start, so stopping its unit does not stop it",
    symptoms: "`docker ps` shows an ecs-agent container while `systemctl status ecs` shows inactive",
    proof: "introspection answers, but the agent's unit is not running; if the unit runs, but does not stop or start \
            as requested, the cause is `agent-unit-job`",
    look_alikes: &["agent-unit-job"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "stop it in the way it was started (`docker stop ecs-agent`), then run the command again",
    source: "Amazon ECS Developer Guide, \"Installing the Amazon ECS container agent\"",
    check: |evidence| match &evidence.stage_error {
        Some(error @ StageError::RunsOutside) => Some(vec![error_chain(error)]),
        _ => None,
    },
    ..Cause::DEFAULTS
};

/// The target of a link may be shared with other programs.
pub(super) static ELSEWHERE: Cause = Cause {
    id: "folder-elsewhere",
    layer: Layer::Agent,
    title: "a folder is a symbolic link or a mount point, which ecs-bootstrap neither follows nor replaces",
    symptoms: "/var/lib/ecs or /var/log is on its own volume, or is a link to one",
    proof: "lstat(2), and the device numbers of the folder and of its parent; if ecs-bootstrap tried to remove a path \
            and failed, the cause is `cleanup-incomplete`",
    look_alikes: &["cleanup-incomplete"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "clear the target by hand, and replace the link or mount with a folder",
    source: "ecs-bootstrap removes nothing outside of the folders that it names",
    check: |evidence| match &evidence.stage_error {
        Some(StageError::Elsewhere(error)) => Some(vec![error_chain(error)]),
        _ => None,
    },
    ..Cause::DEFAULTS
};

/// systemd accepted the job, but it failed or did not end in time.
pub(super) static UNIT_JOB: Cause = Cause {
    id: "agent-unit-job",
    layer: Layer::Agent,
    title: "the agent's unit did not stop or start as requested",
    symptoms: "`systemctl stop ecs` hangs or fails",
    proof: "the result of the systemd job, or no result in time",
    look_alikes: &["systemd-refused", "agent-outside-systemd"],
    class: Class::Retry,
    exit: Exit::Systemd,
    exit_after_deadline: Exit::Systemd,
    remedy: "read `systemctl status ecs` and `journalctl -u ecs`, then run the command again: it continues where it \
             stopped",
    source: "org.freedesktop.systemd1(5), JobRemoved",
    check: |evidence| match &evidence.stage_error {
        Some(error @ StageError::UnitJob { .. }) => Some(vec![error_chain(error)]),
        _ => None,
    },
    ..Cause::DEFAULTS
};

/// A partial cleanup is reported as a failure.
pub(super) static LEFT: Cause = Cause {
    id: "cleanup-incomplete",
    layer: Layer::Agent,
    title: "some files that must not be in a snapshot could not be removed",
    symptoms: "an AMI whose instances have data of the instance it was made from",
    proof: "the evidence lists each path that is left, with the error that prevented its removal",
    look_alikes: &["folder-elsewhere"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "fix the listed errors (for files of another user: run the command as root), then run the command again",
    source: "unlink(2), rmdir(2)",
    check: |evidence| match &evidence.stage_error {
        Some(StageError::NotRemoved { left }) => Some(left.clone()),
        _ => None,
    },
    ..Cause::DEFAULTS
};
