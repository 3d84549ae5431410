//! Service deployments and service revisions of the simulated API (ECS API Reference, "ServiceDeployment",
//! "ServiceRevision").

use super::{Outcome, PREFIX, World, error, short};
use serde_json::{Value, json};

impl World {
    /// Records the start of a deployment.
    pub(super) fn start_service_deployment(&mut self, name: &str, deployment: &Value) {
        let number = short(deployment["id"].as_str().unwrap_or_default());
        let revision = format!("{PREFIX}:service-revision/prod/{name}/{number}");
        self.service_deployments.push(json!({
            "serviceDeploymentArn": format!("{PREFIX}:service-deployment/prod/{name}/d{number}"),
            "serviceArn": format!("{PREFIX}:service/prod/{name}"), "createdAt": deployment["createdAt"],
            "status": "IN_PROGRESS", "targetServiceRevision": {"arn": revision, "requestedTaskCount": 2,
            "runningTaskCount": 2, "pendingTaskCount": 0}, "taskDefinition": deployment["taskDefinition"],
        }));
    }

    /// Changes the newest service deployment of a service. In a stage such as `POST_SCALE_UP:hook` a lifecycle hook runs.
    pub(super) fn show_stage(&mut self, name: &str, status: &str, stage: Option<&str>) {
        let service = format!("{PREFIX}:service/prod/{name}");
        let newest = self.service_deployments.iter_mut().rev().find(|one| one["serviceArn"] == service);
        if let Some(newest) = newest {
            newest["status"] = json!(status);
            let (stage, hook) = match stage.and_then(|stage| stage.split_once(':')) {
                Some((stage, hook)) => (Some(stage), vec![hook]),
                None => (stage, Vec::new()),
            };
            newest["lifecycleStage"] = json!(stage);
            let hooks = hook.iter().map(|hook| {
                let arn = format!("arn:aws:lambda:eu-west-1:111122223333:function:{hook}");
                json!({"targetType": "AWS_LAMBDA", "status": "IN_PROGRESS", "targetArn": arn})
            });
            newest["lifecycleHookDetails"] = json!(hooks.collect::<Vec<_>>());
        }
    }

    /// Only a deployment that is in progress can be stopped, and goes back to the one before it.
    pub(super) fn stop_service_deployment(&mut self, body: &Value) -> Outcome {
        let arn = &body["serviceDeploymentArn"];
        let found = self.service_deployments.iter_mut().find(|one| one["serviceDeploymentArn"] == *arn);
        let found = found.ok_or_else(|| error("ServiceDeploymentNotFoundException", "Not found."))?;
        if body["stopType"] != "ROLLBACK" || !["PENDING", "IN_PROGRESS"].iter().any(|status| found["status"] == *status)
        {
            return Err(error("ConflictException", "The service deployment cannot be stopped."));
        }
        found["status"] = json!("ROLLBACK_REQUESTED");
        let name = short(found["serviceArn"].as_str().unwrap_or_default()).to_owned();
        self.go_back(&name);
        Ok(json!({"serviceDeploymentArn": arn}))
    }

    pub(super) fn list_service_deployments(&self, body: &Value) -> Value {
        let name = short(body["service"].as_str().unwrap_or_default());
        let service = format!("{PREFIX}:service/prod/{name}");
        let of_service = self.service_deployments.iter().rev().filter(|one| one["serviceArn"] == service);
        let wanted = body["status"].as_array().cloned().unwrap_or_default();
        let wanted = of_service.filter(|one| wanted.is_empty() || wanted.contains(&one["status"]));
        let briefs = wanted.map(|one| {
            json!({"serviceDeploymentArn": one["serviceDeploymentArn"], "createdAt": one["createdAt"],
                   "status": one["status"], "targetServiceRevisionArn": one["targetServiceRevision"]["arn"]})
        });
        json!({"serviceDeployments": briefs.collect::<Vec<_>>()})
    }

    pub(super) fn describe_service_deployments(&self, body: &Value) -> Value {
        let arns = body["serviceDeploymentArns"].as_array().cloned().unwrap_or_default();
        let found = self.service_deployments.iter().filter(|one| arns.contains(&one["serviceDeploymentArn"]));
        let found = found.cloned().map(|mut one| {
            one.as_object_mut().unwrap().remove("taskDefinition");
            one
        });
        json!({"serviceDeployments": found.collect::<Vec<_>>(), "failures": []})
    }

    pub(super) fn describe_service_revisions(&self, body: &Value) -> Value {
        let arns = body["serviceRevisionArns"].as_array().cloned().unwrap_or_default();
        let found = self.service_deployments.iter().filter(|one| arns.contains(&one["targetServiceRevision"]["arn"]));
        let revisions = found.map(|one| {
            json!({"serviceRevisionArn": one["targetServiceRevision"]["arn"], "taskDefinition": one["taskDefinition"]})
        });
        json!({"serviceRevisions": revisions.collect::<Vec<_>>(), "failures": []})
    }
}
