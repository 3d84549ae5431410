//! The `logs` command: the last log lines of a service's tasks, ordered by time.
//!
//! In: the tasks of the service, and their revisions, which say where their logs are. Out: text or JSON. It reads at
//! most one page of each log, and follows none: `aws logs tail --follow` does that.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use ecs_bootstrap::boundary::aws::{LogLine, LogPlace};
use ecs_bootstrap::command_line::CommandOutput;
use ecs_bootstrap::exit::Exit;
use serde_json::{Value, json};

use crate::cause::FoundCause;
use crate::causes;
use crate::cli::LogsFlags;
use crate::client::{ServiceClient, call_with_retries};
use crate::github::Finished;
use crate::log_stream::{LogTarget, label};
use crate::outcome::Outcome;
use crate::printable::printable;
use crate::report::{self, document};
use crate::revision::Revision;
use crate::service::{Task, short};

/// The most tasks whose logs are read.
const MAX_TASKS: usize = 10;
/// The most log lines that are kept of all containers together, in bytes.
const MAX_BYTES: usize = 2 * 1024 * 1024;

/// The log of one container of one task.
struct ContainerLog {
    task: String,
    container: String,
    place: Option<LogPlace>,
    lines: Vec<LogLine>,
    /// Why there are no lines.
    problem: Option<String>,
}

impl ServiceClient {
    /// The command `logs`.
    pub(crate) async fn logs(&self, flags: &LogsFlags) -> Finished {
        match self.read_logs(flags).await {
            Ok(logs) if flags.service.json => CommandOutput::success(self.logs_json(&logs)).into(),
            Ok(logs) => CommandOutput { stdout: lines(&logs), stderr: problems(&logs), exit: Exit::Done }.into(),
            Err(finding) => {
                Finished::of_outcome("logs", &self.with_names(Outcome::refused(finding)), flags.service.json)
            }
        }
    }

    async fn read_logs(&self, flags: &LogsFlags) -> Result<Vec<ContainerLog>, FoundCause> {
        let tasks = chosen(self.all_tasks().await?, flags.task.as_deref())?;
        let mut revisions: BTreeMap<String, Revision> = BTreeMap::new();
        let (mut logs, mut bytes) = (Vec::new(), 0);
        for task in &tasks {
            let arn = &task.task_definition_arn;
            if !revisions.contains_key(arn) {
                let revision = self.revision(arn).await?;
                revisions.insert(arn.clone(), revision.unwrap_or_default());
            }
            let containers = task.containers.iter();
            let is_wanted = |name: &str| flags.container.as_deref().is_none_or(|wanted| wanted == name);
            for container in containers.filter(|container| is_wanted(&container.name)) {
                let target = LogTarget::of(container, task.id(), &revisions[arn]);
                let mut log = ContainerLog {
                    task: task.id().to_owned(),
                    container: container.name.clone(),
                    place: None,
                    lines: Vec::new(),
                    problem: None,
                };
                match target {
                    LogTarget::Stream(_) if bytes > MAX_BYTES => {
                        log.problem = Some("not read, because the other logs are long".to_owned());
                    }
                    LogTarget::Stream(place) => self.read_log(place, flags.lines, &mut log).await,
                    LogTarget::NotKnownYet => log.problem = Some("the container has not started".to_owned()),
                    LogTarget::Elsewhere(problem) => log.problem = Some(problem),
                }
                bytes += log.lines.iter().map(|line| line.text.len()).sum::<usize>();
                logs.push(log);
            }
        }
        if logs.is_empty() {
            let what = flags.container.as_deref().unwrap_or_default();
            return Err(causes::TASK_NOT_FOUND.finding(format!("no task of the service has a container `{what}`")));
        }
        Ok(logs)
    }

    async fn read_log(&self, place: LogPlace, most: u16, log: &mut ContainerLog) {
        let read = async |deadline| self.aws.log_events(&place, None, i32::from(most), deadline).await;
        match call_with_retries(read).await {
            Ok(page) => {
                log.lines = page.lines;
                log.lines.iter_mut().for_each(|line| line.text = self.hidden.without(&line.text));
            }
            Err(error) => log.problem = Some(format!("{} cannot be read: {}", label(&place), error.verbatim())),
        }
        log.place = Some(place);
    }

    fn logs_json(&self, logs: &[ContainerLog]) -> String {
        document(&json!({
            "version": report::VERSION,
            "result": "read",
            "exit_code": Exit::Done,
            "cluster": self.cluster,
            "service": self.service,
            "logs": logs.iter().map(log_json).collect::<Vec<_>>(),
        }))
    }
}

/// The tasks to read: the one that is named; otherwise those that run, or the one that stopped last.
fn chosen(tasks: Vec<Task>, named: Option<&str>) -> Result<Vec<Task>, FoundCause> {
    let nothing = |text: String| Err(causes::TASK_NOT_FOUND.finding(text));
    let (running, stopped): (Vec<Task>, Vec<Task>) = tasks.into_iter().partition(|task| task.last_status != "STOPPED");
    let found: Vec<Task> = match named {
        Some(named) => running.into_iter().chain(stopped).filter(|task| task.id() == short(named)).collect(),
        None if running.is_empty() => stopped.into_iter().take(1).collect(),
        None => running.into_iter().take(MAX_TASKS).collect(),
    };
    match named {
        _ if !found.is_empty() => Ok(found),
        Some(named) => nothing(format!("the service has no task `{named}`")),
        None => nothing("the service has no task, and none stopped in the last hour".to_owned()),
    }
}

/// The lines of all logs by time, each with its task and container.
fn lines(logs: &[ContainerLog]) -> String {
    let mut all: Vec<(&LogLine, &ContainerLog)> =
        logs.iter().flat_map(|log| log.lines.iter().map(move |line| (line, log))).collect();
    all.sort_by_key(|(line, _)| line.at_ms);
    let mut text = String::new();
    for (line, log) in all {
        let task = log.task.get(..8).unwrap_or(&log.task);
        let container = &log.container;
        text += &format!("{} {task} {container}: {}\n", time(line.at_ms), printable(line.text.trim_end(), "    "));
    }
    text
}

fn problems(logs: &[ContainerLog]) -> String {
    let problems = logs.iter().filter_map(|log| Some((log, log.problem.as_deref()?)));
    let texts = problems.map(|(log, problem)| format!("`{}` of task {}: {problem}", log.container, log.task));
    texts.map(|text| format!("warning: {}\n", printable(&text, "    "))).collect()
}

fn log_json(log: &ContainerLog) -> Value {
    let lines = log.lines.iter().map(|line| json!({"time": time(line.at_ms), "text": line.text.trim_end()}));
    json!({
        "task": log.task,
        "container": log.container,
        "group": log.place.as_ref().map(|place| &place.group),
        "stream": log.place.as_ref().map(|place| &place.stream),
        "lines": lines.collect::<Vec<_>>(),
        "problem": log.problem,
    })
}

fn time(at_ms: i64) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(at_ms).unwrap_or_default()));
    humantime::format_rfc3339_millis(time.unwrap_or(UNIX_EPOCH)).to_string()
}
