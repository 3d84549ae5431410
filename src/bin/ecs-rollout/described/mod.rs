//! Turns what ECS describes into what its requests accept: the members of a service for CreateService, and those of a
//! task definition for RegisterTaskDefinition.
//!
//! In: the JSON of DescribeServices and DescribeTaskDefinition. Out: the members that can be set, and the names of
//! those that were left out. Which members only ECS sets is derived from the model of the SDK: they are in the output,
//! and not in the input. A member of a task definition that the SDK does not know is kept, because it may be a setting
//! of a newer ECS. One of a service is left out, because most members of a service are reports, and a deployment leaves
//! members that its definition does not have unchanged.

use serde_json::{Map, Value, json};

use crate::api_model::schema;
use crate::normalize;
use crate::service::{Service as DescribedService, short};

/// The prefixes of tags that no definition has: `ecs-rollout:` describes the build that registered a revision, and only
/// AWS can set `aws:` (AWS General Reference, "Tagging AWS resources").
const OTHER_TAGS: [&str; 2] = ["ecs-rollout:", "aws:"];
/// The path of service-linked roles. CreateService takes only other roles (ECS API Reference, "CreateService", `role`).
const SERVICE_LINKED: &str = ":role/aws-service-role/";
/// Members of a service whose empty or zero value is a setting: an absent one has another meaning when the service is
/// created (ECS API Reference, "CreateService", "DeploymentConfiguration").
const ALWAYS_KEPT: [&str; 4] =
    ["desiredCount", "availabilityZoneRebalancing", "minimumHealthyPercent", "maximumPercent"];
/// Lists of a container whose order has no meaning; ECS returns them in any order.
const UNORDERED: [&str; 2] = ["environment", "secrets"];

/// The members of a description that a request accepts.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Described {
    pub(crate) members: Map<String, Value>,
    /// Names of members that only ECS sets.
    pub(crate) read_only: Vec<String>,
    /// Names of members that were left out because the SDK does not know them.
    pub(crate) unknown: Vec<String>,
}

/// The members of CreateService that a described service has. `cluster` is the name of its cluster.
pub(crate) fn service(raw: &Value) -> Described {
    let mut described = Described::default();
    let of_service = schema::service().names("");
    for (name, value) in raw.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        match name.as_str() {
            "tags" => drop(described.members.insert(name.clone(), own_tags(value))),
            _ if of_service.contains(name) => drop(described.members.insert(name.clone(), value.clone())),
            "clusterArn" => {
                let cluster = short(value.as_str().unwrap_or_default());
                described.members.insert("cluster".to_owned(), json!(cluster));
            }
            "roleArn" if !value.as_str().is_some_and(|role| role.contains(SERVICE_LINKED)) => {
                described.members.insert("role".to_owned(), value.clone());
            }
            _ if schema::is_in_service(name) => described.read_only.push(name.clone()),
            _ => described.unknown.push(name.clone()),
        }
    }
    // Some members are shown only at the deployment.
    let of_deployment = of_service.iter().filter(|name| !schema::is_in_service(name) && schema::is_in_deployment(name));
    if let Ok(shown) = DescribedService::read(raw) {
        for name in of_deployment {
            let value = shown.member(name);
            if !value.is_null() {
                described.members.insert(name.to_owned(), value);
            }
        }
    }
    // ECS counts the tasks of a daemon service itself.
    if described.members.get("schedulingStrategy").is_some_and(|strategy| strategy == "DAEMON") {
        described.members.remove("desiredCount");
    }
    // CreateService accepts only one of the two.
    if described.members.get("capacityProviderStrategy").is_some_and(|strategy| *strategy != json!([])) {
        described.members.remove("launchType");
    }
    described
}

/// The body of RegisterTaskDefinition for a described revision, with the tags of its owner. `answer` has the members
/// `taskDefinition` and `tags`.
pub(crate) fn task_definition(answer: &Value) -> Described {
    let mut described = Described::default();
    let members = answer["taskDefinition"].as_object().into_iter().flatten();
    for (name, value) in members.filter(|(_, value)| !value.is_null()) {
        if schema::read_only().any(|known| known == name) {
            described.read_only.push(name.clone());
        } else {
            described.members.insert(name.clone(), value.clone());
        }
    }
    let tags = own_tags(&answer["tags"]);
    if !tags.is_null() && tags != json!([]) {
        described.members.insert("tags".to_owned(), tags);
    }
    described
}

/// The task definition in a file. The output of `aws ecs describe-task-definition` becomes the body of
/// RegisterTaskDefinition. `notes` receives what was ignored.
pub(crate) fn task_definition_document(mut document: Value, notes: &mut Vec<String>) -> Value {
    if !document.is_object() {
        return document;
    }
    if !document["taskDefinition"].is_object() {
        let tags = document["tags"].take();
        document = json!({"taskDefinition": document, "tags": tags});
    }
    let described = task_definition(&document);
    if !described.read_only.is_empty() {
        let names = described.read_only.join(", ");
        notes.push(format!("ignored members of the task definition that only ECS can set: {names}"));
    }
    Value::Object(described.members)
}

/// The service definition in a file. The output of `aws ecs describe-services` (the document or one service of it), and
/// that of `create-service` and `update-service`, become the body of CreateService. Other documents are returned as
/// they are. `wanted` is the service that the command line names, `notes` receives what was ignored.
pub(crate) fn service_definition(
    document: Value,
    wanted: Option<&str>,
    notes: &mut Vec<String>,
) -> Result<Value, String> {
    let described = match (&document["services"], &document["service"]) {
        (Value::Array(services), _) => service(choose(services, &document["failures"], wanted)?),
        (_, one @ Value::Object(_)) => service(one),
        _ if document["serviceArn"].is_string() => service(&document),
        _ => return Ok(document),
    };
    if !described.read_only.is_empty() {
        notes.push(format!("ignored members of the service that only ECS can set: {}", described.read_only.join(", ")));
    }
    if !described.unknown.is_empty() {
        notes.push(format!("ignored members of the service that are unknown: {}", described.unknown.join(", ")));
    }
    Ok(Value::Object(described.members))
}

/// The service of DescribeServices that the command line means.
fn choose<'a>(services: &'a [Value], failures: &Value, wanted: Option<&str>) -> Result<&'a Value, String> {
    let wanted = wanted.map(short);
    let name = |service: &Value| service["serviceName"].as_str().unwrap_or_default().to_owned();
    match services {
        [] if failures.as_array().is_some_and(|failures| !failures.is_empty()) => {
            Err(format!("it describes no service, but failures: {failures}"))
        }
        [] => Err("it describes no service".to_owned()),
        [one] => Ok(one),
        several => {
            let names: Vec<String> = several.iter().map(name).collect();
            let found = several.iter().find(|one| Some(name(one).as_str()) == wanted);
            found.ok_or_else(|| match wanted {
                Some(wanted) => format!("it describes no service `{wanted}`, but {}", names.join(", ")),
                None => {
                    format!("it describes {} services; choose one with `--service`: {}", names.len(), names.join(", "))
                }
            })
        }
    }
}

/// The members of a service without those that have the default of CreateService.
pub(crate) fn without_service_defaults(mut members: Map<String, Value>) -> Map<String, Value> {
    let says_something = |name: &str, value: &Value| !normalize::of_service().member(name, value).is_null();
    members.retain(|name, value| ALWAYS_KEPT.contains(&name.as_str()) || says_something(name, value));
    if let Some(configuration) = members.get_mut("deploymentConfiguration") {
        let normalized = normalize::of_service().member("deploymentConfiguration", configuration);
        if let Some(configuration) = configuration.as_object_mut() {
            configuration.retain(|name, _| normalized.get(name).is_some());
        }
    }
    members
}

/// A task definition without every member whose removal makes no difference to ECS, as [`normalize`] knows it, and with
/// the lists sorted whose order has no meaning.
pub(crate) fn without_task_definition_defaults(mut task: Value) -> Value {
    for list in task["containerDefinitions"].as_array_mut().into_iter().flatten().flat_map(unordered_lists) {
        list.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    }
    let original = task.clone();
    let (tags, containers) = (task["tags"].take(), task["containerDefinitions"].take());
    remove_defaults(&mut task);
    // Each container alone, because a comparison of all of them for each member takes long.
    let mut alone = task.clone();
    let smaller = containers.as_array().into_iter().flatten().map(|container| {
        alone["containerDefinitions"] = json!([container]);
        let mut smaller = alone.clone();
        remove_defaults(&mut smaller);
        smaller["containerDefinitions"][0].take()
    });
    let smaller: Vec<Value> = smaller.collect();
    for (member, value) in [("containerDefinitions", json!(smaller)), ("tags", tags)] {
        if let Some(members) = task.as_object_mut() {
            members.remove(member);
            if !value.is_null() {
                members.insert(member.to_owned(), value);
            }
        }
    }
    let is_same = normalize::task_definition(&task) == normalize::task_definition(&original);
    if is_same { task } else { original }
}

fn unordered_lists(container: &mut Value) -> impl Iterator<Item = &mut Vec<Value>> {
    let members = container.as_object_mut().into_iter().flatten();
    members.filter(|(name, _)| UNORDERED.contains(&name.as_str())).filter_map(|(_, list)| list.as_array_mut())
}

fn remove_defaults(task: &mut Value) {
    let normalized = normalize::task_definition(task);
    remove_defaults_below(task, "", &normalized);
}

fn remove_defaults_below(task: &mut Value, pointer: &str, normalized: &Value) {
    let keys: Vec<String> = match task.pointer(pointer) {
        Some(Value::Object(members)) => members.keys().cloned().collect(),
        Some(Value::Array(list)) => (0..list.len()).map(|index| index.to_string()).collect(),
        _ => return,
    };
    for key in keys {
        // The entries of these have no defaults, and there can be thousands.
        if UNORDERED.contains(&key.as_str()) && task.pointer(pointer).is_some_and(|at| at[&key] != json!([])) {
            continue;
        }
        let step = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
        if let Some(members) = task.pointer_mut(pointer).and_then(Value::as_object_mut)
            && let Some(value) = members.remove(&key)
        {
            if normalize::task_definition(task) == *normalized {
                continue;
            }
            if let Some(members) = task.pointer_mut(pointer).and_then(Value::as_object_mut) {
                members.insert(key, value);
            }
        }
        remove_defaults_below(task, &step, normalized);
    }
}

/// The tags that the owner of a resource gave it.
fn own_tags(tags: &Value) -> Value {
    // A value of another type is a fault of the file, which is found later.
    let Value::Array(tags) = tags else { return tags.clone() };
    let is_own = |tag: &&Value| {
        let key = tag["key"].as_str().unwrap_or_default();
        !OTHER_TAGS.iter().any(|prefix| key.starts_with(prefix))
    };
    tags.iter().filter(is_own).cloned().collect()
}

#[cfg(test)]
mod tests;
