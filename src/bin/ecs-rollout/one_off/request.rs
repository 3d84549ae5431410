//! The body of RunTask for a one-off task, with the settings of the service that it belongs to.
//!
//! In: the revision, the overrides, and the members of the service. Out: JSON. Pure.

use serde_json::{Map, Value, json};

use crate::cause::FoundCause;
use crate::causes;
use crate::one_off::overrides::ResolvedOverrides;
use crate::revision::Revision;
use crate::service::{Service, short};

/// Members of a service that RunTask has too, with the same meaning. Service Connect, load balancers and service
/// registries are not available to RunTask.
const SAME: [&str; 5] =
    ["platformVersion", "placementConstraints", "placementStrategy", "enableECSManagedTags", "enableExecuteCommand"];

/// The settings of a service: those that it has, and above them those that it is about to get.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ServiceSettings {
    members: Map<String, Value>,
}

impl ServiceSettings {
    /// `change` is the body of CreateService or UpdateService.
    pub(crate) fn of(service: Option<&Service>, change: Option<&Map<String, Value>>) -> ServiceSettings {
        const OTHERS: [&str; 6] = [
            "networkConfiguration",
            "launchType",
            "capacityProviderStrategy",
            "propagateTags",
            "tags",
            "volumeConfigurations",
        ];
        let changed = |name: &str| change.and_then(|change| change.get(name)).cloned();
        let current = |name: &str| service.map(|service| service.member(name)).filter(|value| !value.is_null());
        let names = SAME.iter().chain(&OTHERS).copied();
        let members = names.filter_map(|name| Some((name.to_owned(), changed(name).or_else(|| current(name))?)));
        ServiceSettings { members: members.collect() }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.members.get(name).filter(|value| !is_empty(value))
    }
}

/// The tags of the one call, by which ECS and people recognize the task.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TaskIdentity {
    /// ECS recognizes a repeated RunTask by it.
    pub(crate) client_token: String,
    /// `startedBy` of the task, by which `aws ecs list-tasks --started-by` finds it.
    pub(crate) started_by: String,
}

impl TaskIdentity {
    /// An identity from a random token.
    pub(crate) fn of(client_token: String) -> TaskIdentity {
        let started_by = format!("ecs-rollout/{}", &client_token[..client_token.len().min(16)]);
        TaskIdentity { client_token, started_by }
    }
}

/// The body of RunTask.
pub(crate) fn body(
    cluster: &str,
    revision: &Revision,
    overrides: &ResolvedOverrides,
    settings: &ServiceSettings,
    identity: &TaskIdentity,
) -> Result<Value, FoundCause> {
    let mut body = json!({
        "cluster": cluster,
        "taskDefinition": revision.arn,
        "count": 1,
        "clientToken": identity.client_token,
        "startedBy": identity.started_by,
    });
    let mut set = |name: &str, value: &Value| body[name] = value.clone();
    if !overrides.api.is_null() {
        set("overrides", &overrides.api);
    }
    for name in SAME {
        settings.get(name).iter().for_each(|value| set(name, value));
    }
    // RunTask accepts only one of them.
    match (settings.get("capacityProviderStrategy"), settings.get("launchType")) {
        (Some(strategy), _) => set("capacityProviderStrategy", strategy),
        (None, Some(launch_type)) => set("launchType", launch_type),
        (None, None) => {}
    }
    // RunTask rejects network settings for another network mode (ECS API Reference, "RunTask").
    if revision.raw["networkMode"] == "awsvpc" {
        let Some(network) = settings.get("networkConfiguration") else {
            let text = format!(
                "{} has the network mode `awsvpc`, and no service says in which subnets its tasks run; \
                 name one with `--service`",
                short(&revision.arn)
            );
            return Err(causes::BAD_OPTION.finding(text));
        };
        set("networkConfiguration", network);
    }
    match settings.get("propagateTags").and_then(Value::as_str) {
        Some("TASK_DEFINITION") => set("propagateTags", &json!("TASK_DEFINITION")),
        // RunTask rejects SERVICE, so the tags of the service are set one by one. The prefix `aws:` is reserved.
        Some("SERVICE") => {
            let tags = settings.get("tags").and_then(Value::as_array).into_iter().flatten();
            let own = tags.filter(|tag| !tag["key"].as_str().unwrap_or_default().starts_with("aws:"));
            let own: Vec<&Value> = own.collect();
            if !own.is_empty() {
                set("tags", &json!(own));
            }
        }
        _ => {}
    }
    let volumes = revision.raw["volumes"].as_array().into_iter().flatten();
    if volumes.into_iter().any(|volume| volume["configuredAtLaunch"] == true) {
        settings.get("volumeConfigurations").iter().for_each(|value| set("volumeConfigurations", value));
    }
    Ok(body)
}

/// ECS shows a member that is not set as an empty list or an empty text.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api_model;

    fn request(network_mode: &str, service: &Value, change: &Value) -> Value {
        let raw = json!({"networkMode": network_mode, "volumes": [{"name": "data", "configuredAtLaunch": true}]});
        let revision = Revision { arn: "arn:aws:ecs:x:1:task-definition/web:43".into(), raw, ..Revision::default() };
        let service = Service::read(service).unwrap();
        let overrides = ResolvedOverrides {
            api: json!({"containerOverrides": [{"name": "web", "command": ["migrate"]}]}),
            deciding: vec!["web".to_owned()],
            summary: String::new(),
        };
        let settings = ServiceSettings::of(Some(&service), change.as_object());
        let identity = TaskIdentity::of("0123456789abcdef0123456789abcdef".to_owned());
        let body = body("prod", &revision, &overrides, &settings, &identity).unwrap();
        assert_eq!(api_model::check_run_task(&body, false), Ok(Vec::new()), "{body:#}");
        body
    }

    fn network(subnet: &str) -> Value {
        json!({"awsvpcConfiguration": {"subnets": [subnet], "securityGroups": ["sg-1"], "assignPublicIp": "DISABLED"}})
    }

    #[test]
    fn the_settings_of_the_service_are_those_of_the_task() {
        let service = json!({
            "status": "ACTIVE", "launchType": "FARGATE", "platformVersion": "1.4.0",
            "networkConfiguration": network("subnet-1"), "placementConstraints": [], "placementStrategy": [],
            "enableECSManagedTags": true, "enableExecuteCommand": true, "propagateTags": "TASK_DEFINITION",
            "schedulingStrategy": "REPLICA", "desiredCount": 2, "loadBalancers": [{"containerName": "web"}],
        });
        assert_eq!(
            request("awsvpc", &service, &json!({})),
            json!({
                "cluster": "prod", "taskDefinition": "arn:aws:ecs:x:1:task-definition/web:43", "count": 1,
                "clientToken": "0123456789abcdef0123456789abcdef", "startedBy": "ecs-rollout/0123456789abcdef",
                "overrides": {"containerOverrides": [{"name": "web", "command": ["migrate"]}]},
                "launchType": "FARGATE", "platformVersion": "1.4.0", "networkConfiguration": network("subnet-1"),
                "enableECSManagedTags": true, "enableExecuteCommand": true, "propagateTags": "TASK_DEFINITION",
            })
        );
    }

    #[test]
    fn a_change_of_the_same_deployment_is_used_already() {
        let service = json!({"status": "ACTIVE", "launchType": "EC2", "networkConfiguration": network("subnet-1")});
        let strategy = json!([{"capacityProvider": "main", "weight": 1}]);
        let change = json!({"capacityProviderStrategy": strategy, "networkConfiguration": network("subnet-2")});
        let body = request("awsvpc", &service, &change);
        assert_eq!((&body["capacityProviderStrategy"], body.get("launchType")), (&strategy, None));
        assert_eq!(body["networkConfiguration"], network("subnet-2"));
    }

    #[test]
    fn run_task_gets_only_what_it_accepts() {
        let tags = json!([{"key": "team", "value": "a"}, {"key": "aws:cloudformation:stack-name", "value": "x"}]);
        let service = json!({"status": "ACTIVE", "networkConfiguration": network("subnet-1"), "tags": tags,
            "propagateTags": "SERVICE",
            "deployments": [{"status": "PRIMARY", "volumeConfigurations": [{"name": "data"}]}]});
        let body = request("bridge", &service, &json!({}));
        assert_eq!(body.get("networkConfiguration"), None);
        assert_eq!((body.get("propagateTags"), &body["tags"]), (None, &json!([{"key": "team", "value": "a"}])));
        assert_eq!(body["volumeConfigurations"], json!([{"name": "data"}]));
    }

    #[test]
    fn a_task_of_the_network_mode_awsvpc_needs_subnets() {
        let revision = Revision { raw: json!({"networkMode": "awsvpc"}), ..Revision::default() };
        let overrides = ResolvedOverrides { api: Value::Null, deciding: Vec::new(), summary: String::new() };
        let identity = TaskIdentity::of("x".to_owned());
        let refused = body("prod", &revision, &overrides, &ServiceSettings::default(), &identity).unwrap_err();
        assert_eq!(refused.cause.id, "bad-option");
    }
}
