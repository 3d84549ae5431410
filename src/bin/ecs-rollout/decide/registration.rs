//! Decides whether a revision is registered, or which one is kept.

use serde_json::{Value, json};

use crate::cause::FoundCause;
use crate::current::CurrentState;
use crate::desired::DesiredState;
use crate::normalize::hidden::{Hashes, UNRETURNED_TAG};
use crate::normalize::{self, Reconciled};
use crate::plan::TaskDefinitionChange;
use crate::revision::Revision;
use crate::service::short;
use crate::{causes, diff, visible};

/// The largest task definition in bytes (ECS Developer Guide, "Amazon ECS service quotas", Task definition size: 64 KiB).
/// ECS measures its own JSON, which is about as long as the shortest JSON of the request.
const MAX_BYTES: usize = 64 * 1024;

/// The running revision if it is the desired one, else the newest if it is, else a new one. The running one is first:
/// after a rollback it is older than the newest, and is not replaced by it.
pub(super) fn registration(desired: &DesiredState, current: &CurrentState) -> Result<TaskDefinitionChange, FoundCause> {
    let normalized = normalize::task_definition(&desired.task_definition);
    let hashes = hashes(desired);
    let candidates = [current.running.as_ref(), current.newest.as_ref()];
    for revision in candidates.into_iter().flatten().filter(|revision| revision.is_active) {
        let compared = compare(&normalized, &hashes, desired.running.is_some(), revision);
        if compared.is_equal() && has_tags(revision, desired) {
            return Ok(TaskDefinitionChange::Keep(revision.clone()));
        }
    }
    let body = body(desired, &hashes);
    check_size(&body)?;
    let of_family = |revision: &&Revision| revision.normalized["family"] == normalized["family"];
    let compared = current.running.as_ref().filter(of_family).or(current.newest.as_ref());
    Ok(TaskDefinitionChange::New { body, diff: difference(&normalized, &hashes, compared, desired) })
}

/// The members that ECS may not return. A definition that ECS itself described has none.
fn hashes(desired: &DesiredState) -> Hashes {
    match &desired.running {
        Some(_) => Hashes::default(),
        None => Hashes::of_task_definition(&desired.task_definition),
    }
}

/// `is_described`: ECS described the definition, so it lacks the members that ECS does not return.
fn compare(normalized: &Value, hashes: &Hashes, is_described: bool, revision: &Revision) -> Reconciled {
    let remembered = Hashes::read(revision.tags.get(UNRETURNED_TAG).map(String::as_str));
    let is_remembered = |path: &str| remembered.remember(path, hashes);
    let mut compared = normalize::of_task_definition().reconcile(normalized, &revision.normalized, "", &is_remembered);
    // A member that ECS does not return is seen to be removed only by its hash.
    let removed = if is_described { Vec::new() } else { remembered.removed(hashes) };
    for path in removed.into_iter().filter(|path| !normalize::is_known_in_task_definition(path)) {
        compared.before[path] = json!("(a value that ECS does not return)");
    }
    compared
}

/// Whether the revision has the tags of the definition.
fn has_tags(revision: &Revision, desired: &DesiredState) -> bool {
    let tags = desired.task_definition["tags"].as_array().into_iter().flatten();
    tags.into_iter().all(|tag| {
        let actual = revision.tags.get(tag["key"].as_str().unwrap_or_default());
        actual.is_some_and(|actual| actual == tag["value"].as_str().unwrap_or_default())
    })
}

/// The body of RegisterTaskDefinition.
fn body(desired: &DesiredState, hashes: &Hashes) -> Value {
    let mut body = desired.task_definition.clone();
    let own = desired.revision_tags.iter().map(|(key, value)| json!({"key": key, "value": value}));
    let unreturned = hashes.tag().map(|value| json!({"key": UNRETURNED_TAG, "value": value}));
    let of_user = desired.task_definition["tags"].as_array().cloned().unwrap_or_default();
    let tags: Vec<Value> = of_user.into_iter().chain(own).chain(unreturned).collect();
    // ECS rejects an empty list of tags.
    if tags.is_empty() {
        body.as_object_mut().map(|members| members.remove("tags"));
    } else {
        body["tags"] = json!(tags);
    }
    body
}

fn difference(normalized: &Value, hashes: &Hashes, old: Option<&Revision>, desired: &DesiredState) -> String {
    let show_values = desired.show_values;
    let names = (old.map_or("no revision", |old| short(&old.arn)), "new revision");
    let Some(old) = old else { return diff::unified(&Value::Null, normalized, names, show_values) };
    let compared =
        normalize::of_task_definition().shown(&compare(normalized, hashes, desired.running.is_some(), old), "");
    let diff = diff::unified(&compared.before, &compared.after, names, show_values);
    diff + &tag_difference(old, desired)
}

/// The tags of the definition that the old revision does not have, as lines of a diff.
fn tag_difference(old: &Revision, desired: &DesiredState) -> String {
    let shown = |value: &str| if desired.show_values { value.to_owned() } else { visible::HIDDEN.to_owned() };
    let mut text = String::new();
    for tag in desired.task_definition["tags"].as_array().into_iter().flatten() {
        let (key, value) = (tag["key"].as_str().unwrap_or_default(), tag["value"].as_str().unwrap_or_default());
        match old.tags.get(key) {
            Some(actual) if actual == value => {}
            Some(_) if !desired.show_values => {
                text += &format!("-  tag {key}={}\n+  tag {key}={}\n", visible::HIDDEN, visible::HIDDEN_CHANGED);
            }
            Some(actual) => text += &format!("-  tag {key}={actual}\n+  tag {key}={value}\n"),
            None => text += &format!("+  tag {key}={}\n", shown(value)),
        }
    }
    text
}

/// Refuses a task definition that ECS would refuse because of its size.
fn check_size(body: &Value) -> Result<(), FoundCause> {
    let mut measured = body.clone();
    measured.as_object_mut().map(|members| members.remove("tags"));
    let size = measured.to_string().len();
    if size <= MAX_BYTES {
        return Ok(());
    }
    let text = format!("the task definition has {size} bytes, and ECS accepts at most {MAX_BYTES} (64 KiB)");
    let containers = body["containerDefinitions"].as_array().into_iter().flatten();
    let largest = containers.max_by_key(|container| container.to_string().len());
    let name = largest.and_then(|container| container["name"].as_str()).unwrap_or_default();
    let bytes = largest.map(|container| container.to_string().len()).unwrap_or_default();
    Err(causes::BAD_INPUT.finding(text).and(format!(
        "the largest container is `{name}` with {bytes} bytes; `environmentFiles` and `secrets` need less space than \
         `environment`"
    )))
}
