//! The calls of ECS for `start-tasks` and for the conditions of `ready.*`: about the tasks that must run before an instance
//! takes others, the attribute that allows it to take them, the images of services, and the account setting that decides
//! whether it has a trunk interface.
//!
//! In: names, and a deadline. Out: plain values, with only the fields that are used: of a task definition, never an
//! environment. A paged call reads all pages. Nothing is cached. The calls use the JSON protocol and not the SDK, whose six
//! operations would be a large part of the binary.

use serde_json::{Value, json};

use super::calls::endless;
use super::json::JsonService;
use super::service::{EndpointName, Service};
use super::{Aws, AwsError};
use crate::retry::Deadline;

pub(super) const ECS: JsonService = JsonService {
    service: Service { id: "ECS", signing_name: "ecs", endpoint: EndpointName::Regional("ecs") },
    target: "AmazonEC2ContainerServiceV20141113",
};
/// The longest page of ListServices, and the most tasks for DescribeTasks (Amazon ECS API Reference).
const MAX_PAGE_LENGTH: usize = 100;
/// The most services for DescribeServices (Amazon ECS API Reference).
const MAX_SERVICES: usize = 10;
/// The most daemon services that are read: more than an instance can run.
const MAX_DAEMONS: usize = 200;
/// The most pages that are read.
const MAX_PAGES: usize = 200;

/// A service in the answer of DescribeServices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribedService {
    /// The name of the service.
    pub name: String,
    /// Whether its status is `ACTIVE`.
    pub is_active: bool,
    /// Whether its scheduling strategy is `DAEMON`.
    pub is_daemon: bool,
    /// `EC2`, `FARGATE` or `EXTERNAL`; `None` with a capacity provider.
    pub launch_type: Option<String>,
    /// The ARN of its task definition.
    pub task_definition: String,
    /// The expressions of its placement constraints of the type `memberOf`.
    pub constraints: Vec<String>,
}

/// What decides where the tasks of a task definition run, and when they are healthy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskRequirements {
    /// Whether an essential container has a health check. Without one, ECS reports the health as `UNKNOWN`.
    pub has_health_check: bool,
    /// The expressions of its placement constraints.
    pub constraints: Vec<String>,
    /// The attributes that a container instance must have, with a value if it matters.
    pub attributes: Vec<(String, Option<String>)>,
}

/// A task in the answer of DescribeTasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlacedTask {
    /// The ARN of the task.
    pub arn: String,
    /// The service that started it; `None` for a task of RunTask or StartTask.
    pub service: Option<String>,
    /// Whether ECS wants it to run.
    pub is_wanted: bool,
    /// When it started, in seconds since 1970; `None` if it has not.
    pub started_at: Option<i64>,
    /// `PROVISIONING`, `PENDING`, `RUNNING`, `STOPPED`, ...
    pub status: String,
    /// `HEALTHY`, `UNHEALTHY` or `UNKNOWN`.
    pub health: String,
    /// Why it was stopped; empty if it was not.
    pub stopped_reason: String,
}

impl Aws {
    /// The names of the daemon services of a cluster: `ecs:ListServices`, all pages.
    pub async fn daemon_services(&self, cluster: &str, deadline: Deadline) -> Result<Vec<String>, AwsError> {
        const OPERATION: &str = "ecs:ListServices";
        let mut body = json!({"cluster": cluster, "schedulingStrategy": "DAEMON", "maxResults": MAX_PAGE_LENGTH});
        let mut names = Vec::new();
        for _ in 0..MAX_PAGES {
            let answer = self.json(ECS, None, OPERATION, &body, Some("serviceArns"), deadline).await?;
            names.extend(texts(&answer["serviceArns"]).filter_map(|arn| arn.rsplit('/').next().map(str::to_owned)));
            if names.len() > MAX_DAEMONS {
                break;
            }
            match next_token(&answer) {
                Some(token) => body["nextToken"] = json!(token),
                None => return Ok(names),
            }
        }
        Err(endless(OPERATION, MAX_DAEMONS, "daemon services"))
    }

    /// Services by name: `ecs:DescribeServices`, one call for each ten. A service that ECS does not know is missing.
    pub async fn services(
        &self,
        cluster: &str,
        names: &[String],
        deadline: Deadline,
    ) -> Result<Vec<DescribedService>, AwsError> {
        let mut services = Vec::new();
        for names in names.chunks(MAX_SERVICES) {
            let body = json!({"cluster": cluster, "services": names});
            let answer = self.json(ECS, None, "ecs:DescribeServices", &body, Some("services"), deadline).await?;
            services.extend(items(&answer["services"]).map(service));
        }
        Ok(services)
    }

    /// Where the tasks of a task definition run, and whether they have a health check: `ecs:DescribeTaskDefinition`.
    pub async fn task_requirements(&self, arn: &str, deadline: Deadline) -> Result<TaskRequirements, AwsError> {
        Ok(task_requirements(&self.task_definition(arn, deadline).await?))
    }

    /// The images of the containers of a task definition: `ecs:DescribeTaskDefinition`. Those with `repositoryCredentials` are left
    /// out, because only the task execution role can read that secret.
    pub async fn task_images(&self, arn: &str, deadline: Deadline) -> Result<Vec<String>, AwsError> {
        let definition = self.task_definition(arn, deadline).await?;
        let own = items(&definition["containerDefinitions"]).filter(|one| one["repositoryCredentials"].is_null());
        Ok(own.map(|container| text(&container["image"])).filter(|image| !image.is_empty()).collect())
    }

    async fn task_definition(&self, arn: &str, deadline: Deadline) -> Result<Value, AwsError> {
        const OPERATION: &str = "ecs:DescribeTaskDefinition";
        let body = json!({"taskDefinition": arn});
        let mut answer = self.json(ECS, None, OPERATION, &body, Some("taskDefinition"), deadline).await?;
        Ok(answer["taskDefinition"].take())
    }

    /// Whether an instance matches all expressions of the cluster query language: `ecs:ListContainerInstances`. `None` if ECS
    /// does not list the instance without the expressions either: its lists are eventually consistent.
    pub async fn matches_constraints(
        &self,
        cluster: &str,
        instance_id: &str,
        expressions: &[String],
        deadline: Deadline,
    ) -> Result<Option<bool>, AwsError> {
        let all = expressions.iter().map(|expression| format!(" and ({expression})")).collect::<String>();
        let own = format!("(ec2InstanceId == {instance_id})");
        if !self.lists_instance(cluster, &own, deadline).await? {
            return Ok(None);
        }
        self.lists_instance(cluster, &format!("{own}{all}"), deadline).await.map(Some)
    }

    async fn lists_instance(&self, cluster: &str, filter: &str, deadline: Deadline) -> Result<bool, AwsError> {
        const OPERATION: &str = "ecs:ListContainerInstances";
        let mut body = json!({"cluster": cluster, "filter": filter});
        for _ in 0..MAX_PAGES {
            let answer = self.json(ECS, None, OPERATION, &body, Some("containerInstanceArns"), deadline).await?;
            if items(&answer["containerInstanceArns"]).next().is_some() {
                return Ok(true);
            }
            match next_token(&answer) {
                Some(token) => body["nextToken"] = json!(token),
                None => return Ok(false),
            }
        }
        Err(endless(OPERATION, MAX_PAGES, "pages"))
    }

    /// Tasks by ARN: `ecs:DescribeTasks`, one call for each hundred. A task that ECS does not know is missing.
    pub async fn placed_tasks(
        &self,
        cluster: &str,
        arns: &[String],
        deadline: Deadline,
    ) -> Result<Vec<PlacedTask>, AwsError> {
        let mut tasks = Vec::new();
        for arns in arns.chunks(MAX_PAGE_LENGTH) {
            let body = json!({"cluster": cluster, "tasks": arns});
            let answer = self.json(ECS, None, "ecs:DescribeTasks", &body, Some("tasks"), deadline).await?;
            tasks.extend(items(&answer["tasks"]).map(placed_task));
        }
        Ok(tasks)
    }

    /// Whether the account setting `awsvpcTrunking` is on for the caller: `ecs:ListAccountSettings`.
    pub async fn is_trunking_on(&self, deadline: Deadline) -> Result<bool, AwsError> {
        let body = json!({"name": "awsvpcTrunking", "effectiveSettings": true});
        let answer = self.json(ECS, None, "ecs:ListAccountSettings", &body, Some("settings"), deadline).await?;
        let mut values = items(&answer["settings"]).filter_map(|setting| setting["value"].as_str());
        Ok(values.any(|value| matches!(value, "enabled" | "on")))
    }

    /// Sets attributes of a container instance, at most ten: `ecs:PutAttributes`.
    pub async fn put_attributes(
        &self,
        cluster: &str,
        arn: &str,
        attributes: &[(&str, &str)],
        deadline: Deadline,
    ) -> Result<(), AwsError> {
        let attributes: Vec<Value> = attributes.iter().map(|(name, value)| attribute(name, value, arn)).collect();
        let body = json!({"cluster": cluster, "attributes": attributes});
        self.json(ECS, None, "ecs:PutAttributes", &body, Some("attributes"), deadline).await.map(drop)
    }

    /// Starts a task on a container instance: `ecs:StartTask`. The inner result is the ARN of the task, or why ECS did not place
    /// it, such as `RESOURCE:MEMORY`.
    pub async fn start_task(
        &self,
        cluster: &str,
        arn: &str,
        definition: &str,
        deadline: Deadline,
    ) -> Result<Result<String, String>, AwsError> {
        let body = json!({"cluster": cluster, "containerInstances": [arn], "taskDefinition": definition,
            "startedBy": "ecs-bootstrap"});
        let answer = self.json(ECS, None, "ecs:StartTask", &body, Some("tasks"), deadline).await?;
        let reasons = items(&answer["failures"]).filter_map(|failure| failure["reason"].as_str());
        let started = items(&answer["tasks"]).filter_map(|task| task["taskArn"].as_str()).next();
        let why = || reasons.map(str::to_owned).next().unwrap_or_else(|| "ECS names no reason".to_owned());
        Ok(started.map(str::to_owned).ok_or_else(why))
    }

    /// Deletes attributes of a container instance, at most ten: `ecs:DeleteAttributes`.
    pub async fn delete_attributes(
        &self,
        cluster: &str,
        arn: &str,
        names: &[&str],
        deadline: Deadline,
    ) -> Result<(), AwsError> {
        let attributes: Vec<Value> = names.iter().map(|name| json!({"name": name, "targetId": arn})).collect();
        let body = json!({"cluster": cluster, "attributes": attributes});
        self.json(ECS, None, "ecs:DeleteAttributes", &body, Some("attributes"), deadline).await.map(drop)
    }
}

/// An attribute to set. A value is optional and not empty (Amazon ECS API Reference, "Attribute").
fn attribute(name: &str, value: &str, arn: &str) -> Value {
    let mut attribute = json!({"name": name, "targetId": arn});
    if !value.is_empty() {
        attribute["value"] = json!(value);
    }
    attribute
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn next_token(answer: &Value) -> Option<&str> {
    answer["nextToken"].as_str().filter(|token| !token.is_empty())
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    items(list).filter_map(Value::as_str)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The expressions of constraints of the type `memberOf`, the only type that is about a single instance.
fn expressions(constraints: &Value) -> Vec<String> {
    let of_members = items(constraints).filter(|constraint| constraint["type"] == "memberOf");
    of_members.map(|constraint| text(&constraint["expression"])).filter(|text| !text.is_empty()).collect()
}

fn service(service: &Value) -> DescribedService {
    DescribedService {
        name: text(&service["serviceName"]),
        is_active: service["status"] == "ACTIVE",
        is_daemon: service["schedulingStrategy"] == "DAEMON",
        launch_type: service["launchType"].as_str().map(str::to_owned),
        task_definition: text(&service["taskDefinition"]),
        constraints: expressions(&service["placementConstraints"]),
    }
}

fn task_requirements(definition: &Value) -> TaskRequirements {
    // `essential` is true by default (Amazon ECS API Reference, ContainerDefinition).
    let is_essential = |container: &&Value| container["essential"].as_bool().unwrap_or(true);
    let mut essential = items(&definition["containerDefinitions"]).filter(is_essential);
    let required = items(&definition["requiresAttributes"])
        .filter_map(|one| Some((one["name"].as_str()?.to_owned(), one["value"].as_str().map(str::to_owned))));
    // The agent registers both attributes in lower case.
    let platform = &definition["runtimePlatform"];
    let architecture = platform["cpuArchitecture"].as_str().map(str::to_lowercase);
    let system_of = |family: &str| if family.starts_with("WINDOWS") { "windows" } else { "linux" };
    let system = platform["operatingSystemFamily"].as_str().map(|family| system_of(family).to_owned());
    let of_platform = [("ecs.cpu-architecture", architecture), ("ecs.os-type", system)];
    let of_platform = of_platform.into_iter().filter(|(_, value)| value.is_some());
    TaskRequirements {
        has_health_check: essential.any(|container| container["healthCheck"].is_object()),
        constraints: expressions(&definition["placementConstraints"]),
        attributes: required.chain(of_platform.map(|(name, value)| (name.to_owned(), value))).collect(),
    }
}

fn placed_task(task: &Value) -> PlacedTask {
    // Anyone may set the group of a task; ECS sets `startedBy` for a service.
    let is_of_service = task["startedBy"].as_str().is_some_and(|by| by.starts_with("ecs-svc/"));
    let group = task["group"].as_str().and_then(|group| group.strip_prefix("service:"));
    PlacedTask {
        arn: text(&task["taskArn"]),
        service: group.filter(|_| is_of_service).map(str::to_owned),
        is_wanted: task["desiredStatus"] != "STOPPED",
        started_at: task["startedAt"].as_f64().map(|seconds| seconds as i64),
        status: text(&task["lastStatus"]),
        health: text(&task["healthStatus"]),
        stopped_reason: text(&task["stoppedReason"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_health_check_counts_only_in_an_essential_container() {
        let check = json!({"command": ["CMD", "true"]});
        for (containers, expected) in [
            (json!([{"name": "a"}]), false),
            (json!([{"name": "a", "healthCheck": check}]), true),
            (json!([{"name": "a"}, {"name": "b", "essential": false, "healthCheck": check}]), false),
            (json!([{"name": "a", "essential": true, "healthCheck": null}]), false),
            (json!(null), false),
        ] {
            let found = task_requirements(&json!({"containerDefinitions": containers}));
            assert_eq!(found.has_health_check, expected, "{containers}");
        }
    }

    #[test]
    fn only_constraints_about_the_instance_are_kept() {
        let constraints = json!([
            {"type": "distinctInstance"},
            {"type": "memberOf", "expression": "attribute:ecs.os-type == linux"},
            {"type": "memberOf"},
        ]);
        let found = service(&json!({"serviceName": "s", "placementConstraints": constraints, "status": "DRAINING"}));
        assert_eq!(found.constraints, ["attribute:ecs.os-type == linux"]);
        assert!(!found.is_active && !found.is_daemon);
    }

    #[test]
    fn a_task_is_of_a_service_only_if_ecs_says_so() {
        let service = |task: Value| placed_task(&task).service;
        assert_eq!(service(json!({"group": "service:mesh", "startedBy": "ecs-svc/7"})).as_deref(), Some("mesh"));
        assert_eq!(service(json!({"group": "service:mesh", "startedBy": "a-script"})), None);
        assert_eq!(service(json!({"group": "family:web", "startedBy": "ecs-svc/7"})), None);
    }

    #[test]
    fn the_platform_is_an_attribute_too() {
        let definition = json!({
            "requiresAttributes": [{"name": "com.amazonaws.ecs.capability.logging-driver.awslogs"}],
            "runtimePlatform": {"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"},
        });
        let found = task_requirements(&definition).attributes;
        let found: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        let awslogs = ("com.amazonaws.ecs.capability.logging-driver.awslogs", None);
        assert_eq!(found, [awslogs, ("ecs.cpu-architecture", Some("arm64")), ("ecs.os-type", Some("linux"))]);
    }
}
