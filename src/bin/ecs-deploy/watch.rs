//! Watches a rollout to its end, and tells on the way what ECS says and which tasks stop.
//!
//! In: a deployment and a deadline. Out: how it ended, and all that was seen of it, for the catalogue of causes. It changes
//! nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use ecs_bootstrap::boundary::aws::AwsError;
use ecs_bootstrap::retry::{Deadline, Policy, pause_for};
use serde::Deserialize;
use serde_json::Value;

use crate::cause::{self, ContainerExit, Evidence, Finding, Message};
use crate::client::{ServiceClient, is_transient};
use crate::observe::Revision;
use crate::progress::Progress;
use crate::rollout::{Deployment, RolloutState, Service, Task, judge, short};

/// Between two looks: at first a rollout moves fast.
const POLICY: Policy = Policy { first: Duration::from_secs(1), longest: Duration::from_secs(6) };
/// How many lines of a container's log are evidence.
const LOG_LINES: i32 = 20;
/// Of how many tasks the log is read.
const LOGS: usize = 3;
/// For how many looks ECS's own rollback is waited for.
const GRACE: u32 = 4;
/// How often in a row ECS may be out of reach before nothing more is waited for.
const MAX_FAILED_POLLS: u32 = 20;

/// How a rollout ended.
#[derive(Clone, Debug)]
pub(crate) enum RolloutEnd {
    /// It is what runs.
    Completed,
    /// ECS gave up on it and left it as it is; its words.
    Failed(String),
    /// ECS gave up on it and went back; whether that ended well in time.
    RolledBack {
        /// The deployment that went back.
        to: Deployment,
        /// Whether it is what runs now.
        completed: bool,
    },
    /// Somebody else's took its place.
    Superseded(Deployment),
    /// The service was deleted.
    Deleted,
    /// The deadline came first.
    TimeLimit,
    /// It cannot be watched any more; it goes on.
    WatchFailed(Finding),
}

/// A rollout as it was watched.
#[derive(Debug)]
pub(crate) struct WatchResult {
    /// How it ended.
    pub(crate) end: RolloutEnd,
    /// What was seen.
    pub(crate) evidence: Evidence,
    /// Tasks of this deployment that stopped.
    pub(crate) stopped: Vec<Task>,
    /// The last that ECS told of the deployment.
    pub(crate) last: Option<Deployment>,
}

/// What is watched.
pub(crate) struct Watch<'a> {
    client: &'a ServiceClient,
    deployment: Deployment,
    /// Where nothing new was deployed: the count of tasks that it ends with.
    expected_count: Option<i64>,
    progress: &'a mut Progress,
    evidence: Evidence,
    stopped: Vec<Task>,
    events: BTreeSet<String>,
    last: Option<Deployment>,
    /// How many looks have shown it as given up.
    given_up: u32,
    /// Tasks cannot be listed: told once.
    without_tasks: bool,
}

impl<'a> Watch<'a> {
    /// Of this deployment.
    pub(crate) fn new(
        client: &'a ServiceClient,
        deployment: &Deployment,
        expected_count: Option<i64>,
        progress: &'a mut Progress,
    ) -> Watch<'a> {
        Watch {
            client,
            deployment: deployment.clone(),
            expected_count,
            progress,
            evidence: Evidence::default(),
            stopped: Vec::new(),
            events: BTreeSet::new(),
            last: None,
            given_up: 0,
            without_tasks: false,
        }
    }

    /// Until it has ended, or the deadline.
    pub(crate) async fn until(mut self, deadline: Deadline, revision: Option<&Revision>) -> WatchResult {
        let end = self.end(deadline).await;
        if !matches!(end, RolloutEnd::Completed) {
            // Once more: what has just stopped is the evidence.
            self.see_tasks().await;
            self.read_logs(revision).await;
        }
        WatchResult { end, evidence: self.evidence, stopped: self.stopped, last: self.last }
    }

    async fn end(&mut self, deadline: Deadline) -> RolloutEnd {
        let mut failures = 0;
        let mut looks = 0;
        loop {
            match self.client.aws.describe_service(&self.client.cluster, &self.client.service, soon()).await {
                Ok(raw) => {
                    failures = 0;
                    if let Some(end) = self.look(raw.as_ref().and_then(Service::read)).await {
                        return end;
                    }
                }
                Err(error) if is_transient(&error) && failures < MAX_FAILED_POLLS => {
                    failures += 1;
                    self.progress.waiting(&format!("ECS does not answer just now: {}", error.kind));
                }
                Err(error) => return RolloutEnd::WatchFailed(cause::of_call(&error)),
            }
            looks += 1;
            let pause = POLICY.pause(looks);
            if deadline.remaining() <= pause {
                return self.late();
            }
            pause_for(pause).await;
        }
    }

    fn late(&self) -> RolloutEnd {
        match self.last.as_ref().filter(|last| last.id != self.deployment.id) {
            Some(to) => RolloutEnd::RolledBack { to: to.clone(), completed: false },
            None => RolloutEnd::TimeLimit,
        }
    }

    /// One look at the service; how it ended where it has.
    async fn look(&mut self, service: Option<Service>) -> Option<RolloutEnd> {
        let Some(service) = service else {
            self.progress.waiting("ECS does not show the service yet");
            return None;
        };
        let state = judge(&service, &self.deployment.id, self.deployment.created_at);
        if state == RolloutState::NotVisible {
            self.progress.waiting("ECS does not show the deployment yet");
            return None;
        }
        self.see_events(&service);
        self.see_tasks().await;
        let watched = match &state {
            RolloutState::RollingBack(to) => Some(to),
            _ => service.deployment(&self.deployment.id),
        };
        if let Some(watched) = watched {
            self.progress.waiting(&format!("{}: {}", crate::apply::named(watched), watched.counts()));
            self.last = Some(watched.clone());
        }
        match state {
            // An answer from before the update still has the old count.
            RolloutState::Completed
                if self
                    .expected_count
                    .is_none_or(|count| service.desired_count == count && service.running_count == count) =>
            {
                Some(RolloutEnd::Completed)
            }
            // ECS's own rollback begins a moment after it has given up.
            RolloutState::Failed(_) if service.rolls_back() && self.given_up < GRACE => {
                self.given_up += 1;
                None
            }
            RolloutState::Failed(reason) => Some(RolloutEnd::Failed(reason)),
            RolloutState::RollingBack(to) if to.rollout_state.as_deref() == Some("FAILED") => {
                Some(RolloutEnd::RolledBack { to, completed: false })
            }
            RolloutState::RollingBack(to) => {
                to.is_completed(&service).then_some(RolloutEnd::RolledBack { to, completed: true })
            }
            RolloutState::Superseded(by) => Some(RolloutEnd::Superseded(by)),
            RolloutState::Deleted => Some(RolloutEnd::Deleted),
            RolloutState::Completed | RolloutState::InProgress | RolloutState::NotVisible => None,
        }
    }

    /// Events since the deployment began, oldest first, each once.
    fn see_events(&mut self, service: &Service) {
        let since = self.deployment.created_at;
        // They come newest first.
        let mut events: Vec<_> = service.events.iter().rev().filter(|event| event.created_at >= since).collect();
        events.sort_by(|a, b| a.created_at.total_cmp(&b.created_at));
        for event in events {
            if self.events.insert(event.id.clone()) {
                self.progress.event(&event.message);
                let text = event.message.clone();
                self.evidence.messages.push(Message { from: "service event".to_owned(), text });
            }
        }
    }

    /// Tasks of this deployment that have stopped since the last look.
    async fn see_tasks(&mut self) {
        if self.without_tasks {
            return;
        }
        let asked = self.client.aws.stopped_tasks(&self.client.cluster, &self.client.service, soon()).await;
        let tasks = match asked {
            Ok(tasks) => tasks,
            // The next look asks again.
            Err(error) if is_transient(&error) => return,
            Err(error) => return self.no_tasks(&error),
        };
        for task in tasks.iter().filter_map(|task| Task::deserialize(task).ok()) {
            let is_ours = match task.started_by.is_empty() {
                true => task.task_definition_arn == self.deployment.task_definition,
                false => task.started_by == self.deployment.id,
            };
            if !is_ours || self.stopped.iter().any(|known| known.task_arn == task.task_arn) {
                continue;
            }
            self.see_stopped(&task);
            self.stopped.push(task);
        }
    }

    fn see_stopped(&mut self, task: &Task) {
        let id = task.id();
        let mut said = format!("task {id} stopped: {}", task.stopped_reason);
        self.evidence.messages.push(Message { from: format!("task {id}"), text: task.stopped_reason.clone() });
        let ended_by_container = task.stop_code == "EssentialContainerExited";
        for container in &task.containers {
            if let Some(code) = container.exit_code {
                said += &format!("; `{}` ended with {code}", container.name);
                self.evidence.exits.push(ContainerExit {
                    container: container.name.clone(),
                    task: id.to_owned(),
                    code,
                    ended_the_task: ended_by_container,
                    log: Vec::new(),
                });
            }
            if !container.reason.is_empty() {
                said += &format!("; `{}`: {}", container.name, container.reason);
                let from = format!("container `{}` of task {id}", container.name);
                self.evidence.messages.push(Message { from, text: container.reason.clone() });
            }
        }
        self.progress.event(&said);
    }

    fn no_tasks(&mut self, error: &AwsError) {
        self.without_tasks = true;
        self.progress.event(&format!("warning: without its stopped tasks: {}", error.verbatim()));
    }

    /// The end of the logs of some containers that ended, where the task definition sends them to CloudWatch Logs.
    async fn read_logs(&mut self, revision: Option<&Revision>) {
        let Some(revision) = revision else { return };
        let ended: Vec<_> = self.stopped.iter().filter(|task| task.stop_code == "EssentialContainerExited").collect();
        let mut read = Vec::new();
        for task in ended.into_iter().take(LOGS) {
            for container in task.containers.iter().filter(|container| container.exit_code.is_some()) {
                let Some(place) = log_place(revision, &container.name, task.id(), &container.runtime_id) else {
                    continue;
                };
                let region = place.region.as_deref();
                let asked = self.client.aws.log_tail(&place.group, &place.stream, region, LOG_LINES, soon()).await;
                let lines = match asked {
                    Ok(lines) => lines.iter().map(|line| line.trim_end().to_owned()).collect(),
                    Err(error) => {
                        vec![format!("(its log `{}` of `{}`: {})", place.stream, place.group, error.verbatim())]
                    }
                };
                read.push((task.id().to_owned(), container.name.clone(), lines));
            }
        }
        for (task, container, lines) in read {
            let exits = &mut self.evidence.exits;
            if let Some(exit) = exits.iter_mut().find(|exit| exit.task == task && exit.container == container) {
                exit.log = lines;
            }
        }
    }
}

/// How long one look may take.
fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

struct LogPlace {
    group: String,
    stream: String,
    region: Option<String>,
}

/// Where the awslogs driver writes a container's log (ECS Developer Guide, "Send Amazon ECS logs to CloudWatch").
fn log_place(revision: &Revision, container: &str, task: &str, runtime_id: &str) -> Option<LogPlace> {
    let containers = revision.raw["containerDefinitions"].as_array()?;
    let log = &containers.iter().find(|one| one["name"] == container)?["logConfiguration"];
    if log["logDriver"] != "awslogs" {
        return None;
    }
    let option = |name: &str| log["options"][name].as_str().map(str::to_owned);
    let stream = match option("awslogs-stream-prefix") {
        Some(prefix) => format!("{prefix}/{container}/{task}"),
        // Named after the container's id then.
        None => option("awslogs-stream").or_else(|| Some(runtime_id.to_owned()).filter(|id| !id.is_empty()))?,
    };
    Some(LogPlace { group: option("awslogs-group")?, stream, region: option("awslogs-region") })
}

/// What the report says of a task that stopped.
pub(crate) fn task_json(task: &Task, evidence: &Evidence) -> Value {
    let containers = task.containers.iter().map(|container| {
        let exit = evidence.exits.iter().find(|exit| exit.task == task.id() && exit.container == container.name);
        serde_json::json!({
            "name": container.name,
            "exit_code": container.exit_code,
            "reason": Some(&container.reason).filter(|reason| !reason.is_empty()),
            "log": exit.map(|exit| exit.log.clone()).unwrap_or_default(),
        })
    });
    serde_json::json!({
        "task_arn": task.task_arn,
        "task_definition": short(&task.task_definition_arn),
        "stop_code": task.stop_code,
        "stopped_reason": task.stopped_reason,
        "containers": containers.collect::<Vec<_>>(),
    })
}
