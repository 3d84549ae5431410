//! Decides what a deployment does, and how it is rolled back.
//!
//! In: [`DesiredState`] and [`CurrentState`]. Out: a [`Plan`], or the cause why there is none. Pure: all rules are
//! here.

pub(crate) mod merge;
mod registration;
mod service_changes;
mod update_service;

use serde_json::{Map, Value, json};

use crate::cause::FoundCause;
use crate::causes;
use crate::current::CurrentState;
use crate::desired::DesiredState;
use crate::normalize::hidden::{Hashes, UNRETURNED_TAG};
use crate::plan::{Action, Plan, RollbackTarget, TaskDefinitionChange};
use crate::revision::Revision;
use crate::service::{Deployment, Service, short};
use crate::stability::is_complete;
use registration::registration;
use service_changes::ServiceChanges;

pub(crate) fn plan(desired: &DesiredState, current: &CurrentState) -> Result<Plan, FoundCause> {
    let registration = registration(desired, current)?;
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
        remembered: Hashes::of_service(&desired.members),
        to_remember: Hashes::of_service(&desired.members),
        rollback: Err("the service is new".to_owned()),
        notes,
        is_verified: false,
        previous_deployment: None,
    }
}

fn creation_body(desired: &DesiredState, notes: &mut Vec<String>) -> Map<String, Value> {
    let mut body = desired.members.clone();
    if !desired.is_daemon() && !body.contains_key("desiredCount") {
        notes.push("the service is created with one task; set another number with `--desired-count`".to_owned());
        body.insert("desiredCount".to_owned(), json!(1));
    }
    notes.extend(merge::network_notes(&desired.members.get("networkConfiguration").cloned().unwrap_or_default()));
    let mut tags: Vec<Value> = user_tags(desired).cloned().collect();
    let hashes = Hashes::of_service(&desired.members);
    tags.extend(hashes.tag().map(|value| json!({"key": UNRETURNED_TAG, "value": value})));
    if !tags.is_empty() {
        body.insert("tags".to_owned(), json!(tags));
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
    let mut changes = service_changes::changes(desired, service, &current.scaling, &mut notes)?;
    // The current values of the members that change, for the rollback.
    let before: Map<String, Value> = changes.body.keys().map(|name| (name.clone(), service.member(name))).collect();
    let before = merge::restoring(&changes.body, &before);
    let has_members = !changes.body.is_empty();
    let running = &service.task_definition;
    // moto 5.2 describes the revision as the caller of UpdateService named it: `web:42` instead of the ARN.
    let is_running = |revision: &Revision| short(&revision.arn) == short(running);
    let runs_desired = matches!(&registration, TaskDefinitionChange::Keep(revision) if is_running(revision));
    match &registration {
        TaskDefinitionChange::Keep(_) if runs_desired => {}
        TaskDefinitionChange::Keep(revision) => {
            changes.lines.push(format!("revision {} -> {}", short(running), short(&revision.arn)));
        }
        TaskDefinitionChange::New { .. } => changes.lines.push(format!("revision {} -> a new one", short(running))),
    }
    let primary = service.primary();
    let incomplete = primary.filter(|primary| !is_complete(primary, service));
    let failed = incomplete.filter(|primary| primary.rollout_state.as_deref() == Some("FAILED"));
    notes.extend(force(desired, &mut changes, failed, runs_desired));
    let action = if !changes.lines.is_empty() {
        if failed.is_none() {
            notes.extend(incomplete.map(replacement_note));
        }
        notes.extend(risk_note(desired));
        Action::Update { body: changes.body, changes: changes.lines }
    } else if let Some(incomplete) = incomplete {
        Action::Attach(incomplete.clone())
    } else {
        Action::Nothing
    };
    let rollback = if !has_members && runs_desired {
        Err("the service already ran this revision before".to_owned())
    } else {
        rollback_target(desired, current.last_stable.as_ref(), before)
    };
    Ok(Plan {
        registration,
        action,
        service_tags: missing_tags(desired, service),
        remembered: changes.remembered,
        to_remember: changes.to_remember,
        rollback,
        notes,
        is_verified: false,
        previous_deployment: primary.map(|primary| primary.id.clone()),
    })
}

/// Forces a new deployment if the user asks for it, if ECS requires it, or if the last one failed and nothing else
/// would start another. Returns a note about changes that running tasks do not get.
fn force(
    desired: &DesiredState,
    changes: &mut ServiceChanges,
    failed: Option<&Deployment>,
    runs_desired: bool,
) -> Option<String> {
    let starts = !runs_desired || changes.start_deployment();
    let why = if desired.force {
        Some("because of `--force-new-deployment`".to_owned())
    } else if service_changes::needs_force(&changes.body) {
        Some("which ECS requires for a change of the capacity provider strategy".to_owned())
    } else {
        failed.filter(|_| !starts).map(|failed| format!("because {} failed", failed.id))
    };
    if let Some(why) = why {
        changes.lines.push(format!("a new deployment, {why}"));
        changes.body.insert("forceNewDeployment".to_owned(), json!(true));
        return None;
    }
    let names = changes.only_for_new_tasks();
    (!starts && !names.is_empty()).then(|| {
        format!(
            "{} changes only for tasks that start after this; `--force-new-deployment` replaces the running tasks",
            names.join(", ")
        )
    })
}

/// The tags of the service definition, without the one that ecs-rollout writes.
fn user_tags(desired: &DesiredState) -> impl Iterator<Item = &Value> {
    let tags = desired.members.get("tags").and_then(Value::as_array).into_iter().flatten();
    tags.filter(|tag| tag["key"] != UNRETURNED_TAG)
}

fn missing_tags(desired: &DesiredState, service: &Service) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    // A tag without a value has an empty one.
    let pair = |tag: &Value| (text(&tag["key"]), text(&tag["value"]));
    let actual: Vec<_> = service.raw["tags"].as_array().into_iter().flatten().map(pair).collect();
    user_tags(desired).map(pair).filter(|tag| !actual.contains(tag)).collect()
}

/// `before` is the body that restores the members that the deployment changes.
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
    let mut body = before;
    if service_changes::needs_force(&body) {
        body.insert("forceNewDeployment".to_owned(), json!(true));
    }
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
