//! Causes of a task that ran: it ended, it was killed, or a health check does not accept it.

use super::{Cause, ContainerExit, Evidence, SHOWN};

/// Most specific first.
pub(super) static ALL: &[&Cause] = &[&MEMORY, &EXITED, &ENDED, &TARGET, &CONTAINER, &ALARM, &LOST];

const DEFAULTS: Cause = Cause {
    symptoms: "tasks start and stop, again and again",
    source: "ECS Developer Guide, \"Amazon ECS stopped tasks error messages\"",
    ..Cause::DEFAULTS
};

static MEMORY: Cause = Cause {
    id: "out-of-memory",
    title: "a container was killed, since it used more memory than it may",
    remedy: "raise `memory` (the hard limit) of the container or the task, or let the program use less",
    check: |evidence| evidence.mentions(&[&["outofmemory"], &["killed due to memory usage"]]),
    ..DEFAULTS
};

/// Containers whose end was the task's, with a code that `matches` accepts.
fn ended(evidence: &Evidence, matches: fn(i64) -> bool) -> Vec<String> {
    let is_told_elsewhere = |exit: &ContainerExit| exit.log.iter().any(|line| line.contains("exec format error"));
    let culprits =
        evidence.exits.iter().filter(|exit| exit.ended_the_task && matches(exit.code) && !is_told_elsewhere(exit));
    let mut lines = Vec::new();
    for exit in culprits.take(SHOWN) {
        lines.push(format!("container `{}` of task {} ended with {}", exit.container, exit.task, exit.code));
        // The log of the first says it; the others say the same.
        if lines.len() == 1 {
            lines.extend(exit.log.iter().map(|line| format!("log: {line}")));
        }
    }
    lines
}

static EXITED: Cause = Cause {
    id: "container-exited",
    title: "a container ends with an error",
    symptoms: "tasks start and stop with `Essential container in task exited`",
    remedy: "read its log; 137 is SIGKILL (memory, or a stop that took too long), 139 a segmentation fault, 126 and 127 a \
             command that cannot be run",
    check: |evidence| match (MEMORY.check)(evidence).is_empty() {
        true => ended(evidence, |code| code != 0),
        false => Vec::new(),
    },
    ..DEFAULTS
};

static ENDED: Cause = Cause {
    id: "container-ended",
    title: "a container ends by itself, without an error",
    symptoms: "tasks start and stop with `Essential container in task exited` and exit code 0",
    remedy: "let the command stay in the foreground, or run it as a task (`aws ecs run-task`) rather than as a service; a \
             container that may end is not `essential`",
    check: |evidence| ended(evidence, |code| code == 0),
    ..DEFAULTS
};

static TARGET: Cause = Cause {
    id: "target-unhealthy",
    title: "the load balancer's health check does not accept the task",
    symptoms: "tasks run for a while and are stopped with `Task failed ELB health checks`",
    remedy: "compare path, port and expected codes of the target group's health check with what the container answers; the \
             instances' security group must let the load balancer in; raise `healthCheckGracePeriodSeconds` for a slow start",
    source: "ECS Developer Guide, \"Troubleshooting service load balancers\"",
    check: |evidence| {
        evidence.mentions(&[&["elb health checks"], &["is unhealthy in (target-group"], &["is unhealthy in (elb"]])
    },
    ..DEFAULTS
};

static CONTAINER: Cause = Cause {
    id: "container-unhealthy",
    title: "the health check of a container does not succeed",
    symptoms: "tasks are stopped with `Task failed container health checks`",
    remedy: "run the health check's `command` in the container (`docker exec`): its program must be in the image; raise \
             `startPeriod` for a slow start",
    source: "ECS Developer Guide, \"Determine Amazon ECS task health using container health checks\"",
    check: |evidence| evidence.mentions(&[&["failed container health checks"]]),
    ..DEFAULTS
};

static ALARM: Cause = Cause {
    id: "deployment-alarm",
    title: "an alarm of the deployment went off",
    symptoms: "ECS gives up on a deployment whose tasks run, as a CloudWatch alarm of `deploymentConfiguration.alarms` is in ALARM",
    remedy: "look at the alarm's metric (`aws cloudwatch describe-alarms --state-value ALARM`): the new revision is worse by \
             it, or the alarm was in that state before",
    source: "ECS Developer Guide, \"How CloudWatch alarms detect Amazon ECS deployment failures\"",
    check: |evidence| evidence.mentions(&[&["deployment failed", "alarm"]]),
    ..DEFAULTS
};

static LOST: Cause = Cause {
    id: "instance-lost",
    title: "the instance of a task went away",
    symptoms: "tasks stop with `Host EC2 ... terminated`, or a Spot interruption",
    remedy: "look at the Auto Scaling group's activities; set managed termination protection, and drain Spot instances \
             (`ECS_ENABLE_SPOT_INSTANCE_DRAINING`)",
    check: |evidence| {
        evidence.mentions(&[&["host ec2", "terminated"], &["spotinterruption"], &["host ec2", "stopped"]])
    },
    ..DEFAULTS
};
