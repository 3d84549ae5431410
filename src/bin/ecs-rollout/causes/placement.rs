//! Causes of the first step of a task: ECS cannot place it on an instance.

use ecs_bootstrap::comparison::Specificity;

use crate::cause::{Cause, Step};

/// The most specific first.
pub(super) static ALL: &[&Cause] = &[
    &NO_INSTANCES,
    &PORT_IN_USE,
    &INSUFFICIENT_MEMORY,
    &INSUFFICIENT_CPU,
    &ATTRIBUTE_MISSING,
    &AGENT_DISCONNECTED,
    &NO_NETWORK_INTERFACE,
    &PLACEMENT_CONSTRAINT,
    &CONFIGURATION,
    &NOT_PLACED,
];

const DEFAULTS: Cause = Cause {
    step: Step::Placement,
    symptoms: "the deployment stays IN_PROGRESS, with fewer running tasks than desired",
    source: "ECS Developer Guide, \"Amazon ECS service event messages\"",
    ..Cause::DEFAULTS
};

static NO_INSTANCES: Cause = Cause {
    id: "no-instances",
    title: "the cluster has no container instance",
    remedy: "find out why no instance registers: run `ecs-bootstrap doctor` on an instance; check the desired capacity \
             of the Auto Scaling group and the capacity provider of the service",
    check: |evidence| {
        evidence.mentions(&[
            &["no container instances were found"],
            &["no container instances found"],
            // Reasons of RunTask (ECS Developer Guide, "API failure reasons").
            &["empty capacity provider"],
            &["no active instances"],
        ])
    },
    ..DEFAULTS
};

static PORT_IN_USE: Cause = Cause {
    id: "port-in-use",
    title: "the host port that the task needs is in use on every instance",
    symptoms: "the old task uses the port: the new task cannot start before the old one stops, and ECS does not stop \
               the old one before the new one runs",
    remedy: "behind a load balancer, leave `hostPort` at 0; otherwise add an instance, or deploy with \
             `--one-small-instance`, which stops the old task first",
    check: |evidence| evidence.mentions(&[&["already using a port"], &["resource:ports"]]),
    ..DEFAULTS
};

static INSUFFICIENT_MEMORY: Cause = Cause {
    id: "insufficient-memory",
    title: "no instance has enough free memory for the task",
    remedy: "lower `memory` or `memoryReservation`, or add or enlarge instances; with only one instance, use \
             `--one-small-instance`, which stops the old task first",
    check: |evidence| evidence.mentions(&[&["insufficient memory"], &["resource:memory"]]),
    ..DEFAULTS
};

static INSUFFICIENT_CPU: Cause = Cause {
    id: "insufficient-cpu",
    title: "no instance has enough free CPU units for the task",
    remedy: "lower `cpu`, or add or enlarge instances; with only one instance, use `--one-small-instance`, which stops \
             the old task first",
    check: |evidence| evidence.mentions(&[&["insufficient cpu"], &["resource:cpu"]]),
    ..DEFAULTS
};

static ATTRIBUTE_MISSING: Cause = Cause {
    id: "attribute-missing",
    title: "no instance has an attribute that the task requires",
    symptoms: "the task needs a log driver, task roles, a GPU, a network mode or an architecture that no agent \
               registered",
    remedy: "compare `requiresAttributes` of the task definition with `attributes` of the container instances; often \
             the reason is `ECS_AVAILABLE_LOGGING_DRIVERS`, `ECS_ENABLE_TASK_IAM_ROLE` or `runtimePlatform`",
    check: |evidence| evidence.mentions(&[&["missing an attribute"], &["error \"attribute\""]]),
    ..DEFAULTS
};

static AGENT_DISCONNECTED: Cause = Cause {
    id: "agent-disconnected",
    title: "the agents of the suitable instances are not connected",
    remedy: "run `ecs-bootstrap doctor` on one of these instances",
    check: |evidence| {
        evidence.mentions(&[&["error \"agent\""], &["have the agent connected"], &["agent not connected"]])
    },
    ..DEFAULTS
};

static NO_NETWORK_INTERFACE: Cause = Cause {
    id: "no-network-interface",
    title: "no instance has a free network interface for the task",
    symptoms: "the network mode is `awsvpc`, in which each task needs its own interface",
    remedy: "add instances, enable ENI trunking (`awsvpcTrunking`), or use the network mode `bridge`",
    check: |evidence| evidence.mentions(&[&["resource:eni"], &["create network interface"]]),
    ..DEFAULTS
};

static PLACEMENT_CONSTRAINT: Cause = Cause {
    id: "placement-constraint",
    title: "no instance satisfies the placement constraints",
    remedy: "compare `placementConstraints` of the service and of the task definition with the attributes of the \
             instances",
    check: |evidence| evidence.mentions(&[&["placement constraint"], &["distinctinstance"]]),
    ..DEFAULTS
};

static CONFIGURATION: Cause = Cause {
    id: "deployment-configuration",
    title: "the deployment configuration lets ECS neither stop an old task nor start a new one",
    symptoms: "minimumHealthyPercent and maximumPercent are both 100, or their rounding leaves no task to stop or \
               start",
    remedy: "set `--minimum-healthy-percent` lower or `--maximum-percent` higher, or use `--one-small-instance`",
    check: |evidence| evidence.mentions(&[&["because of the service deployment configuration"]]),
    ..DEFAULTS
};

static NOT_PLACED: Cause = Cause {
    id: "not-placed",
    specificity: Specificity::General,
    title: "ECS cannot place the task on any instance",
    remedy: "read the event: it says why the closest matching instance does not fit",
    check: |evidence| evidence.mentions(&[&["unable to place a task"], &["unable to place task"]]),
    ..DEFAULTS
};
