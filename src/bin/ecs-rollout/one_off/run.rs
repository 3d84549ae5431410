//! Starts a one-off task and follows it to its end.
//!
//! In: what to run, and the settings of the service. Out: a [`TaskResult`]. RunTask is repeated only with the same
//! token, so that a lost answer never starts a second task.

use std::time::Duration;

use ecs_bootstrap::boundary::aws::{AwsError, AwsErrorKind};
use ecs_bootstrap::exit::Exit;
use ecs_bootstrap::retry::{Deadline, within};
use serde::Deserialize;
use serde_json::Value;

use crate::activity::Phase;
use crate::apply::client_token;
use crate::cause::FoundCause;
use crate::causes;
use crate::client::{ServiceClient, call_with_retries, is_transient};
use crate::evidence::{Evidence, Message};
use crate::one_off::log::FollowedLog;
use crate::one_off::overrides::{Overrides, ResolvedOverrides};
use crate::one_off::request::{self, ServiceSettings, TaskIdentity};
use crate::one_off::result::{TaskResult, conclude};
use crate::one_off::watch::{TaskEnd, TaskWatch};
use crate::progress::Progress;
use crate::revision::Revision;
use crate::service::{Task, short};

/// A one-off task, as the command line asks for it.
#[derive(Clone, Debug)]
pub(crate) struct OneOffTask {
    pub(crate) overrides: Overrides,
    pub(crate) limit: TaskLimit,
}

/// The time limit of a one-off task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TaskLimit {
    /// The time from the request of the task.
    pub(crate) timeout: Duration,
    /// Whether a task that has started is stopped at the limit.
    pub(crate) stop: bool,
}

impl ServiceClient {
    /// Runs a task of the revision, and waits for it.
    pub(crate) async fn run_one_off(
        &self,
        revision: &Revision,
        overrides: &ResolvedOverrides,
        settings: &ServiceSettings,
        limit: TaskLimit,
        progress: &mut Progress,
    ) -> TaskResult {
        let identity = TaskIdentity::of(client_token());
        let body = match request::body(&self.cluster, revision, overrides, settings, &identity) {
            Ok(body) => body,
            Err(finding) => return TaskResult::not_started(vec![finding.clone()], finding.cause.exit),
        };
        progress.waiting(&format!("starting a task of {}: {}", short(&revision.arn), overrides.summary));
        let deadline = Deadline::after(limit.timeout);
        let run = async |deadline| {
            self.activity
                .attempt("RunTask", |answer| self.record_start(answer), self.aws.run_task(&body, deadline))
                .await
        };
        self.activity.enter(Phase::TaskRequested(self.command_that_shows(&identity)));
        let task = match within(deadline, call_with_retries(run)).await {
            Ok(Ok(answer)) => match started(&answer) {
                Ok(task) => task,
                Err(causes) => {
                    let exit = exit_of(&causes);
                    return self.without_task(TaskResult::not_started(causes, exit));
                }
            },
            Ok(Err(error)) if !is_transient(&error) => return self.without_task(refused(&error)),
            Ok(Err(error)) => return self.no_answer(refused(&error), &identity),
            Err(_) => {
                let causes = vec![causes::TASK_TOO_SLOW.finding("RunTask did not answer within the time limit")];
                return self.no_answer(TaskResult::not_started(causes, Exit::TimeLimit), &identity);
            }
        };
        progress.event(&format!("started task {} of {}", task.task_arn, short(&revision.arn)));
        let mut watch = TaskWatch {
            client: self,
            revision,
            arn: task.task_arn.clone(),
            deciding: &overrides.deciding,
            logs: overrides.deciding.iter().map(|name| FollowedLog::new(name)).collect(),
            last: task,
        };
        progress.limit(limit.timeout);
        let end = watch.run(deadline, limit.stop, progress).await;
        progress.no_limit();
        if matches!(end, TaskEnd::Succeeded | TaskEnd::Failed) {
            self.activity.enter(Phase::Before);
        }
        conclude(&end, &watch.last, &overrides.deciding, &watch.logs)
    }

    /// Records that a task was started, for the report after a signal. Returns what was changed.
    fn record_start(&self, answer: &Value) -> Option<String> {
        let arn = answer["tasks"][0]["taskArn"].as_str()?;
        self.activity.enter(Phase::OneOffTask(arn.to_owned()));
        Some(format!("started task {arn}"))
    }

    /// The result if no task was started.
    fn without_task(&self, result: TaskResult) -> TaskResult {
        self.activity.enter(Phase::Before);
        result
    }

    /// The result if it is not known whether the task was started, because the answer was lost.
    fn no_answer(&self, result: TaskResult, identity: &TaskIdentity) -> TaskResult {
        let command = self.command_that_shows(identity);
        TaskResult { aftermath: Some(format!("a task may have been started; `{command}` shows it")), ..result }
    }

    fn command_that_shows(&self, identity: &TaskIdentity) -> String {
        format!("aws ecs list-tasks --cluster {} --started-by {}", short(&self.cluster), identity.started_by)
    }
}

/// The exit code of a task that was not started. A reason why ECS cannot place it is a failure of the task.
fn exit_of(causes: &[FoundCause]) -> Exit {
    match causes.first() {
        Some(first) if first.cause.exit == Exit::CallFailed => Exit::CallFailed,
        _ => Exit::TaskFailed,
    }
}

/// The task in the answer of RunTask, or why there is none.
fn started(answer: &Value) -> Result<Task, Vec<FoundCause>> {
    if let Some(task) = answer["tasks"].get(0) {
        let task = Task::deserialize(task).map_err(|error| error.to_string());
        let task = task.and_then(|task| if task.task_arn.is_empty() { Err("no ARN".to_owned()) } else { Ok(task) });
        let unusable = |error| causes::API_FAILED.finding(format!("the answer of RunTask cannot be parsed: {error}"));
        return task.map_err(|error| vec![unusable(error)]);
    }
    let failures = answer["failures"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let messages = failures.iter().map(|failure| {
        // In the form of the service event about the same reason.
        let mut message = format!("unable to place a task: error \"{}\"", text(&failure["reason"]));
        if !text(&failure["detail"]).is_empty() {
            message += &format!(": {}", text(&failure["detail"]));
        }
        let from = match text(&failure["arn"]) {
            arn if arn.is_empty() => "RunTask".to_owned(),
            arn => format!("RunTask, {}", short(&arn)),
        };
        Message { from, text: message }
    });
    let evidence = Evidence { messages: messages.collect(), ..Evidence::default() };
    if evidence.messages.is_empty() {
        let text = "the answer of RunTask has neither a task nor a failure";
        return Err(vec![causes::API_FAILED.finding(text)]);
    }
    Err(causes::diagnose(&evidence))
}

/// The result of a RunTask that ECS rejected. Some reasons for which a service cannot place a task are an error here.
fn refused(error: &AwsError) -> TaskResult {
    if let AwsErrorKind::Service { message, .. } = &error.kind {
        let message = Message { from: "RunTask".to_owned(), text: message.to_string() };
        let found = causes::diagnose(&Evidence { messages: vec![message], ..Evidence::default() });
        if found.iter().any(|finding| finding.cause.id != causes::ROLLOUT_UNKNOWN.id) {
            return TaskResult::not_started(found, Exit::TaskFailed);
        }
    }
    let finding = causes::from_error(error);
    TaskResult::not_started(vec![finding.clone()], finding.cause.exit)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_failure_of_run_task_has_its_cause() {
        for (reason, id) in [
            ("RESOURCE:MEMORY", "insufficient-memory"),
            ("RESOURCE:CPU", "insufficient-cpu"),
            ("RESOURCE:PORTS", "port-in-use"),
            ("RESOURCE:ENI", "no-network-interface"),
            ("RESOURCE:GPU", "not-placed"),
            ("AGENT", "agent-disconnected"),
            ("ATTRIBUTE", "attribute-missing"),
            ("MemberOf placement constraint unsatisfied.", "placement-constraint"),
            ("EMPTY CAPACITY PROVIDER", "no-instances"),
            ("Capacity is unavailable at this time. Please try again later.", "capacity-unavailable"),
            ("something new", "not-placed"),
        ] {
            let instance = "arn:aws:ecs:x:1:container-instance/prod/0123";
            let answer = json!({"tasks": [], "failures": [{"arn": instance, "reason": reason, "detail": "more"}]});
            let causes = started(&answer).unwrap_err();
            assert_eq!(causes[0].cause.id, id, "{causes:?}");
            assert!(causes[0].evidence[0].starts_with("RunTask, 0123: "), "{causes:?}");
            assert!(causes[0].evidence[0].contains(reason), "{causes:?}");
        }
        for answer in [json!({"tasks": [], "failures": []}), json!({"tasks": [{"lastStatus": "PENDING"}]}), json!({})] {
            let causes = started(&answer).unwrap_err();
            assert_eq!((causes[0].cause.id, exit_of(&causes)), ("api-failed", Exit::CallFailed), "{answer}");
        }
    }
}
