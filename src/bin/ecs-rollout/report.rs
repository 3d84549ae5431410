//! Plans, outcomes and the state of a service as text and as JSON. In: plain data. Out: strings, which `main` prints.

use std::fmt::Write;

use ecs_bootstrap::command_line::CommandOutput;
use ecs_bootstrap::exit::Exit;
use serde_json::{Value, json};

use crate::cause::FoundCause;
use crate::current::CurrentState;
use crate::desired::DesiredState;
use crate::outcome::Outcome;
use crate::plan::{Action, Plan, TaskDefinitionChange};
use crate::printable::printable;
use crate::service::{Service, short};
use crate::stability::{is_stable, other_revision};
use crate::variables::UsedVariable;

/// `version` of every JSON document.
pub(crate) const VERSION: u32 = 1;
/// How many events `status` shows.
const EVENTS: usize = 5;

/// A JSON document as it is printed.
pub(crate) fn document(value: &Value) -> String {
    format!("{value:#}\n")
}

/// How a command ended. A JSON document is always printed to stdout; text goes to stderr if the command failed.
pub(crate) fn outcome(outcome: &Outcome, as_json: bool) -> CommandOutput {
    if as_json {
        return CommandOutput { stdout: outcome_json(outcome), stderr: String::new(), exit: outcome.exit };
    }
    let mut text = causes_text(&outcome.causes);
    end_lines(outcome).iter().for_each(|line| text += &format!("{line}\n"));
    match outcome.exit {
        Exit::Done => CommandOutput::success(text),
        exit => CommandOutput { stdout: String::new(), stderr: text, exit },
    }
}

/// The lines below the causes: how the command ended and, if it did not succeed, what it changed.
pub(crate) fn end_lines(outcome: &Outcome) -> Vec<String> {
    let lines = [Some(&outcome.text), outcome.aftermath.as_ref()];
    let mut lines: Vec<String> = lines.into_iter().flatten().filter(|line| !line.is_empty()).cloned().collect();
    if outcome.exit != Exit::Done {
        lines.push(format!("changed: {}", changes_text(&outcome.changes)));
    }
    lines
}

fn changes_text(changes: &[String]) -> String {
    if changes.is_empty() { "nothing".to_owned() } else { changes.join("; ") }
}

fn outcome_json(outcome: &Outcome) -> String {
    document(&json!({
        "version": VERSION,
        "result": outcome.result,
        "exit_code": outcome.exit,
        "text": outcome.text,
        "cluster": outcome.cluster,
        "service": outcome.service,
        "task_definition": outcome.task_definition,
        "registered": outcome.registered,
        "action": outcome.action,
        "deployment": outcome.deployment,
        "changes": outcome.changes,
        "cause": outcome.causes.first().map(finding_json),
        "also": outcome.causes.iter().skip(1).map(finding_json).collect::<Vec<_>>(),
        "aftermath": outcome.aftermath,
        "rolled_back_to": outcome.rolled_back_to,
        "notes": outcome.notes,
        "variables": outcome.variables.iter().map(UsedVariable::json).collect::<Vec<_>>(),
        "stopped_tasks": outcome.stopped_tasks,
        "task": outcome.task,
        "duration_ms": u64::try_from(outcome.duration.as_millis()).unwrap_or(u64::MAX),
    }))
}

/// Causes as text. The first one is the one to act on.
pub(crate) fn causes_text(causes: &[FoundCause]) -> String {
    let mut text = String::new();
    for (index, finding) in causes.iter().enumerate() {
        let word = if index == 0 { "error" } else { "also" };
        finding_text(&mut text, word, finding);
    }
    text
}

pub(crate) fn finding_text(text: &mut String, word: &str, finding: &FoundCause) {
    *text += &format!("{word}: [{}] {}\n", finding.cause.id, finding.cause.title);
    for line in &finding.evidence {
        *text += &format!("seen: {}\n", printable(line, "      "));
    }
    *text += &format!("remedy: {}\n", finding.cause.remedy);
}

pub(crate) fn finding_json(finding: &FoundCause) -> Value {
    json!({
        "id": finding.cause.id,
        "title": finding.cause.title,
        "evidence": finding.evidence,
        "remedy": finding.cause.remedy,
        "source": finding.cause.source,
    })
}

/// A plan, and why `deploy` would refuse it.
pub(crate) fn plan(
    plan: &Plan,
    desired: &DesiredState,
    current: &CurrentState,
    refusal: Option<&Outcome>,
    as_json: bool,
) -> CommandOutput {
    let exit = refusal.map_or(Exit::Done, |refusal| refusal.exit);
    if as_json {
        let causes = refusal.map_or(&[] as &[FoundCause], |refusal| &refusal.causes);
        return CommandOutput { stdout: plan_json(plan, desired, causes, exit), stderr: String::new(), exit };
    }
    let stdout = plan_text(plan, desired, current, None);
    let stderr = refusal.map(|refusal| outcome(refusal, false).stderr).unwrap_or_default();
    CommandOutput { stdout, stderr, exit }
}

/// A plan as text. `no_rollback` is the option with which a failed rollout is not rolled back.
pub(crate) fn plan_text(
    plan: &Plan,
    desired: &DesiredState,
    current: &CurrentState,
    no_rollback: Option<&str>,
) -> String {
    let (name, cluster) = (&desired.service, short(&desired.cluster));
    let mut text = match current.service.as_ref().filter(|service| service.is_active()) {
        Some(service) => format!(
            "service `{name}` of cluster `{cluster}` runs {}, {} of {} tasks\n",
            short(&service.task_definition),
            service.running_count,
            service.desired_count
        ),
        None => format!("service `{name}` of cluster `{cluster}` does not exist\n"),
    };
    match &plan.registration {
        TaskDefinitionChange::Keep(revision) => text += &format!("keep {}: nothing differs\n", short(&revision.arn)),
        TaskDefinitionChange::New { diff, .. } => {
            text += &format!("register a new revision of `{}`\n{}", desired.family(), diff);
            for (key, value) in &desired.revision_tags {
                text += &format!("  tag {key}={value}\n");
            }
        }
    }
    match &plan.action {
        Action::Create { why, .. } => text += &format!("create the service: {why}\n"),
        Action::Update { changes, .. } => {
            text += "update the service\n";
            changes.iter().for_each(|change| text += &format!("  {change}\n"));
        }
        Action::Attach(deployment) => {
            text += &format!("watch {}, which is not complete yet\n", deployment.label());
        }
        Action::Nothing => text += "leave the service unchanged: nothing differs\n",
    }
    if let Some(tags) = service_tags(plan) {
        text += &format!("{tags}\n");
    }
    if matches!(plan.action, Action::Create { .. } | Action::Update { .. }) {
        text += &match (&plan.rollback, no_rollback) {
            (Ok(_), Some(option)) => format!("if the rollout fails, ecs-rollout rolls nothing back: {option}\n"),
            (Ok(target), None) => format!("if the rollout fails, roll back to {}\n", short(&target.revision.arn)),
            (Err(why), _) => format!("if the rollout fails, nothing is rolled back: {why}\n"),
        };
    }
    if !desired.variables.is_empty() {
        let labels: Vec<_> = desired.variables.iter().map(UsedVariable::label).collect();
        text += &format!("variables: {}\n", labels.join(", "));
    }
    if plan.is_verified {
        text += "verified: roles, images, log groups, secrets, target groups, network and capacity\n";
    }
    plan.notes.iter().for_each(|note| text += &format!("note: {note}\n"));
    printable_lines(&text)
}

/// The tags that the service gets, without their values; `None` if it gets none.
fn service_tags(plan: &Plan) -> Option<String> {
    let keys: Vec<_> = plan.service_tags.iter().map(|(key, _)| key.as_str()).collect();
    (!keys.is_empty()).then(|| format!("tag the service: {}", keys.join(", ")))
}

/// A plan as JSON.
fn plan_json(plan: &Plan, desired: &DesiredState, causes: &[FoundCause], exit: Exit) -> String {
    let (registration, arn, diff) = match &plan.registration {
        TaskDefinitionChange::Keep(revision) => ("keep", Some(&revision.arn), None),
        TaskDefinitionChange::New { diff, .. } => ("register", None, Some(diff)),
    };
    let mut changes = match &plan.action {
        Action::Update { changes, .. } => changes.clone(),
        Action::Create { why, .. } => vec![(*why).to_owned()],
        Action::Attach(_) | Action::Nothing => Vec::new(),
    };
    changes.extend(service_tags(plan));
    document(&json!({
        "version": VERSION,
        "result": "planned",
        "exit_code": exit,
        "cluster": desired.cluster,
        "service": desired.service,
        "task_definition": {"action": registration, "family": desired.family(), "arn": arn, "diff": diff},
        "action": plan.action.name(),
        "changes": changes,
        "rollback": {
            "to": plan.rollback.as_ref().ok().map(|target| &target.revision.arn),
            "why_not": plan.rollback.as_ref().err(),
        },
        "causes": causes.iter().map(finding_json).collect::<Vec<_>>(),
        "notes": plan.notes,
        "variables": desired.variables.iter().map(UsedVariable::json).collect::<Vec<_>>(),
    }))
}

pub(crate) fn printable_lines(text: &str) -> String {
    text.lines().map(|line| printable(line, "") + "\n").collect()
}

/// The state of a service, for `status`.
pub(crate) fn status(service: &Service, as_json: bool) -> CommandOutput {
    let exit = if is_stable(service) { Exit::Done } else { Exit::NotStable };
    let stdout = if as_json { status_json(service, exit) } else { status_text(service) };
    CommandOutput { stdout, stderr: String::new(), exit }
}

fn status_json(service: &Service, exit: Exit) -> String {
    let deployments = service.deployments.iter().map(|one| {
        json!({
            "id": one.id, "status": one.status, "task_definition": one.task_definition,
            "rollout_state": one.rollout_state, "rollout_state_reason": one.rollout_state_reason,
            "desired": one.desired_count, "running": one.running_count, "pending": one.pending_count,
            "failed": one.failed_tasks,
        })
    });
    let events = service.events.iter().take(EVENTS).map(|event| &event.message);
    document(&json!({
        "version": VERSION,
        "result": if is_stable(service) { "stable" } else { "not-stable" },
        "exit_code": exit,
        "cluster": short(&service.cluster_arn),
        "service": service.service_name,
        "task_definition": service.task_definition,
        "desired": service.desired_count,
        "running": service.running_count,
        "deployments": deployments.collect::<Vec<_>>(),
        "events": events.collect::<Vec<_>>(),
    }))
}

fn status_text(service: &Service) -> String {
    let mut text = format!(
        "service `{}` of cluster `{}` is {}: {}, {} of {} tasks running\n",
        service.service_name,
        short(&service.cluster_arn),
        if is_stable(service) { "stable" } else { "not stable" },
        short(&service.task_definition),
        service.running_count,
        service.desired_count
    );
    if let Some(primary) = other_revision(service) {
        let runs = short(&primary.task_definition);
        let _ = writeln!(text, "  the PRIMARY deployment runs {runs}, not the revision of the service");
    }
    for one in &service.deployments {
        let state = one.rollout_state.as_deref().unwrap_or("rollout state unknown");
        let _ = writeln!(text, "  {} {}, {state}: {}", one.status, one.label(), one.counts());
        if !one.rollout_state_reason.is_empty() {
            let _ = writeln!(text, "    {}", printable(&one.rollout_state_reason, "    "));
        }
    }
    for event in service.events.iter().take(EVENTS) {
        let _ = writeln!(text, "  event: {}", printable(&event.message, "    "));
    }
    printable_lines(&text)
}
