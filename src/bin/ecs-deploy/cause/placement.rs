//! Causes of the step before all others: no instance takes the task.

use super::Cause;

/// Most specific first.
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

const EVENTS: &str = "ECS Developer Guide, \"Amazon ECS service event messages\"";

const DEFAULTS: Cause = Cause {
    symptoms: "the deployment stays IN_PROGRESS, with fewer tasks than desired",
    source: EVENTS,
    ..Cause::DEFAULTS
};

static NO_INSTANCES: Cause = Cause {
    id: "no-instances",
    title: "the cluster has no container instance",
    remedy: "see why none registers: `ecs-bootstrap doctor` on an instance, the Auto Scaling group's desired capacity, or the \
             capacity provider of the service",
    check: |evidence| evidence.mentions(&[&["no container instances were found"], &["no container instances found"]]),
    ..DEFAULTS
};

static PORT_IN_USE: Cause = Cause {
    id: "port-in-use",
    title: "no instance has the host port free that the task asks for",
    symptoms: "the old task holds it, so the new one waits for the old, and the old for the new",
    remedy: "leave `hostPort` at 0 behind a load balancer, add an instance, or deploy with `--one-small-instance`, which stops \
             the old task first",
    check: |evidence| evidence.mentions(&[&["already using a port"], &["resource:ports"]]),
    ..DEFAULTS
};

static INSUFFICIENT_MEMORY: Cause = Cause {
    id: "insufficient-memory",
    title: "no instance has as much memory left as the task asks for",
    remedy: "lower `memory` or `memoryReservation`, add or enlarge instances; where one instance is all there is, \
             `--one-small-instance` stops the old task first",
    check: |evidence| evidence.mentions(&[&["insufficient memory"], &["resource:memory"]]),
    ..DEFAULTS
};

static INSUFFICIENT_CPU: Cause = Cause {
    id: "insufficient-cpu",
    title: "no instance has as many CPU units left as the task asks for",
    remedy: "lower `cpu`, add or enlarge instances; where one instance is all there is, `--one-small-instance` stops the old \
             task first",
    check: |evidence| evidence.mentions(&[&["insufficient cpu"], &["resource:cpu"]]),
    ..DEFAULTS
};

static ATTRIBUTE_MISSING: Cause = Cause {
    id: "attribute-missing",
    title: "no instance has an attribute that the task needs",
    symptoms: "a log driver, task roles, a GPU, a network mode or an architecture that the agents did not register",
    remedy: "compare `requiresAttributes` of the task definition with `attributes` of the container instances; often \
             `ECS_AVAILABLE_LOGGING_DRIVERS`, `ECS_ENABLE_TASK_IAM_ROLE` or `runtimePlatform`",
    check: |evidence| evidence.mentions(&[&["missing an attribute"], &["error \"attribute\""]]),
    ..DEFAULTS
};

static AGENT_DISCONNECTED: Cause = Cause {
    id: "agent-disconnected",
    title: "the agents of the instances that fit are not connected",
    remedy: "run `ecs-bootstrap doctor` on such an instance",
    check: |evidence| {
        evidence.mentions(&[&["error \"agent\""], &["have the agent connected"], &["agent not connected"]])
    },
    ..DEFAULTS
};

static NO_NETWORK_INTERFACE: Cause = Cause {
    id: "no-network-interface",
    title: "no instance has a network interface left for the task",
    symptoms: "network mode `awsvpc`, where each task needs an interface of its own",
    remedy: "add instances, switch on ENI trunking (`awsvpcTrunking`), or use the network mode `bridge`",
    check: |evidence| evidence.mentions(&[&["resource:eni"], &["create network interface"]]),
    ..DEFAULTS
};

static PLACEMENT_CONSTRAINT: Cause = Cause {
    id: "placement-constraint",
    title: "no instance satisfies the placement constraints",
    remedy: "compare `placementConstraints` of service and task definition with the attributes of the instances",
    check: |evidence| evidence.mentions(&[&["placement constraint"], &["distinctinstance"]]),
    ..DEFAULTS
};

static CONFIGURATION: Cause = Cause {
    id: "deployment-configuration",
    title: "the deployment configuration lets ECS neither stop an old task nor start a new one",
    symptoms: "minimumHealthyPercent 100 with maximumPercent 100, or percentages that round to nothing",
    remedy: "give it room by `--minimum-healthy-percent` and `--maximum-percent`, or `--one-small-instance`",
    check: |evidence| evidence.mentions(&[&["because of the service deployment configuration"]]),
    ..DEFAULTS
};

static NOT_PLACED: Cause = Cause {
    id: "not-placed",
    title: "no instance takes the task",
    remedy: "read the event: it names what the closest instance lacks",
    check: |evidence| match ALL.iter().any(|cause| cause.id != "not-placed" && !(cause.check)(evidence).is_empty()) {
        true => Vec::new(),
        false => evidence.mentions(&[&["unable to place a task"], &["unable to place task"]]),
    },
    ..DEFAULTS
};
