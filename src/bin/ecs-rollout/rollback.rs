//! Rolls a service back: after a failed rollout, and for the command `rollback`.
//!
//! In: the target. Out: an [`Outcome`]. A deployment that another caller has started since is never rolled back.

use std::time::Duration;

use ecs_bootstrap::exit::Exit;
use ecs_bootstrap::retry::{Deadline, within};
use serde_json::{Value, json};

use crate::activity::Phase;
use crate::apply::StartedDeployment;
use crate::arn;
use crate::cause::FoundCause;
use crate::causes;
use crate::client::{RETRY_FOR, ServiceClient, call};
use crate::history::{History, Target};
use crate::outcome::{CommandResult, Outcome};
use crate::plan::{ActionName, RollbackTarget};
use crate::progress::Progress;
use crate::revision::Revision;
use crate::service::{Deployment, Service, short};
use crate::stability::{RolloutState, STABLE_TAG, is_stable, judge, was_stable};
use crate::undo::Undo;
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
        let stays = format!("the rollback failed: the service stays at {}", started.deployment.label());
        let service = match within(Deadline::after(timeout), self.service()).await {
            Ok(Ok(service)) => service,
            Ok(Err(finding)) => return rollback_failed(failed, finding, stays),
            Err(_) => {
                let finding = causes::UNREACHABLE.finding("DescribeServices did not answer before the rollback");
                return rollback_failed(failed, finding, stays);
            }
        };
        if let Some(service) = &service {
            match self.undo_started(service, started, target, timeout, progress).await {
                Undo::Requested => return self.follow_ecs(started, failed, timeout, progress).await,
                Undo::Unknown(finding) => return rollback_failed(failed, finding, self.rollback_unknown()),
                Undo::NotPossible => {}
            }
            match judge(service, &started.deployment, started.expected_count) {
                RolloutState::Superseded(by) => {
                    let aftermath = format!("nothing was rolled back: {} replaced this deployment", by.label());
                    return failed.with_aftermath(aftermath);
                }
                RolloutState::Completed => {
                    let label = started.deployment.label();
                    let aftermath = format!("nothing was rolled back: {label} has completed in the meantime");
                    return failed.with_aftermath(aftermath);
                }
                RolloutState::RollingBack(_) => return self.follow_ecs(started, failed, timeout, progress).await,
                _ => {}
            }
        }
        progress.event(&format!("rolling back to {}", short(&target.revision.arn)));
        let (service, deployment) = match self.update_to_new_primary(&target.body, timeout).await {
            Ok(updated) => updated,
            Err(finding) if self.activity.is_change_unknown() => {
                return rollback_failed(failed, finding, self.rollback_unknown());
            }
            Err(finding) => return rollback_failed(failed, finding, stays),
        };
        let expected_count = (deployment.id == started.deployment.id).then_some(service.desired_count);
        let rollback = StartedDeployment { deployment, expected_count, replaced: None };
        let watched = Watch::new(self, &rollback, timeout, progress).run(Some(&target.revision)).await;
        if matches!(watched.end, RolloutEnd::Completed) {
            self.activity.complete();
            let aftermath = format!("rolled back to {}", rollback.deployment.label());
            let causes = failed.causes.clone();
            let outcome = failed.ended(CommandResult::RolledBack, Exit::RolledBack, causes);
            let rolled_back_to = Some(target.revision.arn.clone());
            return Outcome { rolled_back_to, ..outcome.with_aftermath(aftermath) };
        }
        let aftermath = self.after_rollback(&watched.end, &rollback.deployment);
        rollback_failed(failed, cause_of_rollback(&watched, &rollback.deployment), aftermath)
    }

    fn rollback_unknown(&self) -> String {
        let go_on = self.activity.name().command("wait");
        format!("it is not known whether ECS accepted the rollback; go on with `{go_on}`")
    }

    /// Waits for a rollback that ECS carries out.
    async fn follow_ecs(
        &self,
        started: &StartedDeployment,
        failed: Outcome,
        timeout: Duration,
        progress: &mut Progress,
    ) -> Outcome {
        let watched = Watch::new(self, started, timeout, progress).until_undone().run(None).await;
        match &watched.end {
            RolloutEnd::RolledBack { to, completed } => {
                let causes = failed.causes.clone();
                failed.rolled_back_by_ecs(to, *completed, causes)
            }
            end => {
                let aftermath = self.after_rollback(end, &started.deployment);
                rollback_failed(failed, cause_of_rollback(&watched, &started.deployment), aftermath)
            }
        }
    }

    /// What the service does after a rollback that did not succeed.
    fn after_rollback(&self, end: &RolloutEnd, rollback: &Deployment) -> String {
        let label = rollback.label();
        let go_on = format!("go on with `{}`", self.activity.name().command("wait"));
        match end {
            RolloutEnd::TimeLimit => {
                format!("the rollback did not complete within the time limit: ECS continues {label}; {go_on}")
            }
            RolloutEnd::WatchFailed(_) => format!("the rollback is no longer watched: ECS continues {label}; {go_on}"),
            RolloutEnd::CrashLoop(_) => format!("the rollback failed: ECS continues {label}"),
            RolloutEnd::Superseded(by) => format!("the rollback ended, because {} replaced it", by.label()),
            RolloutEnd::Deleted => "the rollback ended, because the service was deleted".to_owned(),
            RolloutEnd::RolledBack { to, .. } => format!("ECS gave up on the rollback, and returned to {}", to.label()),
            RolloutEnd::Failed(_) | RolloutEnd::Completed => {
                format!("the rollback failed: the service stays at {label}")
            }
        }
    }

    /// Updates the service, and returns it with its PRIMARY deployment.
    async fn update_to_new_primary(
        &self,
        body: &Value,
        retry_for: Duration,
    ) -> Result<(Service, Deployment), FoundCause> {
        let service = self.update(body, Phase::Rollback, retry_for).await?;
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
        progress.doing("choosing the revision to roll back to");
        let Target { revision: target, why } = self.target(&service, to).await?;
        let primary = service.primary().filter(|_| service.task_definition == target.arn);
        let (deployment, action) = match primary {
            Some(_) if is_stable(&service) => {
                let text = format!("unchanged: service `{}` already runs {running}", self.service);
                let outcome = Outcome::new(CommandResult::Unchanged, Exit::Done);
                return Ok(Outcome { text, action: ActionName::Nothing, ..outcome });
            }
            Some(primary) => (primary.clone(), ActionName::Attach),
            None => {
                progress.event(&format!("rolling back from {running} to {}: {why}", target.label()));
                progress.doing("changing the service");
                let newest = service.newest_deployment();
                if let Some(outcome) = self.roll_back_by_undo(&service, newest, &target, timeout, progress).await? {
                    return Ok(Outcome { notes: vec![why], ..outcome });
                }
                let body = json!({"cluster": self.cluster, "service": self.service, "taskDefinition": target.arn});
                let (_, deployment) = self.update_to_new_primary(&body, RETRY_FOR).await?;
                (deployment, ActionName::Update)
            }
        };
        self.activity.enter(Phase::Rollback(deployment.clone()));
        let started = StartedDeployment { deployment, expected_count: None, replaced: None };
        let watched = Watch::new(self, &started, timeout, progress).run(Some(&target)).await;
        let outcome = self.rollback_outcome(&watched, &target, &started.deployment);
        Ok(Outcome {
            task_definition: Some(target.arn),
            deployment: Some(started.deployment.id),
            action,
            notes: vec![why],
            stopped_tasks: watched.stopped_tasks_json(),
            ..outcome
        })
    }

    pub(crate) fn rollback_outcome(
        &self,
        watched: &WatchResult,
        target: &Revision,
        deployment: &Deployment,
    ) -> Outcome {
        let (result, exit) = match &watched.end {
            RolloutEnd::Completed => {
                self.activity.complete();
                return self.rolled_back(target);
            }
            RolloutEnd::Superseded(_) => (CommandResult::Superseded, Exit::Superseded),
            RolloutEnd::WatchFailed(finding) => (CommandResult::Failed, finding.cause.exit),
            RolloutEnd::TimeLimit => (CommandResult::TimeLimit, Exit::TimeLimit),
            RolloutEnd::Failed(_) | RolloutEnd::CrashLoop(_) | RolloutEnd::RolledBack { .. } | RolloutEnd::Deleted => {
                (CommandResult::RollbackFailed, Exit::RollbackFailed)
            }
        };
        let causes = match &watched.end {
            RolloutEnd::Superseded(_) | RolloutEnd::WatchFailed(_) | RolloutEnd::Deleted => {
                vec![cause_of_rollback(watched, deployment)]
            }
            _ => watched.causes(),
        };
        Outcome { causes, ..Outcome::new(result, exit) }.with_aftermath(self.after_rollback(&watched.end, deployment))
    }

    /// The outcome of a rollback by command that succeeded.
    pub(crate) fn rolled_back(&self, target: &Revision) -> Outcome {
        let text = format!("rolled back: service `{}` runs {}", self.service, target.label());
        let rolled_back_to = Some(target.arn.clone());
        Outcome { text, rolled_back_to, ..Outcome::new(CommandResult::RolledBack, Exit::Done) }
    }

    /// The revision to roll back to.
    async fn target(&self, service: &Service, to: Option<&str>) -> Result<Target, FoundCause> {
        let running = &service.task_definition;
        if let Some(to) = to {
            let name = arn::revision(to, running).map_err(|why| causes::BAD_OPTION.finding(why))?;
            let found = self.revision(&name).await?.filter(|revision| revision.is_active);
            let revision = found.ok_or_else(|| causes::REVISION_NOT_FOUND.finding(format!("`{name}`")))?;
            return Ok(Target { revision, why: "named by `--to`".to_owned() });
        }
        let running = short(running);
        let (family, number) = running.rsplit_once(':').unwrap_or((running, ""));
        let current = number.parse::<u64>().unwrap_or(u64::MAX);
        // The numbers of two families cannot be compared.
        let is_older = |arn: &str| match short(arn).rsplit_once(':') {
            Some((other, number)) => other != family || number.parse::<u64>().is_ok_and(|number| number < current),
            None => false,
        };
        // The deployments of this service are more exact than a tag: services can share a family.
        let unread = match self.last_completed(service, is_older).await? {
            History::Found(target) => return Ok(target),
            History::Nothing => None,
            History::Unread(error) => Some(format!("the deployments of the service cannot be read: {error}")),
        };
        let listed = call(async |deadline| self.aws.task_definitions(family, MAX_REVISIONS, deadline).await).await?;
        let older: Vec<_> = listed.iter().filter(|arn| is_older(arn)).collect();
        for arn in &older {
            let revision = self.revision(arn).await?;
            if let Some(revision) = revision.filter(|revision| revision.is_active && was_stable(revision)) {
                let tag = format!("the newest older revision with the tag `{STABLE_TAG}`");
                let why = unread.map_or(tag.clone(), |unread| format!("{tag}; {unread}"));
                return Ok(Target { revision, why });
            }
        }
        let names: Vec<_> = older.iter().take(MAX_NAMED).map(|arn| short(arn)).collect();
        let text = if names.is_empty() {
            format!("there is no ACTIVE revision older than {running}")
        } else {
            format!("the service runs {running}; older ACTIVE revisions: {}", names.join(", "))
        };
        let finding = causes::NO_OLDER_REVISION.finding(text);
        Err(unread.into_iter().fold(finding, FoundCause::and))
    }
}

/// The outcome of a rollout that failed and could not be rolled back.
fn rollback_failed(failed: Outcome, finding: FoundCause, aftermath: String) -> Outcome {
    let mut causes = failed.causes.clone();
    causes.push(finding);
    failed.ended(CommandResult::RollbackFailed, Exit::RollbackFailed, causes).with_aftermath(aftermath)
}

/// The first cause of a rollback that did not succeed.
fn cause_of_rollback(watched: &WatchResult, rollback: &Deployment) -> FoundCause {
    match &watched.end {
        RolloutEnd::Superseded(by) => superseded(by, rollback),
        RolloutEnd::WatchFailed(finding) => finding.clone(),
        RolloutEnd::Deleted => causes::SERVICE_DELETED.finding("the status of the service is not ACTIVE"),
        _ => match watched.causes().into_iter().next() {
            Some(first) => first,
            None => unreachable!("a failed rollout has at least one cause"),
        },
    }
}

/// The finding that `by` replaced `deployment`.
pub(crate) fn superseded(by: &Deployment, deployment: &Deployment) -> FoundCause {
    causes::SUPERSEDED.finding(format!("{} replaced {}", by.label(), deployment.label()))
}
