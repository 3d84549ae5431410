//! Decides what a deployment does, and how it would be undone.
//!
//! In: what is wanted and what is there. Out: a [`Plan`], or why there is none. Pure: every rule is here, and is tested by
//! data.

use serde_json::{Map, Value, json};

use crate::cause::{self, Finding};
use crate::desired::DesiredState;
use crate::normalize;
use crate::observe::{CurrentState, Revision, Scaling};
use crate::rollout::{Deployment, Service, short};

/// What shall be done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    /// The revision.
    pub(crate) registration: Registration,
    /// The service.
    pub(crate) action: Action,
    /// Tags that the service lacks.
    pub(crate) service_tags: Vec<(String, String)>,
    /// How it is undone: UpdateService's body, or why it cannot be.
    pub(crate) rollback: Result<RollbackTarget, String>,
    /// What is worth saying.
    pub(crate) notes: Vec<String>,
    /// The newest deployment before ours.
    pub(crate) before: Option<String>,
}

/// Which revision.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Registration {
    /// A new one: RegisterTaskDefinition's body, and how it differs from the newest.
    New {
        /// The body.
        body: Value,
        /// The difference.
        diff: String,
    },
    /// The newest is what is desired.
    Keep(Revision),
}

/// What is done with the service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// CreateService's body without the revision.
    Create {
        /// The body.
        body: Map<String, Value>,
        /// Why it is created.
        why: &'static str,
        /// Whether the one of before must end first.
        after_drain: bool,
    },
    /// UpdateService's body without the revision.
    Update {
        /// The body.
        body: Map<String, Value>,
        /// What differs.
        changes: Vec<String>,
    },
    /// Nothing differs, but the rollout has not ended.
    Attach(Deployment),
    /// Nothing differs.
    Nothing,
}

/// How it is undone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RollbackTarget {
    /// The revision to go back to.
    pub(crate) task_definition: String,
    /// UpdateService's body.
    pub(crate) body: Value,
}

/// What shall be done.
pub(crate) fn plan(desired: &DesiredState, current: &CurrentState) -> Result<Plan, Finding> {
    let registration = registration(desired, current.newest.as_ref());
    let mut notes = desired.notes.clone();
    let service = current.service.as_ref().filter(|service| service.is_active());
    let Some(service) = service else {
        let why = match current.service.as_ref().map(|service| service.status.as_str()) {
            None => "there is none of this name",
            Some("DRAINING") => "the one of this name was deleted and drains: it is created anew once that has ended",
            Some(_) => "the one of this name was deleted (INACTIVE)",
        };
        let after_drain = current.service.as_ref().is_some_and(|service| service.status == "DRAINING");
        let body = creation(desired, &mut notes);
        let rollback = Err("the service is new: there is nothing to go back to".to_owned());
        let action = Action::Create { body, why, after_drain };
        add_risks(desired, &mut notes);
        return Ok(Plan { registration, action, service_tags: Vec::new(), rollback, notes, before: None });
    };
    let kind = &service.deployment_controller.kind;
    if !["", "ECS"].contains(&kind.as_str()) {
        return Err(cause::OTHER_CONTROLLER.finding(format!("its deployment controller is `{kind}`")));
    }
    let (mut body, mut changes) = differences(desired, service, &current.scaling, &mut notes)?;
    // As it is now, of what will be changed.
    let before: Map<String, Value> = body.keys().map(|name| (name.clone(), service.member(name))).collect();
    let running = &service.task_definition;
    match &registration {
        Registration::Keep(revision) if revision.arn == *running => {}
        Registration::Keep(revision) => {
            changes.push(format!("revision {} -> {}", short(running), short(&revision.arn)))
        }
        Registration::New { .. } => changes.push(format!("revision {} -> a new one", short(running))),
    }
    let primary = service.primary();
    let unfinished = primary.filter(|primary| !primary.is_completed(service));
    let failed = unfinished.filter(|primary| primary.rollout_state.as_deref() == Some("FAILED"));
    if changes.is_empty() && (desired.force || failed.is_some()) {
        changes.push(match failed {
            Some(failed) => format!("a new deployment, since {} has failed", failed.id),
            None => "a new deployment, as asked".to_owned(),
        });
        body.insert("forceNewDeployment".to_owned(), json!(true));
    }
    let service_tags = missing_tags(desired, service);
    let action = match (changes.is_empty(), unfinished) {
        (false, _) => Action::Update { body, changes },
        (true, Some(unfinished)) => Action::Attach(unfinished.clone()),
        (true, None) => Action::Nothing,
    };
    if let (Action::Update { .. }, Some(other), None) = (&action, unfinished, failed) {
        notes.push(format!(
            "{} of {} is in progress ({}): this deployment takes its place",
            other.id,
            short(&other.task_definition),
            other.counts()
        ));
    }
    if matches!(action, Action::Update { .. }) {
        add_risks(desired, &mut notes);
    }
    let same = before.is_empty() && matches!(&registration, Registration::Keep(revision) if revision.arn == *running);
    let rollback = match same {
        true => Err("it runs the revision of before already".to_owned()),
        false => rollback_target(desired, current, before),
    };
    let before = primary.map(|primary| primary.id.clone());
    Ok(Plan { registration, action, service_tags, rollback, notes, before })
}

/// The newest revision where it is what is desired, else a new one.
fn registration(desired: &DesiredState, newest: Option<&Revision>) -> Registration {
    let document = normalize::task_definition(&desired.task_definition);
    let said = desired.task_definition["tags"].as_array().cloned().unwrap_or_default();
    if let Some(newest) = newest.filter(|newest| newest.is_active && newest.document == document) {
        let has = |tag: &Value| {
            let value = tag["value"].as_str().unwrap_or_default();
            newest.tags.get(tag["key"].as_str().unwrap_or_default()).is_some_and(|actual| actual == value)
        };
        if said.iter().all(has) {
            return Registration::Keep(newest.clone());
        }
    }
    let mut body = desired.task_definition.clone();
    let ours = desired.tags.iter().map(|(key, value)| json!({"key": key, "value": value}));
    let tags: Vec<Value> = said.into_iter().chain(ours).collect();
    // ECS takes no empty list of tags.
    if tags.is_empty() {
        body.as_object_mut().map(|members| members.remove("tags"));
    } else {
        body["tags"] = json!(tags);
    }
    let (old, name) = match newest {
        Some(newest) => (newest.document.clone(), short(&newest.arn).to_owned()),
        None => (Value::Null, "no revision".to_owned()),
    };
    let mut diff = normalize::diff(&old, &document, (&name, "new revision"));
    if diff.is_empty() {
        diff = "  (only its tags differ)\n".to_owned();
    }
    Registration::New { body, diff }
}

fn creation(desired: &DesiredState, notes: &mut Vec<String>) -> Map<String, Value> {
    let mut body = desired.members.clone();
    if !desired.is_daemon() && !body.contains_key("desiredCount") {
        notes.push("the service is created with one task, since nothing says how many (`--desired-count`)".to_owned());
        body.insert("desiredCount".to_owned(), json!(1));
    }
    body.insert("cluster".to_owned(), json!(desired.cluster));
    body.insert("serviceName".to_owned(), json!(desired.service));
    body
}

/// What UpdateService must be told, and the same in words.
fn differences(
    desired: &DesiredState,
    service: &Service,
    scaling: &Scaling,
    notes: &mut Vec<String>,
) -> Result<(Map<String, Value>, Vec<String>), Finding> {
    let mut body = Map::new();
    let mut changes = Vec::new();
    let mut fixed: Option<Finding> = None;
    for (name, said) in &desired.members {
        let actual = service.member(name);
        match name.as_str() {
            "tags" => continue,
            // CreateService takes a name or an ARN, and Service has another member for it.
            "role" => continue,
            "desiredCount" if said.as_i64() == Some(service.desired_count) => continue,
            "desiredCount" => match scaling {
                Scaling::Automatic => {
                    let text = format!(
                        "the desired count stays {}, not {said}: Application Auto Scaling decides it",
                        service.desired_count
                    );
                    notes.push(text);
                    continue;
                }
                Scaling::Unknown(why) => {
                    let text = format!("whether Application Auto Scaling owns the desired count is not known: {why}");
                    return Err(cause::CALLER_DENIED.finding(text).and(format!(
                        "the service has {}, and {said} is asked for; without that no question arises",
                        service.desired_count
                    )));
                }
                Scaling::Manual | Scaling::NotAsked => {}
            },
            _ if normalize::is_satisfied(said, &actual) => continue,
            _ => {}
        }
        let change = format!("{name} {actual} -> {said}");
        if crate::api_model::can_be_updated(name) {
            body.insert(name.clone(), said.clone());
            changes.push(change);
        } else {
            fixed = Some(match fixed {
                None => cause::CANNOT_BE_CHANGED.finding(change),
                Some(refusal) => refusal.and(change),
            });
        }
    }
    fixed.map_or(Ok((body, changes)), Err)
}

fn missing_tags(desired: &DesiredState, service: &Service) -> Vec<(String, String)> {
    let actual = service.raw["tags"].as_array().cloned().unwrap_or_default();
    let said = desired.members.get("tags").and_then(Value::as_array).cloned().unwrap_or_default();
    let missing = said.into_iter().filter(|tag| !actual.contains(tag));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    missing.map(|tag| (text(&tag["key"]), text(&tag["value"]))).collect()
}

fn rollback_target(
    desired: &DesiredState,
    current: &CurrentState,
    before: Map<String, Value>,
) -> Result<RollbackTarget, String> {
    let Some(good) = &current.good else {
        return Err("no deployment of this service has run well: there is nothing to go back to".to_owned());
    };
    if !good.is_active {
        return Err(format!("{} is deregistered, so the service cannot go back to it", short(&good.arn)));
    }
    let mut body: Map<String, Value> = before.into_iter().filter(|(_, value)| !value.is_null()).collect();
    body.insert("cluster".to_owned(), json!(desired.cluster));
    body.insert("service".to_owned(), json!(desired.service));
    body.insert("taskDefinition".to_owned(), json!(good.arn));
    Ok(RollbackTarget { task_definition: good.arn.clone(), body: Value::Object(body) })
}

fn add_risks(desired: &DesiredState, notes: &mut Vec<String>) {
    if desired.one_small_instance {
        notes.push(
            "`--one-small-instance`: the old task is stopped before the new one starts; the service is down meanwhile, and \
             until the rollback has ended where the new one does not start"
                .to_owned(),
        );
    }
}

#[cfg(test)]
mod tests;
