//! Drops members without a value, and recognizes a file that `aws ecs ... --generate-cli-skeleton` has written and a
//! person has filled in.
//!
//! In: a definition. Out: the definition without empty members, and, for a skeleton, the members that may or may not
//! be meant: the AWS CLI writes `true` for each boolean and an arbitrary choice for each enumeration, such
//! as `"privileged": true` and `"networkMode": "host"` (AWS CLI User Guide, "Generate a CLI skeleton").

use serde_json::{Map, Value};

use crate::visible::{Definition, Model, joined};

/// The key that a skeleton has in each map.
const PLACEHOLDER_KEY: &str = "KeyName";
/// How many members a note names.
const MAX_NAMED: usize = 12;

/// Members whose empty text is a value.
const MAY_BE_EMPTY: [&str; 8] = [
    "containerDefinitions[].command[]",
    "containerDefinitions[].entryPoint[]",
    "containerDefinitions[].environment[].value",
    "containerDefinitions[].healthCheck.command[]",
    "containerDefinitions[].systemControls[].value",
    "proxyConfiguration.properties[].value",
    "tags[].value",
    "volumeConfigurations[].managedEBSVolume.tagSpecifications[].tags[].value",
];

/// Enumerations: a skeleton has one of their values, chosen at random (ECS API Reference).
const CHOICES: [&str; 40] = [
    "availabilityZoneRebalancing",
    "containerDefinitions[].dependsOn[].condition",
    "containerDefinitions[].environmentFiles[].type",
    "containerDefinitions[].firelensConfiguration.type",
    "containerDefinitions[].linuxParameters.devices[].permissions[]",
    "containerDefinitions[].logConfiguration.logDriver",
    "containerDefinitions[].portMappings[].appProtocol",
    "containerDefinitions[].portMappings[].protocol",
    "containerDefinitions[].resourceRequirements[].type",
    "containerDefinitions[].ulimits[].name",
    "containerDefinitions[].versionConsistency",
    "deploymentConfiguration.deploymentCircuitBreaker.thresholdConfiguration.type",
    "deploymentConfiguration.lifecycleHooks[].lifecycleStages[]",
    "deploymentConfiguration.lifecycleHooks[].targetType",
    "deploymentConfiguration.lifecycleHooks[].timeoutConfiguration.action",
    "deploymentConfiguration.strategy",
    "deploymentController.type",
    "ipcMode",
    "launchType",
    "networkConfiguration.awsvpcConfiguration.assignPublicIp",
    "networkMode",
    "pidMode",
    "placementConstraints[].type",
    "placementStrategy[].type",
    "propagateTags",
    "proxyConfiguration.type",
    "requiresCompatibilities[]",
    "runtimePlatform.cpuArchitecture",
    "runtimePlatform.operatingSystemFamily",
    "schedulingStrategy",
    "serviceConnectConfiguration.accessLogConfiguration.format",
    "serviceConnectConfiguration.accessLogConfiguration.includeQueryParameters",
    "serviceConnectConfiguration.containerConfigurations[].logLevel",
    "serviceConnectConfiguration.logConfiguration.logDriver",
    "volumeConfigurations[].managedEBSVolume.filesystemType",
    "volumeConfigurations[].managedEBSVolume.tagSpecifications[].propagateTags",
    "volumeConfigurations[].managedEBSVolume.tagSpecifications[].resourceType",
    "volumes[].dockerVolumeConfiguration.scope",
    "volumes[].efsVolumeConfiguration.authorizationConfig.iam",
    "volumes[].efsVolumeConfiguration.transitEncryption",
];

/// A definition without empty members.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cleaned {
    pub(crate) value: Value,
    /// What was dropped, for the user; `None` if nothing was.
    pub(crate) note: Option<String>,
    /// The members that a skeleton has by itself, so that it is not known whether they are meant.
    pub(crate) unclear: Vec<String>,
}

/// Drops the members without a value.
pub(crate) fn clean(definition: Definition, value: &Value) -> Cleaned {
    let is_skeleton = is_skeleton("", value);
    let mut cleaner = Cleaner { model: Model::of(definition), is_skeleton, unclear: Vec::new() };
    let Value::Object(members) = value else {
        return Cleaned { value: value.clone(), note: None, unclear: Vec::new() };
    };
    let (members, dropped) = cleaner.object("", "", members);
    let what = if is_skeleton { "the placeholders of a skeleton" } else { "empty members" };
    let note = (!dropped.is_empty()).then(|| format!("ignored {what}: {}", listed(&dropped)));
    Cleaned { value: Value::Object(members), note, unclear: cleaner.unclear }
}

/// The first names, and how many more there are.
fn listed(names: &[String]) -> String {
    let shown = names.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Whether a part of the value can only be a placeholder: `"KeyName": ""`, or `[""]` where an empty text is not a value.
fn is_skeleton(path: &str, value: &Value) -> bool {
    match value {
        Value::Array(list) => {
            let path = joined(path, "[]");
            (*list == [""] && !MAY_BE_EMPTY.contains(&path.as_str())) || list.iter().any(|one| is_skeleton(&path, one))
        }
        Value::Object(members) => {
            members.get(PLACEHOLDER_KEY).is_some_and(|value| value == "")
                || members.iter().any(|(name, value)| is_skeleton(&joined(path, name), value))
        }
        _ => false,
    }
}

struct Cleaner {
    model: &'static Model,
    is_skeleton: bool,
    unclear: Vec<String>,
}

impl Cleaner {
    /// The value at `path` of the model without what is empty in it, and the places of what was dropped; no value if
    /// nothing is left. `place` is the path with the numbers of list elements.
    fn value(&mut self, path: &str, place: &str, value: &Value) -> (Option<Value>, Vec<String>) {
        match value {
            Value::String(text) if text.is_empty() && !MAY_BE_EMPTY.contains(&path) && !path.ends_with('}') => {
                (None, Vec::new())
            }
            Value::Array(list) if self.is_skeleton && *list == [""] => (None, Vec::new()),
            Value::Array(list) if !list.is_empty() => self.list(path, place, list),
            Value::Object(members) if !members.is_empty() => {
                let known = self.unclear.len();
                let (members, dropped) = self.object(path, place, members);
                let value = Value::Object(members);
                let has_placeholder = !dropped.is_empty();
                let is_empty = value.as_object().is_some_and(Map::is_empty);
                let is_map = self.model.is_map(path);
                if is_empty || (self.is_skeleton && has_placeholder && !is_map && !is_meant(path, &value)) {
                    self.unclear.truncate(known);
                    return (None, Vec::new());
                }
                (Some(value), dropped)
            }
            other => (Some(other.clone()), Vec::new()),
        }
    }

    fn list(&mut self, path: &str, place: &str, list: &[Value]) -> (Option<Value>, Vec<String>) {
        let path = joined(path, "[]");
        let (mut kept, mut all_dropped) = (Vec::new(), Vec::new());
        for (index, element) in list.iter().enumerate() {
            let place = format!("{place}[{index}]");
            match self.value(&path, &place, element) {
                (Some(element), dropped) => {
                    kept.push(element);
                    all_dropped.extend(dropped);
                }
                (None, _) => all_dropped.push(place),
            }
        }
        if kept.is_empty() { (None, Vec::new()) } else { (Some(Value::Array(kept)), all_dropped) }
    }

    fn object(&mut self, path: &str, place: &str, members: &Map<String, Value>) -> (Map<String, Value>, Vec<String>) {
        let is_map = self.model.is_map(path);
        let (mut kept, mut all_dropped, mut is_unfilled) = (Map::new(), Vec::new(), false);
        for (name, value) in members {
            let place = joined(place, name);
            let result = match is_map {
                true if name == PLACEHOLDER_KEY && value == "" => (None, Vec::new()),
                true => (Some(value.clone()), Vec::new()),
                false => self.value(&joined(path, name), &place, value),
            };
            match result {
                (Some(value), dropped) => {
                    kept.insert(name.clone(), value);
                    all_dropped.extend(dropped);
                }
                (None, _) => {
                    is_unfilled = true;
                    all_dropped.push(place);
                }
            }
        }
        if self.is_skeleton && !is_map {
            let is_zero = |value: &Value| value.as_f64() == Some(0.0);
            all_dropped.extend(kept.iter().filter(|(_, value)| is_zero(value)).map(|(name, _)| joined(place, name)));
            kept.retain(|_, value| !is_zero(value));
            if is_unfilled {
                let is_unclear = |(name, value): &(&String, &Value)| is_arbitrary(&joined(path, name), value);
                self.unclear.extend(kept.iter().filter(is_unclear).map(|(name, _)| joined(place, name)));
            }
        }
        (kept, all_dropped)
    }
}

/// Whether a skeleton can have this value by itself.
fn is_arbitrary(path: &str, value: &Value) -> bool {
    match value {
        Value::Bool(set) => *set,
        Value::String(text) => text.is_empty() || CHOICES.contains(&path),
        Value::Array(list) => list.iter().all(|element| is_arbitrary(&joined(path, "[]"), element)),
        Value::Object(members) => members.iter().all(|(name, value)| is_arbitrary(&joined(path, name), value)),
        Value::Null => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
    }
}

/// Whether a person has written a part of the value.
fn is_meant(path: &str, value: &Value) -> bool {
    !is_arbitrary(path, value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::visible::schema::{self, ValueKind};

    /// The skeleton of a definition, as the AWS CLI builds it from its model.
    fn skeleton(definition: Definition) -> Value {
        let mut root = json!({});
        for (path, kind) in schema::members(definition) {
            let value = match kind {
                ValueKind::Boolean => json!(true),
                ValueKind::Number => json!(0),
                ValueKind::Any => json!({}),
                ValueKind::Text if CHOICES.contains(&path.as_str()) => json!("arbitrary"),
                ValueKind::Text => json!(""),
            };
            let mut place = &mut root;
            for step in path.replace("[]", ".0").replace("{}", ".KeyName").split('.') {
                let empty = if step == "0" { json!([null]) } else { json!({}) };
                if place.is_null() || (step == "0" && !place.is_array()) {
                    *place = empty;
                }
                place = if step == "0" { &mut place[0] } else { &mut place[step] };
            }
            *place = value;
        }
        root
    }

    #[test]
    fn a_skeleton_that_was_filled_in_has_only_what_was_written() {
        let mut task = skeleton(Definition::Task);
        task["family"] = json!("web");
        let container = &mut task["containerDefinitions"][0];
        for (name, value) in [("name", json!("web")), ("image", json!("web:1")), ("memory", json!(128))] {
            container[name] = value;
        }
        container["environment"][0] = json!({"name": "EMPTY", "value": ""});
        container["portMappings"][0]["containerPort"] = json!(80);
        let cleaned = clean(Definition::Task, &task);
        assert!(cleaned.note.as_ref().is_some_and(|note| note.starts_with("ignored the placeholders of a skeleton: ")));
        for unclear in [
            "networkMode",
            "pidMode",
            "requiresCompatibilities",
            "enableFaultInjection",
            "containerDefinitions[0].privileged",
            "containerDefinitions[0].disableNetworking",
            "containerDefinitions[0].portMappings[0].protocol",
        ] {
            assert!(cleaned.unclear.iter().any(|name| name == unclear), "{unclear}: {cleaned:#?}");
        }
        // Their author deletes them.
        for name in &cleaned.unclear {
            let pointer = format!("/{}", name.replace("[0]", "/0").replace('.', "/"));
            let (parent, member) = pointer.rsplit_once('/').unwrap();
            task.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(member);
        }
        let cleaned = clean(Definition::Task, &task);
        assert_eq!(cleaned.unclear, [""; 0]);
        let expected = json!({"family": "web", "containerDefinitions": [{"name": "web", "image": "web:1", "memory": 128,
            "environment": [{"name": "EMPTY", "value": ""}], "portMappings": [{"containerPort": 80}]}]});
        assert_eq!(cleaned.value, expected);
    }

    #[test]
    fn a_skeleton_of_a_service_sets_no_count_by_itself() {
        let mut service = skeleton(Definition::Service);
        service["serviceName"] = json!("web");
        let cleaned = clean(Definition::Service, &service);
        assert!(cleaned.value.get("desiredCount").is_none(), "{cleaned:#?}");
        for unclear in ["launchType", "schedulingStrategy", "deploymentController"] {
            assert!(cleaned.unclear.iter().any(|name| name == unclear), "{unclear}: {cleaned:#?}");
        }
        for dropped in ["loadBalancers", "networkConfiguration", "serviceConnectConfiguration", "volumeConfigurations"]
        {
            assert!(cleaned.value.get(dropped).is_none(), "{dropped}: {cleaned:#?}");
        }
    }

    #[test]
    fn of_another_file_only_empty_members_are_dropped() {
        let task = json!({"family": "web", "taskRoleArn": "", "networkMode": "host", "volumes": [],
            "containerDefinitions": [{"name": "web", "cpu": 0, "privileged": true, "command": ["x", ""], "links": ["", "a"],
                "repositoryCredentials": {"credentialsParameter": ""},
                "environment": [{"name": "A", "value": ""}], "dockerLabels": {"a": ""},
                "logConfiguration": {"logDriver": "awslogs", "options": {"mode": ""}}}],
            "tags": [{"key": "a", "value": ""}]});
        let cleaned = clean(Definition::Task, &task);
        let expected = json!({"family": "web", "networkMode": "host", "volumes": [],
            "containerDefinitions": [{"name": "web", "cpu": 0, "privileged": true, "command": ["x", ""], "links": ["a"],
                "environment": [{"name": "A", "value": ""}], "dockerLabels": {"a": ""},
                "logConfiguration": {"logDriver": "awslogs", "options": {"mode": ""}}}],
            "tags": [{"key": "a", "value": ""}]});
        assert_eq!((cleaned.value, cleaned.unclear), (expected, Vec::<String>::new()));
        let note = "ignored empty members: containerDefinitions[0].links[0], \
                    containerDefinitions[0].repositoryCredentials, taskRoleArn";
        assert_eq!(cleaned.note.as_deref(), Some(note));
        let other = json!({"family": "web", "containerDefinitions": [{"name": "web"}]});
        assert_eq!(clean(Definition::Task, &other), Cleaned { value: other, note: None, unclear: Vec::new() });
    }

    #[test]
    fn every_choice_is_a_text_of_the_model() {
        let members: Vec<_> = [Definition::Task, Definition::Service].into_iter().flat_map(schema::members).collect();
        for path in CHOICES.iter().chain(&MAY_BE_EMPTY) {
            assert!(members.iter().any(|(known, kind)| known == path && *kind == ValueKind::Text), "{path}");
        }
    }
}
