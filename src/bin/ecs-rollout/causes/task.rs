//! Causes of a one-off task that did not succeed, apart from those that it shares with the tasks of a service.

use ecs_bootstrap::exit::Exit;

use crate::cause::{Cause, Step};

pub(super) static ALL: &[&Cause] = &[
    &TASK_NOT_STARTED,
    &TASK_TOO_SLOW,
    &TASK_STOPPED,
    &TASK_LOST,
    &TASK_FAILED,
    &TASK_NOT_FOUND,
    &CAPACITY_UNAVAILABLE,
];

const DEFAULTS: Cause = Cause { exit: Exit::TaskFailed, step: Step::Running, ..Cause::DEFAULTS };

pub(crate) static TASK_NOT_STARTED: Cause = Cause {
    id: "task-not-started",
    title: "the one-off task did not start within the time limit",
    symptoms: "the task stays PROVISIONING (it waits for capacity) or PENDING (the agent prepares it); ecs-rollout stops \
               it, so that it does not start later",
    remedy: "for PROVISIONING, check the capacity provider and its Auto Scaling group; for PENDING, check the agent of \
             the instance, the pull of the image and the network interface; or raise the time limit",
    source: "ECS Developer Guide, \"Amazon ECS task lifecycle\"",
    exit: Exit::TimeLimit,
    ..DEFAULTS
};

pub(crate) static TASK_TOO_SLOW: Cause = Cause {
    id: "task-too-slow",
    title: "the one-off task did not end within the time limit",
    symptoms: "the task is RUNNING, and a container that decides has not exited",
    remedy: "find out from the log what it waits for; raise the time limit; let it end before you run it again",
    source: "ECS Developer Guide, \"Amazon ECS task lifecycle\"",
    exit: Exit::TimeLimit,
    ..DEFAULTS
};

pub(crate) static TASK_STOPPED: Cause = Cause {
    id: "task-stopped",
    title: "the one-off task was stopped before it ended by itself",
    symptoms: "the stop code is not `EssentialContainerExited`; the exit code may be 0, because a program that handles \
               SIGTERM can exit with 0 although its work is not done",
    remedy: "read the reason; find the call of `StopTask` in CloudTrail; check how far the task came before you run it \
             again",
    source: "ECS Developer Guide, \"Stopped tasks error codes\"",
    ..DEFAULTS
};

pub(crate) static TASK_LOST: Cause = Cause {
    id: "task-lost",
    title: "ECS no longer shows the one-off task, so its exit code is not known",
    symptoms: "DescribeTasks reports the task as MISSING for more than a minute",
    remedy: "find out from the log of the task whether it ended; ECS shows a stopped task for about an hour",
    source: "ECS API Reference, \"DescribeTasks\"",
    ..DEFAULTS
};

pub(crate) static TASK_FAILED: Cause = Cause {
    id: "task-failed",
    title: "the one-off task did not succeed",
    symptoms: "a container that decides has no exit code of 0, and no cause of the catalogue matches the messages of ECS",
    remedy: "read the messages and the log; a container that decides must exit with 0: name it in the overrides if \
             another one was meant",
    source: "ECS API Reference, \"Task\"",
    ..DEFAULTS
};

pub(crate) static TASK_NOT_FOUND: Cause = Cause {
    id: "task-not-found",
    title: "the service has no such task or container",
    symptoms: "no task of the service has this id or this container; ECS shows a stopped task for about an hour",
    remedy: "compare with the output of `ecs-rollout tasks`",
    source: "ECS API Reference, \"ListTasks\"",
    exit: Exit::NotFound,
    ..Cause::DEFAULTS
};

static CAPACITY_UNAVAILABLE: Cause = Cause {
    id: "capacity-unavailable",
    title: "Fargate has no capacity for the task",
    symptoms: "`Capacity is unavailable at this time`",
    remedy: "run the command again later, or with subnets in other Availability Zones",
    source: "ECS Developer Guide, \"API failure reasons\"",
    step: Step::Placement,
    check: |evidence| evidence.mentions(&[&["capacity is unavailable"]]),
    ..Cause::DEFAULTS
};
