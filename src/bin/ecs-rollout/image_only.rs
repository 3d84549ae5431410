//! A deployment without a task definition in a file: it starts from the revision that the service runs.
//!
//! In: the desired state of the options and the service definition, and the API. Out: the same desired state with the
//! running task definition, in which only the images differ that the options name. Everything else that ECS returns is
//! kept, also members that the SDK does not know.

use serde_json::Value;

use crate::cause::FoundCause;
use crate::causes;
use crate::cli::DeploymentFlags;
use crate::client::ServiceClient;
use crate::described;
use crate::desired::DesiredState;
use crate::normalize::hidden::{Hashes, UNRETURNED_TAG};
use crate::revision::Revision;
use crate::service::{Service, short};

/// What a user can do who names neither a file nor anything else to deploy.
const BOTH_WAYS: &str = "deploy files with `--task-definition FILE` (and `--service-definition FILE`), or deploy what \
                         the service runs with another image: `--cluster NAME --service NAME --image \
                         [CONTAINER=]IMAGE` (or `--tag TAG`); `ecs-rollout init` writes the files of a service";

/// Refuses a command line that names nothing to deploy.
pub(crate) fn check(flags: &DeploymentFlags) -> Result<(), FoundCause> {
    let changes_something = !flags.images.is_empty()
        || flags.service_definition.is_some()
        || flags.desired_count.is_some()
        || flags.minimum_healthy_percent.is_some()
        || flags.maximum_percent.is_some()
        || flags.circuit_breaker
        || flags.one_small_instance
        || flags.force_new_deployment;
    let names_service = flags.service.is_some() || flags.service_definition.is_some();
    if flags.task_definition.is_some() || (changes_something && names_service) {
        return Ok(());
    }
    let what = if names_service { "no option changes anything" } else { "the service is not named" };
    let text = format!("without `--task-definition`, the deployment starts from what a service runs, but {what}");
    Err(causes::BAD_OPTION.finding(text).and(BOTH_WAYS))
}

impl ServiceClient {
    /// Completes a desired state with the task definition that the service runs.
    pub(crate) async fn with_running_task_definition(
        &self,
        mut desired: DesiredState,
        flags: &DeploymentFlags,
    ) -> Result<DesiredState, FoundCause> {
        let service = self.active_service().await.map_err(|finding| {
            if finding.cause.id != causes::SERVICE_NOT_FOUND.id {
                return finding;
            }
            finding.and(
                "without `--task-definition`, the deployment starts from what the service runs; to create the \
                         service, name both files",
            )
        })?;
        let running = self.running_revision(&service).await?;
        let mut task = Value::Object(described::task_definition(&running.answer()).members);
        let is_changed = flags.images.apply(&mut task).map_err(|text| causes::BAD_OPTION.finding(text))?;
        let label = short(&running.arn);
        desired.notes.push(format!("the deployment starts from {label}, which the service runs"));
        if !flags.images.is_empty() && !is_changed && !flags.force_new_deployment {
            desired.notes.push(format!(
                "{label} has this image already; if its tag now names another image, `--force-new-deployment` starts \
                 tasks that pull it"
            ));
        }
        let lost = Hashes::read(running.tags.get(UNRETURNED_TAG).map(String::as_str)).paths().join(", ");
        if is_changed && !lost.is_empty() {
            desired.notes.push(format!(
                "ECS does not return these members of {label}, so the new revision does not have them; deploy the file \
                 to set them again: {lost}"
            ));
        }
        desired.task_definition = task;
        desired.running = Some(running);
        Ok(desired)
    }

    /// The revision that the newest deployment of a service runs.
    pub(crate) async fn running_revision(&self, service: &Service) -> Result<Revision, FoundCause> {
        let Some(arn) = running_arn(service) else {
            let controller = &service.deployment_controller.controller_type;
            let text = format!("the service runs no task definition; its deployment controller is `{controller}`");
            return Err(causes::OTHER_CONTROLLER.finding(text));
        };
        let found = self.revision(arn).await?;
        found.ok_or_else(|| causes::REVISION_NOT_FOUND.finding(format!("the service runs {}", short(arn))))
    }
}

/// The ARN of the revision that a service runs: that of its PRIMARY deployment, which is also a member of the service; or
/// that of its PRIMARY task set, if another controller deploys it (ECS API Reference, "Service", "TaskSet").
pub(crate) fn running_arn(service: &Service) -> Option<&str> {
    let mut task_sets = service.raw["taskSets"].as_array().into_iter().flatten();
    let of_task_set = task_sets.find(|set| set["status"] == "PRIMARY").and_then(|set| set["taskDefinition"].as_str());
    let of_deployment = service.primary().map(|primary| primary.task_definition.as_str());
    let all = [of_task_set, Some(service.task_definition.as_str()), of_deployment];
    all.into_iter().flatten().find(|arn| !arn.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_primary_deployment_or_task_set_says_what_runs() {
        for (raw, expected) in [
            (
                json!({"taskDefinition": "web:2", "deployments": [{"status": "ACTIVE", "taskDefinition": "web:1"},
                       {"status": "PRIMARY", "taskDefinition": "web:2"}]}),
                Some("web:2"),
            ),
            (
                json!({"taskDefinition": "old:1", "taskSets": [{"status": "ACTIVE", "taskDefinition": "web:1"},
                       {"status": "PRIMARY", "taskDefinition": "web:2"}]}),
                Some("web:2"),
            ),
            (json!({"taskDefinition": "web:2", "deployments": []}), Some("web:2")),
            (json!({"deployments": [{"status": "PRIMARY", "taskDefinition": "web:2"}]}), Some("web:2")),
            (json!({"deployments": []}), None),
        ] {
            let service = Service::read(&raw).unwrap();
            assert_eq!(running_arn(&service), expected, "{raw}");
        }
    }
}
