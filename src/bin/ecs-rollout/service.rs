//! The data types of the ECS API that a rollout is followed by: a service, its deployments and events, and its tasks.
//!
//! In: the JSON of DescribeServices and DescribeTasks. Out: plain data. Times are seconds since 1970 by the clock of
//! ECS. What they mean for a rollout is decided in `stability.rs`.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::api_model::schema;
use crate::visible::hidden::HiddenValues;

/// A service (ECS API Reference, "Service"). Members that have no field here are in `raw`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Service {
    pub(crate) service_name: String,
    pub(crate) cluster_arn: String,
    /// `ACTIVE`, `DRAINING` or `INACTIVE`. A deleted service is still described for a while.
    pub(crate) status: String,
    pub(crate) desired_count: i64,
    pub(crate) running_count: i64,
    /// The ARN of the revision that the newest deployment runs.
    pub(crate) task_definition: String,
    pub(crate) deployment_controller: Controller,
    pub(crate) deployments: Vec<Deployment>,
    pub(crate) events: Vec<Event>,
    /// The JSON that the service was read from.
    #[serde(skip)]
    pub(crate) raw: Value,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub(crate) struct Controller {
    /// `ECS`, `CODE_DEPLOY` or `EXTERNAL`; an empty value means `ECS`.
    #[serde(rename = "type", default)]
    pub(crate) controller_type: String,
}

/// A deployment (ECS API Reference, "Deployment").
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Deployment {
    /// For example `ecs-svc/1234`.
    pub(crate) id: String,
    /// `PRIMARY` is the newest deployment, `ACTIVE` one that it replaces.
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

/// A service event.
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
    /// The id of the deployment that started the task.
    pub(crate) started_by: String,
    pub(crate) task_definition_arn: String,
    /// For example `PROVISIONING`, `PENDING`, `RUNNING`, `STOPPED` (ECS Developer Guide, "Amazon ECS task lifecycle").
    pub(crate) last_status: String,
    /// `RUNNING`, or `STOPPED` as soon as ECS stops the task.
    pub(crate) desired_status: String,
    /// `HEALTHY`, `UNHEALTHY` or `UNKNOWN`.
    pub(crate) health_status: String,
    #[serde(deserialize_with = "seconds")]
    pub(crate) created_at: f64,
    /// For example `EssentialContainerExited`.
    pub(crate) stop_code: String,
    pub(crate) stopped_reason: String,
    /// When its containers ran; 0 if they never did.
    #[serde(deserialize_with = "seconds")]
    pub(crate) started_at: f64,
    #[serde(deserialize_with = "seconds")]
    pub(crate) stopped_at: f64,
    pub(crate) containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) last_status: String,
    pub(crate) exit_code: Option<i64>,
    pub(crate) reason: String,
    pub(crate) runtime_id: String,
}

/// The API has times as a number of seconds. Anything else is read as 0.
pub(crate) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Value::deserialize(deserializer)?.as_f64().unwrap_or_default())
}

impl Service {
    /// Reads one service of DescribeServices, CreateService or UpdateService.
    pub(crate) fn read(raw: &Value) -> Result<Service, serde_json::Error> {
        Ok(Service { raw: raw.clone(), ..Service::deserialize(raw)? })
    }

    /// The deployment that was started last. It is not PRIMARY while the one before it serves the traffic.
    pub(crate) fn newest_deployment(&self) -> Option<&Deployment> {
        self.deployments.iter().max_by(|a, b| a.created_at.total_cmp(&b.created_at))
    }

    /// The service without hidden values in the messages of ECS.
    pub(crate) fn hiding(mut self, hidden: &HiddenValues) -> Service {
        let events = self.events.iter_mut().map(|event| &mut event.message);
        let reasons = self.deployments.iter_mut().map(|deployment| &mut deployment.rollout_state_reason);
        events.chain(reasons).for_each(|text| *text = hidden.without(text));
        self
    }

    /// The newest deployment.
    pub(crate) fn primary(&self) -> Option<&Deployment> {
        self.deployments.iter().find(|deployment| deployment.status == "PRIMARY")
    }

    pub(crate) fn deployment(&self, id: &str) -> Option<&Deployment> {
        self.deployments.iter().find(|deployment| deployment.id == id)
    }

    /// Whether the service exists, and is not deleted.
    pub(crate) fn is_active(&self) -> bool {
        self.status == "ACTIVE"
    }

    /// Whether ECS itself rolls back a failed deployment, by the circuit breaker or by an alarm.
    pub(crate) fn rolls_back_by_itself(&self) -> bool {
        let configuration = &self.raw["deploymentConfiguration"];
        ["deploymentCircuitBreaker", "alarms"].iter().any(|trigger| {
            let trigger = &configuration[trigger];
            trigger["enable"] == true && trigger["rollback"] == true
        })
    }

    /// The current value of a member of CreateService. DescribeServices has some of them only in the deployments.
    pub(crate) fn member(&self, name: &str) -> Value {
        let of_service = &self.raw[name];
        if !of_service.is_null() || schema::is_in_service(name) {
            return of_service.clone();
        }
        let deployments = self.raw["deployments"].as_array().into_iter().flatten();
        let primary = deployments.into_iter().find(|deployment| deployment["status"] == "PRIMARY");
        primary.map(|primary| primary[name].clone()).unwrap_or_default()
    }

    /// The value of a tag.
    pub(crate) fn tag(&self, key: &str) -> Option<&str> {
        let tags = self.raw["tags"].as_array().into_iter().flatten();
        tags.into_iter().find(|tag| tag["key"] == key).and_then(|tag| tag["value"].as_str())
    }
}

impl Deployment {
    /// For example `web:42 as ecs-svc/1`.
    pub(crate) fn label(&self) -> String {
        format!("{} as {}", short(&self.task_definition), self.id)
    }

    /// For example `2 of 3 running, 1 pending, 4 failed`.
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
    /// The task without hidden values in the messages of ECS and of containers.
    pub(crate) fn hiding(mut self, hidden: &HiddenValues) -> Task {
        self.stopped_reason = hidden.without(&self.stopped_reason);
        self.containers.iter_mut().for_each(|container| container.reason = hidden.without(&container.reason));
        self
    }

    pub(crate) fn id(&self) -> &str {
        short(&self.task_arn)
    }
}

/// The last part of an ARN: `web:42` of a revision, the id of a task, the name of a cluster.
pub(crate) fn short(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_that_only_the_deployment_has_are_found() {
        let raw = json!({"status": "ACTIVE", "enableExecuteCommand": true,
                         "deployments": [{"status": "ACTIVE", "volumeConfigurations": [1]},
                                         {"status": "PRIMARY", "serviceConnectConfiguration": {"enabled": true}}]});
        let service = Service::read(&raw).unwrap();
        assert_eq!(service.member("enableExecuteCommand"), json!(true));
        assert_eq!(service.member("serviceConnectConfiguration"), json!({"enabled": true}));
        assert_eq!(service.member("volumeConfigurations"), Value::Null);
    }

    #[test]
    fn json_that_is_not_a_service_is_an_error_not_an_absent_service() {
        assert!(Service::read(&json!({"deployments": "none"})).is_err());
    }
}
