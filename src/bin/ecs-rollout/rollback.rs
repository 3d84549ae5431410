//! Rolls a service back: after a failed rollout, and for the command `rollback`.
//!
//! In: the target. Out: an [`Outcome`]. A deployment that another caller has started since is never rolled back.

use std::time::Duration;

use ecs_bootstrap::exit::Exit;
use ecs_bootstrap::retry::Deadline;
use serde_json::{Value, json};

use crate::apply::StartedDeployment;
use crate::arn;
use crate::cause::FoundCause;
use crate::causes;
use crate::client::{ServiceClient, call};
use crate::outcome::{CommandResult, Outcome};
use crate::plan::{ActionName, RollbackTarget};
use crate::progress::Progress;
use crate::revision::Revision;
use crate::service::{Deployment, Service, short};
use crate::stability::{RolloutState, is_stable, judge, was_stable};
use crate::watch::{RolloutEnd, Watch, WatchResult};

/// How many older revisions `rollback` searches for one that was stable.
const MAX_REVISIONS: i32 = 50;
/// How many older revisions a message names.
const MAX_NAMED: usize = 5;

impl ServiceClient {
    /// Rolls back a deployment whose rollout failed with the outcome `failed`, unless another one has replaced it.
    pub(crate) async fn roll_back(
        &self,
        target: &RollbackTarget,
        started: &StartedDeployment,
        failed: Outcome,
        timeout: Duration,
        progress: &mut Progress,
    ) -> Outcome {
        let rollback_failed = |failed: Outcome, finding: FoundCause| {
            let mut causes = failed.causes.clone();
            causes.push(finding);
            failed
                .ended(CommandResult::RollbackFailed, Exit::RollbackFailed, causes)
                .with_aftermath(format!("the rollback failed: the service stays at {}", started.deployment.label()))
        };
        match self.service().await {
            Ok(Some(service)) => {
                let state = judge(&service, &started.deployment, started.expected_count);
                if let RolloutState::Superseded(by) = state {
                    let aftermath = format!("nothing was rolled back: {} replaced this deployment", by.label());
                    return failed.with_aftermath(aftermath);
                }
            }
            Ok(None) => {}
            Err(finding) => return rollback_failed(failed, finding),
        }
        progress.event(&format!("rolling back to {}", short(&target.revision.arn)));
        let (service, deployment) = match self.update_to_new_primary(&target.body).await {
            Ok(updated) => updated,
            Err(finding) => return rollback_failed(failed, finding),
        };
        let expected_count = (deployment.id == started.deployment.id).then_some(service.desired_count);
        let rollback = StartedDeployment { deployment, expected_count, replaced: None };
        let watched = Watch::new(self, &rollback, progress).run(Deadline::after(timeout), &target.revision).await;
        match &watched.end {
            RolloutEnd::Completed => {
                let aftermath = format!("rolled back to {}", rollback.deployment.label());
                let causes = failed.causes.clone();
                let outcome = failed.ended(CommandResult::RolledBack, Exit::RolledBack, causes);
                let rolled_back_to = Some(target.revision.arn.clone());
                Outcome { rolled_back_to, ..outcome.with_aftermath(aftermath) }
            }
            RolloutEnd::Superseded(by) => rollback_failed(failed, superseded(by, &rollback.deployment)),
            RolloutEnd::WatchFailed(finding) => rollback_failed(failed, finding.clone()),
            RolloutEnd::Failed(_) | RolloutEnd::RolledBack { .. } | RolloutEnd::Deleted | RolloutEnd::TimeLimit => {
                match watched.causes().into_iter().next() {
                    Some(first) => rollback_failed(failed, first),
                    None => unreachable!("a failed rollout has at least one cause"),
                }
            }
        }
    }

    /// Updates the service, and returns it with its PRIMARY deployment.
    async fn update_to_new_primary(&self, body: &Value) -> Result<(Service, Deployment), FoundCause> {
        let service = self.update(body).await?;
        let primary = service.primary().cloned();
        let primary = primary
            .ok_or_else(|| causes::ROLLOUT_UNKNOWN.finding("the answer of UpdateService has no PRIMARY deployment"))?;
        Ok((service, primary))
    }

    /// The service, which must exist and not be deleted.
    pub(crate) async fn active_service(&self) -> Result<Service, FoundCause> {
        match self.service().await? {
            Some(service) if service.is_active() => Ok(service),
            Some(service) => Err(causes::SERVICE_NOT_FOUND.finding(format!("its status is `{}`", service.status))),
            None => {
                let text = format!("`{}` in cluster `{}`", self.service, self.cluster);
                Err(causes::SERVICE_NOT_FOUND.finding(text))
            }
        }
    }

    /// The command `rollback`. `to` is a revision number, `family:revision` or an ARN.
    pub(crate) async fn rollback(
        &self,
        to: Option<&str>,
        timeout: Duration,
        progress: &mut Progress,
    ) -> Result<Outcome, FoundCause> {
        let service = self.active_service().await?;
        let running = short(&service.task_definition);
        let target = self.target(&service.task_definition, to).await?;
        let primary = service.primary().filter(|_| service.task_definition == target.arn);
        let (deployment, action) = match primary {
            Some(_) if is_stable(&service) => {
                let text = format!("unchanged: service `{}` already runs {running}", self.service);
                let outcome = Outcome::new(CommandResult::Unchanged, Exit::Done);
                return Ok(Outcome { text, action: ActionName::Nothing, ..outcome });
            }
            Some(primary) => (primary.clone(), ActionName::Attach),
            None => {
                progress.event(&format!("rolling back from {running} to {}", target.label()));
                let body = json!({"cluster": self.cluster, "service": self.service, "taskDefinition": target.arn});
                let (_, deployment) = self.update_to_new_primary(&body).await?;
                (deployment, ActionName::Update)
            }
        };
        let started = StartedDeployment { deployment, expected_count: None, replaced: None };
        let watched = Watch::new(self, &started, progress).run(Deadline::after(timeout), &target).await;
        let outcome = self.rollback_outcome(&watched, &target, &started.deployment);
        Ok(Outcome {
            task_definition: Some(target.arn),
            deployment: Some(started.deployment.id),
            action,
            stopped_tasks: watched.stopped_tasks_json(),
            ..outcome
        })
    }

    fn rollback_outcome(&self, watched: &WatchResult, target: &Revision, deployment: &Deployment) -> Outcome {
        let (result, exit, causes) = match &watched.end {
            RolloutEnd::Completed => {
                let text = format!("rolled back: service `{}` runs {}", self.service, target.label());
                let rolled_back_to = Some(target.arn.clone());
                return Outcome { text, rolled_back_to, ..Outcome::new(CommandResult::RolledBack, Exit::Done) };
            }
            RolloutEnd::Superseded(by) => {
                (CommandResult::Superseded, Exit::Superseded, vec![superseded(by, deployment)])
            }
            RolloutEnd::WatchFailed(finding) => (CommandResult::Failed, finding.cause.exit, vec![finding.clone()]),
            RolloutEnd::TimeLimit => (CommandResult::TimeLimit, Exit::TimeLimit, watched.causes()),
            RolloutEnd::Failed(_) | RolloutEnd::RolledBack { .. } | RolloutEnd::Deleted => {
                (CommandResult::RollbackFailed, Exit::RollbackFailed, watched.causes())
            }
        };
        Outcome { causes, ..Outcome::new(result, exit) }
    }

    /// The revision to roll back to. `running` is the ARN of the revision that the service runs.
    async fn target(&self, running: &str, to: Option<&str>) -> Result<Revision, FoundCause> {
        if let Some(to) = to {
            let name = arn::revision(to, running).map_err(|why| causes::BAD_INPUT.finding(why))?;
            let found = self.revision(&name).await?.filter(|revision| revision.is_active);
            return found.ok_or_else(|| causes::REVISION_NOT_FOUND.finding(format!("`{name}`")));
        }
        let running = short(running);
        let (family, number) = running.rsplit_once(':').unwrap_or((running, ""));
        let listed = call(async |deadline| self.aws.task_definitions(family, MAX_REVISIONS, deadline).await).await?;
        let current = number.parse::<u64>().unwrap_or(u64::MAX);
        let is_older = |arn: &String| revision_number(arn).is_some_and(|number| number < current);
        let older: Vec<_> = listed.iter().filter(|arn| is_older(arn)).collect();
        for arn in &older {
            let revision = self.revision(arn).await?;
            if let Some(revision) = revision.filter(|revision| revision.is_active && was_stable(revision)) {
                return Ok(revision);
            }
        }
        let names: Vec<_> = older.iter().take(MAX_NAMED).map(|arn| short(arn)).collect();
        let text = if names.is_empty() {
            format!("there is no ACTIVE revision older than {running}")
        } else {
            format!("the service runs {running}; older ACTIVE revisions: {}", names.join(", "))
        };
        Err(causes::NO_OLDER_REVISION.finding(text))
    }
}

/// 42 of `arn:...:task-definition/web:42`.
fn revision_number(arn: &str) -> Option<u64> {
    short(arn).rsplit(':').next()?.parse().ok()
}

/// The finding that `by` replaced `deployment`.
pub(crate) fn superseded(by: &Deployment, deployment: &Deployment) -> FoundCause {
    causes::SUPERSEDED.finding(format!("{} replaced {}", by.label(), deployment.label()))
}
