//! A service and its deployments as ECS tells them, and how far one of them has come.
//!
//! In: the JSON of DescribeServices and DescribeTasks. Out: plain data, and by [`judge`] what has become of the deployment
//! that is watched. It asks nobody. Times are seconds since 1970, of ECS's clock.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A service (ECS API Reference, "Service"); all that is not read here stays in `raw`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Service {
    pub(crate) service_name: String,
    pub(crate) cluster_arn: String,
    /// `ACTIVE`, `DRAINING` or `INACTIVE`.
    pub(crate) status: String,
    pub(crate) desired_count: i64,
    pub(crate) running_count: i64,
    /// The ARN of the revision that shall run.
    pub(crate) task_definition: String,
    pub(crate) deployment_controller: Controller,
    pub(crate) deployments: Vec<Deployment>,
    pub(crate) events: Vec<Event>,
    /// The whole, as it came.
    #[serde(skip)]
    pub(crate) raw: Value,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub(crate) struct Controller {
    /// `ECS`, `CODE_DEPLOY` or `EXTERNAL`; nothing is ECS.
    #[serde(rename = "type", default)]
    pub(crate) kind: String,
}

/// A deployment (ECS API Reference, "Deployment").
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Deployment {
    /// `ecs-svc/1234`.
    pub(crate) id: String,
    /// `PRIMARY` is the newest, `ACTIVE` one that it replaces.
    pub(crate) status: String,
    pub(crate) task_definition: String,
    pub(crate) desired_count: i64,
    pub(crate) running_count: i64,
    pub(crate) pending_count: i64,
    pub(crate) failed_tasks: i64,
    #[serde(deserialize_with = "seconds")]
    pub(crate) created_at: f64,
    /// `IN_PROGRESS`, `COMPLETED` or `FAILED`; absent behind a Classic Load Balancer.
    pub(crate) rollout_state: Option<String>,
    pub(crate) rollout_state_reason: String,
}

/// What ECS says of a service.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Event {
    pub(crate) id: String,
    #[serde(deserialize_with = "seconds")]
    pub(crate) created_at: f64,
    pub(crate) message: String,
}

/// A task (ECS API Reference, "Task").
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Task {
    pub(crate) task_arn: String,
    /// The id of the deployment that started it.
    pub(crate) started_by: String,
    pub(crate) task_definition_arn: String,
    pub(crate) stop_code: String,
    pub(crate) stopped_reason: String,
    #[serde(deserialize_with = "seconds")]
    pub(crate) stopped_at: f64,
    pub(crate) containers: Vec<Container>,
}

/// A container of a task.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) exit_code: Option<i64>,
    pub(crate) reason: String,
    pub(crate) runtime_id: String,
}

/// The protocol has seconds as a number; what is none is the beginning of time.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Value::deserialize(deserializer)?.as_f64().unwrap_or_default())
}

impl Service {
    /// Of DescribeServices' JSON; none where it is not a service at all.
    pub(crate) fn read(raw: &Value) -> Option<Service> {
        let service = Service::deserialize(raw).ok()?;
        Some(Service { raw: raw.clone(), ..service })
    }

    /// The newest deployment.
    pub(crate) fn primary(&self) -> Option<&Deployment> {
        self.deployments.iter().find(|deployment| deployment.status == "PRIMARY")
    }

    /// The deployment of this id.
    pub(crate) fn deployment(&self, id: &str) -> Option<&Deployment> {
        self.deployments.iter().find(|deployment| deployment.id == id)
    }

    /// The revision of the newest deployment that has ended well and still runs.
    pub(crate) fn last_good(&self) -> Option<&str> {
        let primary = self.primary().filter(|primary| primary.is_completed(self));
        // Of those that are being replaced one runs what was there before.
        let replaced = || {
            let others = self.deployments.iter().filter(|other| other.status == "ACTIVE" && other.running_count > 0);
            let ended = others.filter(|other| other.rollout_state.as_deref() == Some("COMPLETED"));
            ended.max_by(|a, b| a.created_at.total_cmp(&b.created_at))
        };
        primary.or_else(replaced).map(|deployment| deployment.task_definition.as_str())
    }

    /// Whether it exists: one that was deleted is described for a while.
    pub(crate) fn is_active(&self) -> bool {
        self.status == "ACTIVE"
    }

    /// Whether ECS goes back by itself where a deployment fails: by the circuit breaker, or by an alarm.
    pub(crate) fn rolls_back(&self) -> bool {
        let configuration = &self.raw["deploymentConfiguration"];
        ["deploymentCircuitBreaker", "alarms"].iter().any(|way| {
            let way = &configuration[way];
            way["enable"] == true && way["rollback"] == true
        })
    }

    /// What a member of CreateService is now. Two of them ECS tells of a deployment only.
    pub(crate) fn member(&self, name: &str) -> Value {
        let of_service = self.raw[name].clone();
        if !of_service.is_null() {
            return of_service;
        }
        let deployments = self.raw["deployments"].as_array().cloned().unwrap_or_default();
        let primary = deployments.into_iter().find(|deployment| deployment["status"] == "PRIMARY");
        primary.map(|mut primary| primary[name].take()).unwrap_or_default()
    }
}

impl Deployment {
    /// Whether its rollout has ended well. Where ECS tells no state, the counts and that no other deployment is left.
    pub(crate) fn is_completed(&self, service: &Service) -> bool {
        match self.rollout_state.as_deref() {
            Some(state) => state == "COMPLETED",
            None => service.deployments.len() == 1 && self.running_count == self.desired_count,
        }
    }

    /// `2 of 3 running, 1 pending, 4 failed`.
    pub(crate) fn counts(&self) -> String {
        let mut text = format!("{} of {} running", self.running_count, self.desired_count);
        for (count, word) in [(self.pending_count, "pending"), (self.failed_tasks, "failed")] {
            if count > 0 {
                text += &format!(", {count} {word}");
            }
        }
        text
    }
}

impl Task {
    /// The last part of its ARN.
    pub(crate) fn id(&self) -> &str {
        short(&self.task_arn)
    }
}

/// The last part of an ARN: `web:42` of a revision, the id of a task, the name of a cluster.
pub(crate) fn short(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

/// What has become of a deployment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RolloutState {
    /// ECS does not show it yet: what it answers may be older than what it did.
    NotVisible,
    /// It goes on.
    InProgress,
    /// It is what runs.
    Completed,
    /// ECS gave up on it, and leaves it as it is.
    Failed(String),
    /// ECS gave up on it, and goes back; the deployment that does so.
    RollingBack(Deployment),
    /// Somebody else's took its place.
    Superseded(Deployment),
    /// The service was deleted.
    Deleted,
}

/// What has become of the deployment `id`, which ECS made at `since`.
pub(crate) fn judge(service: &Service, id: &str, since: f64) -> RolloutState {
    let ours = service.deployment(id);
    if !service.is_active() {
        // The service of before, where this one was just created in its place.
        return if ours.is_some() { RolloutState::Deleted } else { RolloutState::NotVisible };
    }
    let Some(primary) = service.primary() else { return RolloutState::NotVisible };
    let failed = ours.filter(|ours| ours.rollout_state.as_deref() == Some("FAILED"));
    if primary.id == id {
        return match failed {
            Some(ours) => RolloutState::Failed(ours.rollout_state_reason.clone()),
            None if primary.is_completed(service) => RolloutState::Completed,
            None => RolloutState::InProgress,
        };
    }
    // ECS may have dropped ours from the list by now; its events stay.
    let said_so = service.events.iter().any(|event| event.message.contains(id) && event.message.contains("failed"));
    let reason = primary.rollout_state_reason.to_ascii_lowercase();
    if failed.is_some() || said_so || (ours.is_some() && reason.contains("rolling back")) {
        return RolloutState::RollingBack(primary.clone());
    }
    // Without ours in it, an older primary is an answer from before our call.
    match ours.is_some() || primary.created_at > since {
        true => RolloutState::Superseded(primary.clone()),
        false => RolloutState::NotVisible,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OURS: &str = "ecs-svc/2";

    fn service(deployments: Value, events: Value) -> Service {
        Service::read(&json!({"status": "ACTIVE", "deployments": deployments, "events": events})).unwrap()
    }

    fn deployment(id: &str, status: &str, state: &str, reason: &str) -> Value {
        let created: f64 = id.rsplit('/').next().unwrap().parse().unwrap();
        json!({"id": id, "status": status, "rolloutState": state, "rolloutStateReason": reason, "createdAt": created,
               "desiredCount": 2, "runningCount": 2})
    }

    #[test]
    fn stable_is_that_ours_is_primary_and_completed_not_that_counts_agree() {
        let ours = |state| service(json!([deployment(OURS, "PRIMARY", state, "")]), json!([]));
        assert_eq!(judge(&ours("COMPLETED"), OURS, 2.0), RolloutState::Completed);
        assert_eq!(judge(&ours("IN_PROGRESS"), OURS, 2.0), RolloutState::InProgress);
        assert_eq!(judge(&ours("FAILED"), OURS, 2.0), RolloutState::Failed(String::new()));
    }

    #[test]
    fn behind_a_classic_load_balancer_the_counts_are_all_there_is() {
        let without = |running, others: usize| {
            let mut deployments =
                vec![json!({"id": OURS, "status": "PRIMARY", "desiredCount": 2, "runningCount": running})];
            deployments.extend((0..others).map(|_| json!({"id": "ecs-svc/1", "status": "ACTIVE"})));
            service(json!(deployments), json!([]))
        };
        assert_eq!(judge(&without(2, 0), OURS, 2.0), RolloutState::Completed);
        assert_eq!(judge(&without(2, 1), OURS, 2.0), RolloutState::InProgress);
        assert_eq!(judge(&without(1, 0), OURS, 2.0), RolloutState::InProgress);
    }

    #[test]
    fn a_circuit_breaker_is_told_from_somebody_elses_deployment() {
        const ROLLING: &str = "ECS deployment circuit breaker: rolling back to deploymentId ecs-svc/3.";
        let failed = deployment(OURS, "ACTIVE", "FAILED", "ECS deployment circuit breaker: tasks failed to start.");
        let back = deployment("ecs-svc/3", "PRIMARY", "IN_PROGRESS", ROLLING);
        assert!(matches!(judge(&service(json!([back, failed]), json!([])), OURS, 2.0), RolloutState::RollingBack(_)));
        // Later only events know of it.
        let event =
            json!([{"message": "(service web) (deployment ecs-svc/2) deployment failed: tasks failed to start."}]);
        let back = deployment("ecs-svc/3", "PRIMARY", "COMPLETED", "ECS deployment ecs-svc/3 completed.");
        assert!(matches!(judge(&service(json!([back]), event), OURS, 2.0), RolloutState::RollingBack(_)));
        let theirs = service(json!([deployment("ecs-svc/4", "PRIMARY", "IN_PROGRESS", "")]), json!([]));
        assert!(matches!(judge(&theirs, OURS, 2.0), RolloutState::Superseded(_)), "ours has left the list");
        let (theirs, ours) =
            (deployment("ecs-svc/3", "PRIMARY", "IN_PROGRESS", ""), deployment(OURS, "ACTIVE", "IN_PROGRESS", ""));
        assert!(matches!(judge(&service(json!([theirs, ours]), json!([])), OURS, 2.0), RolloutState::Superseded(_)));
    }

    #[test]
    fn an_answer_from_before_our_call_is_no_verdict() {
        let before = service(json!([deployment("ecs-svc/1", "PRIMARY", "COMPLETED", "")]), json!([]));
        assert_eq!(judge(&before, OURS, 2.0), RolloutState::NotVisible);
        let deleted = Service { status: "INACTIVE".to_owned(), ..Service::default() };
        assert_eq!(judge(&deleted, OURS, 2.0), RolloutState::NotVisible);
        let ours = service(json!([deployment(OURS, "PRIMARY", "IN_PROGRESS", "")]), json!([]));
        assert_eq!(judge(&Service { status: "DRAINING".to_owned(), ..ours }, OURS, 2.0), RolloutState::Deleted);
    }

    #[test]
    fn members_that_only_a_deployment_tells_are_found() {
        let raw = json!({"status": "ACTIVE", "enableExecuteCommand": true,
                         "deployments": [{"status": "ACTIVE", "volumeConfigurations": [1]},
                                         {"status": "PRIMARY", "serviceConnectConfiguration": {"enabled": true}}]});
        let service = Service::read(&raw).unwrap();
        assert_eq!(service.member("enableExecuteCommand"), json!(true));
        assert_eq!(service.member("serviceConnectConfiguration"), json!({"enabled": true}));
        assert_eq!(service.member("volumeConfigurations"), Value::Null);
    }
}
