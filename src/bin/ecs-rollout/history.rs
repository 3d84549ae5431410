//! Finds the revision that a service ran before, from the deployments of the service itself.
//!
//! In: a service that ecs-rollout may never have deployed. Out: the revision of its last completed deployment that is not
//! the running one, and a text that says how it was found.

use std::collections::BTreeMap;
use std::time::Duration;

use ecs_bootstrap::boundary::aws::AwsError;
use serde_json::Value;

use crate::cause::FoundCause;
use crate::client::{ServiceClient, call_for};
use crate::revision::Revision;
use crate::service::Service;
use crate::service_deployment::ServiceDeployment;
use crate::stability::last_stable_revision;

/// How many service deployments are searched. DescribeServiceRevisions accepts 20 ARNs (ECS API Reference).
const MAX_DEPLOYMENTS: i32 = 20;

/// How long a call is retried. There is another way to find a revision.
const READ_FOR: Duration = Duration::from_secs(10);

/// The revision to roll back to.
pub(crate) struct Target {
    pub(crate) revision: Revision,
    /// What it was chosen by.
    pub(crate) why: String,
}

/// What the deployments of a service say.
pub(crate) enum History {
    Found(Target),
    /// There is no completed deployment of another ACTIVE revision.
    Nothing,
    /// They cannot be read. Holds the error.
    Unread(String),
}

impl ServiceClient {
    /// The revision of the last completed deployment of the service for which `is_older` is true. While a rollout is in
    /// progress, that of the deployment which it replaces.
    pub(crate) async fn last_completed(
        &self,
        service: &Service,
        is_older: impl Fn(&str) -> bool,
    ) -> Result<History, FoundCause> {
        let running = &service.task_definition;
        // While a rollout is in progress, the deployment that it replaces still runs.
        if let Some(arn) = last_stable_revision(service).filter(|arn| arn != running)
            && let Some(revision) = self.active_revision(arn).await?
        {
            let why = "the last completed deployment of the service, which still runs".to_owned();
            return Ok(History::Found(Target { revision, why }));
        }
        let revisions = match self.completed_revisions(service).await {
            Ok(revisions) => revisions,
            Err(error) => return Ok(History::Unread(error.verbatim())),
        };
        for arn in revisions.iter().filter(|arn| *arn != running && is_older(arn)) {
            if let Some(revision) = self.active_revision(arn).await? {
                let why = "the last completed deployment of the service (ListServiceDeployments)".to_owned();
                return Ok(History::Found(Target { revision, why }));
            }
        }
        Ok(History::Nothing)
    }

    async fn active_revision(&self, arn: &str) -> Result<Option<Revision>, FoundCause> {
        Ok(self.revision(arn).await?.filter(|revision| revision.is_active))
    }

    /// The task definitions of the successful service deployments, the newest first.
    async fn completed_revisions(&self, service: &Service) -> Result<Vec<String>, AwsError> {
        let name = service.raw["serviceArn"].as_str().unwrap_or(&self.service);
        let list = async |deadline| {
            self.aws.service_deployments(&self.cluster, name, Some("SUCCESSFUL"), MAX_DEPLOYMENTS, deadline).await
        };
        let listed = call_for(READ_FOR, list).await?;
        let mut deployments: Vec<ServiceDeployment> =
            listed.iter().filter_map(|raw| ServiceDeployment::read(raw).ok()).collect();
        deployments.retain(|deployment| deployment.status == "SUCCESSFUL");
        deployments.sort_by(|a, b| b.created_at.total_cmp(&a.created_at));
        let mut targets: Vec<String> = Vec::new();
        for target in deployments.iter().filter_map(ServiceDeployment::target) {
            if !targets.iter().any(|known| known == target) {
                targets.push(target.to_owned());
            }
        }
        if targets.is_empty() {
            return Ok(Vec::new());
        }
        let described =
            call_for(READ_FOR, async |deadline| self.aws.service_revisions(&targets, deadline).await).await?;
        let text = |raw: &Value, name: &str| raw[name].as_str().unwrap_or_default().to_owned();
        let definitions: BTreeMap<String, String> =
            described.iter().map(|raw| (text(raw, "serviceRevisionArn"), text(raw, "taskDefinition"))).collect();
        Ok(targets.iter().filter_map(|target| definitions.get(target).cloned()).collect())
    }
}
