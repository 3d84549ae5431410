//! A simulated ECS API for deployments: task definitions, services and their rollouts (Amazon ECS API Reference;
//! Developer Guide, "Amazon ECS deployment rolling update"), scalable targets and logs.
//!
//! In: the course of the next deployments, and faults. Out: answers, and the recorded calls. Time is counted in polls:
//! each DescribeServices moves a rollout one step forward, so tests do not depend on a clock.

pub mod account;
mod faults;
mod form_of_ecs;
mod revisions;
mod service_deployments;
mod services;
mod steps;
pub mod tasks;

use account::Account;
use form_of_ecs::Dice;
use tasks::OneOffs;

use super::http::{Answer, Reply, Request, Server, lock};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub const ACCOUNT: &str = "111122223333";
const PREFIX: &str = "arn:aws:ecs:eu-west-1:111122223333";

/// The course of a deployment after its start.
#[derive(Clone, Debug)]
pub enum Course {
    /// Completes at this poll.
    Completes(u32),
    /// Stays in progress, with this service event.
    Stuck(String),
    /// One task stops at each poll. At poll `at` the circuit breaker gives up, if there is one.
    Fails { at: u32, task: Stopped },
    /// At this poll another caller starts a deployment.
    Superseded(u32),
    /// At this poll the service is deleted.
    Deleted(u32),
    /// ECS has given up, and starts its rollback at this poll.
    RollsBack(u32),
    /// All tasks of both revisions run. Each poll shows the next stage of the service deployment, after the last one its
    /// state is `at_end`.
    Staged { stages: Vec<&'static str>, at_end: &'static str },
}

/// A task that stopped.
#[derive(Clone, Debug, Default)]
pub struct Stopped {
    pub code: String,
    pub reason: String,
    pub container_reason: String,
    pub exit_code: Option<i64>,
}

impl Stopped {
    /// A task whose container exited.
    pub fn exited(exit_code: i64) -> Self {
        Self {
            code: "EssentialContainerExited".into(),
            reason: "Essential container in task exited".into(),
            exit_code: Some(exit_code),
            ..Self::default()
        }
    }

    /// A task that did not start.
    pub fn not_started(container_reason: &str) -> Self {
        Self {
            code: "TaskFailedToStart".into(),
            reason: "Task failed to start".into(),
            container_reason: container_reason.into(),
            ..Self::default()
        }
    }

    /// A task that ECS stopped.
    pub fn by_ecs(reason: &str) -> Self {
        Self { code: "ServiceSchedulerInitiated".into(), reason: reason.into(), ..Self::default() }
    }
}

/// The state of the account. Tests can change it while the simulator runs.
#[derive(Default)]
pub struct World {
    /// By name. All services are in the cluster `prod`.
    pub services: BTreeMap<String, Service>,
    /// The revisions of each family, the oldest first.
    pub families: BTreeMap<String, Vec<Value>>,
    /// Running tasks that no service started.
    pub tasks: Vec<Value>,
    /// The courses of the next deployments. After the last one: `Completes(2)`.
    pub courses: VecDeque<Course>,
    /// The faults that answer the next calls of an operation. `None` lets one call succeed.
    pub faults: BTreeMap<&'static str, VecDeque<Option<Fault>>>,
    /// The operations that give no answer, with the number of calls that are answered first.
    pub hangs: BTreeMap<&'static str, u32>,
    /// The operations whose answers are late.
    pub delays: BTreeMap<&'static str, Duration>,
    /// The service deployments of all services, the oldest first.
    pub service_deployments: Vec<Value>,
    /// How many polls after a write still show the old service.
    pub stale_polls: u32,
    /// Whether Application Auto Scaling has a target for the service.
    pub is_scaled: bool,
    /// The lines of each log stream, by `GROUP:STREAM`.
    pub logs: BTreeMap<String, Vec<String>>,
    /// The tasks of RunTask.
    pub one_offs: OneOffs,
    /// The number of polls between a failed deployment and its rollback by ECS.
    pub rollback_after: u32,
    /// Lists the oldest revision first, whatever `sort` is, as moto does.
    pub ignores_sort: bool,
    /// The state of a service deployment that was stopped, after its rollback. Empty: `ROLLBACK_SUCCESSFUL`.
    pub stopped_ends: &'static str,
    /// The number of polls until a deleted service is INACTIVE.
    pub drains_for: u32,
    /// How long each answer takes.
    pub answers_after: Duration,
    /// When the first request arrived.
    pub first_request: Option<Instant>,
    /// What exists beside the services.
    pub account: Account,
    tick: f64,
    ids: u64,
    before: Option<(String, Option<Value>, u32)>,
}

#[derive(Clone, Debug, Default)]
pub struct Service {
    /// The JSON of DescribeServices.
    pub shown: Value,
    pub tasks: Vec<Value>,
    /// The members that DescribeServices shows only in the deployments.
    of_deployment: Map<String, Value>,
    /// What the service gets back when it loses its capacity provider strategy.
    launch_type: Value,
    course: Option<Course>,
    polls: u32,
    draining: u32,
}

pub struct Ecs {
    server: Server,
    host_clients: Arc<Mutex<World>>,
}

impl Ecs {
    /// Starts the simulator with the empty cluster `prod`.
    pub fn start() -> Self {
        let host_clients = Arc::new(Mutex::new(World { tick: 1_790_000_000.0, drains_for: 3, ..World::default() }));
        let inner = Arc::clone(&host_clients);
        Self { server: Server::tcp(move |request| lock(&inner).answer(request)), host_clients }
    }

    pub fn endpoint(&self) -> String {
        self.server.endpoint()
    }

    pub fn change(&self, change: impl FnOnce(&mut World)) {
        change(&mut lock(&self.host_clients));
    }

    pub fn read<T>(&self, read: impl FnOnce(&World) -> T) -> T {
        read(&lock(&self.host_clients))
    }

    /// The operations that were called, the oldest first.
    pub fn calls(&self) -> Vec<String> {
        self.server.requests().iter().map(|request| operation(request).to_owned()).collect()
    }

    /// The request bodies of one operation, the oldest first.
    pub fn bodies(&self, of: &str) -> Vec<Value> {
        let requests = self.server.requests();
        let wanted = requests.iter().filter(|request| operation(request) == of);
        wanted.map(|request| serde_json::from_slice(&request.body).unwrap()).collect()
    }

    pub fn forget_calls(&self) {
        self.server.forget_requests();
    }
}

fn operation(request: &Request) -> &str {
    match request.header("x-amz-target") {
        Some(target) => target.rsplit('.').next().unwrap_or_default(),
        None => account::query_operation(request),
    }
}

/// Status, code and message of an API error.
pub type Fault = (u16, String, String);
type Outcome = Result<Value, Fault>;

/// An API error with status 400, as most of them.
pub fn error(code: &str, message: &str) -> Fault {
    (400, code.into(), message.into())
}

fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

impl World {
    fn answer(&mut self, request: &Request) -> Answer {
        let operation = operation(request).to_owned();
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        self.tick += 1.0;
        self.first_request.get_or_insert_with(Instant::now);
        if self.hangs_now(&operation) {
            return Answer::Silent;
        }
        let delay = self.delays.get(operation.as_str()).copied();
        let signed = request.header("authorization").is_some_and(|text| text.contains("/aws4_request"));
        if self.account.hanging.contains(operation.as_str()) {
            return Answer::Silent;
        }
        let outcome = match self.faults.get_mut(operation.as_str()).and_then(VecDeque::pop_front).flatten() {
            Some(fault) => Err(fault),
            None if !signed => Err((403, "MissingAuthenticationTokenException".into(), "Missing token".into())),
            None => match self.account.answer(&operation, request, &body) {
                Some(outcome) => outcome,
                None => self.carry_out(&operation, &body),
            },
        };
        let answer = match outcome {
            Ok(Value::String(xml)) => Reply::new(200, "text/xml", xml).into(),
            Ok(answer) => reply(200, &answer),
            Err(fault) if request.header("x-amz-target").is_none() => {
                Reply::new(fault.0, "text/xml", account::query_error(&fault)).into()
            }
            Err((status, code, message)) => reply(status, &json!({"__type": code, "message": message})),
        };
        Answer::After(delay.unwrap_or(self.answers_after), Box::new(answer))
    }

    fn carry_out(&mut self, operation: &str, body: &Value) -> Outcome {
        const PLACED: [&str; 8] = [
            "DescribeServices",
            "CreateService",
            "UpdateService",
            "DeleteService",
            "ListTasks",
            "DescribeTasks",
            "RunTask",
            "StopTask",
        ];
        if PLACED.contains(&operation) && body["cluster"].as_str().map(short) != Some("prod") {
            return Err(error("ClusterNotFoundException", "Cluster not found."));
        }
        match operation {
            "RegisterTaskDefinition" => self.register(body),
            "DescribeTaskDefinition" => self.describe_revision(body),
            "ListTaskDefinitions" => Ok(self.list_revisions(body)),
            "DeregisterTaskDefinition" => self.deregister(body),
            "DescribeServices" => Ok(self.describe_services(body)),
            "ListServices" => Ok(self.list_services()),
            "CreateService" => self.create(body),
            "UpdateService" => self.update(body),
            "DeleteService" => {
                let name = short(body["service"].as_str().unwrap_or_default()).to_owned();
                self.delete(&name);
                Ok(json!({"service": self.services[&name].shown}))
            }
            "TagResource" => self.tag(body),
            "ListServiceDeployments" => Ok(self.list_service_deployments(body)),
            "DescribeServiceDeployments" => Ok(self.describe_service_deployments(body)),
            "StopServiceDeployment" => self.stop_service_deployment(body),
            "DescribeServiceRevisions" => Ok(self.describe_service_revisions(body)),
            "ListTasks" => Ok(self.list_tasks(body)),
            "DescribeTasks" => Ok(self.describe_tasks(body)),
            "RunTask" => self.run_task(body),
            "StopTask" => self.stop_task(body),
            "DescribeScalableTargets" => {
                let target = json!({"ResourceId": body["ResourceIds"][0], "ServiceNamespace": "ecs", "RoleARN": "x",
                    "ScalableDimension": "ecs:service:DesiredCount", "MinCapacity": 1, "MaxCapacity": 9,
                    "CreationTime": 1.0});
                Ok(json!({"ScalableTargets": if self.is_scaled { vec![target] } else { vec![] }}))
            }
            "GetLogEvents" => self.log_events(body),
            other => Err(error("UnknownOperationException", other)),
        }
    }

    /// Creates the service `web` with two tasks of this image and more members of CreateService.
    pub fn runs(&mut self, image: &str, more: &Value) {
        let container = json!({"name": "web", "image": image, "memory": 128});
        self.register(&json!({"family": "web", "containerDefinitions": [container]})).expect("a revision");
        let mut body = json!({"cluster": "prod", "serviceName": "web", "desiredCount": 2, "taskDefinition": "web"});
        let more = more.as_object().cloned().unwrap_or_default();
        more.into_iter().for_each(|(member, value)| body[member] = value);
        self.courses.push_front(Course::Completes(1));
        self.create(&body).expect("a service");
        self.poll("web");
    }

    fn register(&mut self, body: &Value) -> Outcome {
        let family = body["family"].as_str().unwrap_or_default().to_owned();
        if body["tags"].as_array().is_some_and(Vec::is_empty) {
            return Err(error("InvalidParameterException", "Tags can not be empty."));
        }
        let containers = body["containerDefinitions"].as_array().cloned().unwrap_or_default();
        if containers.iter().any(|one| one["memory"].is_null() && one["memoryReservation"].is_null()) {
            let text =
                "Invalid setting for container. At least one of 'memory' or 'memoryReservation' must be specified.";
            return Err(error("ClientException", text));
        }
        let number = self.families.get(&family).map_or(1, |revisions| revisions.len() + 1);
        let tags = body.get("tags").cloned().unwrap_or(json!([]));
        let mut revision = form_of_ecs::task_definition(body, &mut Dice::new(number as u64));
        revision["taskDefinitionArn"] = json!(format!("{PREFIX}:task-definition/{family}:{number}"));
        for (member, value) in [
            ("revision", json!(number)),
            ("status", json!("ACTIVE")),
            ("requiresAttributes", json!([{"name": "com.amazonaws.ecs.capability.docker-remote-api.1.18"}])),
            ("compatibilities", json!(["EXTERNAL", "EC2"])),
            ("registeredAt", json!(self.tick)),
            ("registeredBy", json!("arn:aws:iam::111122223333:user/ci")),
            ("tags", tags),
        ] {
            revision[member] = value;
        }
        self.families.entry(family).or_default().push(revision.clone());
        Ok(split_tags(revision, true))
    }

    fn revision(&self, name: &str) -> Option<&Value> {
        let name = short(name);
        match name.split_once(':') {
            Some((family, number)) => self.families.get(family)?.get(number.parse::<usize>().ok()?.checked_sub(1)?),
            None => self.families.get(name)?.iter().rev().find(|revision| revision["status"] == "ACTIVE"),
        }
    }

    fn describe_revision(&self, body: &Value) -> Outcome {
        let with_tags = body["include"].as_array().is_some_and(|include| include.contains(&json!("TAGS")));
        let found = self.revision(body["taskDefinition"].as_str().unwrap_or_default()).cloned();
        let found = found.ok_or_else(|| error("ClientException", "Unable to describe task definition."))?;
        Ok(split_tags(found, with_tags))
    }

    fn tag(&mut self, body: &Value) -> Outcome {
        let arn = body["resourceArn"].as_str().unwrap_or_default().to_owned();
        let revisions = self.families.values_mut().flatten().find(|one| one["taskDefinitionArn"] == arn);
        let services =
            self.services.values_mut().map(|service| &mut service.shown).find(|one| one["serviceArn"] == arn);
        let resource = revisions.or(services).ok_or_else(|| error("InvalidParameterException", "no such resource"))?;
        let mut tags = resource["tags"].as_array().cloned().unwrap_or_default();
        for tag in body["tags"].as_array().into_iter().flatten() {
            tags.retain(|old| old["key"] != tag["key"]);
            tags.push(tag.clone());
        }
        resource["tags"] = json!(tags);
        Ok(json!({}))
    }
}

fn split_tags(mut revision: Value, with_tags: bool) -> Value {
    let tags = revision.as_object_mut().and_then(|members| members.remove("tags"));
    if with_tags {
        json!({"taskDefinition": revision, "tags": tags.unwrap_or(json!([]))})
    } else {
        json!({"taskDefinition": revision})
    }
}

fn reply(status: u16, body: &Value) -> Answer {
    Reply::new(status, "application/x-amz-json-1.1", body.to_string()).with("x-amzn-RequestId", "simulated").into()
}
