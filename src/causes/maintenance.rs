//! Causes why `prepare-image` and `reset-agent` do not do what they would, or not all of it.

use super::{Cause, Class, Layer};
use crate::evidence::StageError;
use crate::exit::Exit;
use crate::redaction::error_chain;

/// An agent that forgets its tasks leaves their containers running, and ECS places others.
pub(super) static TASKS_RUN: Cause = Cause {
    id: "tasks-running",
    layer: Layer::Agent,
    title: "the instance runs tasks, whose containers would go on with nobody to look after them",
    symptoms: "ECS shows the tasks as running, and their containers outlive the reset",
    proof: "the agent's list or docker's has tasks that have not stopped; where neither answers it is `tasks-unknown`",
    look_alikes: &["tasks-unknown"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "drain it (`aws ecs update-container-instances-state --cluster NAME --container-instances ARN --status \
             DRAINING`) and wait for its tasks to stop; or go on \
             without them by `--force`",
    source: "Amazon ECS Developer Guide, \"Draining Amazon ECS container instances\"",
    check: |evidence| match &evidence.stop {
        Some(StageError::TasksRun { tasks }) => Some(tasks.clone()),
        _ => None,
    },
    ..Cause::PLAIN
};

/// Unknown is not "none".
pub(super) static TASKS_UNKNOWN: Cause = Cause {
    id: "tasks-unknown",
    layer: Layer::Agent,
    title: "whether the instance runs tasks cannot be found out",
    symptoms: "`docker ps` fails or hangs",
    proof: "neither introspection nor docker answered; a list with tasks in it is `tasks-running`",
    look_alikes: &["tasks-running", "docker-hung"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "look by `docker ps`, as root; where no task runs, or none matters, go on by `--force`",
    source: "the agent's introspection and docker's list of containers",
    check: |evidence| match &evidence.stop {
        Some(StageError::TasksUnknown { why }) => Some(vec![why.clone()]),
        _ => None,
    },
    ..Cause::PLAIN
};

/// Started by hand, where we cannot stop it without stopping what we do not know.
pub(super) static RUNS_OUTSIDE: Cause = Cause {
    id: "agent-outside-systemd",
    layer: Layer::Agent,
    title: "an agent runs that systemd did not start, so it cannot be stopped with its unit",
    symptoms: "`docker ps` shows an ecs-agent while `systemctl status ecs` says inactive",
    proof: "introspection answers and the agent's unit does not run",
    look_alikes: &["agent-unit-job"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "stop it by the way it was started (`docker stop ecs-agent`), then do this again",
    source: "Amazon ECS Developer Guide, \"Installing the Amazon ECS container agent\"",
    check: |evidence| match &evidence.stop {
        Some(stop @ StageError::RunsOutside) => Some(vec![error_chain(stop)]),
        _ => None,
    },
    ..Cause::PLAIN
};

/// What a link points to may be shared, or somebody's own.
pub(super) static ELSEWHERE: Cause = Cause {
    id: "folder-elsewhere",
    layer: Layer::Agent,
    title: "a folder is a symbolic link or a mount, which is neither followed nor replaced",
    symptoms: "/var/lib/ecs or /var/log is on a volume of its own, or linked to one",
    proof: "lstat(2) and the device of the folder and of the one above it",
    look_alikes: &["cleanup-incomplete"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "clear what it points to by hand, and put a folder in its place",
    source: "ecs-bootstrap removes nothing outside the folders that it names",
    check: |evidence| match &evidence.stop {
        Some(StageError::Elsewhere(error)) => Some(vec![error_chain(error)]),
        _ => None,
    },
    ..Cause::PLAIN
};

/// systemd took the job, and it did not end well or not in time.
pub(super) static UNIT_JOB: Cause = Cause {
    id: "agent-unit-job",
    layer: Layer::Agent,
    title: "the agent's unit did not stop or start as it was told",
    symptoms: "`systemctl stop ecs` hangs or fails",
    proof: "the result of the job, or none within its time",
    look_alikes: &["systemd-refused", "agent-outside-systemd"],
    class: Class::Retry,
    exit: Exit::Systemd,
    exit_after_deadline: Exit::Systemd,
    remedy: "look at `systemctl status ecs` and `journalctl -u ecs`, then do this again: it goes on where it was",
    source: "org.freedesktop.systemd1(5), JobRemoved",
    check: |evidence| match &evidence.stop {
        Some(stop @ StageError::UnitJob { .. }) => Some(vec![error_chain(stop)]),
        _ => None,
    },
    ..Cause::PLAIN
};

/// Half a cleaning is none.
pub(super) static LEFT: Cause = Cause {
    id: "cleanup-incomplete",
    layer: Layer::Agent,
    title: "not all that must go before a snapshot could be removed",
    symptoms: "an image whose instances carry something of their parent",
    proof: "each path that is left, with the error that kept it",
    look_alikes: &["folder-elsewhere"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "remove what keeps these paths (another user's files: run it as root), then do this again",
    source: "unlink(2), rmdir(2)",
    check: |evidence| match &evidence.stop {
        Some(StageError::NotRemoved { left }) => Some(left.clone()),
        _ => None,
    },
    ..Cause::PLAIN
};
