//! Whether two task definitions, or two members of a service, are the same although ECS fills in what nobody said.
//!
//! In: JSON as it was written, and JSON as ECS has it. Out: both in one form, in which they can be compared and shown as a
//! diff. What is filled in is in the ECS API Reference at each member, and was compared with what Terraform's AWS provider
//! had to learn of it.

use serde_json::{Map, Value, json};

/// A task definition without what ECS adds: only what RegisterTaskDefinition takes, nothing empty, no default, lists
/// whose order means nothing in one order.
pub(crate) fn task_definition(value: &Value) -> Value {
    const OURS_TO_SAY: [&str; 17] = [
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
    members.retain(|name, _| OURS_TO_SAY.contains(&name.as_str()));
    let has_own_network = members.get("networkMode").and_then(Value::as_str) == Some("awsvpc");
    for (name, unit) in [("cpu", 1024.0), ("memory", 1024.0)] {
        if let Some(size) = members.get(name).and_then(|size| units(size, unit)) {
            members.insert(name.to_owned(), json!(size));
        }
    }
    for container in members.get_mut("containerDefinitions").and_then(Value::as_array_mut).into_iter().flatten() {
        normalise_container(container, has_own_network);
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

/// `"0.25 vCPU"` and `"1 GB"` are what ECS stores as `"256"` and `"1024"`.
fn units(size: &Value, unit: f64) -> Option<String> {
    let text = size.as_str()?.trim().to_ascii_lowercase();
    let number = text.strip_suffix("vcpu").or(text.strip_suffix("gb"))?.trim().parse::<f64>().ok()?;
    Some(format!("{:.0}", number * unit))
}

fn normalise_container(container: &mut Value, has_own_network: bool) {
    for (name, default) in [("essential", json!(true)), ("cpu", json!(0))] {
        drop_default(container, "", name, &default);
    }
    for mapping in container["portMappings"].as_array_mut().into_iter().flatten() {
        drop_default(mapping, "", "protocol", &json!("tcp"));
        // With an interface of its own a task has no other port on the host than in the container.
        let default = if has_own_network { mapping["containerPort"].clone() } else { json!(0) };
        drop_default(mapping, "", "hostPort", &default);
    }
    for (name, default) in [("interval", 30), ("timeout", 5), ("retries", 3)] {
        drop_default(container, "/healthCheck", name, &json!(default));
    }
    for mount in container["mountPoints"].as_array_mut().into_iter().flatten() {
        drop_default(mount, "", "readOnly", &json!(false));
    }
    // Sets, which ECS gives back in an order of its own.
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

/// Takes a member away where it says what ECS would say.
fn drop_default(value: &mut Value, pointer: &str, name: &str, default: &Value) {
    if let Some(members) = value.pointer_mut(pointer).and_then(Value::as_object_mut)
        && members.get(name) == Some(default)
    {
        members.remove(name);
    }
}

/// Without nulls, empty lists and empty objects, at any depth. A text may well be empty.
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

/// Whether a service has what a member of its definition says. ECS says more than was asked for, so what is not said is
/// not compared.
pub(crate) fn is_satisfied(said: &Value, actual: &Value) -> bool {
    /// What a service has where nobody said anything.
    fn is_nothing(said: &Value) -> bool {
        match said {
            Value::Null | Value::Bool(false) => true,
            Value::String(text) => ["", "NONE", "DISABLED", "ECS", "REPLICA", "LATEST"].contains(&text.as_str()),
            Value::Number(number) => number.as_i64() == Some(0),
            Value::Array(list) => list.is_empty(),
            Value::Object(members) => members.values().all(is_nothing),
            Value::Bool(true) => false,
        }
    }
    match (said, actual) {
        (said, Value::Null) => is_nothing(said),
        (Value::Object(said), Value::Object(actual)) => {
            said.iter().all(|(name, said)| is_satisfied(said, actual.get(name).unwrap_or(&Value::Null)))
        }
        (Value::Array(said), Value::Array(actual)) => {
            said.len() == actual.len() && said.iter().all(|said| actual.iter().any(|actual| is_satisfied(said, actual)))
        }
        (Value::Number(said), Value::Number(actual)) => said.as_f64() == actual.as_f64(),
        (said, actual) => said == actual,
    }
}

/// The lines that differ, as a unified diff with three lines of context; empty where none do.
pub(crate) fn diff(before: &Value, after: &Value, names: (&str, &str)) -> String {
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        value => format!("{:#}\n", redacted(value)),
    };
    let (old, new) = (text(before), text(after));
    let shown = similar::TextDiff::from_lines(&old, &new).unified_diff().header(names.0, names.1).to_string();
    // A value that is not shown may be all that differs.
    if shown.is_empty() && before != after {
        return "  (only values that are not shown differ)\n".to_owned();
    }
    shown
}

/// Values of the container's environment whose name says that they are secret are not shown: a log of CI is read by many.
fn redacted(value: &Value) -> Value {
    const SECRET: [&str; 9] =
        ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "PRIVATE", "CREDENTIAL", "API_KEY", "APIKEY", "ACCESS_KEY"];
    match value {
        Value::Array(list) => Value::Array(list.iter().map(redacted).collect()),
        Value::Object(members) => {
            let name = members.get("name").and_then(Value::as_str).unwrap_or_default().to_ascii_uppercase();
            let is_variable = members.contains_key("value") && members.len() == 2;
            let is_secret = is_variable && SECRET.iter().any(|word| name.contains(word));
            let shown = members.iter().map(|(key, value)| match (key.as_str(), value) {
                ("value", _) if is_secret => (key.clone(), json!("<redacted>")),
                (_, Value::String(text)) => (key.clone(), json!(without_password(text))),
                _ => (key.clone(), redacted(value)),
            });
            Value::Object(shown.collect())
        }
        other => other.clone(),
    }
}

/// `scheme://user:password@host` without the password.
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => {
            let user_name = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{user_name}:<redacted>{}", &rest[user.len()..])
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(written: Value, of_ecs: Value) {
        assert_eq!(task_definition(&written), task_definition(&of_ecs));
    }

    #[test]
    fn what_ecs_fills_in_is_no_difference() {
        same(
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
        same(
            json!({"family": "web", "networkMode": "awsvpc",
                   "containerDefinitions": [{"name": "w", "portMappings": [{"containerPort": 80}]}]}),
            json!({"family": "web", "networkMode": "awsvpc",
                   "containerDefinitions": [{"name": "w", "portMappings": [{"containerPort": 80, "hostPort": 80}]}]}),
        );
    }

    #[test]
    fn what_means_something_is_a_difference() {
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
    fn a_service_satisfies_what_is_said_and_no_more_is_asked() {
        for (said, actual, expected) in [
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
            assert_eq!(is_satisfied(&said, &actual), expected, "{said} {actual}");
        }
    }

    #[test]
    fn a_diff_shows_what_differs_and_no_secret() {
        let task = |tag: &str, password: &str| {
            json!({"image": format!("web:{tag}"), "environment": [
                {"name": "DB_PASSWORD", "value": password}, {"name": "DB", "value": "postgres://web:hunter2@db/web"}]})
        };
        let shown = diff(&task("1", "old"), &task("2", "new"), ("web:1", "new"));
        assert!(shown.contains("-  \"image\": \"web:1\"\n+  \"image\": \"web:2\"\n"), "{shown}");
        let all = diff(&Value::Null, &task("1", "s3cret"), ("nothing", "new"));
        for secret in ["s3cret", "hunter2"] {
            assert!(!all.contains(secret), "{all}");
        }
        assert!(all.contains("postgres://web:<redacted>@db/web"), "{all}");
        assert!(diff(&task("1", "old"), &task("1", "new"), ("a", "b")).contains("not shown differ"));
        assert_eq!(diff(&task("1", "old"), &task("1", "old"), ("a", "b")), "");
    }
}
