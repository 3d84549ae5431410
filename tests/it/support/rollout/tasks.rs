//! Single tasks of the simulated ECS API: RunTask, StopTask, DescribeTasks, ListTasks, and the pages of GetLogEvents.
//!
//! In: the courses of the next tasks. Out: answers. A task moves one step forward at each DescribeTasks.

use super::{Fault, Outcome, PREFIX, World, error, short};
use serde_json::{Value, json};
use std::collections::VecDeque;

/// What becomes of a task after RunTask.
#[derive(Clone, Debug)]
pub enum TaskCourse {
    /// RunTask starts no task, for this reason.
    NotPlaced(&'static str),
    /// The members that DescribeTasks shows at each poll; the last ones stay. Null: the task is missing.
    Shows(Vec<Value>),
}

impl TaskCourse {
    /// Starts, runs for a poll, and ends with these exit codes.
    pub fn exits(codes: &[(&str, i64)]) -> Self {
        let containers: Vec<_> = codes
            .iter()
            .map(|(name, code)| json!({"name": name, "lastStatus": "STOPPED", "exitCode": code, "runtimeId": "0f"}))
            .collect();
        Self::ends("EssentialContainerExited", "Essential container in task exited", json!(containers))
    }

    /// Starts, runs for a poll, and is STOPPED with this code, this reason and these containers.
    pub fn ends(code: &str, reason: &str, containers: Value) -> Self {
        let end = json!({"lastStatus": "STOPPED", "desiredStatus": "STOPPED", "stopCode": code,
            "stoppedReason": reason, "containers": containers});
        Self::Shows(vec![
            json!({"lastStatus": "PENDING"}),
            json!({"lastStatus": "RUNNING", "containers": [{"name": "web", "lastStatus": "RUNNING"}]}),
            end,
        ])
    }

    /// Stays in this status.
    pub fn stays(status: &str) -> Self {
        Self::Shows(vec![json!({"lastStatus": status})])
    }

    /// This course after some polls that do not show the task.
    pub fn after_missing(self, polls: usize) -> Self {
        let Self::Shows(shows) = self else { return self };
        Self::Shows(std::iter::repeat_n(Value::Null, polls).chain(shows).collect())
    }
}

/// The tasks of RunTask, and how the next ones go.
#[derive(Debug, Default)]
pub struct OneOffs {
    /// The courses of the next tasks. After the last one: all containers exit with 0.
    pub courses: VecDeque<TaskCourse>,
    /// How many answers of RunTask are lost after the task was started.
    pub lost_answers: u32,
    /// The lines that each task logs.
    pub log: Vec<String>,
    /// How many more lines it logs at each poll.
    pub lines_per_poll: usize,
    /// The tasks that were started.
    pub started: Vec<OneOff>,
}

/// A task that RunTask started.
#[derive(Clone, Debug)]
pub struct OneOff {
    pub request: Value,
    /// The JSON of DescribeTasks.
    pub shown: Value,
    /// The places of the logs of its containers.
    logs: Vec<String>,
    next: VecDeque<Value>,
}

impl World {
    pub(super) fn run_task(&mut self, body: &Value) -> Outcome {
        let known = self.one_offs.started.iter().find(|one| one.request["clientToken"] == body["clientToken"]);
        let answer = match known.cloned() {
            Some(known) if known.request != *body => {
                return Err(error("ConflictException", "The clientToken is in use with a different RunTask request."));
            }
            Some(known) => json!({"tasks": [known.shown], "failures": []}),
            None => self.start_task(body)?,
        };
        if self.one_offs.lost_answers > 0 {
            self.one_offs.lost_answers -= 1;
            return Err((500, "ServerException".into(), "Service Unavailable. Please try again later.".into()));
        }
        Ok(answer)
    }

    fn start_task(&mut self, body: &Value) -> Outcome {
        let revision = self.taken(&body["taskDefinition"])?;
        let definition = self.revision(&revision).expect("a revision").clone();
        check(body, &definition)?;
        self.ids += 1;
        let id = format!("{:032x}", self.ids);
        let names: Vec<&str> = definition["containerDefinitions"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| one["name"].as_str())
            .collect();
        let ends = || TaskCourse::exits(&names.iter().map(|name| (*name, 0)).collect::<Vec<_>>());
        let shows = match self.one_offs.courses.pop_front().unwrap_or_else(ends) {
            TaskCourse::NotPlaced(reason) => {
                let instance = format!("{PREFIX}:container-instance/prod/0123");
                return Ok(json!({"tasks": [], "failures": [{"arn": instance, "reason": reason}]}));
            }
            TaskCourse::Shows(shows) => shows,
        };
        let containers: Vec<_> = names.iter().map(|name| json!({"name": name, "lastStatus": "PENDING"})).collect();
        let shown = json!({
            "taskArn": format!("{PREFIX}:task/prod/{id}"), "taskDefinitionArn": revision,
            "clusterArn": format!("{PREFIX}:cluster/prod"), "lastStatus": "PROVISIONING", "desiredStatus": "RUNNING",
            "startedBy": body["startedBy"], "overrides": body["overrides"], "containers": containers,
            "createdAt": self.tick,
        });
        let logs: Vec<String> = names.iter().map(|name| format!("/ecs/web:ecs/{name}/{id}")).collect();
        for place in logs.iter().filter(|_| !self.one_offs.log.is_empty()) {
            self.logs.insert(place.clone(), self.one_offs.log.clone());
        }
        let task = OneOff { request: body.clone(), shown: shown.clone(), logs, next: shows.into() };
        self.one_offs.started.push(task);
        Ok(json!({"tasks": [shown], "failures": []}))
    }

    pub(super) fn stop_task(&mut self, body: &Value) -> Outcome {
        let named = short(body["task"].as_str().unwrap_or_default()).to_owned();
        let mut tasks = self.one_offs.started.iter_mut();
        let task = tasks.find(|one| one.shown["taskArn"].as_str().map(short) == Some(&named));
        let task = task.ok_or_else(|| error("InvalidParameterException", "The referenced task was not found."))?;
        task.shown["desiredStatus"] = json!("STOPPED");
        Ok(json!({"task": task.shown}))
    }

    pub(super) fn describe_tasks(&mut self, body: &Value) -> Value {
        let wanted: Vec<String> = body["tasks"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| one.as_str().map(|arn| short(arn).to_owned()))
            .collect();
        let is_wanted = |task: &Value| wanted.iter().any(|id| task["taskArn"].as_str().map(short) == Some(id));
        let mut found: Vec<Value> = self
            .services
            .values()
            .flat_map(|service| &service.tasks)
            .chain(&self.tasks)
            .filter(|task| is_wanted(task))
            .cloned()
            .collect();
        let mut failures = Vec::new();
        for one in self.one_offs.started.iter_mut().filter(|one| is_wanted(&one.shown)) {
            for place in &one.logs {
                let lines = self.logs.entry(place.clone()).or_default();
                let from = lines.len();
                lines.extend((0..self.one_offs.lines_per_poll).map(|line| format!("line {}", from + line)));
            }
            let shows = if one.next.len() > 1 { one.next.pop_front() } else { one.next.front().cloned() };
            match shows.unwrap_or(Value::Null) {
                Value::Object(members) => {
                    members.into_iter().for_each(|(member, value)| one.shown[member] = value);
                    found.push(one.shown.clone());
                }
                _ => failures.push(json!({"arn": one.shown["taskArn"], "reason": "MISSING"})),
            }
        }
        json!({"tasks": found, "failures": failures})
    }

    /// Tasks without a `desiredStatus` are those that failed, so they are STOPPED.
    /// The answer of ListTasks: the tasks of a service with the wanted status, or the running ones of a family.
    pub(super) fn list_tasks(&self, body: &Value) -> Value {
        if let Some(family) = body["family"].as_str() {
            let revision = |task: &Value| task["taskDefinitionArn"].as_str().map(short).unwrap_or_default().to_owned();
            let tasks = self.tasks.iter().filter(|task| revision(task).split(':').next() == Some(family));
            return json!({"taskArns": tasks.map(|task| &task["taskArn"]).collect::<Vec<_>>()});
        }
        let service = self.services.get(short(body["serviceName"].as_str().unwrap_or_default()));
        let tasks = service.map(|service| service.tasks.clone()).unwrap_or_default();
        let wanted = body["desiredStatus"].as_str().unwrap_or("RUNNING");
        let tasks = tasks.iter().filter(|task| task["desiredStatus"].as_str().unwrap_or("STOPPED") == wanted);
        json!({"taskArns": tasks.map(|task| &task["taskArn"]).collect::<Vec<_>>()})
    }

    /// A position is the number of lines before it.
    pub(super) fn log_events(&self, body: &Value) -> Outcome {
        let text = |name: &str| body[name].as_str().unwrap_or_default();
        let place = format!("{}:{}", text("logGroupName"), text("logStreamName"));
        let Some(lines) = self.logs.get(&place) else {
            return Err(error("ResourceNotFoundException", "The specified log stream does not exist."));
        };
        let limit = body["limit"].as_u64().unwrap_or(10_000) as usize;
        let from = match body["nextToken"].as_str() {
            // A position of another direction is an error (CloudWatch Logs API Reference, "GetLogEvents").
            Some(_) if body["startFromHead"] != true => {
                return Err(error("InvalidParameterException", "startFromHead must be true with a nextForwardToken."));
            }
            Some(token) => token.trim_start_matches("f/").parse().unwrap_or(0),
            None if body["startFromHead"] == true => 0,
            None => lines.len().saturating_sub(limit),
        };
        let page = lines.iter().enumerate().skip(from).take(limit);
        let events: Vec<_> = page.map(|(at, line)| json!({"timestamp": 1_000 + at, "message": line})).collect();
        let next = from + events.len();
        Ok(json!({"events": events, "nextForwardToken": format!("f/{next}"), "nextBackwardToken": format!("b/{from}")}))
    }
}

/// What RunTask rejects (ECS API Reference, "RunTask").
fn check(body: &Value, definition: &Value) -> Result<(), Fault> {
    let invalid = |text: &str| Err(error("InvalidParameterException", text));
    let is_awsvpc = definition["networkMode"] == "awsvpc";
    let containers = definition["containerDefinitions"].as_array().cloned().unwrap_or_default();
    for one in body["overrides"]["containerOverrides"].as_array().into_iter().flatten() {
        if !containers.iter().any(|container| container["name"] == one["name"]) {
            return invalid("Override for container named x is not a container in the TaskDefinition.");
        }
    }
    match body["networkConfiguration"].is_null() {
        true if is_awsvpc => {
            return invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified.");
        }
        false if !is_awsvpc => {
            return invalid("Network Configuration is not valid for the given networkMode of this task definition.");
        }
        _ => {}
    }
    if !body["launchType"].is_null() && !body["capacityProviderStrategy"].is_null() {
        return invalid("Specifying both a launch type and capacity provider strategy is not supported.");
    }
    if body["propagateTags"] == "SERVICE" {
        return invalid("Invalid value for propagateTags.");
    }
    if body["clientToken"].as_str().is_none_or(|token| token.is_empty() || token.len() > 64) {
        return invalid("clientToken");
    }
    Ok(())
}
