//! The pipeline, and the only place that knows its order: observe, decide, verify, apply, watch, and roll back after a
//! failure.
//!
//! In: the desired state, and the API. Out: an [`Outcome`]. How a failed rollout is rolled back is decided before the
//! first call that changes anything.

use std::time::{Duration, Instant, SystemTime};

use ecs_bootstrap::exit::Exit;
use ecs_bootstrap::retry::Deadline;

use crate::activity::Phase;
use crate::apply::StartedDeployment;
use crate::cause::FoundCause;
use crate::causes;
use crate::client::{ServiceClient, call};
use crate::current::CurrentState;
use crate::decide;
use crate::desired::DesiredState;
use crate::github::{Finished, StepReport};
use crate::one_off::command::TaskBefore;
use crate::one_off::run::OneOffTask;
use crate::outcome::{CommandResult, Outcome};
use crate::plan::{Action, Plan, TaskDefinitionChange};
use crate::progress::Progress;
use crate::report;
use crate::revision::Revision;
use crate::rollback::superseded;
use crate::service::{Deployment, Service, short};
use crate::stability::{STABLE_TAG, was_stable};
use crate::watch::{RolloutEnd, Watch, WatchResult};

#[derive(Clone, Copy, Debug)]
pub(crate) struct DeployOptions {
    /// The time limit of the rollout. A rollback has the same limit again.
    pub(crate) timeout: Duration,
    /// Whether to wait for the end of the rollout.
    pub(crate) wait: bool,
    /// Whether to roll back a rollout that fails.
    pub(crate) roll_back: bool,
    /// How many old revisions stay registered after success; all if it is `None`.
    pub(crate) keep_revisions: Option<u32>,
    /// Whether to roll back at the time limit although nothing has failed.
    pub(crate) roll_back_on_timeout: bool,
    /// Whether to verify first that what the deployment needs exists.
    pub(crate) verify: bool,
}

impl DeployOptions {
    /// The option with which a failed rollout is not rolled back.
    fn no_rollback(&self) -> Option<&'static str> {
        match (self.wait, self.roll_back) {
            (false, _) => Some("`--no-wait`"),
            (true, false) => Some("`--no-rollback`"),
            (true, true) => None,
        }
    }
}

/// A deployment of this command.
struct Rollout<'a> {
    client: &'a ServiceClient,
    plan: &'a Plan,
    revision: Revision,
    started: StartedDeployment,
    options: DeployOptions,
}

impl ServiceClient {
    async fn observe_and_decide(&self, desired: &DesiredState) -> Result<(Plan, CurrentState), FoundCause> {
        let current = self.observe(desired.family(), desired.members.get("desiredCount")).await?;
        Ok((decide::plan(desired, &current)?, current))
    }

    /// The command `plan`.
    pub(crate) async fn plan(&self, desired: &DesiredState, verify: bool, as_json: bool) -> Finished {
        match self.observe_and_decide(desired).await {
            Ok((mut plan, current)) => {
                let refusal = self.verify_plan(&mut plan, desired, &current, verify).await.err();
                let text = report::plan_text(&plan, desired, &current, None);
                let step = StepReport::of_plan(&plan, desired, &text, refusal.as_ref());
                Finished { output: report::plan(&plan, desired, &current, refusal.as_ref(), as_json), step: Some(step) }
            }
            Err(finding) => Finished::of_outcome("plan", &self.with_names(Outcome::refused(finding)), as_json),
        }
    }

    /// Adds the notes of the verification to the plan. An error is an outcome with all causes that it found.
    async fn verify_plan(
        &self,
        plan: &mut Plan,
        desired: &DesiredState,
        current: &CurrentState,
        verify: bool,
    ) -> Result<(), Outcome> {
        if !verify {
            return Ok(());
        }
        let found = Box::pin(self.verify(plan, desired, current)).await;
        plan.is_verified = found.is_complete;
        plan.notes.extend(found.notes.iter().cloned());
        if found.causes.is_empty() {
            return Ok(());
        }
        let outcome = Outcome::new(CommandResult::Refused, Exit::Refused);
        let text = "nothing was registered or deployed; `--no-verify` skips these checks".to_owned();
        Err(Outcome { causes: found.causes, notes: plan.notes.clone(), text, ..outcome })
    }

    /// The command `deploy`.
    pub(crate) async fn deploy(
        &self,
        desired: &DesiredState,
        before: Option<&OneOffTask>,
        options: DeployOptions,
        progress: &mut Progress,
    ) -> Outcome {
        let start = Instant::now();
        progress.waiting("reading the service and its task definition");
        let outcome = match self.observe_and_decide(desired).await {
            Ok((mut plan, current)) => {
                let verified = self.verify_plan(&mut plan, desired, &current, options.verify).await;
                let is_asked = before.is_some();
                let before = TaskBefore::of(before, &plan, current.service.as_ref()).map_err(Outcome::refused);
                if is_asked && matches!(before, Ok(None)) {
                    plan.notes.push("the task of `--before` does not run, because nothing is deployed".to_owned());
                }
                let text = report::plan_text(&plan, desired, &current, options.no_rollback());
                progress.block(&text);
                let outcome = match verified.and(before) {
                    Ok(before) => {
                        let service = current.service.as_ref();
                        let outcome = self.carry_out(&plan, service, before.as_ref(), options, progress).await;
                        self.keep_revisions(options.keep_revisions, &plan, outcome, progress).await
                    }
                    Err(refused) => refused,
                };
                Outcome { plan: text, ..outcome }
            }
            Err(finding) => Outcome::refused(finding),
        };
        self.with_names(Outcome { duration: start.elapsed(), ..outcome })
    }

    /// The command `status`.
    pub(crate) async fn status(&self, as_json: bool) -> Finished {
        match self.active_service().await {
            Ok(service) => {
                let deployments = service.deployments.iter().map(|deployment| deployment.task_definition.as_str());
                self.learn_revisions(deployments).await;
                let service = service.hiding(&self.hidden);
                let text = report::status(&service, false).stdout;
                let output = report::status(&service, as_json);
                let step = Some(StepReport::of_status(&service, output.exit, &text));
                Finished { output, step }
            }
            Err(finding) => Finished::of_outcome("status", &self.with_names(Outcome::refused(finding)), as_json),
        }
    }

    /// The command `rollback`.
    pub(crate) async fn rollback_command(
        &self,
        to: Option<&str>,
        timeout: Duration,
        progress: &mut Progress,
    ) -> Outcome {
        let start = Instant::now();
        let outcome = self.rollback(to, timeout, progress).await.unwrap_or_else(Outcome::refused);
        self.with_names(Outcome { duration: start.elapsed(), ..outcome })
    }

    pub(crate) fn with_names(&self, outcome: Outcome) -> Outcome {
        let changes = self.activity.changes();
        let outcome = outcome.hiding(&self.hidden);
        Outcome { cluster: self.cluster.clone(), service: self.service.clone(), changes, ..outcome }
    }

    /// A sentence that says how to watch on, and how to go back.
    pub(crate) fn go_on(&self) -> String {
        let name = self.activity.name();
        format!("go on with `{}`, or roll back with `{}`", name.command("wait"), name.command("rollback"))
    }

    /// Does what the plan says, and watches the rollout. `service` is the service before the deployment.
    async fn carry_out(
        &self,
        plan: &Plan,
        service: Option<&Service>,
        before: Option<&TaskBefore>,
        options: DeployOptions,
        progress: &mut Progress,
    ) -> Outcome {
        let registered = matches!(plan.registration, TaskDefinitionChange::New { .. });
        progress.doing("registering the task definition");
        let revision = match self.register(plan).await {
            Ok(revision) => revision,
            Err(finding) => return Outcome::refused(finding),
        };
        if registered {
            progress.event(&format!("registered {}", short(&revision.arn)));
        }
        let outcome = Outcome {
            task_definition: Some(revision.arn.clone()),
            registered,
            action: plan.action.name(),
            notes: plan.notes.clone(),
            ..Outcome::new(CommandResult::Unchanged, Exit::Done)
        };
        let outcome = match before {
            None => outcome,
            Some(task) => match self.run_before(task, &revision, outcome, progress).await {
                Ok(outcome) => outcome,
                Err(failed) => return failed,
            },
        };
        if let Some(arn) = service.and_then(|service| service.raw["serviceArn"].as_str()) {
            self.tag_service(arn, &plan.service_tags, progress).await;
        }
        progress.doing("changing the service");
        progress.limit(options.timeout);
        let started = match self.start(plan, &revision, Deadline::after(options.timeout), progress).await {
            Ok(Some(started)) => started,
            Ok(None) => {
                let text = format!(
                    "unchanged: service `{}` already runs {}; nothing was registered or deployed",
                    self.service,
                    revision.label()
                );
                return outcome.succeeded(CommandResult::Unchanged, text);
            }
            Err(finding) => return self.not_started(outcome, &revision, finding),
        };
        Rollout { client: self, plan, revision, started, options }.follow(outcome, progress).await
    }

    /// The outcome if no rollout was seen to start.
    fn not_started(&self, outcome: Outcome, revision: &Revision, finding: FoundCause) -> Outcome {
        let aftermath = match self.activity.phase() {
            Phase::Before if self.activity.is_change_unknown() => {
                let go_on = self.go_on();
                Some(format!("it is not known whether ECS accepted the change of service `{}`; {go_on}", self.service))
            }
            Phase::Before if outcome.registered => {
                Some(format!("{} is registered, but not deployed", short(&revision.arn)))
            }
            Phase::Before => None,
            _ => Some(format!("ECS continues the change of service `{}`; {}", self.service, self.go_on())),
        };
        let result = match finding.cause.exit {
            Exit::TimeLimit => CommandResult::TimeLimit,
            _ => CommandResult::Refused,
        };
        let outcome = outcome.ended(result, finding.cause.exit, vec![finding]);
        Outcome { aftermath, ..outcome }
    }

    /// Tags the revision as stable. A failure is shown as a warning, and changes nothing.
    async fn mark_stable(&self, revision: &Revision, progress: &mut Progress) {
        if was_stable(revision) {
            return;
        }
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let tag = async |deadline| {
            let change = |(): &()| format!("tagged {} with `{STABLE_TAG}`", short(&revision.arn));
            let attempt = self.aws.tag(&revision.arn, STABLE_TAG, &now, deadline);
            self.activity.attempt("TagResource", change, attempt).await
        };
        if let Err(finding) = call(tag).await {
            progress.event(&format!(
                "warning: {} could not be tagged with `{STABLE_TAG}`, so `rollback` will not find it: {}",
                short(&revision.arn),
                finding.evidence.join("; ")
            ));
        }
    }
}

impl Rollout<'_> {
    async fn follow(&self, outcome: Outcome, progress: &mut Progress) -> Outcome {
        let label = self.started.deployment.label();
        if let Some(other) = &self.started.replaced {
            let other = other.label();
            progress.event(&format!("another caller started {other} in the meantime; this deployment replaces it"));
        }
        let what = match &self.plan.action {
            Action::Attach(_) => format!("nothing differs; {label} is in progress"),
            // For example, only the desired count changed.
            _ if self.started.expected_count.is_some() => format!("changed the service, which keeps {label}"),
            _ => format!("started {label}"),
        };
        progress.event(&what);
        let outcome = Outcome { deployment: Some(self.started.deployment.id.clone()), ..outcome };
        if !self.options.wait {
            let is_unchanged = matches!(self.plan.action, Action::Attach(_));
            let result = if is_unchanged { CommandResult::Unchanged } else { CommandResult::Started };
            return outcome.succeeded(result, format!("{what}; not waiting for the rollout (`--no-wait`)"));
        }
        self.client.activity.enter(Phase::Rollout(self.started.deployment.clone()));
        // The time limit is that of the rollout: throttled calls and a draining service came before it.
        let watch = Watch::new(self.client, &self.started, self.options.timeout, progress);
        let watched = watch.run(Some(&self.revision)).await;
        let outcome = Outcome { stopped_tasks: watched.stopped_tasks_json(), ..outcome };
        self.conclude(watched, outcome, progress).await
    }

    /// The outcome of the rollout, after the rollback if there is one.
    async fn conclude(&self, watched: WatchResult, outcome: Outcome, progress: &mut Progress) -> Outcome {
        let deployment = &self.started.deployment;
        match &watched.end {
            RolloutEnd::Completed => {
                self.client.activity.complete();
                self.client.mark_stable(&self.revision, progress).await;
                let counts = watched.last.as_ref().map(Deployment::counts).unwrap_or_default();
                let text = format!("deployed {} to service `{}`: {counts}", self.revision.label(), self.client.service);
                outcome.succeeded(CommandResult::Deployed, text)
            }
            RolloutEnd::RolledBack { to, completed } => outcome.rolled_back_by_ecs(to, *completed, watched.causes()),
            RolloutEnd::Superseded(by) => {
                let causes = vec![superseded(by, deployment)];
                outcome.ended(CommandResult::Superseded, Exit::Superseded, causes)
            }
            RolloutEnd::Deleted => {
                let causes = vec![causes::SERVICE_DELETED.finding("the status of the service is not ACTIVE")];
                outcome.ended(CommandResult::Failed, Exit::RolloutFailed, causes)
            }
            RolloutEnd::WatchFailed(finding) => {
                outcome.ended(CommandResult::Failed, finding.cause.exit, vec![finding.clone()]).with_aftermath(format!(
                    "{} continues, but is no longer watched; {}",
                    deployment.label(),
                    self.client.go_on()
                ))
            }
            RolloutEnd::Failed(_) | RolloutEnd::CrashLoop(_) => {
                let failed = outcome.ended(CommandResult::Failed, Exit::RolloutFailed, watched.causes());
                self.roll_back(&watched, failed, progress).await
            }
            RolloutEnd::TimeLimit => {
                let late = outcome.ended(CommandResult::TimeLimit, Exit::TimeLimit, watched.causes());
                if watched.has_failed || self.options.roll_back_on_timeout {
                    self.roll_back(&watched, late, progress).await
                } else {
                    self.not_rolled_back(&watched, late, "nothing has failed")
                }
            }
        }
    }

    async fn roll_back(&self, watched: &WatchResult, failed: Outcome, progress: &mut Progress) -> Outcome {
        // A deployment that was only watched was started by another caller, and is not rolled back.
        let is_own = matches!(self.plan.action, Action::Update { .. } | Action::Create { .. });
        match &self.plan.rollback {
            Err(why) => self.not_rolled_back(watched, failed, why),
            Ok(target) if self.options.roll_back && is_own => {
                self.client.roll_back(target, &self.started, failed, self.options.timeout, progress).await
            }
            Ok(_) => self.not_rolled_back(watched, failed, "the service is left as it is"),
        }
    }

    fn not_rolled_back(&self, watched: &WatchResult, failed: Outcome, why: &str) -> Outcome {
        let mut text = format!("nothing was rolled back: {why}");
        if watched.end.continues() {
            let label = watched.last.as_ref().unwrap_or(&self.started.deployment).label();
            text += &format!("; ECS continues {label}; {}", self.client.go_on());
        }
        failed.with_aftermath(text)
    }
}
