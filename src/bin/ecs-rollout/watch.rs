//! Watches a rollout until it ends, and shows service events and stopped tasks as they appear.
//!
//! In: a deployment and a deadline. Out: how the rollout ended, and the evidence for the catalogue of causes. It
//! changes nothing. What counts as completed is decided in `stability.rs`.

use std::collections::BTreeSet;
use std::time::Duration;

use ecs_bootstrap::retry::{Deadline, Policy, pause_for};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::apply::StartedDeployment;
use crate::cause::FoundCause;
use crate::causes;
use crate::client::{ServiceClient, call_deadline, is_transient};
use crate::evidence::{ContainerExit, Evidence, Message};
use crate::observe::parse_service;
use crate::progress::Progress;
use crate::revision::Revision;
use crate::service::{Container, Deployment, Service, Task, short};
use crate::stability::{RolloutState, is_complete, judge};

/// Between two polls. A rollout changes fast at first.
const POLICY: Policy = Policy { first: Duration::from_secs(1), longest: Duration::from_secs(6) };
/// How many lines of a container's log are read as evidence.
const LOG_LINES: i32 = 20;
/// How many tasks' logs are read.
const MAX_LOGS: usize = 3;
/// How many polls to wait for ECS to start its own rollback of a failed deployment.
const ROLLBACK_GRACE_POLLS: u32 = 4;
/// How many polls in a row may fail before the watch ends.
const MAX_FAILED_POLLS: u32 = 20;
/// `stopCode` of a task that stopped because one of its containers exited.
const CONTAINER_EXITED: &str = "EssentialContainerExited";

/// How a rollout ended.
#[derive(Clone, Debug)]
pub(crate) enum RolloutEnd {
    Completed,
    /// ECS gave up on the deployment and leaves it as it is. Holds the reason that ECS gives.
    Failed(String),
    /// ECS gave up on the deployment and rolled it back. `completed` is false if that rollback failed, or did not
    /// complete before the deadline.
    RolledBack {
        to: Deployment,
        completed: bool,
    },
    /// A newer deployment replaced this one.
    Superseded(Deployment),
    /// The service was deleted.
    Deleted,
    /// The deadline passed first.
    TimeLimit,
    /// The service could no longer be polled; the rollout continues.
    WatchFailed(FoundCause),
}

/// How a rollout ended, and what was seen of it.
#[derive(Debug)]
pub(crate) struct WatchResult {
    pub(crate) end: RolloutEnd,
    pub(crate) evidence: Evidence,
    /// Tasks of this deployment that stopped.
    pub(crate) stopped: Vec<Task>,
    /// The deployment at the last poll that showed it.
    pub(crate) last: Option<Deployment>,
}

/// A rollout that is being watched.
pub(crate) struct Watch<'a> {
    client: &'a ServiceClient,
    deployment: Deployment,
    /// See [`judge`].
    expected_count: Option<i64>,
    progress: &'a mut Progress,
    evidence: Evidence,
    stopped: Vec<Task>,
    /// The ids of the events that were shown.
    shown_events: BTreeSet<String>,
    last: Option<Deployment>,
    /// How many polls showed that ECS gave up, without a rollback.
    polls_since_failure: u32,
    /// Stopped tasks cannot be read. The warning is shown once.
    is_without_tasks: bool,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(client: &'a ServiceClient, started: &StartedDeployment, progress: &'a mut Progress) -> Watch<'a> {
        Watch {
            client,
            deployment: started.deployment.clone(),
            expected_count: started.expected_count,
            progress,
            evidence: Evidence::default(),
            stopped: Vec::new(),
            shown_events: BTreeSet::new(),
            last: None,
            polls_since_failure: 0,
            is_without_tasks: false,
        }
    }

    /// Watches until the rollout ends, or the deadline. `revision` says where its containers log to.
    pub(crate) async fn run(mut self, deadline: Deadline, revision: &Revision) -> WatchResult {
        let end = self.poll_until_end(deadline).await;
        if !matches!(end, RolloutEnd::Completed) {
            // The tasks that stopped since the last poll are evidence too.
            self.read_stopped_tasks().await;
            self.read_logs(revision).await;
        }
        WatchResult { end, evidence: self.evidence, stopped: self.stopped, last: self.last }
    }

    async fn poll_until_end(&mut self, deadline: Deadline) -> RolloutEnd {
        let mut failures = 0;
        let mut polls = 0;
        loop {
            let client = self.client;
            match client.aws.describe_service(&client.cluster, &client.service, call_deadline()).await {
                Ok(raw) => {
                    failures = 0;
                    let service = raw.map(|raw| parse_service("DescribeServices", &raw)).transpose();
                    match service {
                        Ok(service) => {
                            if let Some(end) = self.see(service).await {
                                return end;
                            }
                        }
                        Err(finding) => return RolloutEnd::WatchFailed(finding),
                    }
                }
                Err(error) if is_transient(&error) && failures < MAX_FAILED_POLLS => {
                    failures += 1;
                    self.progress.waiting(&format!("ECS does not answer, polling again: {}", error.kind));
                }
                Err(error) => return RolloutEnd::WatchFailed(causes::from_error(&error)),
            }
            polls += 1;
            let pause = POLICY.pause(polls);
            if deadline.remaining() <= pause {
                return self.end_at_deadline();
            }
            pause_for(pause).await;
        }
    }

    fn end_at_deadline(&self) -> RolloutEnd {
        match self.last.as_ref().filter(|last| last.id != self.deployment.id) {
            Some(to) => RolloutEnd::RolledBack { to: to.clone(), completed: false },
            None => RolloutEnd::TimeLimit,
        }
    }

    /// Takes in the service of one poll. Returns the end of the rollout if it has ended.
    async fn see(&mut self, service: Option<Service>) -> Option<RolloutEnd> {
        let Some(service) = service else {
            self.progress.waiting("ECS does not show the service yet");
            return None;
        };
        let state = judge(&service, &self.deployment, self.expected_count);
        if state == RolloutState::NotVisible {
            self.progress.waiting("ECS does not show the deployment yet");
            return None;
        }
        self.show_events(&service);
        self.read_stopped_tasks().await;
        let shown = match &state {
            RolloutState::RollingBack(to) => Some(to),
            _ => service.deployment(&self.deployment.id),
        };
        if let Some(shown) = shown {
            self.progress.waiting(&format!("{}: {}", shown.label(), shown.counts()));
            self.last = Some(shown.clone());
        }
        match state {
            RolloutState::Completed => Some(RolloutEnd::Completed),
            // ECS starts its own rollback a moment after it has given up.
            RolloutState::Failed(_)
                if service.rolls_back_by_itself() && self.polls_since_failure < ROLLBACK_GRACE_POLLS =>
            {
                self.polls_since_failure += 1;
                None
            }
            RolloutState::Failed(reason) => Some(RolloutEnd::Failed(reason)),
            RolloutState::RollingBack(to) if to.rollout_state.as_deref() == Some("FAILED") => {
                Some(RolloutEnd::RolledBack { to, completed: false })
            }
            RolloutState::RollingBack(to) => {
                is_complete(&to, &service).then_some(RolloutEnd::RolledBack { to, completed: true })
            }
            RolloutState::Superseded(by) => Some(RolloutEnd::Superseded(by)),
            RolloutState::Deleted => Some(RolloutEnd::Deleted),
            RolloutState::InProgress | RolloutState::NotVisible => None,
        }
    }

    /// Shows the service events since the deployment started, the oldest first, each once.
    fn show_events(&mut self, service: &Service) {
        let since = self.deployment.created_at;
        // ECS returns the newest first.
        let mut events: Vec<_> = service.events.iter().rev().filter(|event| event.created_at >= since).collect();
        events.sort_by(|a, b| a.created_at.total_cmp(&b.created_at));
        for event in events {
            if self.shown_events.insert(event.id.clone()) {
                self.progress.event(&event.message);
                let text = event.message.clone();
                self.evidence.messages.push(Message { from: "service event".to_owned(), text });
            }
        }
    }

    /// Reads the tasks of this deployment that have stopped since the last poll.
    async fn read_stopped_tasks(&mut self) {
        if self.is_without_tasks {
            return;
        }
        let answer = self.client.aws.stopped_tasks(&self.client.cluster, &self.client.service, call_deadline()).await;
        let tasks = match answer {
            Ok(tasks) => tasks,
            // The next poll reads them.
            Err(error) if is_transient(&error) => return,
            Err(error) => return self.continue_without_tasks(&error.verbatim()),
        };
        for task in &tasks {
            match Task::deserialize(task) {
                Ok(task) => self.see_stopped(task),
                Err(error) => {
                    return self
                        .continue_without_tasks(&format!("the answer of DescribeTasks cannot be parsed: {error}"));
                }
            }
        }
    }

    fn see_stopped(&mut self, task: Task) {
        let is_of_deployment = if task.started_by.is_empty() {
            task.task_definition_arn == self.deployment.task_definition
        } else {
            task.started_by == self.deployment.id
        };
        if !is_of_deployment || self.stopped.iter().any(|known| known.task_arn == task.task_arn) {
            return;
        }
        let id = task.id();
        let mut line = format!("task {id} stopped: {}", task.stopped_reason);
        self.evidence.messages.push(Message { from: format!("task {id}"), text: task.stopped_reason.clone() });
        for container in &task.containers {
            if let Some(code) = container.exit_code {
                line += &format!("; `{}` exited with code {code}", container.name);
                self.evidence.exits.push(ContainerExit {
                    container: container.name.clone(),
                    task: id.to_owned(),
                    code,
                    ended_the_task: task.stop_code == CONTAINER_EXITED,
                    log: Vec::new(),
                });
            }
            if !container.reason.is_empty() {
                line += &format!("; `{}`: {}", container.name, container.reason);
                let from = format!("container `{}` of task {id}", container.name);
                self.evidence.messages.push(Message { from, text: container.reason.clone() });
            }
        }
        self.progress.event(&line);
        self.stopped.push(task);
    }

    fn continue_without_tasks(&mut self, error: &str) {
        self.is_without_tasks = true;
        self.progress.event(&format!("warning: stopped tasks cannot be read: {error}"));
    }

    /// Reads the last log lines of some containers that exited, if they log to CloudWatch Logs.
    async fn read_logs(&mut self, revision: &Revision) {
        let tasks = self.stopped.iter().filter(|task| task.stop_code == CONTAINER_EXITED).take(MAX_LOGS);
        for task in tasks {
            for container in task.containers.iter().filter(|container| container.exit_code.is_some()) {
                let Some(stream) = LogStream::of(container, task.id(), revision) else { continue };
                let lines = stream.read(self.client).await;
                let mut exits = self.evidence.exits.iter_mut();
                if let Some(exit) = exits.find(|exit| exit.task == task.id() && exit.container == container.name) {
                    exit.log = lines;
                }
            }
        }
    }
}

/// A log stream of CloudWatch Logs.
struct LogStream {
    group: String,
    stream: String,
    /// The region, if it is not that of the service.
    region: Option<String>,
}

impl LogStream {
    /// Where the awslogs driver writes a container's log (ECS Developer Guide, "Send Amazon ECS logs to CloudWatch").
    fn of(container: &Container, task: &str, revision: &Revision) -> Option<LogStream> {
        let name = &container.name;
        let definitions = revision.raw["containerDefinitions"].as_array()?;
        let log = &definitions.iter().find(|one| one["name"] == *name)?["logConfiguration"];
        if log["logDriver"] != "awslogs" {
            return None;
        }
        let option = |name: &str| log["options"][name].as_str().map(str::to_owned);
        let stream = match option("awslogs-stream-prefix") {
            Some(prefix) => format!("{prefix}/{name}/{task}"),
            // Without a prefix, the stream has the name of the option or the id of the container.
            None => {
                option("awslogs-stream").or_else(|| Some(container.runtime_id.clone()).filter(|id| !id.is_empty()))?
            }
        };
        Some(LogStream { group: option("awslogs-group")?, stream, region: option("awslogs-region") })
    }

    /// The last lines. If they cannot be read, the only line says why.
    async fn read(&self, client: &ServiceClient) -> Vec<String> {
        let region = self.region.as_deref();
        match client.aws.log_tail(&self.group, &self.stream, region, LOG_LINES, call_deadline()).await {
            Ok(lines) => lines.iter().map(|line| line.trim_end().to_owned()).collect(),
            Err(error) => {
                let place = format!("log stream `{}` of log group `{}`", self.stream, self.group);
                vec![format!("({place} cannot be read: {})", error.verbatim())]
            }
        }
    }
}

impl WatchResult {
    /// The causes of a rollout that did not succeed, at least one.
    pub(crate) fn causes(&self) -> Vec<FoundCause> {
        let mut found = causes::diagnose(&self.evidence);
        let is_unknown = found.iter().all(|finding| finding.cause.id == causes::ROLLOUT_UNKNOWN.id);
        if is_unknown && matches!(self.end, RolloutEnd::TimeLimit) {
            let counts = self.last.as_ref().map_or("ECS never showed the deployment".to_owned(), Deployment::counts);
            found = vec![causes::TOO_SLOW.finding(counts)];
        }
        if let (RolloutEnd::Failed(reason), Some(first)) = (&self.end, found.first_mut())
            && !reason.is_empty()
        {
            first.evidence.push(format!("deployment: {reason}"));
        }
        found
    }

    /// `stopped_tasks` of the JSON document.
    pub(crate) fn stopped_tasks_json(&self) -> Vec<Value> {
        self.stopped.iter().map(|task| self.task_json(task)).collect()
    }

    fn task_json(&self, task: &Task) -> Value {
        let containers = task.containers.iter().map(|container| {
            let mut exits = self.evidence.exits.iter();
            let exit = exits.find(|exit| exit.task == task.id() && exit.container == container.name);
            json!({
                "name": container.name,
                "exit_code": container.exit_code,
                "reason": Some(&container.reason).filter(|reason| !reason.is_empty()),
                "log": exit.map(|exit| exit.log.clone()).unwrap_or_default(),
            })
        });
        json!({
            "task_arn": task.task_arn,
            "task_definition": short(&task.task_definition_arn),
            "stop_code": task.stop_code,
            "stopped_reason": task.stopped_reason,
            "containers": containers.collect::<Vec<_>>(),
        })
    }
}
