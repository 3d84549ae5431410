//! The data type of a service deployment, which shows the stages of a blue/green, linear or canary rollout.
//!
//! In: the JSON of ListServiceDeployments and DescribeServiceDeployments (ECS API Reference, "ServiceDeploymentBrief",
//! "ServiceDeployment"). Out: plain data. What a state means for the rollout is decided in `stability.rs`.

use serde::Deserialize;
use serde_json::Value;

use crate::service::{Deployment, seconds, short};

/// How far apart ECS creates a deployment and its service deployment at most, in seconds.
const SAME_START: f64 = 60.0;

/// A service deployment.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ServiceDeployment {
    pub(crate) service_deployment_arn: String,
    #[serde(deserialize_with = "seconds")]
    pub(crate) created_at: f64,
    /// For example `IN_PROGRESS` or `ROLLBACK_SUCCESSFUL`.
    pub(crate) status: String,
    pub(crate) status_reason: Option<String>,
    /// For example `BAKE_TIME`; absent for a rolling update.
    pub(crate) lifecycle_stage: Option<String>,
    pub(crate) lifecycle_hook_details: Vec<HookRun>,
    /// Only in the answer of ListServiceDeployments.
    target_service_revision_arn: Option<String>,
    target_service_revision: Option<RevisionSummary>,
}

/// The run of a lifecycle hook.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct HookRun {
    /// `AWS_LAMBDA` or `PAUSE`.
    target_type: Option<String>,
    target_arn: Option<String>,
    /// `AWAITING_ACTION`, `IN_PROGRESS`, `SUCCEEDED`, `FAILED` or `TIMED_OUT`.
    status: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
struct RevisionSummary {
    arn: String,
    requested_production_traffic_weight: Option<f64>,
}

impl HookRun {
    /// Whether the deployment waits for the hook.
    fn is_open(&self) -> bool {
        matches!(self.status.as_deref(), Some("AWAITING_ACTION" | "IN_PROGRESS"))
    }
}

impl ServiceDeployment {
    pub(crate) fn read(raw: &Value) -> Result<ServiceDeployment, serde_json::Error> {
        ServiceDeployment::deserialize(raw)
    }

    /// The ARN of the service revision that is deployed.
    pub(crate) fn target(&self) -> Option<&str> {
        let summary = self.target_service_revision.as_ref().map(|target| target.arn.as_str());
        self.target_service_revision_arn.as_deref().or(summary).filter(|arn| !arn.is_empty())
    }

    /// Whether the deployment waits for a lifecycle hook.
    pub(crate) fn waits_for_hook(&self) -> bool {
        self.lifecycle_hook_details.iter().any(HookRun::is_open)
    }

    /// Whether ECS found the tasks healthy and went on: the deployment is in a stage after the start of its tasks.
    pub(crate) fn is_scaled_up(&self) -> bool {
        const BEFORE: [&str; 3] = ["RECONCILE_SERVICE", "PRE_SCALE_UP", "SCALE_UP"];
        self.status == "IN_PROGRESS" && self.lifecycle_stage.as_deref().is_some_and(|stage| !BEFORE.contains(&stage))
    }

    /// For example `stage BAKE_TIME, 100% of the production traffic`. It changes when the stage does.
    pub(crate) fn label(&self) -> String {
        let mut text = match &self.lifecycle_stage {
            Some(stage) => format!("stage {stage}"),
            None => format!("state {}", self.status),
        };
        if self.lifecycle_stage.is_some() && self.status != "IN_PROGRESS" {
            text += &format!(", {}", self.status);
        }
        let target = self.target_service_revision.as_ref();
        if let Some(weight) = target.and_then(|target| target.requested_production_traffic_weight) {
            text += &format!(", {weight}% of the production traffic");
        }
        for hook in self.lifecycle_hook_details.iter().filter(|hook| hook.is_open()) {
            text += &match (hook.target_type.as_deref(), &hook.target_arn) {
                (Some("PAUSE"), _) => ", paused until `aws ecs continue-service-deployment`".to_owned(),
                (_, Some(arn)) => format!(", waits for the lifecycle hook {}", arn.rsplit(':').next().unwrap_or(arn)),
                _ => ", waits for a lifecycle hook".to_owned(),
            };
        }
        if let Some(reason) = self.status_reason.as_deref().filter(|reason| !reason.is_empty()) {
            text += &format!(": {reason}");
        }
        text
    }

    /// Of the service deployments of a service, the one that belongs to a deployment of DescribeServices. The API does
    /// not tie them: the number of a deployment is usually that of its service revision, and both start at the same
    /// time.
    pub(crate) fn find(all: Vec<ServiceDeployment>, deployment: &Deployment) -> Option<ServiceDeployment> {
        let distance = |one: &ServiceDeployment| (one.created_at - deployment.created_at).abs();
        let number = short(&deployment.id);
        let (same, others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|one| one.target().is_some_and(|arn| short(arn) == number));
        let nearest = others.into_iter().filter(|one| distance(one) <= SAME_START);
        same.into_iter()
            .max_by(|a, b| a.created_at.total_cmp(&b.created_at))
            .or_else(|| nearest.min_by(|a, b| distance(a).total_cmp(&distance(b))))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_service_deployment_is_found_by_its_revision_and_otherwise_by_its_start() {
        let one = |arn: &str, target: &str, created_at: f64| {
            ServiceDeployment::read(&json!({"serviceDeploymentArn": arn, "createdAt": created_at,
                "targetServiceRevisionArn": format!("arn:aws:ecs:eu-west-1:1:service-revision/prod/web/{target}")}))
            .unwrap()
        };
        let of = |id: &str, created_at: f64, all: &[ServiceDeployment]| {
            let deployment = Deployment { id: id.to_owned(), created_at, ..Deployment::default() };
            ServiceDeployment::find(all.to_vec(), &deployment).map(|found| found.service_deployment_arn)
        };
        let all = [one("c", "33", 2000.0), one("b", "22", 1000.0), one("a", "11", 10.0)];
        assert_eq!(of("ecs-svc/22", 1999.0, &all), Some("b".to_owned()));
        assert_eq!(of("ecs-svc/77", 1990.0, &all), Some("c".to_owned()));
        assert_eq!(of("ecs-svc/77", 1500.0, &all), None);
    }

    #[test]
    fn the_label_names_stage_traffic_and_what_it_waits_for() {
        let raw = json!({"status": "IN_PROGRESS", "lifecycleStage": "PRODUCTION_TRAFFIC_SHIFT", "createdAt": "x",
            "targetServiceRevision": {"arn": "a/1", "requestedProductionTrafficWeight": 10.0},
            "lifecycleHookDetails": [
                {"targetType": "AWS_LAMBDA", "status": "SUCCEEDED", "targetArn": "arn:aws:lambda:eu-west-1:1:function:a"},
                {"targetType": "AWS_LAMBDA", "status": "IN_PROGRESS", "targetArn": "arn:aws:lambda:eu-west-1:1:function:b"},
                {"targetType": "PAUSE", "status": "AWAITING_ACTION"}]});
        let deployment = ServiceDeployment::read(&raw).unwrap();
        assert!(deployment.waits_for_hook() && deployment.is_scaled_up());
        assert_eq!(
            deployment.label(),
            "stage PRODUCTION_TRAFFIC_SHIFT, 10% of the production traffic, waits for the lifecycle hook b, paused until \
             `aws ecs continue-service-deployment`"
        );
    }
}
