//! Decides what a deployment does, and how it is rolled back.
//!
//! In: [`DesiredState`] and [`CurrentState`]. Out: a [`Plan`], or the cause why there is none. Pure: all rules are
//! here.

use serde_json::{Map, Value, json};

use crate::cause::FoundCause;
use crate::current::{CurrentState, Scaling};
use crate::desired::DesiredState;
use crate::plan::{Action, Plan, RollbackTarget, TaskDefinitionChange};
use crate::revision::Revision;
use crate::service::{Deployment, Service, short};
use crate::stability::is_complete;
use crate::{api_model, causes, diff, normalize};

pub(crate) fn plan(desired: &DesiredState, current: &CurrentState) -> Result<Plan, FoundCause> {
    let registration = registration(desired, current.newest.as_ref());
    match current.service.as_ref().filter(|service| service.is_active()) {
        Some(service) => plan_update(desired, current, service, registration),
        None => Ok(plan_creation(desired, current.service.as_ref(), registration)),
    }
}

/// `deleted` is the deleted service of the same name, if ECS still describes it.
fn plan_creation(desired: &DesiredState, deleted: Option<&Service>, registration: TaskDefinitionChange) -> Plan {
    let status = deleted.map(|service| service.status.as_str());
    let why = match status {
        None => "there is no service of this name",
        Some("DRAINING") => "the service of this name was deleted and is draining; it is created again after that",
        Some(_) => "the service of this name was deleted (INACTIVE)",
    };
    let mut notes = desired.notes.clone();
    let body = creation_body(desired, &mut notes);
    notes.extend(risk_note(desired));
    Plan {
        registration,
        action: Action::Create { body, why, after_drain: status == Some("DRAINING") },
        service_tags: Vec::new(),
        rollback: Err("the service is new".to_owned()),
        notes,
        previous_deployment: None,
    }
}

fn creation_body(desired: &DesiredState, notes: &mut Vec<String>) -> Map<String, Value> {
    let mut body = desired.members.clone();
    if !desired.is_daemon() && !body.contains_key("desiredCount") {
        notes.push("the service is created with one task; set another number with `--desired-count`".to_owned());
        body.insert("desiredCount".to_owned(), json!(1));
    }
    body.insert("cluster".to_owned(), json!(desired.cluster));
    body.insert("serviceName".to_owned(), json!(desired.service));
    body
}

fn plan_update(
    desired: &DesiredState,
    current: &CurrentState,
    service: &Service,
    registration: TaskDefinitionChange,
) -> Result<Plan, FoundCause> {
    let controller = service.deployment_controller.controller_type.as_str();
    if !["", "ECS"].contains(&controller) {
        return Err(causes::OTHER_CONTROLLER.finding(format!("its deployment controller is `{controller}`")));
    }
    let mut notes = desired.notes.clone();
    let (mut body, mut changes) = differences(desired, service, &current.scaling, &mut notes)?;
    // The current values of the members that change, for the rollback.
    let before: Map<String, Value> = body.keys().map(|name| (name.clone(), service.member(name))).collect();
    let running = &service.task_definition;
    let runs_desired = matches!(&registration, TaskDefinitionChange::Keep(revision) if revision.arn == *running);
    match &registration {
        TaskDefinitionChange::Keep(_) if runs_desired => {}
        TaskDefinitionChange::Keep(revision) => {
            changes.push(format!("revision {} -> {}", short(running), short(&revision.arn)));
        }
        TaskDefinitionChange::New { .. } => changes.push(format!("revision {} -> a new one", short(running))),
    }
    let primary = service.primary();
    let incomplete = primary.filter(|primary| !is_complete(primary, service));
    let failed = incomplete.filter(|primary| primary.rollout_state.as_deref() == Some("FAILED"));
    if changes.is_empty() && (desired.force || failed.is_some()) {
        changes.push(match failed {
            Some(failed) => format!("a new deployment, because {} failed", failed.id),
            None => "a new deployment, because of `--force-new-deployment`".to_owned(),
        });
        body.insert("forceNewDeployment".to_owned(), json!(true));
    }
    let action = if !changes.is_empty() {
        if failed.is_none() {
            notes.extend(incomplete.map(replacement_note));
        }
        notes.extend(risk_note(desired));
        Action::Update { body, changes }
    } else if let Some(incomplete) = incomplete {
        Action::Attach(incomplete.clone())
    } else {
        Action::Nothing
    };
    let rollback = if before.is_empty() && runs_desired {
        Err("the service already ran this revision before".to_owned())
    } else {
        rollback_target(desired, current.last_stable.as_ref(), before)
    };
    Ok(Plan {
        registration,
        action,
        service_tags: missing_tags(desired, service),
        rollback,
        notes,
        previous_deployment: primary.map(|primary| primary.id.clone()),
    })
}

/// The newest revision if it is the desired one; otherwise a new one.
fn registration(desired: &DesiredState, newest: Option<&Revision>) -> TaskDefinitionChange {
    let normalized = normalize::task_definition(&desired.task_definition);
    let desired_tags = desired.task_definition["tags"].as_array().cloned().unwrap_or_default();
    if let Some(newest) = newest.filter(|newest| newest.is_active && newest.normalized == normalized) {
        let has_tag = |tag: &Value| {
            let value = tag["value"].as_str().unwrap_or_default();
            newest.tags.get(tag["key"].as_str().unwrap_or_default()).is_some_and(|actual| actual == value)
        };
        if desired_tags.iter().all(has_tag) {
            return TaskDefinitionChange::Keep(newest.clone());
        }
    }
    let mut body = desired.task_definition.clone();
    let revision_tags = desired.revision_tags.iter().map(|(key, value)| json!({"key": key, "value": value}));
    let tags: Vec<Value> = desired_tags.into_iter().chain(revision_tags).collect();
    // ECS rejects an empty list of tags.
    if tags.is_empty() {
        body.as_object_mut().map(|members| members.remove("tags"));
    } else {
        body["tags"] = json!(tags);
    }
    let (old, name) = match newest {
        Some(newest) => (newest.normalized.clone(), short(&newest.arn).to_owned()),
        None => (Value::Null, "no revision".to_owned()),
    };
    let mut diff = diff::unified(&old, &normalized, (&name, "new revision"));
    if diff.is_empty() {
        diff = "  (only its tags differ)\n".to_owned();
    }
    TaskDefinitionChange::New { body, diff }
}

/// The members that UpdateService must set, and a description of each change.
fn differences(
    desired: &DesiredState,
    service: &Service,
    scaling: &Scaling,
    notes: &mut Vec<String>,
) -> Result<(Map<String, Value>, Vec<String>), FoundCause> {
    let mut body = Map::new();
    let mut changes = Vec::new();
    let mut unchangeable: Option<FoundCause> = None;
    for (name, value) in &desired.members {
        let actual = service.member(name);
        let is_equal = match name.as_str() {
            // Tags are added with TagResource. The role has another form and place in the described service.
            "tags" | "role" => true,
            "desiredCount" => keeps_desired_count(value, service, scaling, notes)?,
            _ => normalize::is_satisfied(value, &actual),
        };
        if is_equal {
            continue;
        }
        let change = format!("{name} {actual} -> {value}");
        if api_model::can_be_updated(name) {
            body.insert(name.clone(), value.clone());
            changes.push(change);
        } else {
            unchangeable = Some(match unchangeable {
                None => causes::CANNOT_BE_CHANGED.finding(change),
                Some(finding) => finding.and(change),
            });
        }
    }
    unchangeable.map_or(Ok((body, changes)), Err)
}

/// Whether the desired count of the service stays: because it is equal, or because Application Auto Scaling controls
/// it.
fn keeps_desired_count(
    value: &Value,
    service: &Service,
    scaling: &Scaling,
    notes: &mut Vec<String>,
) -> Result<bool, FoundCause> {
    let count = service.desired_count;
    if value.as_i64() == Some(count) {
        return Ok(true);
    }
    match scaling {
        Scaling::Manual | Scaling::NotRead => Ok(false),
        Scaling::Automatic => {
            notes.push(format!("the desired count stays {count}, not {value}: Application Auto Scaling controls it"));
            Ok(true)
        }
        Scaling::Unknown(error) => Err(causes::CALLER_DENIED
            .finding(format!("cannot find out whether Application Auto Scaling controls the desired count: {error}"))
            .and(format!(
                "the service has the desired count {count}, the definition {value}; without a desired count in the \
                 definition this call is not needed"
            ))),
    }
}

fn missing_tags(desired: &DesiredState, service: &Service) -> Vec<(String, String)> {
    let actual = service.raw["tags"].as_array().cloned().unwrap_or_default();
    let tags = desired.members.get("tags").and_then(Value::as_array).into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    tags.filter(|tag| !actual.contains(tag)).map(|tag| (text(&tag["key"]), text(&tag["value"]))).collect()
}

/// `before` are the current values of the members that the deployment changes.
fn rollback_target(
    desired: &DesiredState,
    last_stable: Option<&Revision>,
    before: Map<String, Value>,
) -> Result<RollbackTarget, String> {
    let Some(revision) = last_stable else {
        return Err("no deployment of this service was stable".to_owned());
    };
    if !revision.is_active {
        return Err(format!("{} is deregistered, so the service cannot be updated to it", short(&revision.arn)));
    }
    let mut body: Map<String, Value> = before.into_iter().filter(|(_, value)| !value.is_null()).collect();
    body.insert("cluster".to_owned(), json!(desired.cluster));
    body.insert("service".to_owned(), json!(desired.service));
    body.insert("taskDefinition".to_owned(), json!(revision.arn));
    Ok(RollbackTarget { revision: revision.clone(), body: Value::Object(body) })
}

fn replacement_note(other: &Deployment) -> String {
    format!("{} is in progress ({}): this deployment replaces it", other.label(), other.counts())
}

fn risk_note(desired: &DesiredState) -> Option<String> {
    desired.one_small_instance.then(|| {
        "`--one-small-instance`: the old task stops before the new one starts, so the service is down in between; if \
         the new task does not start, the service is down until the rollback is complete"
            .to_owned()
    })
}

#[cfg(test)]
mod tests;
