//! The calls of ECS about the tasks that must run before an instance takes others (`ready.daemons`), and about the attribute
//! that allows it to take them.
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

const ECS: JsonService = JsonService {
    service: Service { id: "ECS", signing_name: "ecs", endpoint: EndpointName::Regional("ecs") },
    target: "AmazonEC2ContainerServiceV20141113",
};
/// The longest page of ListServices, and the most tasks for DescribeTasks (Amazon ECS API Reference).
const MAX_PAGE_LENGTH: usize = 100;
/// The most services for DescribeServices (Amazon ECS API Reference).
const MAX_SERVICES: usize = 10;
/// The most daemon services that are read: more than an instance can run.
const MAX_DAEMONS: usize = 200;

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
}

/// A task in the answer of DescribeTasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlacedTask {
    /// The ARN of the task.
    pub arn: String,
    /// The service that started it; `None` for a task of RunTask or StartTask.
    pub service: Option<String>,
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
        for _ in 0..MAX_DAEMONS {
            let answer = self.json(ECS, None, OPERATION, &body, Some("serviceArns"), deadline).await?;
            names.extend(texts(&answer["serviceArns"]).filter_map(|arn| arn.rsplit('/').next().map(str::to_owned)));
            if names.len() > MAX_DAEMONS {
                break;
            }
            match answer["nextToken"].as_str().filter(|token| !token.is_empty()) {
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
        const OPERATION: &str = "ecs:DescribeTaskDefinition";
        let body = json!({"taskDefinition": arn});
        let answer = self.json(ECS, None, OPERATION, &body, Some("taskDefinition"), deadline).await?;
        Ok(task_requirements(&answer["taskDefinition"]))
    }

    /// Whether ECS counts an instance among those that match all expressions of the cluster query language:
    /// `ecs:ListContainerInstances`.
    pub async fn matches_constraints(
        &self,
        cluster: &str,
        instance_id: &str,
        expressions: &[String],
        deadline: Deadline,
    ) -> Result<bool, AwsError> {
        let all = expressions.iter().map(|expression| format!(" and ({expression})")).collect::<String>();
        let body = json!({"cluster": cluster, "filter": format!("(ec2InstanceId == {instance_id}){all}")});
        let answer =
            self.json(ECS, None, "ecs:ListContainerInstances", &body, Some("containerInstanceArns"), deadline).await?;
        Ok(items(&answer["containerInstanceArns"]).next().is_some())
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

    /// Sets an attribute of a container instance: `ecs:PutAttributes`.
    pub async fn put_attribute(
        &self,
        cluster: &str,
        arn: &str,
        (name, value): (&str, &str),
        deadline: Deadline,
    ) -> Result<(), AwsError> {
        let attribute = json!({"name": name, "value": value, "targetId": arn});
        let body = json!({"cluster": cluster, "attributes": [attribute]});
        self.json(ECS, None, "ecs:PutAttributes", &body, Some("attributes"), deadline).await.map(drop)
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
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
    TaskRequirements {
        has_health_check: essential.any(|container| container["healthCheck"].is_object()),
        constraints: expressions(&definition["placementConstraints"]),
    }
}

fn placed_task(task: &Value) -> PlacedTask {
    PlacedTask {
        arn: text(&task["taskArn"]),
        service: task["group"].as_str().and_then(|group| group.strip_prefix("service:")).map(str::to_owned),
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
        assert_eq!(placed_task(&json!({"group": "family:web"})).service, None);
    }
}
