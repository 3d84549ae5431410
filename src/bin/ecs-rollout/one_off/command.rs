//! The commands that run a one-off task: `run`, and `deploy --before`.

use std::time::Instant;

use ecs_bootstrap::exit::Exit;
use serde_json::{Map, Value};

use crate::cause::FoundCause;
use crate::causes;
use crate::client::ServiceClient;
use crate::image_only::running_arn;
use crate::one_off::overrides::ResolvedOverrides;
use crate::one_off::request::ServiceSettings;
use crate::one_off::run::{OneOffTask, TaskLimit};
use crate::outcome::{CommandResult, Outcome};
use crate::plan::{Action, Plan, TaskDefinitionChange};
use crate::progress::Progress;
use crate::revision::Revision;
use crate::service::{Service, short};

/// A one-off task that runs before a deployment.
pub(crate) struct TaskBefore {
    overrides: ResolvedOverrides,
    settings: ServiceSettings,
    limit: TaskLimit,
}

impl TaskBefore {
    /// The task to run before the deployment; `None` if the plan starts no deployment. `service` is the current
    /// service. It fails if the overrides do not fit the task definition.
    pub(crate) fn of(
        task: Option<&OneOffTask>,
        plan: &Plan,
        service: Option<&Service>,
    ) -> Result<Option<TaskBefore>, FoundCause> {
        let Some(task) = task else { return Ok(None) };
        let change: &Map<String, Value> = match &plan.action {
            Action::Create { body, .. } | Action::Update { body, .. } => body,
            Action::Attach(_) | Action::Nothing => return Ok(None),
        };
        let definition = match &plan.registration {
            TaskDefinitionChange::New { body, .. } => body,
            TaskDefinitionChange::Keep(revision) => &revision.raw,
        };
        let service = service.filter(|service| service.is_active());
        Ok(Some(TaskBefore {
            overrides: task.overrides.resolve(definition)?,
            settings: ServiceSettings::of(service, Some(change)),
            limit: task.limit,
        }))
    }
}

impl ServiceClient {
    /// Runs the task before the deployment of a revision. `Err` has the outcome if it did not succeed, so that nothing
    /// may be deployed.
    pub(crate) async fn run_before(
        &self,
        task: &TaskBefore,
        revision: &Revision,
        outcome: Outcome,
        progress: &mut Progress,
    ) -> Result<Outcome, Outcome> {
        let result = self.run_one_off(revision, &task.overrides, &task.settings, task.limit, progress).await;
        if result.succeeded() {
            progress.event(&result.text);
            let notes = outcome.notes.iter().cloned().chain(result.aftermath).collect();
            return Ok(Outcome { task: result.json, notes, ..outcome });
        }
        let name = short(&revision.arn);
        let deployed = if outcome.registered {
            format!("{name} is registered, but not deployed")
        } else {
            format!("{name} is not deployed")
        };
        let aftermath = match &result.aftermath {
            Some(aftermath) => format!("{deployed}; {aftermath}"),
            None => deployed,
        };
        Err(result.conclude(outcome).with_aftermath(aftermath))
    }

    /// The command `run`: a task of the service's revision, or of the one that is named.
    pub(crate) async fn run_and_report(
        &self,
        task: &OneOffTask,
        task_definition: Option<&str>,
        progress: &mut Progress,
    ) -> Outcome {
        let start = Instant::now();
        let outcome = self.run(task, task_definition, progress).await.unwrap_or_else(Outcome::refused);
        self.with_names(Outcome { duration: start.elapsed(), ..outcome })
    }

    async fn run(
        &self,
        task: &OneOffTask,
        task_definition: Option<&str>,
        progress: &mut Progress,
    ) -> Result<Outcome, FoundCause> {
        progress.waiting("reading the task definition");
        let service = if self.service.is_empty() { None } else { Some(self.active_service().await?) };
        let name = task_definition.or(service.as_ref().and_then(running_arn));
        let name = name.unwrap_or_default();
        let revision = self.revision(name).await?.filter(|revision| revision.is_active);
        let revision = revision.ok_or_else(|| causes::REVISION_NOT_FOUND.finding(format!("`{name}`")))?;
        let overrides = task.overrides.resolve(&revision.raw)?;
        let settings = ServiceSettings::of(service.as_ref(), None);
        let result = self.run_one_off(&revision, &overrides, &settings, task.limit, progress).await;
        let outcome = Outcome::new(CommandResult::Ran, Exit::Done);
        Ok(result.conclude(Outcome { task_definition: Some(revision.arn), ..outcome }))
    }
}
