//! Completes what a service definition says with what the service has, because UpdateService replaces whole objects.

use serde_json::{Map, Value};

use super::update_service;
use crate::normalize;

/// The objects of UpdateService of which a definition can have a part (ECS API Reference, UpdateService: what is not
/// sent gets its default; for example a network configuration without security groups gets that of the VPC).
const OBJECTS: [&str; 4] =
    ["deploymentConfiguration", "networkConfiguration", "serviceConnectConfiguration", "deploymentController"];

/// The member with all that the service has in addition.
pub(crate) fn merged(name: &str, desired: &Value, actual: &Value) -> Value {
    // Nothing else of a disabled configuration is used.
    if !OBJECTS.contains(&name) || (name == "serviceConnectConfiguration" && desired["enabled"] == false) {
        return desired.clone();
    }
    let mut merged = overlay(actual, desired);
    if name == "deploymentConfiguration" {
        drop_other_strategies(&mut merged, desired, actual);
    }
    merged
}

/// `desired` over `actual`, at any depth of objects. A list replaces a list, and null says nothing.
fn overlay(actual: &Value, desired: &Value) -> Value {
    match (actual, desired) {
        (actual, Value::Null) => actual.clone(),
        (Value::Object(old), Value::Object(new)) => {
            let mut all = old.clone();
            for (name, value) in new {
                all.insert(name.clone(), overlay(old.get(name).unwrap_or(&Value::Null), value));
            }
            Value::Object(all)
        }
        (_, desired) => desired.clone(),
    }
}

/// Members that only one strategy has are not taken over when another one is asked for (ECS API Reference,
/// DeploymentConfiguration).
fn drop_other_strategies(merged: &mut Value, desired: &Value, actual: &Value) {
    let Some(strategy) = desired["strategy"].as_str() else { return };
    if actual["strategy"] == strategy {
        return;
    }
    let other: &[&str] = match strategy {
        "ROLLING" => &["linearConfiguration", "canaryConfiguration", "bakeTimeInMinutes", "lifecycleHooks"],
        "LINEAR" => &["canaryConfiguration"],
        "CANARY" => &["linearConfiguration"],
        _ => &["linearConfiguration", "canaryConfiguration"],
    };
    if let Some(members) = merged.as_object_mut() {
        members.retain(|name, _| !other.contains(&name.as_str()) || desired.get(name).is_some());
    }
}

/// The body that restores the members of `sent`, whose values were in `before`, as far as UpdateService can.
pub(super) fn restoring(sent: &Map<String, Value>, before: &Map<String, Value>) -> Map<String, Value> {
    let mut body = Map::new();
    for (name, value) in sent {
        let old = match before.get(name).filter(|old| !old.is_null()) {
            Some(old) => old.clone(),
            None => match update_service::absent(name) {
                Some(absent) => absent,
                None => continue,
            },
        };
        let is_object = OBJECTS.contains(&name.as_str()) && name != "serviceConnectConfiguration";
        let restored = if is_object { with_defaults(&old, value, name) } else { old };
        if !restored.as_object().is_some_and(Map::is_empty) {
            body.insert(name.clone(), restored);
        }
    }
    body
}

/// `old` with the defaults of the members that it lacks and that `sent` has, because a member that is not sent can stay
/// as it is.
fn with_defaults(old: &Value, sent: &Value, path: &str) -> Value {
    let (Value::Object(new), Value::Object(_) | Value::Null) = (sent, old) else { return old.clone() };
    let mut all = old.as_object().cloned().unwrap_or_default();
    for (name, value) in new {
        let inner = format!("{path}.{name}");
        let default = match (all.get(name), value) {
            (old, Value::Object(_)) => Some(with_defaults(old.unwrap_or(&Value::Null), value, &inner)),
            (Some(_), _) => None,
            (None, Value::Array(_)) => Some(Value::Array(Vec::new())),
            (None, _) => normalize::of_service().default(&inner),
        };
        if let Some(default) = default.filter(|default| !default.as_object().is_some_and(Map::is_empty)) {
            all.insert(name.clone(), default);
        }
    }
    Value::Object(all)
}

/// What ECS uses for the members that a network configuration lacks, if the service has none yet.
pub(super) fn network_notes(desired: &Value) -> Vec<String> {
    let Some(network) = desired["awsvpcConfiguration"].as_object() else { return Vec::new() };
    let lacks =
        |name: &str| network.get(name).is_none_or(|value| value.is_null() || *value == Value::Array(Vec::new()));
    let mut notes = Vec::new();
    if lacks("securityGroups") {
        notes.push("`networkConfiguration` has no `securityGroups`: ECS uses the default group of the VPC".to_owned());
    }
    if lacks("assignPublicIp") {
        notes.push("`networkConfiguration` has no `assignPublicIp`: ECS uses `DISABLED`".to_owned());
    }
    notes
}
