//! The corridor: the one place that knows the order. Observe, decide, apply, watch, and back where it did not succeed.
//!
//! In: what is desired, and the API. Out: an [`Outcome`]. The way back is decided before the first call that changes
//! anything.

use std::time::{Duration, Instant, SystemTime};

use ecs_bootstrap::exit::Exit;
use ecs_bootstrap::retry::Deadline;
use serde_json::json;

use crate::apply::{StartedDeployment, named};
use crate::cause::{self, Finding, diagnose};
use crate::client::{ServiceClient, call};
use crate::decide::{self, Action, Plan, Registration, RollbackTarget};
use crate::desired::{BUILD, DesiredState, STABLE};
use crate::observe::{CurrentState, Revision};
use crate::progress::Progress;
use crate::report::{Outcome, Report, action_word, plan_json, plan_text, status};
use crate::rollout::{Deployment, RolloutState, Service, judge, short};
use crate::watch::{RolloutEnd, Watch, WatchResult, task_json};

/// How many older revisions are looked at for one that ran well.
const REVISIONS: i32 = 50;

/// How a deployment is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeployOptions {
    /// A rollout, and a rollback, may take as long as this.
    pub(crate) timeout: Duration,
    /// Whether its end is waited for.
    pub(crate) wait: bool,
    /// Whether a rollout that does not succeed is undone.
    pub(crate) rollback: bool,
}

impl ServiceClient {
    async fn planned(&self, desired: &DesiredState) -> Result<(Plan, CurrentState), Finding> {
        let current = self.observe(desired.family(), desired.members.get("desiredCount")).await?;
        Ok((decide::plan(desired, &current)?, current))
    }

    /// `plan`.
    pub(crate) async fn plan(&self, desired: &DesiredState, as_json: bool) -> Report {
        match self.planned(desired).await {
            Ok((plan, current)) => {
                let stdout = match as_json {
                    true => plan_json(&plan, desired),
                    false => plan_text(&plan, desired, &current),
                };
                Report { stdout, stderr: String::new(), exit: Exit::Done }
            }
            Err(finding) => self.named(Outcome::refused(finding)).report(as_json),
        }
    }

    /// `deploy`.
    pub(crate) async fn deploy(
        &self,
        desired: &DesiredState,
        options: DeployOptions,
        progress: &mut Progress,
    ) -> Outcome {
        let start = Instant::now();
        progress.waiting("looking at the service and its task definition");
        let outcome = match self.planned(desired).await {
            Ok((plan, current)) => {
                progress.block(&plan_text(&plan, desired, &current));
                self.carry_out(&plan, current.service.as_ref(), options, progress).await
            }
            Err(finding) => Outcome::refused(finding),
        };
        self.named(Outcome { duration: start.elapsed(), ..outcome })
    }

    fn named(&self, outcome: Outcome) -> Outcome {
        Outcome { cluster: self.cluster.clone(), service: self.service.clone(), ..outcome }
    }

    async fn carry_out(
        &self,
        plan: &Plan,
        service: Option<&Service>,
        options: DeployOptions,
        progress: &mut Progress,
    ) -> Outcome {
        let registered = matches!(plan.registration, Registration::New { .. });
        let revision = match self.register(plan).await {
            Ok(revision) => revision,
            Err(finding) => return Outcome::refused(finding),
        };
        if registered {
            progress.event(&format!("registered {}", short(&revision.arn)));
        }
        if let Some(arn) = service.and_then(|service| service.raw["serviceArn"].as_str()) {
            self.tag_service(arn, &plan.service_tags, progress).await;
        }
        let outcome = Outcome {
            task_definition: Some(revision.arn.clone()),
            registered,
            action: action_word(&plan.action),
            notes: plan.notes.clone(),
            ..Outcome::default()
        };
        let started = match self.begin(plan, &revision, Deadline::after(options.timeout), progress).await {
            Ok(Some(started)) => started,
            Ok(None) => {
                let text = format!(
                    "unchanged: service `{}` runs {} as wanted; nothing was registered, nothing deployed",
                    self.service,
                    described(&revision)
                );
                return Outcome { result: "unchanged", text, exit: Some(Exit::Done), ..outcome };
            }
            Err(finding) => {
                let refused = Outcome::refused(finding);
                let aftermath = registered.then(|| format!("{} is registered, and not deployed", short(&revision.arn)));
                return Outcome { result: "refused", exit: refused.exit, causes: refused.causes, aftermath, ..outcome };
            }
        };
        if let Some(other) = &started.replaced {
            progress.event(&format!("{} was begun by somebody else meanwhile; ours takes its place", named(other)));
        }
        progress.event(&format!("began {}", named(&started.deployment)));
        let outcome = Outcome { deployment: Some(started.deployment.id.clone()), ..outcome };
        if !options.wait {
            let text = format!("begun: {}; its end is not waited for", named(&started.deployment));
            return Outcome { result: "begun", text, exit: Some(Exit::Done), ..outcome };
        }
        // What came before, as a throttled call or a service that drained, is not the rollout's time.
        let deadline = Deadline::after(options.timeout);
        let watched = Watch::new(self, &started.deployment, started.expected_count, progress)
            .until(deadline, Some(&revision))
            .await;
        self.concluded(plan, &revision, &started, watched, options, outcome, progress).await
    }

    /// What the end of a rollout comes to, and what is done about it.
    #[expect(clippy::too_many_arguments, reason = "all that the corridor holds by now")]
    async fn concluded(
        &self,
        plan: &Plan,
        revision: &Revision,
        started: &StartedDeployment,
        watched: WatchResult,
        options: DeployOptions,
        outcome: Outcome,
        progress: &mut Progress,
    ) -> Outcome {
        let stopped = watched.stopped.iter().map(|task| task_json(task, &watched.evidence)).collect();
        let outcome = Outcome { stopped, ..outcome };
        let ended = |result, exit, causes| Outcome { result, exit: Some(exit), causes, ..Outcome::default() };
        let how = match &watched.end {
            RolloutEnd::Completed => {
                self.mark_stable(revision, progress).await;
                let counts = watched.last.as_ref().map(Deployment::counts).unwrap_or_default();
                let text = format!("deployed {} to service `{}`: {counts}", described(revision), self.service);
                return Outcome { result: "deployed", text, exit: Some(Exit::Done), ..outcome };
            }
            RolloutEnd::RolledBack { to, completed } => {
                let (result, exit, word) = match completed {
                    true => ("rolled-back", Exit::RolledBack, "ECS has rolled back to"),
                    false => ("rollback-failed", Exit::RollbackFailed, "ECS goes back, and has not got there:"),
                };
                let aftermath = Some(format!("{word} {}", named(to)));
                let rolled_back_to = Some(to.task_definition.clone());
                Outcome { aftermath, rolled_back_to, ..ended(result, exit, causes(&watched)) }
            }
            RolloutEnd::Superseded(by) => {
                let evidence = format!("{} took the place of {}", named(by), named(&started.deployment));
                ended("superseded", Exit::Superseded, vec![cause::SUPERSEDED.finding(evidence)])
            }
            RolloutEnd::Deleted => {
                ended("failed", Exit::RolloutFailed, vec![cause::SERVICE_DELETED.finding("its status is not ACTIVE")])
            }
            RolloutEnd::WatchFailed(finding) => {
                let aftermath = Some(format!("{} goes on, and is not watched any more", named(&started.deployment)));
                Outcome { aftermath, ..ended("failed", finding.cause.exit, vec![finding.clone()]) }
            }
            RolloutEnd::Failed(_) | RolloutEnd::TimeLimit => {
                let is_late = matches!(watched.end, RolloutEnd::TimeLimit);
                let (result, exit) = match is_late {
                    true => ("time-limit", Exit::TimeLimit),
                    false => ("failed", Exit::RolloutFailed),
                };
                let how = ended(result, exit, causes(&watched));
                match (&plan.rollback, options.rollback) {
                    (Ok(target), true) if changes_anything(plan) => {
                        self.roll_back(target, started, how, options, progress).await
                    }
                    (Err(why), _) => Outcome { aftermath: Some(format!("nothing was rolled back: {why}")), ..how },
                    _ => Outcome { aftermath: Some("the service is left as it is".to_owned()), ..how },
                }
            }
        };
        Outcome {
            result: how.result,
            exit: how.exit,
            causes: how.causes,
            aftermath: how.aftermath,
            rolled_back_to: how.rolled_back_to,
            ..outcome
        }
    }

    /// Undoes our deployment, unless it is not the newest any more.
    async fn roll_back(
        &self,
        target: &RollbackTarget,
        started: &StartedDeployment,
        how: Outcome,
        options: DeployOptions,
        progress: &mut Progress,
    ) -> Outcome {
        let not_done = |how: Outcome, finding: Finding| {
            let mut causes = how.causes;
            causes.push(finding);
            let aftermath = Some(format!("{} stays: the rollback did not succeed", named(&started.deployment)));
            Outcome { result: "rollback-failed", exit: Some(Exit::RollbackFailed), causes, aftermath, ..how }
        };
        match self.service().await {
            Ok(Some(service)) => {
                if let RolloutState::Superseded(by) =
                    judge(&service, &started.deployment.id, started.deployment.created_at)
                {
                    let aftermath = Some(format!("nothing was rolled back: {} has taken its place", named(&by)));
                    return Outcome { aftermath, ..how };
                }
            }
            Ok(None) => {}
            Err(error) => return not_done(how, cause::of_call(&error)),
        }
        progress.event(&format!("going back to {}", short(&target.task_definition)));
        let service = match self.update(&target.body).await {
            Ok(service) => service,
            Err(finding) => return not_done(how, finding),
        };
        let Some(deployment) = service.primary().cloned() else {
            return not_done(how, cause::ROLLOUT_UNKNOWN.finding("ECS answered without a PRIMARY deployment"));
        };
        let expected_count = (deployment.id == started.deployment.id).then_some(service.desired_count);
        let revision = self.revision(&target.task_definition).await.ok().flatten();
        let deadline = Deadline::after(options.timeout);
        let watched = Watch::new(self, &deployment, expected_count, progress).until(deadline, revision.as_ref()).await;
        match &watched.end {
            RolloutEnd::Completed => {
                let aftermath = Some(format!("rolled back to {}", named(&deployment)));
                let rolled_back_to = Some(target.task_definition.clone());
                Outcome { result: "rolled-back", exit: Some(Exit::RolledBack), aftermath, rolled_back_to, ..how }
            }
            RolloutEnd::Superseded(by) => {
                not_done(how, cause::SUPERSEDED.finding(format!("{} took its place", named(by))))
            }
            RolloutEnd::WatchFailed(finding) => not_done(how, finding.clone()),
            _ => {
                let mut more = causes(&watched);
                let first = more.remove(0);
                not_done(how, first)
            }
        }
    }

    /// Says of the revision that it ran well; what could not be set is told, and changes nothing.
    async fn mark_stable(&self, revision: &Revision, progress: &mut Progress) {
        if revision.tags.contains_key(STABLE) {
            return;
        }
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        if let Err(finding) = call(async |deadline| self.aws.tag(&revision.arn, STABLE, &now, deadline).await).await {
            let why = finding.evidence.join("; ");
            progress.event(&format!(
                "warning: {} has no tag `{STABLE}`, so that `rollback` does not find it: {why}",
                short(&revision.arn)
            ));
        }
    }

    async fn active_service(&self) -> Result<Service, Finding> {
        let service = self.service().await.map_err(|error| cause::of_call(&error))?;
        match service {
            Some(service) if service.is_active() => Ok(service),
            Some(service) => Err(cause::SERVICE_NOT_FOUND.finding(format!("its status is `{}`", service.status))),
            None => Err(cause::SERVICE_NOT_FOUND.finding(format!("`{}` in cluster `{}`", self.service, self.cluster))),
        }
    }

    /// `status`.
    pub(crate) async fn status(&self, as_json: bool) -> Report {
        match self.active_service().await {
            Ok(service) => status(&service, as_json),
            Err(finding) => self.named(Outcome::refused(finding)).report(as_json),
        }
    }

    /// `rollback`.
    pub(crate) async fn rollback(&self, to: Option<&str>, timeout: Duration, progress: &mut Progress) -> Outcome {
        let start = Instant::now();
        let outcome = match self.rolled_back(to, timeout, progress).await {
            Ok(outcome) => outcome,
            Err(finding) => Outcome::refused(finding),
        };
        self.named(Outcome { duration: start.elapsed(), ..outcome })
    }

    async fn rolled_back(
        &self,
        to: Option<&str>,
        timeout: Duration,
        progress: &mut Progress,
    ) -> Result<Outcome, Finding> {
        let service = self.active_service().await?;
        let running = short(&service.task_definition).to_owned();
        let target = self.target(&running, to).await?;
        let is_there = service.task_definition == target.arn;
        let primary = service.primary().cloned();
        let (result, action) = match (is_there, primary) {
            (true, Some(primary)) if primary.is_completed(&service) => {
                let text = format!("unchanged: service `{}` runs {running} already", self.service);
                return Ok(Outcome {
                    result: "unchanged",
                    text,
                    action: "nothing",
                    exit: Some(Exit::Done),
                    ..Outcome::default()
                });
            }
            (true, Some(primary)) => ("attach", Action::Attach(primary)),
            _ => ("update", Action::Nothing),
        };
        let deployment = match action {
            Action::Attach(primary) => primary,
            _ => {
                progress.event(&format!("going back from {running} to {}", described(&target)));
                let body = json!({"cluster": self.cluster, "service": self.service, "taskDefinition": target.arn});
                let updated = self.update(&body).await?;
                let primary = updated.primary().cloned();
                primary.ok_or_else(|| cause::ROLLOUT_UNKNOWN.finding("ECS answered without a PRIMARY deployment"))?
            }
        };
        let outcome = Outcome {
            task_definition: Some(target.arn.clone()),
            deployment: Some(deployment.id.clone()),
            action: result,
            ..Outcome::default()
        };
        let deadline = Deadline::after(timeout);
        let watched = Watch::new(self, &deployment, None, progress).until(deadline, Some(&target)).await;
        let stopped = watched.stopped.iter().map(|task| task_json(task, &watched.evidence)).collect();
        let outcome = Outcome { stopped, ..outcome };
        Ok(match &watched.end {
            RolloutEnd::Completed => {
                let text = format!("service `{}` runs {} again", self.service, described(&target));
                let rolled_back_to = Some(target.arn.clone());
                Outcome { result: "rolled-back", text, rolled_back_to, exit: Some(Exit::Done), ..outcome }
            }
            RolloutEnd::Superseded(by) => {
                let causes = vec![cause::SUPERSEDED.finding(format!("{} took its place", named(by)))];
                Outcome { result: "superseded", causes, exit: Some(Exit::Superseded), ..outcome }
            }
            RolloutEnd::WatchFailed(finding) => {
                Outcome { result: "failed", causes: vec![finding.clone()], exit: Some(finding.cause.exit), ..outcome }
            }
            RolloutEnd::TimeLimit => {
                Outcome { result: "time-limit", causes: causes(&watched), exit: Some(Exit::TimeLimit), ..outcome }
            }
            RolloutEnd::Failed(_) | RolloutEnd::RolledBack { .. } | RolloutEnd::Deleted => Outcome {
                result: "rollback-failed",
                causes: causes(&watched),
                exit: Some(Exit::RollbackFailed),
                ..outcome
            },
        })
    }

    /// The revision to go back to.
    async fn target(&self, running: &str, to: Option<&str>) -> Result<Revision, Finding> {
        let (family, number) = running.rsplit_once(':').unwrap_or((running, ""));
        if let Some(to) = to {
            let name = if to.chars().all(|c| c.is_ascii_digit()) { format!("{family}:{to}") } else { to.to_owned() };
            let found = self.revision(&name).await?.filter(|revision| revision.is_active);
            return found.ok_or_else(|| cause::REVISION_NOT_FOUND.finding(format!("`{name}`")));
        }
        let listed = call(async |deadline| self.aws.task_definitions(family, REVISIONS, deadline).await).await?;
        let number_of = |arn: &str| short(arn).rsplit(':').next().and_then(|number| number.parse::<u64>().ok());
        let current = number.parse::<u64>().unwrap_or(u64::MAX);
        let older: Vec<_> = listed.iter().filter(|arn| number_of(arn).is_some_and(|number| number < current)).collect();
        for arn in &older {
            let revision = self.revision(arn).await?;
            if let Some(revision) = revision.filter(|revision| revision.is_active && revision.tags.contains_key(STABLE))
            {
                return Ok(revision);
            }
        }
        let names: Vec<_> = older.iter().take(5).map(|arn| short(arn)).collect();
        let text = match names.is_empty() {
            true => format!("there is no ACTIVE revision older than {running}"),
            false => format!("it runs {running}; older and ACTIVE: {}", names.join(", ")),
        };
        Err(cause::NO_OLDER_REVISION.finding(text))
    }
}

/// Whether there is anything to undo: a deployment that was only watched was somebody else's.
fn changes_anything(plan: &Plan) -> bool {
    matches!(plan.action, Action::Update { .. } | Action::Create { .. })
}

/// The causes of a rollout that did not succeed, never none.
fn causes(watched: &WatchResult) -> Vec<Finding> {
    let mut found = diagnose(&watched.evidence);
    let is_unknown = found.iter().all(|finding| finding.cause.id == cause::ROLLOUT_UNKNOWN.id);
    if let (RolloutEnd::TimeLimit, true) = (&watched.end, is_unknown) {
        let counts = watched.last.as_ref().map_or("ECS did not show the deployment".to_owned(), Deployment::counts);
        found = vec![cause::TOO_SLOW.finding(counts)];
    }
    if let (RolloutEnd::Failed(reason), Some(first)) = (&watched.end, found.first_mut())
        && !reason.is_empty()
    {
        first.evidence.push(format!("deployment: {reason}"));
    }
    found
}

/// `web:42 (build 17)`.
fn described(revision: &Revision) -> String {
    match revision.tags.get(BUILD) {
        Some(build) => format!("{} (build {build})", short(&revision.arn)),
        None => short(&revision.arn).to_owned(),
    }
}
