//! The command `wait`: watches the newest deployment of a service until it ends, and changes nothing.

use std::time::{Duration, Instant};

use ecs_bootstrap::exit::Exit;
use ecs_bootstrap::retry::{Deadline, within};

use crate::activity::Phase;
use crate::apply::StartedDeployment;
use crate::cause::FoundCause;
use crate::causes;
use crate::client::ServiceClient;
use crate::outcome::{CommandResult, Outcome};
use crate::plan::ActionName;
use crate::progress::Progress;
use crate::rollback::superseded;
use crate::service::{Deployment, short};
use crate::stability::is_stable;
use crate::watch::{RolloutEnd, Watch};

impl ServiceClient {
    /// The command `wait`.
    pub(crate) async fn wait(&self, timeout: Duration, progress: &mut Progress) -> Outcome {
        let start = Instant::now();
        progress.doing("reading the service");
        let outcome = self.wait_for_primary(timeout, progress).await.unwrap_or_else(|finding| {
            let is_late = finding.cause.exit == Exit::TimeLimit;
            let outcome = Outcome::refused(finding);
            if is_late { Outcome { result: CommandResult::TimeLimit, ..outcome } } else { outcome }
        });
        self.with_names(Outcome { duration: start.elapsed(), ..outcome })
    }

    async fn wait_for_primary(&self, timeout: Duration, progress: &mut Progress) -> Result<Outcome, FoundCause> {
        let deadline = Deadline::after(timeout);
        progress.limit(timeout);
        let service = within(deadline, self.active_service()).await.unwrap_or_else(|_| {
            Err(causes::TOO_SLOW.finding("DescribeServices did not answer within the time limit"))
        })?;
        let controller = service.deployment_controller.controller_type.as_str();
        if !["", "ECS"].contains(&controller) {
            return Err(causes::OTHER_CONTROLLER.finding(format!("its deployment controller is `{controller}`")));
        }
        let Some(deployment) = service.primary().cloned() else {
            return Err(causes::ROLLOUT_UNKNOWN.finding("the service has no PRIMARY deployment"));
        };
        progress.event(&format!("watching {}: {}", deployment.label(), deployment.counts()));
        self.activity.act(ActionName::Attach);
        self.activity.enter(Phase::Rollout(deployment.clone()));
        // A complete deployment can still start or stop tasks, for another desired count.
        let expected_count = is_stable(&service).then_some(service.desired_count);
        // It says where the containers log to, and nothing else depends on it.
        let revision = within(deadline, self.revision(&deployment.task_definition)).await;
        let revision = revision.ok().and_then(Result::ok).flatten();
        let started = StartedDeployment { deployment, expected_count, replaced: None };
        let watched = Watch::new(self, &started, timeout, progress).ending_at(deadline).run(revision.as_ref()).await;
        let deployment = &started.deployment;
        let outcome = Outcome {
            task_definition: Some(deployment.task_definition.clone()),
            deployment: Some(deployment.id.clone()),
            action: ActionName::Attach,
            stopped_tasks: watched.stopped_tasks_json(),
            ..Outcome::new(CommandResult::Stable, Exit::Done)
        };
        let is_rollback = deployment.rollout_state_reason.to_ascii_lowercase().contains("rolling back");
        let label = watched.last.as_ref().unwrap_or(deployment).label();
        Ok(match &watched.end {
            // ECS had given up on the deployment before this one.
            RolloutEnd::Completed if is_rollback => outcome.rolled_back_by_ecs(deployment, true, watched.causes()),
            RolloutEnd::Completed => {
                self.activity.complete();
                let counts = watched.last.as_ref().map(Deployment::counts).unwrap_or_default();
                let runs = short(&deployment.task_definition);
                outcome.succeeded(
                    CommandResult::Stable,
                    format!("stable: service `{}` runs {runs}, {counts}", self.service),
                )
            }
            RolloutEnd::RolledBack { to, completed } => outcome.rolled_back_by_ecs(to, *completed, watched.causes()),
            RolloutEnd::Superseded(by) => {
                outcome.ended(CommandResult::Superseded, Exit::Superseded, vec![superseded(by, deployment)])
            }
            RolloutEnd::Deleted => {
                let causes = vec![causes::SERVICE_DELETED.finding("the status of the service is not ACTIVE")];
                outcome.ended(CommandResult::Failed, Exit::RolloutFailed, causes)
            }
            RolloutEnd::WatchFailed(finding) => outcome
                .ended(CommandResult::Failed, finding.cause.exit, vec![finding.clone()])
                .with_aftermath(format!("ECS continues {label}, which is no longer watched")),
            RolloutEnd::Failed(_) => outcome
                .ended(CommandResult::Failed, Exit::RolloutFailed, watched.causes())
                .with_aftermath(format!("the service stays at {label}")),
            RolloutEnd::CrashLoop(_) => outcome
                .ended(CommandResult::Failed, Exit::RolloutFailed, watched.causes())
                .with_aftermath(format!("ECS continues {label}; {}", self.go_on())),
            RolloutEnd::TimeLimit => outcome
                .ended(CommandResult::TimeLimit, Exit::TimeLimit, watched.causes())
                .with_aftermath(format!("ECS continues {label}; {}", self.go_on())),
        })
    }
}
