//! Brings JSON of the user and JSON of ECS into one normalized form, so that they can be compared.
//!
//! ECS fills in defaults, and returns some lists in another order. Both are in the ECS API Reference at each member,
//! and were compared with what Terraform's AWS provider had to learn about them.

use serde_json::{Map, Value, json};

/// The normalized form of a task definition: only members that RegisterTaskDefinition accepts, no default and no empty
/// value, and lists whose order has no meaning are sorted.
pub(crate) fn task_definition(value: &Value) -> Value {
    const MEMBERS: [&str; 17] = [
        "family",
        "taskRoleArn",
        "executionRoleArn",
        "networkMode",
        "containerDefinitions",
        "volumes",
        "placementConstraints",
        "requiresCompatibilities",
        "cpu",
        "memory",
        "pidMode",
        "ipcMode",
        "proxyConfiguration",
        "inferenceAccelerators",
        "ephemeralStorage",
        "runtimePlatform",
        "enableFaultInjection",
    ];
    let Some(members) = value.as_object() else { return value.clone() };
    let mut members: Map<String, Value> = members.clone();
    members.retain(|name, _| MEMBERS.contains(&name.as_str()));
    let has_own_network = members.get("networkMode").and_then(Value::as_str) == Some("awsvpc");
    for (name, unit) in [("cpu", 1024.0), ("memory", 1024.0)] {
        if let Some(size) = members.get(name).and_then(|size| units(size, unit)) {
            members.insert(name.to_owned(), json!(size));
        }
    }
    for container in members.get_mut("containerDefinitions").and_then(Value::as_array_mut).into_iter().flatten() {
        normalize_container(container, has_own_network);
    }
    if let Some(Value::Array(list)) = members.get_mut("requiresCompatibilities") {
        list.sort_by_key(Value::to_string);
    }
    for volume in members.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        drop_default(volume, "/efsVolumeConfiguration", "rootDirectory", &json!("/"));
        drop_default(volume, "/efsVolumeConfiguration", "transitEncryption", &json!("DISABLED"));
    }
    for (name, default) in [("enableFaultInjection", json!(false)), ("networkMode", json!("bridge"))] {
        if members.get(name) == Some(&default) {
            members.remove(name);
        }
    }
    without_empty(&Value::Object(members))
}

/// ECS stores `"0.25 vCPU"` as `"256"`, and `"1 GB"` as `"1024"`.
fn units(size: &Value, unit: f64) -> Option<String> {
    let text = size.as_str()?.trim().to_ascii_lowercase();
    let number = text.strip_suffix("vcpu").or(text.strip_suffix("gb"))?.trim().parse::<f64>().ok()?;
    Some(format!("{:.0}", number * unit))
}

fn normalize_container(container: &mut Value, has_own_network: bool) {
    for (name, default) in [("essential", json!(true)), ("cpu", json!(0))] {
        drop_default(container, "", name, &default);
    }
    for mapping in container["portMappings"].as_array_mut().into_iter().flatten() {
        drop_default(mapping, "", "protocol", &json!("tcp"));
        // In the network mode `awsvpc` the host port equals the container port.
        let default = if has_own_network { mapping["containerPort"].clone() } else { json!(0) };
        drop_default(mapping, "", "hostPort", &default);
    }
    for (name, default) in [("interval", 30), ("timeout", 5), ("retries", 3)] {
        drop_default(container, "/healthCheck", name, &json!(default));
    }
    for mount in container["mountPoints"].as_array_mut().into_iter().flatten() {
        drop_default(mount, "", "readOnly", &json!(false));
    }
    // ECS returns these lists in another order, which has no meaning.
    for (list, key) in
        [("environment", "name"), ("secrets", "name"), ("systemControls", "namespace"), ("ulimits", "name")]
    {
        if let Some(Value::Array(list)) = container.get_mut(list) {
            list.sort_by(|a, b| a[key].as_str().cmp(&b[key].as_str()));
        }
    }
    if let Some(members) = container.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
}

/// Removes a member that has the default value.
fn drop_default(value: &mut Value, pointer: &str, name: &str, default: &Value) {
    if let Some(members) = value.pointer_mut(pointer).and_then(Value::as_object_mut)
        && members.get(name) == Some(default)
    {
        members.remove(name);
    }
}

/// Removes nulls, empty lists and empty objects at any depth. An empty string is kept, because it is a value.
fn without_empty(value: &Value) -> Value {
    fn is_empty(value: &Value) -> bool {
        match value {
            Value::Null => true,
            Value::Array(list) => list.is_empty(),
            Value::Object(members) => members.is_empty(),
            _ => false,
        }
    }
    match value {
        Value::Array(list) => Value::Array(list.iter().map(without_empty).collect()),
        Value::Object(members) => {
            let kept = members.iter().map(|(name, value)| (name.clone(), without_empty(value)));
            Value::Object(kept.filter(|(_, value)| !is_empty(value)).collect())
        }
        other => other.clone(),
    }
}

/// Whether a member of the service satisfies the service definition. ECS adds members and defaults, so members that the
/// definition does not have are not compared.
pub(crate) fn is_satisfied(desired: &Value, actual: &Value) -> bool {
    /// Whether it is a default, which ECS may leave out.
    fn is_default(desired: &Value) -> bool {
        match desired {
            Value::Null | Value::Bool(false) => true,
            Value::String(text) => ["", "NONE", "DISABLED", "ECS", "REPLICA", "LATEST"].contains(&text.as_str()),
            Value::Number(number) => number.as_i64() == Some(0),
            Value::Array(list) => list.is_empty(),
            Value::Object(members) => members.values().all(is_default),
            Value::Bool(true) => false,
        }
    }
    match (desired, actual) {
        (desired, Value::Null) => is_default(desired),
        (Value::Object(desired), Value::Object(actual)) => {
            desired.iter().all(|(name, desired)| is_satisfied(desired, actual.get(name).unwrap_or(&Value::Null)))
        }
        (Value::Array(desired), Value::Array(actual)) => {
            desired.len() == actual.len()
                && desired.iter().all(|desired| actual.iter().any(|actual| is_satisfied(desired, actual)))
        }
        (Value::Number(desired), Value::Number(actual)) => desired.as_f64() == actual.as_f64(),
        (desired, actual) => desired == actual,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_same(written: Value, of_ecs: Value) {
        assert_eq!(task_definition(&written), task_definition(&of_ecs));
    }

    #[test]
    fn values_that_ecs_fills_in_are_not_a_difference() {
        assert_same(
            json!({
                "family": "web", "cpu": "0.25 vCPU", "memory": "1 GB", "tags": [{"key": "a", "value": "b"}],
                "requiresCompatibilities": ["FARGATE", "EC2"], "volumes": [],
                "containerDefinitions": [{
                    "name": "web", "image": "web:1", "memory": 128,
                    "portMappings": [{"containerPort": 80}],
                    "environment": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}],
                    "healthCheck": {"command": ["CMD", "true"]},
                }],
            }),
            json!({
                "taskDefinitionArn": "arn:aws:ecs:eu-west-1:111122223333:task-definition/web:3", "revision": 3,
                "status": "ACTIVE", "requiresAttributes": [{"name": "x"}], "compatibilities": ["EC2"],
                "family": "web", "cpu": "256", "memory": "1024", "placementConstraints": [],
                "requiresCompatibilities": ["EC2", "FARGATE"], "volumes": [],
                "containerDefinitions": [{
                    "name": "web", "image": "web:1", "cpu": 0, "memory": 128, "essential": true,
                    "portMappings": [{"containerPort": 80, "hostPort": 0, "protocol": "tcp"}],
                    "environment": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                    "mountPoints": [], "volumesFrom": [], "systemControls": [],
                    "healthCheck": {"command": ["CMD", "true"], "interval": 30, "timeout": 5, "retries": 3},
                }],
            }),
        );
        assert_same(
            json!({"family": "web", "networkMode": "awsvpc",
                   "containerDefinitions": [{"name": "w", "portMappings": [{"containerPort": 80}]}]}),
            json!({"family": "web", "networkMode": "awsvpc",
                   "containerDefinitions": [{"name": "w", "portMappings": [{"containerPort": 80, "hostPort": 80}]}]}),
        );
    }

    #[test]
    fn values_with_a_meaning_are_a_difference() {
        let of = |container: Value| task_definition(&json!({"family": "web", "containerDefinitions": [container]}));
        for (one, other) in [
            (json!({"image": "web:1"}), json!({"image": "web:2"})),
            (json!({"command": ["a", "b"]}), json!({"command": ["b", "a"]})),
            (json!({"environment": [{"name": "A", "value": ""}]}), json!({})),
            (
                json!({"environment": [{"name": "A", "value": ""}]}),
                json!({"environment": [{"name": "A", "value": "x"}]}),
            ),
            (json!({"essential": false}), json!({})),
            (
                json!({"portMappings": [{"containerPort": 80, "hostPort": 80}]}),
                json!({"portMappings": [{"containerPort": 80}]}),
            ),
            (json!({"cpu": 10}), json!({})),
        ] {
            assert_ne!(of(one.clone()), of(other.clone()), "{one} {other}");
        }
    }

    #[test]
    fn only_members_of_the_definition_are_compared() {
        for (desired, actual, expected) in [
            (json!({"minimumHealthyPercent": 50}), json!({"minimumHealthyPercent": 50, "maximumPercent": 200}), true),
            (json!({"minimumHealthyPercent": 50}), json!({"minimumHealthyPercent": 100}), false),
            (json!(2), json!(2), true),
            (json!("NONE"), Value::Null, true),
            (json!(true), Value::Null, false),
            (json!(false), Value::Null, true),
            (json!([]), Value::Null, true),
            (json!([{"a": 1}, {"a": 2}]), json!([{"a": 2, "b": 0}, {"a": 1, "b": 0}]), true),
            (json!([{"a": 1}]), json!([{"a": 1}, {"a": 2}]), false),
            (json!({"deploymentCircuitBreaker": {"enable": true}}), json!({"maximumPercent": 200}), false),
            (json!({"enabled": false}), Value::Null, true),
        ] {
            assert_eq!(is_satisfied(&desired, &actual), expected, "{desired} {actual}");
        }
    }
}
