//! What counts as a failure of a deployment while ECS still calls it in progress.
//!
//! In: a deployment and its stopped tasks. Out: whether tasks have failed, and whether they fail in a loop. Pure.
//!
//! - A *task failed* if it did not start, if one of its containers ended it, or if ECS stopped it because of a failed
//!   health check ([`is_failure`]). Tasks that ECS stops to scale in, that a person stops, or that are lost with their
//!   instance did not fail.
//! - A deployment is in a *crash loop* if as many of its tasks have failed as the circuit breaker of ECS tolerates by
//!   default, and none runs ([`crash_loop`]). It ends the rollout if ECS has no circuit breaker.
//! - At the time limit a deployment *has failed* if ECS counts failed tasks, if fewer tasks run than desired and a task
//!   or its placement failed, or if as many tasks have failed as in a crash loop and it has not recovered since
//!   ([`has_failed`]). Otherwise it is only slow, and is not rolled back.

use crate::service::{Deployment, Service, Task};

/// A task that ran for this many seconds before its container exited is not part of a crash loop.
const LONG_RUN: f64 = 300.0;
/// The bounds of the threshold (ECS Developer Guide, "How the Amazon ECS deployment circuit breaker detects failures").
const THRESHOLD: (i64, i64) = (3, 200);

/// Whether a stopped task failed (ECS API Reference, "Task", `stopCode`).
pub(crate) fn is_failure(task: &Task) -> bool {
    match task.stop_code.as_str() {
        "TaskFailedToStart" | "EssentialContainerExited" => true,
        "ServiceSchedulerInitiated" => task.stopped_reason.to_ascii_lowercase().contains("failed"),
        "" => task.containers.iter().any(|container| container.exit_code.is_some_and(|code| code != 0)),
        _ => false,
    }
}

/// Whether a failed task counts for a crash loop: it did not start, did not become healthy, or did not run for long.
fn is_early_failure(task: &Task) -> bool {
    let ran = if task.started_at > 0.0 { task.stopped_at - task.started_at } else { 0.0 };
    is_failure(task) && (task.stop_code != "EssentialContainerExited" || ran < LONG_RUN)
}

/// The number of failed tasks that makes a crash loop: half of the desired count, at least 3, at most 200.
fn threshold(deployment: &Deployment) -> i64 {
    ((deployment.desired_count + 1) / 2).clamp(THRESHOLD.0, THRESHOLD.1)
}

/// Whether the circuit breaker of ECS watches the deployments of the service.
pub(crate) fn has_circuit_breaker(service: &Service) -> bool {
    service.raw["deploymentConfiguration"]["deploymentCircuitBreaker"]["enable"] == true
}

/// A text that says why the deployment is in a crash loop, if it is. The counts are those of the deployment, so tasks of
/// the old revision, which keep running unless `minimumHealthyPercent` is 0, do not matter.
pub(crate) fn crash_loop(deployment: &Deployment, stopped: &[Task]) -> Option<String> {
    let early = stopped.iter().filter(|task| is_early_failure(task)).count();
    let failed = deployment.failed_tasks.max(i64::try_from(early).unwrap_or(i64::MAX));
    let threshold = threshold(deployment);
    (deployment.running_count == 0 && failed >= threshold)
        .then(|| format!("crash loop: {failed} tasks failed and none is running (the rollout ends at {threshold})"))
}

/// Whether a deployment that reaches the time limit has failed. `has_cause`: an event or a task names a cause that the
/// catalogue knows. `has_recovered`: all tasks have run for a while since the last failure, or ECS found them healthy
/// and went on to the next stage, such as the bake time.
pub(crate) fn has_failed(deployment: &Deployment, stopped: &[Task], has_cause: bool, has_recovered: bool) -> bool {
    let failed = stopped.iter().filter(|task| is_failure(task)).count();
    let is_short = deployment.running_count < deployment.desired_count;
    deployment.failed_tasks > 0
        || (is_short && (failed > 0 || has_cause))
        || (!has_recovered && i64::try_from(failed).is_ok_and(|failed| failed >= threshold(deployment)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(desired: i64, running: i64, failed: i64) -> Deployment {
        Deployment { desired_count: desired, running_count: running, failed_tasks: failed, ..Deployment::default() }
    }

    fn tasks(count: usize, code: &str, reason: &str, ran: f64) -> Vec<Task> {
        let (stop_code, stopped_reason) = (code.to_owned(), reason.to_owned());
        vec![Task { stop_code, stopped_reason, started_at: 1000.0, stopped_at: 1000.0 + ran, ..Task::default() }; count]
    }

    #[test]
    fn a_crash_loop_needs_as_many_failed_tasks_as_the_circuit_breaker_of_ecs() {
        for (desired, needed) in [(0, 3), (1, 3), (6, 3), (7, 4), (20, 10), (400, 200), (10_000, 200)] {
            let exits = |count| tasks(count, "EssentialContainerExited", "", 5.0);
            let needed = usize::try_from(needed).unwrap();
            assert!(crash_loop(&deployment(desired, 0, 0), &exits(needed - 1)).is_none(), "{desired}");
            assert!(crash_loop(&deployment(desired, 0, 0), &exits(needed)).is_some(), "{desired}");
            assert!(crash_loop(&deployment(desired, 0, needed as i64), &[]).is_some(), "ECS counts them: {desired}");
            assert!(crash_loop(&deployment(desired, 1, 0), &exits(needed)).is_none(), "one runs: {desired}");
        }
    }

    #[test]
    fn tasks_that_ran_for_long_or_did_not_fail_are_not_a_crash_loop() {
        let none_runs = deployment(2, 0, 0);
        assert!(crash_loop(&none_runs, &tasks(9, "EssentialContainerExited", "", 301.0)).is_none());
        assert!(crash_loop(&none_runs, &tasks(9, "UserInitiated", "Task stopped by user", 5.0)).is_none());
        assert!(crash_loop(&none_runs, &tasks(9, "SpotInterruption", "", 5.0)).is_none());
        let scaled_in = "Scaling activity initiated by (deployment ecs-svc/1)";
        assert!(crash_loop(&none_runs, &tasks(9, "ServiceSchedulerInitiated", scaled_in, 5.0)).is_none());
        let unhealthy = "Task failed ELB health checks in (target-group arn:aws:x)";
        assert!(crash_loop(&none_runs, &tasks(3, "ServiceSchedulerInitiated", unhealthy, 900.0)).is_some());
        assert!(crash_loop(&none_runs, &tasks(3, "TaskFailedToStart", "", 0.0)).is_some());
    }

    #[test]
    fn at_the_limit_only_a_deployment_with_failures_has_failed() {
        let exit = |count| tasks(count, "EssentialContainerExited", "", 5.0);
        for (deployment, stopped, has_cause, has_recovered, expected) in [
            (deployment(2, 0, 0), exit(0), false, false, false),
            (deployment(2, 2, 0), exit(1), true, false, false),
            (deployment(2, 2, 0), exit(3), false, false, true),
            (deployment(2, 2, 0), exit(3), true, true, false),
            (deployment(2, 1, 0), exit(1), false, true, true),
            (deployment(2, 1, 0), exit(0), true, true, true),
            (deployment(2, 2, 1), exit(0), false, true, true),
        ] {
            let actual = has_failed(&deployment, &stopped, has_cause, has_recovered);
            assert_eq!(actual, expected, "{deployment:?} {stopped:?} {has_cause} {has_recovered}");
        }
    }
}
