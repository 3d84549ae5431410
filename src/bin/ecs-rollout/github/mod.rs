//! The integration with GitHub Actions: annotations, the summary of the step, and its outputs. In: how a command ended.
//! Out: strings, which `main` prints or appends to the files that the runner names. Without I/O.
//!
//! Text from outside, such as the log line of a container, must not become a command of the runner; see [`neutral`].

mod neutral;
mod outputs;
mod summary;

pub(crate) use neutral::{neutral, neutral_output};
pub(crate) use outputs::outputs;
pub(crate) use summary::summary;

use ecs_bootstrap::command_line::CommandOutput;
use ecs_bootstrap::exit::Exit;
use serde_json::Value;

use crate::cause::FoundCause;
use crate::desired::DesiredState;
use crate::outcome::Outcome;
use crate::plan::{Plan, TaskDefinitionChange};
use crate::printable::printable;
use crate::report;
use crate::service::Service;
use crate::stability::is_stable;

/// The runner does not forward more characters of one annotation (actions/runner, `ExecutionContext.AddIssue`: 4096).
const MAX_ANNOTATION: usize = 4000;

/// What a command prints, and what it reports to the CI system.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) output: CommandOutput,
    /// `None` for commands that do not concern a service.
    pub(crate) step: Option<StepReport>,
}

/// How a command ended, for the CI system.
#[derive(Clone, Debug, Default)]
pub(crate) struct StepReport {
    /// The name of the command.
    pub(crate) command: &'static str,
    /// Names and values of the outputs of the step, in the order in which they are shown. An empty value is an output too.
    pub(crate) facts: Vec<(&'static str, String)>,
    /// The plan or the state as text.
    pub(crate) details: String,
    /// Whether the command did what it was asked for.
    pub(crate) succeeded: bool,
    /// The lines that say how the command ended.
    pub(crate) lines: Vec<String>,
    pub(crate) causes: Vec<FoundCause>,
    pub(crate) notes: Vec<String>,
}

impl From<CommandOutput> for Finished {
    fn from(output: CommandOutput) -> Finished {
        Finished { output, step: None }
    }
}

impl Finished {
    /// A command that ended with this outcome.
    pub(crate) fn of_outcome(command: &'static str, outcome: &Outcome, as_json: bool) -> Finished {
        let step = StepReport::of_outcome(command, outcome);
        Finished { output: report::outcome(outcome, as_json), step: Some(step) }
    }
}

impl StepReport {
    fn of_outcome(command: &'static str, outcome: &Outcome) -> StepReport {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let cause = outcome.causes.first().map(|found| found.cause.id).unwrap_or_default();
        let facts = vec![
            ("result", name(&outcome.result)),
            ("exit-code", outcome.exit.code().to_string()),
            ("cause", cause.to_owned()),
            ("cluster", outcome.cluster.clone()),
            ("service", outcome.service.clone()),
            ("task-definition-arn", text(&outcome.task_definition)),
            ("registered", outcome.registered.to_string()),
            ("action", name(&outcome.action)),
            ("deployment", text(&outcome.deployment)),
            ("rolled-back-to", text(&outcome.rolled_back_to)),
        ];
        StepReport {
            command,
            facts,
            succeeded: outcome.exit == Exit::Done,
            details: outcome.plan.clone(),
            lines: report::end_lines(outcome),
            causes: outcome.causes.clone(),
            notes: outcome.notes.clone(),
        }
    }

    /// A plan. `text` is the plan as it is printed, `refusal` why `deploy` would not carry it out.
    pub(crate) fn of_plan(plan: &Plan, desired: &DesiredState, text: &str, refusal: Option<&Outcome>) -> StepReport {
        let arn = match &plan.registration {
            TaskDefinitionChange::Keep(revision) => revision.arn.clone(),
            TaskDefinitionChange::New { .. } => String::new(),
        };
        let registers = matches!(plan.registration, TaskDefinitionChange::New { .. });
        let facts = vec![
            ("result", refusal.map_or("planned".to_owned(), |refusal| name(&refusal.result))),
            ("exit-code", refusal.map_or(Exit::Done, |refusal| refusal.exit).code().to_string()),
            ("cause", refusal.and_then(|refusal| refusal.causes.first()).map_or("", |found| found.cause.id).to_owned()),
            ("cluster", desired.cluster.clone()),
            ("service", desired.service.clone()),
            ("task-definition-arn", arn),
            ("registers", registers.to_string()),
            ("action", name(&plan.action.name())),
        ];
        StepReport {
            command: "plan",
            facts,
            succeeded: refusal.is_none(),
            details: text.to_owned(),
            causes: refusal.map(|refusal| refusal.causes.clone()).unwrap_or_default(),
            notes: plan.notes.clone(),
            ..StepReport::default()
        }
    }

    /// The state of a service. `text` is the state as it is printed.
    pub(crate) fn of_status(service: &Service, exit: Exit, text: &str) -> StepReport {
        let facts = vec![
            ("result", if is_stable(service) { "stable" } else { "not-stable" }.to_owned()),
            ("exit-code", exit.code().to_string()),
            ("cause", String::new()),
            ("service", service.service_name.clone()),
            ("task-definition-arn", service.task_definition.clone()),
        ];
        StepReport { command: "status", facts, details: text.to_owned(), ..StepReport::default() }
    }

    /// The annotations: an error for the first cause, with how the command ended, warnings for the other causes, and
    /// notices for the notes of the plan. A command that failed without a cause, such as an interrupted one, is an error.
    pub(crate) fn annotations(&self) -> String {
        let mut text = String::new();
        let end: Vec<String> = self.lines.iter().map(|line| printable(line, "  ")).collect();
        for (index, found) in self.causes.iter().enumerate() {
            let (kind, end) = if index == 0 { ("error", &end[..]) } else { ("warning", &[][..]) };
            let title = format!("[{}] {}", found.cause.id, found.cause.title);
            text += &annotation(kind, &title, &cause_message(found, end));
        }
        if self.causes.is_empty() && !self.succeeded && !end.is_empty() {
            text += &annotation("error", "ecs-rollout", &end.join("\n"));
        }
        for note in &self.notes {
            text += &annotation("notice", "ecs-rollout", &printable(note, "  "));
        }
        text
    }
}

/// The evidence, the remedy, and these lines. If that is too long, the end of the evidence is left out.
fn cause_message(found: &FoundCause, end: &[String]) -> String {
    let remedy = format!("remedy: {}", found.cause.remedy);
    let rest: Vec<&str> = std::iter::once(remedy.as_str()).chain(end.iter().map(String::as_str)).collect();
    let rest = rest.join("\n");
    let evidence: Vec<String> =
        found.evidence.iter().map(|line| format!("seen: {}\n", printable(line, "  "))).collect();
    let left = MAX_ANNOTATION.saturating_sub(rest.chars().count());
    let mut shown: String = evidence.concat().chars().take(left).collect();
    if !shown.is_empty() && !shown.ends_with('\n') {
        shown.push('\n');
    }
    shown + &rest
}

/// A workflow command that makes an annotation (GitHub Docs, "Workflow commands for GitHub Actions").
fn annotation(kind: &str, title: &str, message: &str) -> String {
    format!("::{kind} title={}::{}\n", escaped_property(title), escaped_data(message))
}

fn escaped_data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn escaped_property(text: &str) -> String {
    escaped_data(text).replace(':', "%3A").replace(',', "%2C")
}

/// The name of a value in the JSON documents.
fn name(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(name)) => name,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
