//! Undoes a blue/green, linear or canary deployment that is still in progress: ECS itself shifts the traffic back to the
//! service revision before it. UpdateService would start a second staged deployment instead.
//!
//! In: the service, its newest deployment, and the revision to return to. Out: whether ECS rolls back. The states in
//! which StopServiceDeployment is accepted are those of the ECS Developer Guide, "Stopping Amazon ECS service
//! deployments".

use std::time::Duration;

use ecs_bootstrap::boundary::aws::AwsError;
use ecs_bootstrap::retry::Deadline;
use serde_json::Value;

use crate::activity::Phase;
use crate::apply::StartedDeployment;
use crate::cause::FoundCause;
use crate::causes;
use crate::client::{RETRY_FOR, ServiceClient, call_for, call_with_retries, is_transient};
use crate::outcome::{CommandResult, Outcome};
use crate::plan::{ActionName, RollbackTarget};
use crate::progress::Progress;
use crate::revision::Revision;
use crate::service::{Deployment, Service, short};
use crate::service_deployment::ServiceDeployment;
use crate::strategy::has_traffic_shift;
use crate::watch::{RolloutEnd, Watch, WatchResult};
use ecs_bootstrap::exit::Exit;

/// How many service deployments are searched for the one of a deployment.
const MAX_LISTED: i32 = 20;
/// The members of UpdateService that a rollback by ECS sets back (ECS API Reference, "ServiceRevision"), and those that
/// say what is updated.
const SET_BACK_BY_ECS: [&str; 12] = [
    "cluster",
    "service",
    "taskDefinition",
    "forceNewDeployment",
    "capacityProviderStrategy",
    "loadBalancers",
    "networkConfiguration",
    "platformVersion",
    "serviceConnectConfiguration",
    "serviceRegistries",
    "volumeConfigurations",
    "vpcLatticeConfigurations",
];

/// The result of an attempt to let ECS undo a deployment.
#[derive(Debug)]
pub(crate) enum Undo {
    /// ECS rolls the deployment back.
    Requested,
    /// ECS cannot undo the deployment. Nothing was changed.
    NotPossible,
    /// It is not known whether ECS accepted StopServiceDeployment.
    Unknown(FoundCause),
}

impl ServiceClient {
    /// Like [`ServiceClient::undo`], for the rollback of a failed `deploy`, which also sets back what else it changed.
    pub(crate) async fn undo_started(
        &self,
        service: &Service,
        started: &StartedDeployment,
        target: &RollbackTarget,
        retry_for: Duration,
        progress: &mut Progress,
    ) -> Undo {
        let members = target.body.as_object().into_iter().flatten();
        let is_whole = members.into_iter().all(|(name, _)| SET_BACK_BY_ECS.contains(&name.as_str()));
        // Without a deployment of its own there is nothing to stop. One that replaced another returns to that one.
        if !is_whole || started.expected_count.is_some() || started.replaced.is_some() {
            return Undo::NotPossible;
        }
        self.undo(service, &started.deployment, &target.revision.arn, retry_for, progress).await
    }

    /// The command `rollback`, if ECS can undo the newest deployment; otherwise `None`.
    pub(crate) async fn roll_back_by_undo(
        &self,
        service: &Service,
        newest: Option<&Deployment>,
        target: &Revision,
        timeout: Duration,
        progress: &mut Progress,
    ) -> Result<Option<Outcome>, FoundCause> {
        let Some(newest) = newest else { return Ok(None) };
        match self.undo(service, newest, &target.arn, RETRY_FOR, progress).await {
            Undo::Requested => {}
            Undo::NotPossible => return Ok(None),
            Undo::Unknown(finding) => return Err(finding),
        }
        let started = StartedDeployment { deployment: newest.clone(), expected_count: None, replaced: None };
        let watched = Watch::new(self, &started, timeout, progress).until_undone().run(None).await;
        Ok(Some(Outcome {
            task_definition: Some(target.arn.clone()),
            deployment: Some(newest.id.clone()),
            action: ActionName::Update,
            stopped_tasks: watched.stopped_tasks_json(),
            ..self.undo_outcome(&watched, target, newest)
        }))
    }

    fn undo_outcome(&self, watched: &WatchResult, target: &Revision, undone: &Deployment) -> Outcome {
        let aftermath = match &watched.end {
            RolloutEnd::RolledBack { to, completed: true } => {
                self.activity.enter(Phase::Completed(to.clone()));
                return self.rolled_back(target);
            }
            RolloutEnd::RolledBack { to, completed: false } => {
                format!("ECS started a rollback, which did not complete: {}", to.label())
            }
            RolloutEnd::Completed => format!("{} completed before ECS stopped it", undone.label()),
            _ => return self.rollback_outcome(watched, target, undone),
        };
        let outcome = Outcome::new(CommandResult::RollbackFailed, Exit::RollbackFailed);
        Outcome { causes: watched.causes(), ..outcome }.with_aftermath(aftermath)
    }

    /// Lets ECS roll back this deployment, if it is in progress, shifts traffic, and replaces only `target`.
    pub(crate) async fn undo(
        &self,
        service: &Service,
        deployment: &Deployment,
        target: &str,
        retry_for: Duration,
        progress: &mut Progress,
    ) -> Undo {
        let mut others = service.deployments.iter().filter(|other| other.id != deployment.id).peekable();
        let returns_to_target = others.peek().is_some() && others.all(|other| other.task_definition == target);
        if !has_traffic_shift(&service.raw["deploymentConfiguration"]) || !returns_to_target {
            return Undo::NotPossible;
        }
        let found = self.service_deployment_of(service, deployment).await;
        let found =
            found.and_then(|raw| raw.as_ref().map(ServiceDeployment::read).transpose().map_err(|e| e.to_string()));
        let found = match found {
            Ok(Some(found)) => found,
            Ok(None) => return Undo::NotPossible,
            Err(error) => {
                progress.event(&without_stop(&format!("the service deployment cannot be read: {error}")));
                return Undo::NotPossible;
            }
        };
        match found.status.as_str() {
            "ROLLBACK_REQUESTED" | "ROLLBACK_IN_PROGRESS" => {
                self.activity.enter(Phase::Accepted);
                Undo::Requested
            }
            "PENDING" | "IN_PROGRESS" => self.stop(&found, deployment, target, retry_for, progress).await,
            _ => Undo::NotPossible,
        }
    }

    async fn stop(
        &self,
        found: &ServiceDeployment,
        deployment: &Deployment,
        target: &str,
        retry_for: Duration,
        progress: &mut Progress,
    ) -> Undo {
        let (arn, label) = (&found.service_deployment_arn, deployment.label());
        let stop = async |deadline| {
            let describe = |(): &()| format!("stopped {label}, which ECS rolls back");
            let attempt = self.aws.roll_back_service_deployment(arn, deadline);
            self.activity.attempt("StopServiceDeployment", describe, attempt).await
        };
        match call_for(retry_for, stop).await {
            Ok(()) => {
                let target = short(target);
                progress.event(&format!("stopped {label}: ECS shifts the traffic back to {target}"));
                self.activity.enter(Phase::Accepted);
                Undo::Requested
            }
            Err(error) if is_transient(&error) && self.activity.is_change_unknown() => {
                Undo::Unknown(causes::from_error(&error))
            }
            Err(error) => {
                progress.event(&without_stop(&error.verbatim()));
                Undo::NotPossible
            }
        }
    }

    async fn service_deployment_of(&self, service: &Service, deployment: &Deployment) -> Result<Option<Value>, String> {
        let find = async |deadline| self.find_service_deployment(service, deployment, deadline).await;
        call_with_retries(find).await.map_err(|error| error.verbatim())
    }

    /// The service deployment that belongs to a deployment of the service.
    pub(crate) async fn find_service_deployment(
        &self,
        service: &Service,
        deployment: &Deployment,
        deadline: Deadline,
    ) -> Result<Option<Value>, AwsError> {
        let name = service.raw["serviceArn"].as_str().unwrap_or(&self.service);
        let listed = self.aws.service_deployments(&self.cluster, name, None, MAX_LISTED, deadline).await?;
        let all = listed.iter().filter_map(|raw| ServiceDeployment::read(raw).ok()).collect();
        match ServiceDeployment::find(all, deployment) {
            Some(found) => self.aws.service_deployment(&found.service_deployment_arn, deadline).await,
            None => Ok(None),
        }
    }
}

fn without_stop(error: &str) -> String {
    format!("warning: ECS cannot stop the deployment, so UpdateService deploys the older revision again: {error}")
}
