//! Watches a one-off task until it ends or the time limit passes, and shows its log.
//!
//! In: the ARN of a task. Out: how it ended, with the task and its logs. Only at the time limit it may stop the task.

use std::time::Duration;

use ecs_bootstrap::boundary::aws::AwsError;
use ecs_bootstrap::retry::{Deadline, Policy, pause_for};
use serde::Deserialize;

use crate::cause::FoundCause;
use crate::causes;
use crate::client::{ServiceClient, call, call_deadline, is_transient};
use crate::one_off::judge::{TaskState, judge};
use crate::one_off::log::FollowedLog;
use crate::progress::Progress;
use crate::revision::Revision;
use crate::service::Task;

/// Between two polls. A task without an image to pull ends fast.
const POLICY: Policy = Policy { first: Duration::from_secs(1), longest: Duration::from_secs(6) };
/// How many polls in a row may fail before the watch ends.
const MAX_FAILED_POLLS: u32 = 20;
/// How many polls in a row may not show the task: it may be missing at first (ECS API Reference, "RunTask").
const MAX_MISSING: u32 = 20;
/// How many polls in a row must show that a task outlives its deciding containers: `desiredStatus` follows a moment
/// later.
const OUTLIVED_POLLS: u32 = 3;
/// How often the log of an ended task is read again for its last lines.
const LAST_LOOKS: u32 = 3;
/// Between two of these reads.
const LAST_LOOK_PAUSE: Duration = Duration::from_secs(1);

/// How the watch of a one-off task ended.
#[derive(Clone, Debug)]
pub(crate) enum TaskEnd {
    Succeeded,
    Failed,
    /// The containers that decide have ended, but the task runs on.
    Outlived {
        succeeded: bool,
    },
    /// The time limit passed. `stopped`: whether this program stopped the task, or why it could not.
    TimeLimit {
        has_started: bool,
        stopped: Option<Result<(), String>>,
    },
    /// ECS no longer shows the task.
    Lost,
    /// The task could no longer be polled; it continues.
    WatchFailed(FoundCause),
}

/// A one-off task that is being watched.
pub(crate) struct TaskWatch<'a> {
    pub(crate) client: &'a ServiceClient,
    pub(crate) revision: &'a Revision,
    pub(crate) arn: String,
    /// The containers that decide.
    pub(crate) deciding: &'a [String],
    pub(crate) logs: Vec<FollowedLog>,
    /// The task at the last poll that showed it.
    pub(crate) last: Task,
}

impl TaskWatch<'_> {
    /// Watches until the task ends, or the deadline.
    pub(crate) async fn run(&mut self, deadline: Deadline, stop_on_timeout: bool, progress: &mut Progress) -> TaskEnd {
        let (mut failed, mut missing, mut outlived, mut polls) = (0, 0, 0, 0);
        loop {
            match self.poll().await {
                Ok(Some(task)) => {
                    (failed, missing) = (0, 0);
                    self.last = task;
                    if let Some(end) = self.see(&mut outlived, progress).await {
                        return end;
                    }
                }
                Ok(None) if missing < MAX_MISSING => {
                    missing += 1;
                    progress.waiting("ECS does not show the task yet");
                }
                Ok(None) => return TaskEnd::Lost,
                Err(PollError::Call(error)) if is_transient(&error) && failed < MAX_FAILED_POLLS => {
                    failed += 1;
                    progress.waiting(&format!("ECS does not answer, polling again: {}", error.kind));
                }
                Err(PollError::Call(error)) => return TaskEnd::WatchFailed(causes::from_error(&error)),
                Err(PollError::Answer(text)) => return TaskEnd::WatchFailed(causes::API_FAILED.finding(text)),
            }
            if deadline.passed() {
                return self.end_at_limit(stop_on_timeout, progress).await;
            }
            polls += 1;
            pause_for(POLICY.pause(polls).min(deadline.remaining())).await;
        }
    }

    async fn poll(&self) -> Result<Option<Task>, PollError> {
        let arns = [self.arn.clone()];
        let tasks = self.client.aws.describe_tasks(&self.client.cluster, &arns, call_deadline()).await;
        let tasks = tasks.map_err(PollError::Call)?;
        let task = tasks.first().map(Task::deserialize).transpose();
        task.map_err(|error| PollError::Answer(format!("the answer of DescribeTasks cannot be parsed: {error}")))
    }

    /// Takes in the task of one poll. Returns the end if there is one.
    async fn see(&mut self, outlived: &mut u32, progress: &mut Progress) -> Option<TaskEnd> {
        let state = judge(&self.last, self.deciding);
        if !matches!(state, TaskState::NotStarted) {
            self.look_at_logs(progress).await;
        }
        progress.waiting(&format!("task {}: {}", self.last.id(), self.last.last_status));
        match state {
            TaskState::Succeeded | TaskState::Failed => {
                self.look_at_last_lines(progress).await;
                Some(if state == TaskState::Succeeded { TaskEnd::Succeeded } else { TaskEnd::Failed })
            }
            TaskState::Outlived { succeeded } => {
                *outlived += 1;
                if *outlived < OUTLIVED_POLLS {
                    return None;
                }
                self.look_at_last_lines(progress).await;
                Some(TaskEnd::Outlived { succeeded })
            }
            TaskState::NotStarted | TaskState::Running => {
                *outlived = 0;
                None
            }
        }
    }

    async fn look_at_logs(&mut self, progress: &mut Progress) {
        for log in &mut self.logs {
            log.look(self.client, &self.last, self.revision, progress).await;
        }
    }

    /// The last lines of an ended container may be readable only a moment later.
    async fn look_at_last_lines(&mut self, progress: &mut Progress) {
        let has_run = |log: &FollowedLog| {
            let container = self.last.containers.iter().find(|container| container.name == log.container);
            container.is_some_and(|container| container.exit_code.is_some())
        };
        for _ in 0..LAST_LOOKS {
            if !self.logs.iter().any(|log| log.is_readable() && !log.has_lines() && has_run(log)) {
                break;
            }
            pause_for(LAST_LOOK_PAUSE).await;
            for log in &mut self.logs {
                log.look(self.client, &self.last, self.revision, progress).await;
            }
        }
    }

    /// A task that has not started is stopped, because it would start later, after the report. One that has
    /// started is stopped only on request: a migration that is killed in the middle may damage data.
    async fn end_at_limit(&mut self, stop_on_timeout: bool, progress: &mut Progress) -> TaskEnd {
        let has_started = !matches!(judge(&self.last, self.deciding), TaskState::NotStarted);
        if has_started && !stop_on_timeout {
            return TaskEnd::TimeLimit { has_started, stopped: None };
        }
        progress.waiting(&format!("stopping task {}", self.last.id()));
        let reason = "the time limit of ecs-rollout passed";
        let stop = async |deadline| {
            let call = self.client.aws.stop_task(&self.client.cluster, &self.arn, reason, deadline);
            let describe = |(): &()| format!("stopped task {}", self.arn);
            self.client.activity.attempt("StopTask", describe, call).await
        };
        let stopped = call(stop).await.map_err(|finding| finding.evidence.join("; "));
        TaskEnd::TimeLimit { has_started, stopped: Some(stopped) }
    }
}

enum PollError {
    Call(AwsError),
    Answer(String),
}
