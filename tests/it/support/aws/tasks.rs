//! Simulates services, their scheduler and their tasks (Amazon ECS Developer Guide, "Service scheduler strategies").
//!
//! The scheduler places one task of each service on each container instance that is ACTIVE, whose agent is connected, and
//! that matches the placement constraint. It places none, also no daemon, on an instance that is DRAINING.

use super::{ApiError, ContainerInstance, State, page_of, short, texts};
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime};

/// A service of the only cluster with services.
#[derive(Clone, Debug)]
pub struct Service {
    pub name: String,
    pub is_daemon: bool,
    pub status: &'static str,
    pub constraint: Option<String>,
    /// How long its task is PENDING; `None`: without end.
    pub starts_after: Option<Duration>,
    /// With a health check: how long its task is not healthy after that; `None`: without end.
    pub healthy_after: Option<Option<Duration>>,
    /// The attributes that its task definition requires.
    pub requires: Vec<&'static str>,
    /// The image of its container.
    pub image: &'static str,
}

impl Service {
    /// A daemon service whose task starts at once, without a health check.
    pub fn daemon(name: &str) -> Service {
        let (starts_after, healthy_after) = (Some(Duration::ZERO), None);
        let (constraint, requires) = (None, Vec::new());
        Service {
            name: name.into(),
            is_daemon: true,
            status: "ACTIVE",
            constraint,
            starts_after,
            healthy_after,
            requires,
            image: "nginx",
        }
    }

    /// A service with one ordinary task, and this placement constraint.
    pub fn replica(name: &str, constraint: Option<&str>) -> Service {
        Service { is_daemon: false, constraint: constraint.map(str::to_owned), ..Service::daemon(name) }
    }

    fn definition(&self) -> String {
        format!("arn:aws:ecs:eu-west-1:111122223333:task-definition/{}:1", self.name)
    }

    fn described(&self) -> Value {
        let constraints: Vec<_> =
            self.constraint.iter().map(|text| json!({"type": "memberOf", "expression": text})).collect();
        let strategy = if self.is_daemon { "DAEMON" } else { "REPLICA" };
        json!({"serviceName": self.name, "serviceArn": self.arn(), "status": self.status, "launchType": "EC2",
            "schedulingStrategy": strategy, "taskDefinition": self.definition(), "placementConstraints": constraints})
    }

    fn arn(&self) -> String {
        format!("arn:aws:ecs:eu-west-1:111122223333:service/prod/{}", self.name)
    }
}

/// A task on a container instance.
#[derive(Clone, Debug)]
pub struct PlacedTask {
    pub arn: String,
    pub service: Service,
    pub instance: String,
    pub placed: Instant,
    /// When ECS learns that it has stopped, for example after a reboot of the instance.
    pub stopped: Option<Instant>,
}

impl PlacedTask {
    pub fn status(&self) -> &'static str {
        if self.stopped.is_some_and(|stopped| stopped <= Instant::now()) {
            return "STOPPED";
        }
        let runs = self.service.starts_after.is_some_and(|after| self.placed.elapsed() >= after);
        if runs { "RUNNING" } else { "PENDING" }
    }

    pub fn health(&self) -> &'static str {
        let age = self.placed.elapsed();
        match (self.service.healthy_after, self.service.starts_after) {
            (Some(Some(healthy)), Some(started)) if age >= started + healthy => "HEALTHY",
            (Some(_), _) if self.status() == "RUNNING" => "UNHEALTHY",
            _ => "UNKNOWN",
        }
    }
}

impl State {
    /// Places the tasks that can be placed now.
    pub fn schedule(&mut self) {
        for instance in &self.container_instances {
            let is_usable = instance.status == "ACTIVE" && instance.agent_connected;
            for service in self.services.iter().filter(|service| is_usable && service.status == "ACTIVE") {
                let has_task = self.tasks.iter().any(|task| {
                    task.instance == instance.arn && task.service.name == service.name && task.status() != "STOPPED"
                });
                let has_attributes = service.requires.iter().all(|name| instance.attributes.contains_key(*name));
                if !has_task && has_attributes && service.constraint.as_ref().is_none_or(|text| matches(instance, text))
                {
                    let arn =
                        format!("arn:aws:ecs:eu-west-1:111122223333:task/prod/{:032x}", 0xbeef + self.tasks.len());
                    let (service, instance) = (service.clone(), instance.arn.clone());
                    self.tasks.push(PlacedTask { arn, service, instance, placed: Instant::now(), stopped: None });
                }
            }
        }
    }

    pub(super) fn of_tasks(&mut self, operation: &str, body: &Value) -> Result<Value, ApiError> {
        let missing = |code: &str, message: &str| Err((400, code.to_owned(), message.to_owned()));
        match operation {
            "ListServices" => {
                self.existing(body)?;
                let wanted = body["schedulingStrategy"].as_str().map(|strategy| strategy == "DAEMON");
                let found = self.services.iter().filter(|one| wanted.is_none_or(|daemon| one.is_daemon == daemon));
                Ok(page_of(found.map(Service::arn).collect(), body, "serviceArns"))
            }
            "DescribeServices" => {
                let wanted = texts(&body["services"]);
                if wanted.len() > 10 {
                    return missing("InvalidParameterException", "Services can have at most 10 items.");
                }
                let find = |name: &String| self.services.iter().find(|one| one.name == short(name));
                let found: Vec<_> = wanted.iter().filter_map(find).map(Service::described).collect();
                Ok(json!({"services": found, "failures": []}))
            }
            "DescribeTaskDefinition" => {
                let wanted = body["taskDefinition"].as_str().unwrap_or_default();
                let Some(service) = self.services.iter().find(|one| one.definition() == wanted) else {
                    return missing("ClientException", "Unable to describe task definition.");
                };
                let check = service.healthy_after.map(|_| json!({"command": ["CMD", "true"]}));
                let environment = json!([{"name": "PASSWORD", "value": "secret-of-a-task"}]);
                let container = json!({"name": "main", "image": service.image, "essential": true, "healthCheck": check, "environment": environment});
                let attributes: Vec<_> = service.requires.iter().map(|name| json!({"name": name})).collect();
                Ok(json!({"taskDefinition": {"taskDefinitionArn": wanted, "containerDefinitions": [container],
                    "requiresAttributes": attributes}}))
            }
            "DescribeTasks" => {
                let wanted = texts(&body["tasks"]);
                let found = self.tasks.iter().filter(|task| wanted.contains(&task.arn)).map(|task| {
                    let started = task.service.starts_after.filter(|_| task.status() != "PENDING");
                    let started = started.map(|after| SystemTime::now() - task.placed.elapsed() + after);
                    let started = started.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
                    let started = started.map(|since| since.as_secs_f64());
                    json!({"taskArn": task.arn, "group": format!("service:{}", task.service.name),
                        "startedBy": "ecs-svc/0123456789", "startedAt": started, "desiredStatus": "RUNNING",
                        "lastStatus": task.status(), "healthStatus": task.health()})
                });
                Ok(json!({"tasks": found.collect::<Vec<_>>(), "failures": []}))
            }
            "PutAttributes" => {
                for attribute in body["attributes"].as_array().into_iter().flatten() {
                    let text = |name: &str| attribute[name].as_str().unwrap_or_default().to_owned();
                    let target = text("targetId");
                    let find = |one: &&mut ContainerInstance| one.arn == target;
                    let Some(one) = self.container_instances.iter_mut().find(find) else {
                        return missing("TargetNotFoundException", "The referenced target was not found");
                    };
                    one.attributes.insert(text("name"), text("value"));
                    self.put_attributes.push((text("name"), text("value")));
                }
                Ok(json!({"attributes": body["attributes"]}))
            }
            "StartTask" => {
                let arns = texts(&body["containerInstances"]);
                let definition = body["taskDefinition"].as_str().unwrap_or_default();
                let Some(instance) = self.container_instances.iter().find(|one| arns.contains(&one.arn)) else {
                    let failure = json!({"arn": arns.first(), "reason": "MISSING"});
                    return Ok(json!({"tasks": [], "failures": [failure]}));
                };
                if let Some(reason) = self.start_failure {
                    let failure = json!({"arn": instance.arn, "reason": reason});
                    return Ok(json!({"tasks": [], "failures": [failure]}));
                }
                let family = short(definition).split(':').next().unwrap_or_default();
                let service = Service { is_daemon: false, ..Service::daemon(family) };
                let arn = format!("arn:aws:ecs:eu-west-1:111122223333:task/prod/{:032x}", 0xbeef + self.tasks.len());
                let task = json!({"taskArn": arn});
                let (instance, placed) = (instance.arn.clone(), Instant::now());
                self.tasks.push(PlacedTask { arn, service, instance, placed, stopped: None });
                Ok(json!({"tasks": [task], "failures": []}))
            }
            "DeleteAttributes" => {
                for attribute in body["attributes"].as_array().into_iter().flatten() {
                    let text = |name: &str| attribute[name].as_str().unwrap_or_default().to_owned();
                    let target = text("targetId");
                    let Some(one) = self.container_instances.iter_mut().find(|one| one.arn == target) else {
                        return missing("TargetNotFoundException", "The referenced target was not found");
                    };
                    if one.attributes.remove(&text("name")).is_none() {
                        return missing("ClientException", "The attribute was not found.");
                    }
                }
                Ok(json!({"attributes": body["attributes"]}))
            }
            "ListAccountSettings" => {
                let value = if self.is_trunking_on { "enabled" } else { "disabled" };
                let setting = json!({"name": "awsvpcTrunking", "value": value, "type": "user"});
                Ok(json!({"settings": [setting]}))
            }
            _ => missing("UnknownOperationException", ""),
        }
    }
}

/// Whether an instance matches an expression of the cluster query language: comparisons with `==` of an attribute or of
/// `ec2InstanceId`, connected by `and`.
pub(super) fn matches(instance: &ContainerInstance, expression: &str) -> bool {
    expression.split(" and ").all(|part| {
        let part = part.trim_matches(|c: char| c == '(' || c == ')' || c.is_whitespace());
        let Some((subject, value)) = part.split_once("==").map(|(subject, value)| (subject.trim(), value.trim()))
        else {
            return false;
        };
        match subject.strip_prefix("attribute:") {
            Some(name) => instance.attributes.get(name).is_some_and(|found| found == value),
            None => subject == "ec2InstanceId" && instance.instance_id == value,
        }
    })
}
