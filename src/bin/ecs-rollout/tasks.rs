//! The `tasks` command: the tasks of a service, with the exit codes and reasons of those that stopped.
//!
//! In: the tasks that run, and those that ECS still shows after they stopped. Out: text or JSON. It changes nothing.

use std::time::{Duration, UNIX_EPOCH};

use aws_sdk_ecs::types::DesiredStatus;
use ecs_bootstrap::command_line::CommandOutput;
use ecs_bootstrap::exit::Exit;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cause::FoundCause;
use crate::causes;
use crate::client::{ServiceClient, call};
use crate::evidence::{ContainerExit, Evidence, Message};
use crate::github::Finished;
use crate::one_off::judge::CONTAINER_EXITED;
use crate::outcome::Outcome;
use crate::report::{self, document, finding_json, finding_text, printable_lines};
use crate::service::{Task, short};

impl ServiceClient {
    /// The tasks of the service, the newest first: those that run, then those that stopped in the last hour or so.
    pub(crate) async fn all_tasks(&self) -> Result<Vec<Task>, FoundCause> {
        let read = async |status: DesiredStatus| {
            call(async |deadline| {
                self.aws.tasks_of_service(&self.cluster, &self.service, status.clone(), deadline).await
            })
            .await
        };
        let (running, stopped) =
            futures_util::future::try_join(read(DesiredStatus::Running), read(DesiredStatus::Stopped)).await?;
        let mut tasks = Vec::new();
        for task in running.iter().chain(&stopped) {
            tasks.push(Task::deserialize(task).map_err(|error| {
                causes::API_FAILED.finding(format!("the answer of DescribeTasks cannot be parsed: {error}"))
            })?);
        }
        // A task that stops between the two calls is in both answers.
        tasks.sort_by(|a, b| a.task_arn.cmp(&b.task_arn));
        tasks.dedup_by(|a, b| a.task_arn == b.task_arn);
        let is_stopped = |task: &Task| task.last_status == "STOPPED";
        tasks.sort_by(|a, b| is_stopped(a).cmp(&is_stopped(b)).then(b.created_at.total_cmp(&a.created_at)));
        Ok(tasks)
    }

    /// The command `tasks`.
    pub(crate) async fn tasks(&self, as_json: bool) -> Finished {
        match self.all_tasks().await {
            Ok(tasks) => {
                self.learn_revisions(tasks.iter().map(|task| task.task_definition_arn.as_str())).await;
                let tasks: Vec<Task> = tasks.into_iter().map(|task| task.hiding(&self.hidden)).collect();
                let text = if as_json { self.tasks_json(&tasks) } else { self.tasks_text(&tasks) };
                CommandOutput::success(text).into()
            }
            Err(finding) => Finished::of_outcome("tasks", &self.with_names(Outcome::refused(finding)), as_json),
        }
    }

    fn tasks_text(&self, tasks: &[Task]) -> String {
        let stopped = tasks.iter().filter(|task| task.last_status == "STOPPED").count();
        let mut text = format!(
            "service `{}` of cluster `{}`: {} tasks, and {stopped} that stopped in the last hour\n",
            short(&self.service),
            short(&self.cluster),
            tasks.len() - stopped
        );
        for task in tasks {
            text += &task_text(task);
        }
        let mut text = printable_lines(&text);
        for (index, finding) in found_causes(tasks).iter().enumerate() {
            finding_text(&mut text, if index == 0 { "cause" } else { "also" }, finding);
        }
        text
    }

    fn tasks_json(&self, tasks: &[Task]) -> String {
        document(&json!({
            "version": report::VERSION,
            "result": "listed",
            "exit_code": Exit::Done,
            "cluster": self.cluster,
            "service": self.service,
            "tasks": tasks.iter().map(task_json).collect::<Vec<_>>(),
            "causes": found_causes(tasks).iter().map(finding_json).collect::<Vec<_>>(),
        }))
    }
}

/// The causes that the stopped tasks support; none if their reasons are not those of a failure.
fn found_causes(tasks: &[Task]) -> Vec<FoundCause> {
    let mut evidence = Evidence::default();
    for task in tasks.iter().filter(|task| task.last_status == "STOPPED") {
        add_evidence(task, &mut evidence);
    }
    let found = causes::diagnose(&evidence);
    found.into_iter().filter(|finding| finding.cause.id != causes::ROLLOUT_UNKNOWN.id).collect()
}

fn add_evidence(task: &Task, evidence: &mut Evidence) {
    let id = task.id();
    evidence.messages.push(Message { from: format!("task {id}"), text: task.stopped_reason.clone() });
    for container in &task.containers {
        if !container.reason.is_empty() {
            let from = format!("container `{}` of task {id}", container.name);
            evidence.messages.push(Message { from, text: container.reason.clone() });
        }
        if let Some(code) = container.exit_code {
            evidence.exits.push(ContainerExit {
                container: container.name.clone(),
                task: id.to_owned(),
                code,
                ended_the_task: task.stop_code == CONTAINER_EXITED,
                log: Vec::new(),
            });
        }
    }
}

fn task_text(task: &Task) -> String {
    let mut line = format!("  {}  {}  {}", task.id(), short(&task.task_definition_arn), task.last_status);
    if !["", "UNKNOWN"].contains(&task.health_status.as_str()) {
        line += &format!(", {}", task.health_status);
    }
    for (word, seconds) in [("started", task.started_at), ("stopped", task.stopped_at)] {
        if let Some(time) = time(seconds) {
            line += &format!(", {word} {time}");
        }
    }
    if !task.stopped_reason.is_empty() {
        line += &format!(": {}", task.stopped_reason);
    }
    line.push('\n');
    for container in &task.containers {
        if let Some(code) = container.exit_code {
            line += &format!("    `{}` exited with code {code}\n", container.name);
        }
        if !container.reason.is_empty() {
            line += &format!("    `{}`: {}\n", container.name, container.reason);
        }
    }
    line
}

fn task_json(task: &Task) -> Value {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let containers = task.containers.iter().map(|one| {
        json!({
            "name": one.name,
            "last_status": one.last_status,
            "exit_code": one.exit_code,
            "reason": text(&one.reason),
        })
    });
    json!({
        "task_arn": task.task_arn,
        "task_definition": short(&task.task_definition_arn),
        "deployment": text(&task.started_by),
        "last_status": task.last_status,
        "desired_status": task.desired_status,
        "health_status": text(&task.health_status),
        "created_at": time(task.created_at),
        "started_at": time(task.started_at),
        "stopped_at": time(task.stopped_at),
        "stop_code": task.stop_code,
        "stopped_reason": task.stopped_reason,
        "containers": containers.collect::<Vec<_>>(),
    })
}

/// A time of ECS as RFC 3339; `None` if ECS has none.
fn time(seconds: f64) -> Option<String> {
    let time = Duration::try_from_secs_f64(seconds).ok().filter(|since| !since.is_zero())?;
    Some(humantime::format_rfc3339_seconds(UNIX_EPOCH.checked_add(time)?).to_string())
}
