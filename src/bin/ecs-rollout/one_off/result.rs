//! The result of a one-off task: its causes, its text, and its JSON.
//!
//! In: how the watch ended, the task and its logs. Out: a [`TaskResult`]. Pure.

use ecs_bootstrap::exit::Exit;
use serde_json::{Value, json};

use crate::cause::FoundCause;
use crate::causes;
use crate::evidence::{ContainerExit, Evidence, Message};
use crate::one_off::judge::{CONTAINER_EXITED, container};
use crate::one_off::log::FollowedLog;
use crate::one_off::watch::TaskEnd;
use crate::outcome::{CommandResult, Outcome};
use crate::service::{Task, short};

/// How a one-off task ended.
#[derive(Debug)]
pub(crate) struct TaskResult {
    pub(crate) result: CommandResult,
    pub(crate) exit: Exit,
    /// Why it did not succeed; empty if it did.
    pub(crate) causes: Vec<FoundCause>,
    /// The result in one line, if it succeeded.
    pub(crate) text: String,
    /// What becomes of a task that has not ended.
    pub(crate) aftermath: Option<String>,
    /// `task` of the JSON document; `None` if there is no task.
    pub(crate) json: Option<Value>,
}

impl TaskResult {
    /// The result if no task was started.
    pub(crate) fn not_started(causes: Vec<FoundCause>, exit: Exit) -> TaskResult {
        let result = if exit == Exit::TaskFailed { CommandResult::TaskFailed } else { CommandResult::Refused };
        TaskResult { result, exit, causes, text: String::new(), aftermath: None, json: None }
    }

    pub(crate) fn succeeded(&self) -> bool {
        self.causes.is_empty()
    }

    /// The outcome of a command that ends with this task.
    pub(crate) fn conclude(self, outcome: Outcome) -> Outcome {
        let text = self.text;
        Outcome { text, task: self.json, aftermath: self.aftermath, ..outcome }.ended(
            self.result,
            self.exit,
            self.causes,
        )
    }
}

/// The result of a task that was watched.
pub(crate) fn conclude(end: &TaskEnd, task: &Task, deciding: &[String], logs: &[FollowedLog]) -> TaskResult {
    let arn = &task.task_arn;
    let failed = |causes| (CommandResult::TaskFailed, Exit::TaskFailed, causes, None);
    let runs_on = || format!("task {arn} still runs: its essential containers have not ended");
    let (result, exit, causes, aftermath) = match end {
        TaskEnd::Succeeded => (CommandResult::Ran, Exit::Done, Vec::new(), None),
        TaskEnd::Outlived { succeeded: true } => (CommandResult::Ran, Exit::Done, Vec::new(), Some(runs_on())),
        TaskEnd::Failed => failed(failure(task, deciding, logs)),
        TaskEnd::Outlived { succeeded: false } => {
            let (result, exit, causes, _) = failed(failure(task, deciding, logs));
            (result, exit, causes, Some(runs_on()))
        }
        TaskEnd::Lost => failed(vec![causes::TASK_LOST.finding(format!("DescribeTasks does not show {arn}"))]),
        TaskEnd::TimeLimit { has_started, stopped } => {
            let cause = if *has_started { &causes::TASK_TOO_SLOW } else { &causes::TASK_NOT_STARTED };
            let seen = cause.finding(format!("task {} is {}", task.id(), status(task)));
            let reasons = task.containers.iter().filter(|one| !one.reason.is_empty());
            let seen = reasons.fold(seen, |seen, one| seen.and(format!("container `{}`: {}", one.name, one.reason)));
            let seen = log_lines(deciding, logs).into_iter().fold(seen, FoundCause::and);
            let aftermath = aftermath_of_limit(arn, *has_started, stopped.as_ref());
            (CommandResult::TimeLimit, Exit::TimeLimit, vec![seen], Some(aftermath))
        }
        TaskEnd::WatchFailed(finding) => {
            let aftermath = format!("task {arn} goes on, but is no longer watched");
            (CommandResult::TaskFailed, finding.cause.exit, vec![finding.clone()], Some(aftermath))
        }
    };
    let text = if causes.is_empty() { success_text(task, deciding) } else { String::new() };
    TaskResult { result, exit, causes, text, aftermath, json: Some(task_json(task, deciding, logs)) }
}

fn status(task: &Task) -> &str {
    if task.last_status.is_empty() { "not shown by ECS" } else { &task.last_status }
}

fn success_text(task: &Task, deciding: &[String]) -> String {
    let names: Vec<String> = deciding.iter().map(|name| format!("`{name}`")).collect();
    format!(
        "task {} of {} succeeded: {} exited with code 0",
        task.id(),
        short(&task.task_definition_arn),
        names.join(", ")
    )
}

fn aftermath_of_limit(arn: &str, has_started: bool, stopped: Option<&Result<(), String>>) -> String {
    match stopped {
        None => format!("task {arn} goes on; ecs-rollout stops it only with `--stop-on-timeout`"),
        Some(Ok(())) if has_started => {
            format!("ECS stops task {arn}: its containers get SIGTERM, and SIGKILL after their `stopTimeout`")
        }
        Some(Ok(())) => format!("ECS stops task {arn}, which had not started"),
        Some(Err(error)) => format!("task {arn} goes on, because it could not be stopped: {error}"),
    }
}

/// The causes of a task that failed, at least one.
fn failure(task: &Task, deciding: &[String], logs: &[FollowedLog]) -> Vec<FoundCause> {
    let evidence = evidence(task, deciding, logs);
    let found = causes::diagnose(&evidence);
    if found.iter().any(|finding| finding.cause.id != causes::ROLLOUT_UNKNOWN.id) {
        return found;
    }
    let was_stopped = !["", CONTAINER_EXITED, "TaskFailedToStart"].contains(&task.stop_code.as_str());
    let cause = if was_stopped { &causes::TASK_STOPPED } else { &causes::TASK_FAILED };
    let mut seen = cause.finding(format!("task {}: {} {}", task.id(), task.stop_code, task.stopped_reason));
    for name in deciding {
        seen = seen.and(match container(task, name).and_then(|container| container.exit_code) {
            Some(code) => format!("container `{name}` exited with code {code}"),
            None => format!("container `{name}` has no exit code"),
        });
    }
    vec![log_lines(deciding, logs).into_iter().fold(seen, FoundCause::and)]
}

fn log_lines(deciding: &[String], logs: &[FollowedLog]) -> Vec<String> {
    let log = logs.iter().find(|log| deciding.contains(&log.container));
    log.map(FollowedLog::tail).unwrap_or_default().iter().map(|line| format!("log: {line}")).collect()
}

/// The evidence for the catalogue of causes. The exits of containers that do not decide are not evidence.
fn evidence(task: &Task, deciding: &[String], logs: &[FollowedLog]) -> Evidence {
    let id = task.id();
    let mut evidence = Evidence::default();
    evidence.messages.push(Message { from: format!("task {id}"), text: task.stopped_reason.clone() });
    for one in &task.containers {
        if !one.reason.is_empty() {
            let from = format!("container `{}` of task {id}", one.name);
            evidence.messages.push(Message { from, text: one.reason.clone() });
        }
        if let Some(code) = one.exit_code.filter(|code| *code != 0 && deciding.contains(&one.name)) {
            let log = logs.iter().find(|log| log.container == one.name).map(FollowedLog::tail);
            evidence.exits.push(ContainerExit {
                container: one.name.clone(),
                task: id.to_owned(),
                code,
                // Of a task that is not stopped, the container ended by itself.
                ended_the_task: task.stop_code == CONTAINER_EXITED || task.stop_code.is_empty(),
                log: log.unwrap_or_default(),
            });
        }
    }
    evidence
}

fn task_json(task: &Task, deciding: &[String], logs: &[FollowedLog]) -> Value {
    let containers = task.containers.iter().map(|one| {
        let log = logs.iter().find(|log| log.container == one.name);
        json!({
            "name": one.name,
            "decides": deciding.contains(&one.name),
            "exit_code": one.exit_code,
            "reason": Some(&one.reason).filter(|reason| !reason.is_empty()),
            "log": log.map(FollowedLog::tail).unwrap_or_default(),
        })
    });
    json!({
        "task_arn": task.task_arn,
        "task_definition": short(&task.task_definition_arn),
        "last_status": task.last_status,
        "stop_code": task.stop_code,
        "stopped_reason": task.stopped_reason,
        "containers": containers.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    fn task(stop_code: &str, reason: &str, containers: Value) -> Task {
        let task = json!({
            "taskArn": "arn:aws:ecs:x:1:task/prod/0123", "taskDefinitionArn": "arn:aws:ecs:x:1:task-definition/web:43",
            "lastStatus": "STOPPED", "stopCode": stop_code, "stoppedReason": reason, "containers": containers,
        });
        Task::deserialize(&task).unwrap()
    }

    fn ids(task: &Task) -> Vec<&'static str> {
        let result = conclude(&TaskEnd::Failed, task, &["web".to_owned()], &[]);
        assert_eq!(result.exit, Exit::TaskFailed);
        result.causes.iter().map(|finding| finding.cause.id).collect()
    }

    #[test]
    fn each_failure_has_its_cause() {
        let exited = |code: i64, reason: &str| json!([{"name": "web", "exitCode": code, "reason": reason}]);
        let ended = "Essential container in task exited";
        for (task, id) in [
            (task(CONTAINER_EXITED, ended, exited(1, "")), "container-exited"),
            (
                task(CONTAINER_EXITED, ended, exited(137, "OutOfMemoryError: Container killed due to memory usage")),
                "out-of-memory",
            ),
            (task(CONTAINER_EXITED, ended, json!([{"name": "proxy", "exitCode": 1}, {"name": "web"}])), "task-failed"),
            (task("UserInitiated", "Task stopped by user", exited(143, "")), "task-stopped"),
            (task("UserInitiated", "Task stopped by user", exited(0, "")), "task-stopped"),
            (task("SpotInterruption", "SpotInterruption: x", exited(0, "")), "instance-lost"),
            (
                task("TaskFailedToStart", "CannotPullContainerError: x: not found: manifest unknown", json!([])),
                "image-not-found",
            ),
            (task("TaskFailedToStart", "Task failed to start", json!([])), "task-failed"),
        ] {
            assert_eq!(ids(&task), [id], "{task:?}");
        }
    }

    #[test]
    fn the_aftermath_of_the_time_limit_says_what_becomes_of_the_task() {
        for (has_started, stopped, words) in [
            (true, None, "goes on; ecs-rollout stops it only"),
            (true, Some(Ok(())), "SIGTERM"),
            (false, Some(Ok(())), "had not started"),
            (false, Some(Err("denied".to_owned())), "goes on, because it could not be stopped: denied"),
        ] {
            let end = TaskEnd::TimeLimit { has_started, stopped };
            let result = conclude(&end, &task("", "", json!([])), &["web".to_owned()], &[]);
            let aftermath = result.aftermath.unwrap();
            assert!(aftermath.contains(words) && aftermath.contains("task/prod/0123"), "{aftermath}");
            assert_eq!(result.exit, Exit::TimeLimit);
        }
    }
}
