//! The data type of how a command ended. It is the source of the text, the JSON document and the exit code.

use std::time::Duration;

use ecs_bootstrap::exit::Exit;
use serde::Serialize;
use serde_json::Value;

use crate::cause::FoundCause;
use crate::plan::ActionName;
use crate::service::Deployment;
use crate::variables::UsedVariable;
use crate::visible::hidden::HiddenValues;

/// `result` in the JSON document of a command.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CommandResult {
    Deployed,
    /// The deployment was started, and the command did not wait for it.
    #[serde(rename = "begun")]
    Started,
    Unchanged,
    /// The task of `run` succeeded.
    Ran,
    /// The one-off task failed, and nothing was deployed.
    TaskFailed,
    RolledBack,
    RollbackFailed,
    Failed,
    TimeLimit,
    /// A signal ended the command.
    Interrupted,
    /// `wait`: the service is stable.
    Stable,
    Superseded,
    Refused,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) result: CommandResult,
    pub(crate) exit: Exit,
    /// The result in one line; empty if there are causes.
    pub(crate) text: String,
    /// Why the command did not succeed. The first cause is the one to act on.
    pub(crate) causes: Vec<FoundCause>,
    /// The name or ARN of the cluster.
    pub(crate) cluster: String,
    pub(crate) service: String,
    /// The ARN of the revision that was deployed.
    pub(crate) task_definition: Option<String>,
    /// Whether this command registered the revision.
    pub(crate) registered: bool,
    pub(crate) action: ActionName,
    /// The id of the deployment.
    pub(crate) deployment: Option<String>,
    /// What this command changed, or may have changed, one line each, the oldest first.
    pub(crate) changes: Vec<String>,
    /// The state of the service after a rollout that did not succeed.
    pub(crate) aftermath: Option<String>,
    /// The ARN of the revision that was rolled back to.
    pub(crate) rolled_back_to: Option<String>,
    pub(crate) notes: Vec<String>,
    /// The plan as text; empty if the command ended before there was one.
    pub(crate) plan: String,
    /// The variables that the files use.
    pub(crate) variables: Vec<UsedVariable>,
    /// The stopped tasks, as JSON.
    pub(crate) stopped_tasks: Vec<Value>,
    /// The one-off task, as JSON.
    pub(crate) task: Option<Value>,
    pub(crate) duration: Duration,
}

impl Outcome {
    pub(crate) fn new(result: CommandResult, exit: Exit) -> Outcome {
        Outcome {
            result,
            exit,
            text: String::new(),
            causes: Vec::new(),
            cluster: String::new(),
            service: String::new(),
            task_definition: None,
            registered: false,
            action: ActionName::Undecided,
            deployment: None,
            changes: Vec::new(),
            aftermath: None,
            rolled_back_to: None,
            notes: Vec::new(),
            plan: String::new(),
            variables: Vec::new(),
            stopped_tasks: Vec::new(),
            task: None,
            duration: Duration::ZERO,
        }
    }

    /// The outcome of a command that ended before it started a rollout.
    pub(crate) fn refused(finding: FoundCause) -> Outcome {
        Outcome { causes: vec![finding.clone()], ..Outcome::new(CommandResult::Refused, finding.cause.exit) }
    }

    /// This outcome without hidden values in the texts of others: ECS, containers and AWS.
    pub(crate) fn hiding(mut self, hidden: &HiddenValues) -> Outcome {
        self.causes = self.causes.into_iter().map(|finding| finding.hiding(hidden)).collect();
        self.notes.iter_mut().for_each(|note| *note = hidden.without(note));
        self.stopped_tasks = self.stopped_tasks.iter().map(|task| hidden.without_in(task)).collect();
        self.task = self.task.as_ref().map(|task| hidden.without_in(task));
        self
    }

    /// This outcome, with another end.
    pub(crate) fn ended(self, result: CommandResult, exit: Exit, causes: Vec<FoundCause>) -> Outcome {
        Outcome { result, exit, causes, ..self }
    }

    /// This outcome, with a successful end.
    pub(crate) fn succeeded(self, result: CommandResult, text: String) -> Outcome {
        Outcome { result, exit: Exit::Done, text, ..self }
    }

    pub(crate) fn with_aftermath(self, aftermath: String) -> Outcome {
        Outcome { aftermath: Some(aftermath), ..self }
    }

    /// This outcome, for a rollout that ECS itself rolled back. `completed`: whether that rollback has succeeded.
    pub(crate) fn rolled_back_by_ecs(self, to: &Deployment, completed: bool, causes: Vec<FoundCause>) -> Outcome {
        let (result, exit, aftermath) = if completed {
            (CommandResult::RolledBack, Exit::RolledBack, "ECS has rolled back to")
        } else {
            let aftermath = "ECS started a rollback, which did not complete:";
            (CommandResult::RollbackFailed, Exit::RollbackFailed, aftermath)
        };
        let rolled_back_to = Some(to.task_definition.clone());
        let outcome = Outcome { rolled_back_to, ..self.ended(result, exit, causes) };
        let next = if completed { "" } else { "; `ecs-rollout status` shows whether it continues" };
        outcome.with_aftermath(format!("{aftermath} {}{next}", to.label()))
    }
}
