//! The calls of `ecs-rollout` for single tasks and their logs.
//!
//! In: names, and for RunTask the JSON of the API. Out: the JSON of the API (Amazon ECS API Reference), and log lines.
//! A log is read in pages of at most 1 MB (Amazon CloudWatch Logs API Reference, "GetLogEvents"); no call reads a whole
//! log.

use aws_sdk_ecs::types::DesiredStatus;
use serde_json::Value;

use super::raw_json::RawJson;
use super::{Aws, AwsError};
use crate::retry::Deadline;

/// The most tasks for DescribeTasks, and the longest page of ListTasks (ECS API Reference).
const TASKS: i32 = 100;
/// The most pages of tasks that are read. If hundreds of tasks fail the first ones show why.
const MAX_PAGES: usize = 5;

/// A log stream of CloudWatch Logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPlace {
    /// The log group.
    pub group: String,
    /// The stream in the group.
    pub stream: String,
    /// The region, if it is not that of the service.
    pub region: Option<String>,
}

/// A line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// The time of the line, in milliseconds since 1970.
    pub at_ms: i64,
    /// The text, as it was logged.
    pub text: String,
}

/// Lines of a log, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPage {
    /// The lines.
    pub lines: Vec<LogLine>,
    /// The position after the last line.
    pub next: Option<String>,
}

impl Aws {
    /// Starts a task, and returns the members `tasks` and `failures`: `ecs:RunTask`. A repeated call with the same
    /// `clientToken` and body starts no second task (ECS API Reference, "Ensuring idempotency").
    pub async fn run_task(&self, body: &Value, deadline: Deadline) -> Result<Value, AwsError> {
        let raw_json = RawJson::sending(body);
        let outcome = self.call("ecs:RunTask", deadline, async |clients| {
            clients.ecs().run_task().customize().interceptor(raw_json.clone()).send().await
        });
        raw_json.answer_of(outcome.await)
    }

    /// Tasks by ARN or id, at most 100: `ecs:DescribeTasks`. A task that ECS does not know is missing in the answer;
    /// a task that was just started may be missing too.
    pub async fn describe_tasks(
        &self,
        cluster: &str,
        tasks: &[String],
        deadline: Deadline,
    ) -> Result<Vec<Value>, AwsError> {
        let raw_json = RawJson::default();
        let outcome = self.call("ecs:DescribeTasks", deadline, async |clients| {
            let request = clients.ecs().describe_tasks().cluster(cluster).set_tasks(Some(tasks.to_vec()));
            request.customize().interceptor(raw_json.clone()).send().await
        });
        match raw_json.answer_of(outcome.await)?["tasks"].take() {
            Value::Array(tasks) => Ok(tasks),
            _ => Ok(Vec::new()),
        }
    }

    /// Tasks of a service whose desired status is this one, unsorted, at most a few hundred: `ecs:ListTasks`,
    /// `ecs:DescribeTasks`. ECS keeps stopped tasks for about an hour.
    pub async fn tasks_of_service(
        &self,
        cluster: &str,
        service: &str,
        status: DesiredStatus,
        deadline: Deadline,
    ) -> Result<Vec<Value>, AwsError> {
        let (mut tasks, mut next) = (Vec::new(), None);
        for _ in 0..MAX_PAGES {
            let listed = self
                .call("ecs:ListTasks", deadline, async |clients| {
                    let request = clients.ecs().list_tasks().cluster(cluster).service_name(service).max_results(TASKS);
                    request.desired_status(status.clone()).set_next_token(next.clone()).send().await
                })
                .await?;
            let arns = listed.task_arns.unwrap_or_default();
            if !arns.is_empty() {
                tasks.extend(self.describe_tasks(cluster, &arns, deadline).await?);
            }
            next = listed.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                break;
            }
        }
        Ok(tasks)
    }

    /// Stops a task: `ecs:StopTask`. Its containers get their stop signal, and later SIGKILL.
    pub async fn stop_task(&self, cluster: &str, task: &str, reason: &str, deadline: Deadline) -> Result<(), AwsError> {
        self.call("ecs:StopTask", deadline, async |clients| {
            clients.ecs().stop_task().cluster(cluster).task(task).reason(reason).send().await
        })
        .await?;
        Ok(())
    }

    /// At most `most` lines of a log: those after the position `after`, or else the last ones: `logs:GetLogEvents`.
    pub async fn log_events(
        &self,
        place: &LogPlace,
        after: Option<&str>,
        most: i32,
        deadline: Deadline,
    ) -> Result<LogPage, AwsError> {
        let answer = self
            .call("logs:GetLogEvents", deadline, async |clients| {
                let mut config = aws_sdk_cloudwatchlogs::config::Builder::from(&clients.config);
                let region = place.region.clone().map(aws_config::Region::new);
                config.set_region(region.or(clients.config.region().cloned()));
                let request = aws_sdk_cloudwatchlogs::Client::from_conf(config.build()).get_log_events();
                let request = request.log_group_name(&place.group).log_stream_name(&place.stream).limit(most);
                // A position is only valid together with `startFromHead` (CloudWatch Logs API Reference, "GetLogEvents").
                request.set_next_token(after.map(str::to_owned)).start_from_head(after.is_some()).send().await
            })
            .await?;
        let events = answer.events.unwrap_or_default().into_iter();
        let lines = events.filter_map(|event| Some((event.timestamp.unwrap_or_default(), event.message?)));
        let lines = lines.map(|(at_ms, text)| LogLine { at_ms, text }).collect();
        Ok(LogPage { lines, next: answer.next_forward_token })
    }
}
