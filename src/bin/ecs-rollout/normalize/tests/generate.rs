//! Generates definitions from the SDK's schema, so that each member occurs in every form.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::Normalizer;
use crate::api_model::schema::MemberType;

/// A document: each member is there or not.
pub(super) fn document(normalizer: &'static Normalizer, required: &'static [&'static str]) -> BoxedStrategy<Value> {
    object(normalizer, "", required)
}

fn object(normalizer: &'static Normalizer, path: &str, required: &'static [&'static str]) -> BoxedStrategy<Value> {
    let prefix = if path.is_empty() { String::new() } else { format!("{path}.") };
    let direct = normalizer.members.iter().filter_map(|(member, kind)| {
        let name = member.strip_prefix(prefix.as_str())?;
        (!name.contains(['.', '[', '{'])).then(|| (name.to_owned(), member.to_owned(), kind))
    });
    let members: Vec<_> = direct
        .map(|(name, member, kind)| {
            let is_required = required.contains(&member.as_str()) || IDENTIFYING.contains(&name.as_str());
            let value = value(normalizer, &member, kind);
            let value =
                if is_required { value.prop_map(Some).boxed() } else { prop::option::weighted(0.4, value).boxed() };
            value.prop_map(move |value| value.map(|value| (name.clone(), value)))
        })
        .collect();
    members.prop_map(|members| Value::Object(members.into_iter().flatten().collect::<Map<_, _>>())).boxed()
}

/// Members without which an element says nothing.
const IDENTIFYING: [&str; 27] = [
    "name",
    "containerName",
    "containerPort",
    "containerPath",
    "hostPath",
    "sourceContainer",
    "namespace",
    "key",
    "field",
    "portName",
    "capacityProvider",
    "targetGroupArn",
    "registryArn",
    "hookTargetArn",
    "fileSystemId",
    "fileSystemArn",
    "expression",
    "deviceName",
    "command",
    "awsvpcConfiguration",
    "subnets",
    "port",
    "hostname",
    "resourceType",
    "valueFrom",
    "logDriver",
    "type",
];

fn value(normalizer: &'static Normalizer, path: &str, kind: MemberType) -> BoxedStrategy<Value> {
    let plain = match kind {
        MemberType::Object => object(normalizer, path, &[]),
        MemberType::List => list(normalizer, path),
        MemberType::Map => {
            let names = prop::sample::select(vec!["a", "b", "c"]);
            let texts = prop::sample::select(vec!["", "x", "y"]);
            proptest::collection::btree_map(names, texts, 0..3).prop_map(|map| json!(map)).boxed()
        }
        MemberType::Text => texts(path),
        MemberType::Integer => (1..9_i64).prop_map(Value::from).boxed(),
        MemberType::Decimal => prop::sample::select(vec![json!(10.0), json!(5.0), json!(12.5), json!(25)]).boxed(),
        MemberType::Boolean => any::<bool>().prop_map(Value::from).boxed(),
        MemberType::Any => prop::sample::select(vec![json!({"a": [1, null, ""]}), json!("text")]).boxed(),
    };
    match normalizer.default(path) {
        Some(default) => prop_oneof![3 => plain, 1 => Just(default)].boxed(),
        None => plain,
    }
}

fn list(normalizer: &'static Normalizer, path: &str) -> BoxedStrategy<Value> {
    let inner = format!("{path}[]");
    let kind = normalizer.members.get(&inner).expect("a list has elements");
    let key = normalizer.unordered(path).and_then(|keys| keys.first().copied());
    let unique = move |elements: Vec<Value>| {
        let mut kept: Vec<Value> = Vec::new();
        for element in elements {
            let is_same = |other: &Value| match key {
                Some(key) => other[key] == element[key],
                None => *other == element,
            };
            if !kept.iter().any(is_same) {
                kept.push(element);
            }
        }
        Value::Array(kept)
    };
    proptest::collection::vec(value(normalizer, &inner, kind), 0..if kind == MemberType::Object { 3 } else { 4 })
        .prop_map(unique)
        .boxed()
}

/// The texts of members whose values ECS rewrites or knows; other members have texts without a meaning.
fn texts(path: &str) -> BoxedStrategy<Value> {
    const ROLE: &[&str] = &["web", "/team/web", "team/web", "arn:aws:iam::111122223333:role/team/other", ""];
    let pool: &[&str] = match path {
        "family" => &["web"],
        "networkMode" => &["bridge", "host", "awsvpc", "none"],
        "cpu" => &["256", "0.25 vCPU", "1 vcpu", ".5 vCPU", "2vCPU"],
        "memory" => &["512", "0.5 GB", "1GB", "2 gb"],
        "taskRoleArn" | "executionRoleArn" | "role" => ROLE,
        "placementStrategy[].type" => &["spread", "binpack", "random"],
        "placementStrategy[].field" => {
            &["host", "instanceId", "memory", "MEMORY", "cpu", "attribute:ecs.availability-zone"]
        }
        "capacityProviderStrategy[].capacityProvider" => {
            &["main", "FARGATE", "arn:aws:ecs:eu-west-1:111122223333:capacity-provider/spot"]
        }
        path if IDENTIFYING.iter().any(|name| path.ends_with(&format!(".{name}"))) => &["n1", "n2", "n3", "n4", "n5"],
        path if path.ends_with("[]") => &["e1", "e2", "e3", "e4"],
        _ => &["", "t1", "t2", "t3"],
    };
    prop::sample::select(pool).prop_map(Value::from).boxed()
}

/// The places of all values that are not objects or lists, as JSON pointers.
pub(super) fn leaves(value: &Value) -> Vec<String> {
    fn find(value: &Value, pointer: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                members.iter().for_each(|(name, value)| find(value, &format!("{pointer}/{name}"), found));
            }
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(index, value)| find(value, &format!("{pointer}/{index}"), found));
            }
            _ => found.push(pointer.to_owned()),
        }
    }
    let mut found = Vec::new();
    find(value, "", &mut found);
    found
}

/// Another value than any that is generated.
pub(super) fn changed(value: &Value) -> Value {
    match value {
        Value::Bool(value) => json!(!value),
        Value::Number(number) => json!(number.as_f64().unwrap_or_default() as i64 + 1000),
        _ => json!("7777"),
    }
}
