//! Causes of a task that ran and stopped: a container exited or was killed, a health check failed, the instance was
//! lost.

use crate::cause::{Cause, Step};
use crate::evidence::{ContainerExit, Evidence, MAX_SHOWN};

/// The most specific first.
pub(super) static ALL: &[&Cause] = &[&MEMORY, &EXITED, &ENDED, &TARGET, &CONTAINER, &ALARM, &LOST];

const DEFAULTS: Cause = Cause {
    step: Step::Running,
    symptoms: "tasks start and stop repeatedly",
    source: "ECS Developer Guide, \"Amazon ECS stopped tasks error messages\"",
    ..Cause::DEFAULTS
};

static MEMORY: Cause = Cause {
    id: "out-of-memory",
    title: "a container was killed because it used more memory than its limit",
    remedy: "raise `memory` (the hard limit) of the container or the task, or let the program use less memory",
    check: |evidence| evidence.mentions(&[&["outofmemory"], &["killed due to memory usage"]]),
    ..DEFAULTS
};

/// The containers that stopped their task and whose exit code `matches` accepts.
fn exits(evidence: &Evidence, matches: fn(i64) -> bool) -> Vec<String> {
    // `image-platform` reports these.
    let has_wrong_platform = |exit: &ContainerExit| exit.log.iter().any(|line| line.contains("exec format error"));
    let exits =
        evidence.exits.iter().filter(|exit| exit.ended_the_task && matches(exit.code) && !has_wrong_platform(exit));
    let mut lines = Vec::new();
    for exit in exits.take(MAX_SHOWN) {
        lines.push(format!("container `{}` of task {} exited with code {}", exit.container, exit.task, exit.code));
        // One log is enough: the containers of a failed rollout usually fail in the same way.
        if lines.len() == 1 {
            lines.extend(exit.log.iter().map(|line| format!("log: {line}")));
        }
    }
    lines
}

static EXITED: Cause = Cause {
    id: "container-exited",
    yields_to: &["out-of-memory"],
    title: "a container exits with an error",
    symptoms: "tasks start and stop with `Essential container in task exited`",
    remedy: "read the log of the container; exit code 137 is SIGKILL (memory, or a stop that took too long), 139 is a \
             segmentation fault, 126 and 127 are a command that cannot be run",
    check: |evidence| exits(evidence, |code| code != 0),
    ..DEFAULTS
};

static ENDED: Cause = Cause {
    id: "container-ended",
    title: "a container exits without an error",
    symptoms: "tasks start and stop with `Essential container in task exited` and exit code 0",
    remedy: "keep the command in the foreground, or run it as a task (`aws ecs run-task`) instead of as a service; a \
             container that may exit must not be `essential`",
    check: |evidence| exits(evidence, |code| code == 0),
    ..DEFAULTS
};

static TARGET: Cause = Cause {
    id: "target-unhealthy",
    title: "the load balancer's health check fails",
    symptoms: "tasks run for a while and are stopped with `Task failed ELB health checks`",
    remedy: "compare path, port and expected codes of the target group's health check with the answer of the \
             container; let the security group of the instances accept traffic from the load balancer; for a slow \
             start, raise `healthCheckGracePeriodSeconds`",
    source: "ECS Developer Guide, \"Troubleshooting service load balancers\"",
    check: |evidence| {
        evidence.mentions(&[&["elb health checks"], &["is unhealthy in (target-group"], &["is unhealthy in (elb"]])
    },
    ..DEFAULTS
};

static CONTAINER: Cause = Cause {
    id: "container-unhealthy",
    title: "the health check of a container fails",
    symptoms: "tasks are stopped with `Task failed container health checks`",
    remedy: "run the `command` of the health check in the container (`docker exec`): its program must be in the image; \
             for a slow start, raise `startPeriod`",
    source: "ECS Developer Guide, \"Determine Amazon ECS task health using container health checks\"",
    check: |evidence| evidence.mentions(&[&["failed container health checks"]]),
    ..DEFAULTS
};

static ALARM: Cause = Cause {
    id: "deployment-alarm",
    title: "a CloudWatch alarm stopped the deployment",
    symptoms: "the tasks run, but ECS ends the deployment because an alarm of `deploymentConfiguration.alarms` is in \
               the state ALARM",
    remedy: "check the metric of the alarm (`aws cloudwatch describe-alarms --state-value ALARM`): either the new \
             revision made it worse, or the alarm was in that state before",
    source: "ECS Developer Guide, \"How CloudWatch alarms detect Amazon ECS deployment failures\"",
    check: |evidence| evidence.mentions(&[&["deployment failed", "alarm"]]),
    ..DEFAULTS
};

pub(super) static LOST: Cause = Cause {
    id: "instance-lost",
    title: "the instance of a task was stopped or terminated",
    symptoms: "tasks stop with `Host EC2 ... terminated`, or because of a Spot interruption",
    remedy: "check the activities of the Auto Scaling group; enable managed termination protection, and drain Spot \
             instances (`ECS_ENABLE_SPOT_INSTANCE_DRAINING`)",
    check: |evidence| {
        evidence.mentions(&[&["host ec2", "terminated"], &["spotinterruption"], &["host ec2", "stopped"]])
    },
    ..DEFAULTS
};
