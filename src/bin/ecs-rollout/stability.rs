//! What ecs-rollout calls stable. This is the only place that decides it.
//!
//! A deployment is *complete* when ECS says so: its rollout state is COMPLETED. That the running count equals the
//! desired count proves nothing, since tasks of the old revision are counted too. Behind a Classic Load Balancer ECS
//! has no rollout state; there a deployment is complete when it is the only one left and its counts agree.
//!
//! - A *service* is stable when its PRIMARY deployment is complete and runs its task definition ([`is_stable`]).
//! - A *rollout* of `deploy` or `rollback` has succeeded when the deployment that was started is PRIMARY and complete
//!   ([`judge`]). A change that starts no new deployment, such as another desired count, has succeeded when also as
//!   many tasks run as the service wants.
//! - A rollout with stages (blue/green, linear, canary) has succeeded when its service deployment is SUCCESSFUL
//!   ([`refine`]).
//! - A *revision* was stable when `deploy` saw its rollout succeed, and tagged it with [`STABLE_TAG`]. `rollback` goes
//!   back to such a revision. If there is none it goes back to the last completed deployment of the service.
//! - A failed `deploy` rolls back to the revision of [`last_stable_revision`].

use crate::revision::Revision;
use crate::service::{Deployment, Service, short};
use crate::service_deployment::ServiceDeployment;

/// The tag of a revision whose rollout succeeded; its value is the time.
pub(crate) const STABLE_TAG: &str = "ecs-rollout:stable";

/// Whether the rollout of a deployment is complete.
pub(crate) fn is_complete(deployment: &Deployment, service: &Service) -> bool {
    match deployment.rollout_state.as_deref() {
        Some(state) => state == "COMPLETED",
        None => service.deployments.len() == 1 && deployment.running_count == deployment.desired_count,
    }
}

/// Whether the newest deployment of a service is complete, and runs the revision of the service.
pub(crate) fn is_stable(service: &Service) -> bool {
    service.primary().is_some_and(|primary| is_complete(primary, service)) && other_revision(service).is_none()
}

/// The PRIMARY deployment, if it runs another revision than the service names. An answer can be older than the last
/// change of the service.
pub(crate) fn other_revision(service: &Service) -> Option<&Deployment> {
    service.primary().filter(|primary| short(&primary.task_definition) != short(&service.task_definition))
}

/// Whether an earlier `deploy` saw the rollout of this revision succeed.
pub(crate) fn was_stable(revision: &Revision) -> bool {
    revision.tags.contains_key(STABLE_TAG)
}

/// The ARN of the revision of the newest deployment that is complete and still runs.
pub(crate) fn last_stable_revision(service: &Service) -> Option<&str> {
    let primary = service.primary().filter(|primary| is_complete(primary, service));
    // While a rollout is in progress, the deployments that it replaces still run what was stable before.
    let replaced = || {
        let others = service.deployments.iter().filter(|other| other.status == "ACTIVE" && other.running_count > 0);
        let complete = others.filter(|other| other.rollout_state.as_deref() == Some("COMPLETED"));
        complete.max_by(|a, b| a.created_at.total_cmp(&b.created_at))
    };
    primary.or_else(replaced).map(|deployment| deployment.task_definition.as_str())
}

/// The state of the rollout that is watched.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RolloutState {
    /// ECS does not show the deployment yet. Its answers can be older than its last action.
    NotVisible,
    InProgress,
    /// The deployment is PRIMARY and complete.
    Completed,
    /// ECS gave up on the deployment and leaves it as it is. Holds the reason that ECS gives.
    Failed(String),
    /// ECS gave up on the deployment and rolls back. Holds the deployment of the rollback.
    RollingBack(Deployment),
    /// ECS gave up on the deployment, and its rollback has ended.
    RolledBack {
        to: Deployment,
        completed: bool,
    },
    /// A newer deployment, which ECS did not start as a rollback, is PRIMARY.
    Superseded(Deployment),
    /// The service was deleted.
    Deleted,
}

/// The state of a deployment's rollout. `expected_count` is the number of running tasks to wait for; it is
/// only set for a change that starts no new deployment.
pub(crate) fn judge(service: &Service, deployment: &Deployment, expected_count: Option<i64>) -> RolloutState {
    let (id, found) = (&deployment.id, service.deployment(&deployment.id));
    if !service.is_active() {
        // Without the deployment this is the deleted service that a new one of the same name has just replaced.
        return if found.is_some() { RolloutState::Deleted } else { RolloutState::NotVisible };
    }
    let Some(primary) = service.primary() else { return RolloutState::NotVisible };
    let failed = found.filter(|found| found.rollout_state.as_deref() == Some("FAILED"));
    if primary.id == *id {
        // An answer from before the update still has the old desired count.
        let has_count = expected_count
            .is_none_or(|expected| service.desired_count == expected && service.running_count == expected);
        return match failed {
            Some(failed) => RolloutState::Failed(failed.rollout_state_reason.clone()),
            None if is_complete(primary, service) && has_count => RolloutState::Completed,
            None => RolloutState::InProgress,
        };
    }
    // ECS may no longer list a failed deployment, but its events remain.
    let event = service.events.iter().find(|event| event.message.contains(id) && event.message.contains("failed"));
    let reason = primary.rollout_state_reason.to_ascii_lowercase();
    if failed.is_some() || event.is_some() || (found.is_some() && reason.contains("rolling back")) {
        return RolloutState::RollingBack(primary.clone());
    }
    // An answer that has an older PRIMARY and not this deployment is from before the deployment was started. If it has
    // both, the older one still serves the traffic of a blue/green rollout.
    let is_newer = primary.created_at > deployment.created_at;
    match found {
        _ if is_newer => RolloutState::Superseded(primary.clone()),
        Some(_) if primary.created_at < deployment.created_at => RolloutState::InProgress,
        Some(_) => RolloutState::Superseded(primary.clone()),
        None => RolloutState::NotVisible,
    }
}

/// The state of a rollout with stages, from the state that DescribeServices shows and the service deployment, which
/// knows better: during bake times both revisions run, and a rollback can make the old deployment PRIMARY again (ECS API
/// Reference, "ServiceDeployment", `status`).
pub(crate) fn refine(
    judged: RolloutState,
    stage: &ServiceDeployment,
    service: &Service,
    deployment: &Deployment,
) -> RolloutState {
    let is_replaced = matches!(judged, RolloutState::Superseded(_));
    if judged == RolloutState::Deleted {
        return judged;
    }
    let reason = || stage.status_reason.clone().unwrap_or_default();
    let rollback = || rollback_of(service, deployment);
    match stage.status.as_str() {
        "SUCCESSFUL" if !is_replaced => RolloutState::Completed,
        "STOPPED" if !is_replaced => RolloutState::Failed(reason()),
        "ROLLBACK_REQUESTED" | "ROLLBACK_IN_PROGRESS" => RolloutState::RollingBack(rollback()),
        "ROLLBACK_SUCCESSFUL" => RolloutState::RolledBack { to: rollback(), completed: true },
        "ROLLBACK_FAILED" => RolloutState::RolledBack { to: rollback(), completed: false },
        "PENDING" | "IN_PROGRESS" | "STOP_REQUESTED" if !is_replaced => match judged {
            RolloutState::Failed(_) | RolloutState::RollingBack(_) => judged,
            _ => RolloutState::InProgress,
        },
        _ => judged,
    }
}

/// The deployment that a rolled back deployment was replaced by: PRIMARY, or the only other one.
fn rollback_of(service: &Service, deployment: &Deployment) -> Deployment {
    let others = || service.deployments.iter().filter(|other| other.id != deployment.id);
    let found = others().find(|other| other.status == "PRIMARY").or_else(|| others().next()).cloned();
    found.unwrap_or_else(|| Deployment {
        id: "the deployment before".to_owned(),
        task_definition: service.task_definition.clone(),
        ..Deployment::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ID: &str = "ecs-svc/2";

    fn service(deployments: Value, events: Value) -> Service {
        Service::read(&json!({"status": "ACTIVE", "deployments": deployments, "events": events})).unwrap()
    }

    fn deployment(id: &str, status: &str, state: &str, reason: &str) -> Value {
        let created: f64 = id.rsplit('/').next().unwrap().parse().unwrap();
        json!({"id": id, "status": status, "rolloutState": state, "rolloutStateReason": reason, "createdAt": created,
               "desiredCount": 2, "runningCount": 2})
    }

    /// The state of the deployment `ecs-svc/2`.
    fn state(service: &Service) -> RolloutState {
        let watched = Deployment { id: ID.to_owned(), created_at: 2.0, ..Deployment::default() };
        judge(service, &watched, None)
    }

    #[test]
    fn a_rollout_succeeds_when_its_deployment_is_primary_and_completed_not_when_counts_agree() {
        let with = |state| service(json!([deployment(ID, "PRIMARY", state, "")]), json!([]));
        assert_eq!(state(&with("COMPLETED")), RolloutState::Completed);
        assert_eq!(state(&with("IN_PROGRESS")), RolloutState::InProgress);
        assert_eq!(state(&with("FAILED")), RolloutState::Failed(String::new()));
        assert_eq!((is_stable(&with("COMPLETED")), is_stable(&with("IN_PROGRESS"))), (true, false));
        let other = Service { task_definition: "task-definition/web:3".to_owned(), ..with("COMPLETED") };
        assert!(!is_stable(&other) && state(&other) == RolloutState::Completed);
    }

    #[test]
    fn a_changed_desired_count_succeeds_when_as_many_tasks_run() {
        let watched = Deployment { id: ID.to_owned(), created_at: 2.0, ..Deployment::default() };
        let complete = service(json!([deployment(ID, "PRIMARY", "COMPLETED", "")]), json!([]));
        let with = |desired_count, running_count| Service { desired_count, running_count, ..complete.clone() };
        assert_eq!(judge(&with(2, 2), &watched, Some(4)), RolloutState::InProgress, "an answer from before the update");
        assert_eq!(judge(&with(4, 3), &watched, Some(4)), RolloutState::InProgress);
        assert_eq!(judge(&with(4, 4), &watched, Some(4)), RolloutState::Completed);
    }

    #[test]
    fn behind_a_classic_load_balancer_the_counts_decide() {
        let without_state = |running, others: usize| {
            let mut deployments =
                vec![json!({"id": ID, "status": "PRIMARY", "desiredCount": 2, "runningCount": running})];
            deployments.extend((0..others).map(|_| json!({"id": "ecs-svc/1", "status": "ACTIVE"})));
            service(json!(deployments), json!([]))
        };
        assert_eq!(state(&without_state(2, 0)), RolloutState::Completed);
        assert_eq!(state(&without_state(2, 1)), RolloutState::InProgress);
        assert_eq!(state(&without_state(1, 0)), RolloutState::InProgress);
    }

    #[test]
    fn a_rollback_by_ecs_is_not_mistaken_for_a_newer_deployment() {
        const ROLLING: &str = "ECS deployment circuit breaker: rolling back to deploymentId ecs-svc/3.";
        let failed = deployment(ID, "ACTIVE", "FAILED", "ECS deployment circuit breaker: tasks failed to start.");
        let rollback = deployment("ecs-svc/3", "PRIMARY", "IN_PROGRESS", ROLLING);
        assert!(matches!(state(&service(json!([rollback, failed]), json!([]))), RolloutState::RollingBack(_)));
        // Later only the events mention the failed deployment.
        let event =
            json!([{"message": "(service web) (deployment ecs-svc/2) deployment failed: tasks failed to start."}]);
        let rollback = deployment("ecs-svc/3", "PRIMARY", "COMPLETED", "ECS deployment ecs-svc/3 completed.");
        assert!(matches!(state(&service(json!([rollback]), event)), RolloutState::RollingBack(_)));
        let newer = service(json!([deployment("ecs-svc/4", "PRIMARY", "IN_PROGRESS", "")]), json!([]));
        assert!(matches!(state(&newer), RolloutState::Superseded(_)), "ECS no longer lists the watched deployment");
        let (newer, watched) =
            (deployment("ecs-svc/3", "PRIMARY", "IN_PROGRESS", ""), deployment(ID, "ACTIVE", "IN_PROGRESS", ""));
        assert!(matches!(state(&service(json!([newer, watched]), json!([]))), RolloutState::Superseded(_)));
    }

    #[test]
    fn an_answer_from_before_the_deployment_decides_nothing() {
        let before = service(json!([deployment("ecs-svc/1", "PRIMARY", "COMPLETED", "")]), json!([]));
        assert_eq!(state(&before), RolloutState::NotVisible);
        let deleted = Service { status: "INACTIVE".to_owned(), ..Service::default() };
        assert_eq!(state(&deleted), RolloutState::NotVisible);
        let with = service(json!([deployment(ID, "PRIMARY", "IN_PROGRESS", "")]), json!([]));
        assert_eq!(state(&Service { status: "DRAINING".to_owned(), ..with }), RolloutState::Deleted);
    }

    #[test]
    fn an_older_deployment_that_stays_primary_has_not_replaced_the_new_one() {
        let (old, new) =
            (deployment("ecs-svc/1", "PRIMARY", "COMPLETED", ""), deployment(ID, "ACTIVE", "IN_PROGRESS", ""));
        assert_eq!(state(&service(json!([old, new]), json!([]))), RolloutState::InProgress);
    }

    #[test]
    fn the_service_deployment_decides_about_a_rollout_with_stages() {
        let stage =
            |status: &str| ServiceDeployment::read(&json!({"status": status, "statusReason": "because"})).unwrap();
        let watched = Deployment { id: ID.to_owned(), created_at: 2.0, ..Deployment::default() };
        let (old, new) =
            (deployment("ecs-svc/1", "ACTIVE", "COMPLETED", ""), deployment(ID, "PRIMARY", "COMPLETED", ""));
        let shown = service(json!([new, old]), json!([]));
        let refined = |status: &str| refine(judge(&shown, &watched, None), &stage(status), &shown, &watched);
        // In its bake time a deployment is not complete, whatever DescribeServices shows.
        for status in ["PENDING", "IN_PROGRESS", "STOP_REQUESTED"] {
            assert_eq!(refined(status), RolloutState::InProgress, "{status}");
        }
        assert_eq!(refined("SUCCESSFUL"), RolloutState::Completed);
        assert_eq!(refined("STOPPED"), RolloutState::Failed("because".to_owned()));
        assert_eq!(refined("A_NEW_STATE"), RolloutState::Completed);
        let to = |id: &str, state: RolloutState| match state {
            RolloutState::RollingBack(to) => (to.id == id, None),
            RolloutState::RolledBack { to, completed } => (to.id == id, Some(completed)),
            other => panic!("{other:?}"),
        };
        assert_eq!(to("ecs-svc/1", refined("ROLLBACK_REQUESTED")), (true, None));
        assert_eq!(to("ecs-svc/1", refined("ROLLBACK_IN_PROGRESS")), (true, None));
        assert_eq!(to("ecs-svc/1", refined("ROLLBACK_SUCCESSFUL")), (true, Some(true)));
        assert_eq!(to("ecs-svc/1", refined("ROLLBACK_FAILED")), (true, Some(false)));
        // The old deployment is PRIMARY again.
        let back = service(json!([deployment("ecs-svc/1", "PRIMARY", "COMPLETED", "")]), json!([]));
        let state = refine(judge(&back, &watched, None), &stage("ROLLBACK_SUCCESSFUL"), &back, &watched);
        assert_eq!(to("ecs-svc/1", state), (true, Some(true)));
    }
}
