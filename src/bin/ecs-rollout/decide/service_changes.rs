//! Decides which members UpdateService must set.

use serde_json::{Map, Value, json};

use super::merge::{merged, network_notes};
use super::update_service::{self, Start};
use crate::api_model::schema;
use crate::cause::FoundCause;
use crate::causes;
use crate::current::Scaling;
use crate::desired::DesiredState;
use crate::normalize::hidden::{Hashes, UNRETURNED_TAG, is_never_returned};
use crate::normalize::{self, is_same_role};
use crate::service::Service;

/// What differs between a service and its definition.
#[derive(Debug, Default)]
pub(super) struct ServiceChanges {
    /// The members of UpdateService, with the complete value of each.
    pub(super) body: Map<String, Value>,
    /// One line for each member that differs, at any depth.
    pub(super) lines: Vec<String>,
    /// What the service's tag remembers of members that ECS does not return.
    pub(super) remembered: Hashes,
    /// What it has to remember.
    pub(super) to_remember: Hashes,
    unchangeable: Option<FoundCause>,
}

impl ServiceChanges {
    /// Whether ECS starts a deployment because of the members alone.
    pub(super) fn start_deployment(&self) -> bool {
        self.body
            .keys()
            .any(|name| !matches!(update_service::start_of(name), Some(Start::OnlyNewTasks | Start::Nothing)))
    }

    /// The changed members that running tasks do not get without a new deployment.
    pub(super) fn only_for_new_tasks(&self) -> Vec<&str> {
        let names = self.body.keys().map(String::as_str);
        names.filter(|name| update_service::start_of(name) == Some(Start::OnlyNewTasks)).collect()
    }

    /// Sets a member that ECS does not return, and whose old value is therefore not known.
    fn not_returned(&mut self, name: &str, value: Value) {
        self.lines.push(format!("{name} changes (ECS does not return it; compared by its hash)"));
        self.body.insert(name.to_owned(), value);
    }

    fn refuse(&mut self, text: String) {
        self.unchangeable = Some(match self.unchangeable.take() {
            None => causes::CANNOT_BE_CHANGED.finding(text),
            Some(finding) => finding.and(text),
        });
    }
}

/// Whether ECS refuses a body without `forceNewDeployment`.
pub(super) fn needs_force(body: &Map<String, Value>) -> bool {
    body.keys().any(|name| update_service::start_of(name) == Some(Start::ForcedDeployment))
}

/// Compares each member of the definition with the service. Members that the definition does not have stay unchanged.
pub(super) fn changes(
    desired: &DesiredState,
    service: &Service,
    scaling: &Scaling,
    notes: &mut Vec<String>,
) -> Result<ServiceChanges, FoundCause> {
    let mut changes = ServiceChanges::default();
    let hashes = Hashes::of_service(&desired.members);
    let remembered = Hashes::read(service.tag(UNRETURNED_TAG));
    let compared = Compared { service, hashes: &hashes, remembered: &remembered, show_values: desired.show_values };
    for (name, value) in &desired.members {
        match name.as_str() {
            // Tags are added with TagResource.
            "tags" => {}
            "role" => role(value, service, &mut changes),
            "launchType" => launch_type(value, desired, service, &mut changes, notes),
            "desiredCount" => desired_count(value, service, scaling, &mut changes, notes)?,
            name if is_never_returned(name) => {
                let is_set = hashes.has(name) && !remembered.remember(name, &hashes);
                let is_reset = !hashes.has(name) && remembered.has(name);
                if is_set || is_reset {
                    changes.not_returned(name, value.clone());
                }
            }
            name => compared.member(name, value, &mut changes, notes),
        }
    }
    if let Some(finding) = changes.unchangeable.take() {
        return Err(finding);
    }
    changes.to_remember = changes
        .body
        .keys()
        .fold(remembered.with(&hashes), |all, name| if hashes.has(name) { all } else { all.without(name) });
    changes.remembered = remembered;
    Ok(changes)
}

/// A service that is compared with its definition.
struct Compared<'a> {
    service: &'a Service,
    hashes: &'a Hashes,
    remembered: &'a Hashes,
    show_values: bool,
}

impl Compared<'_> {
    fn member(&self, name: &str, value: &Value, changes: &mut ServiceChanges, notes: &mut Vec<String>) {
        let Compared { service, hashes, remembered, show_values } = *self;
        let actual = service.member(name);
        let whole = merged(name, value, &actual);
        let normalizer = normalize::of_service();
        let (before, after) = (normalizer.member(name, &actual), normalizer.member(name, &whole));
        let is_remembered = |path: &str| remembered.remember(path, hashes);
        let mut compared = normalizer.reconcile(&after, &before, name, &is_remembered);
        if actual.is_null() && remembered.has(name) {
            if !remembered.remember_member(name, value) {
                changes.not_returned(name, whole);
            }
            return;
        }
        if name == "serviceConnectConfiguration" {
            notes.extend(unresolved_namespace(&mut compared));
        }
        if compared.is_equal() {
            return;
        }
        let lines = normalizer.changes(&compared, name, show_values);
        // A member that the SDK does not know was allowed by `--allow-unknown`.
        if schema::can_be_updated(name) || schema::service().get(name).is_none() {
            if name == "networkConfiguration" && actual.is_null() {
                notes.extend(network_notes(value));
            }
            changes.body.insert(name.to_owned(), whole);
            changes.lines.extend(lines);
        } else {
            lines.into_iter().for_each(|line| changes.refuse(line));
        }
    }
}

/// A namespace can be given by its name, and its ARN has an id instead of it. The two cannot be compared.
fn unresolved_namespace(compared: &mut normalize::Reconciled) -> Option<String> {
    let (old, new) = (compared.before["namespace"].as_str()?, compared.after["namespace"].as_str()?);
    if old == new || old.starts_with("arn:") == new.starts_with("arn:") {
        return None;
    }
    let note = format!(
        "`serviceConnectConfiguration.namespace` is not compared: it is `{new}` in the definition and `{old}` in the \
         service, and only one of them is an ARN"
    );
    compared.after["namespace"] = compared.before["namespace"].clone();
    Some(note)
}

fn role(value: &Value, service: &Service, changes: &mut ServiceChanges) {
    let (Some(named), Some(arn)) = (value.as_str(), service.raw["roleArn"].as_str()) else { return };
    if !named.is_empty() && !arn.is_empty() && !is_same_role(named, arn) {
        changes.refuse(format!("role {arn:?} -> {named:?}"));
    }
}

/// The launch type cannot be set by UpdateService. A service with a capacity provider strategy gets its launch type back
/// with an empty strategy (ECS API Reference, UpdateService, capacityProviderStrategy).
fn launch_type(
    value: &Value,
    desired: &DesiredState,
    service: &Service,
    changes: &mut ServiceChanges,
    notes: &mut Vec<String>,
) {
    let (actual, strategy) = (&service.raw["launchType"], service.member("capacityProviderStrategy"));
    let is_empty = |strategy: &Value| strategy.as_array().is_none_or(Vec::is_empty);
    if value == actual || value.as_str() == Some("") {
        return;
    }
    let wants_none = desired.members.get("capacityProviderStrategy").is_none_or(is_empty);
    if !is_empty(&strategy) && wants_none {
        if changes.body.insert("capacityProviderStrategy".to_owned(), json!([])).is_none() {
            changes.lines.push(format!("capacityProviderStrategy {strategy} -> []"));
        }
        changes.lines.push(format!("launchType {actual} -> {value}"));
        notes.push(format!(
            "without a capacity provider strategy the service gets back the launch type with which it was created; if \
             that is not {value}, it must be created again"
        ));
        return;
    }
    changes.refuse(format!("launchType {actual} -> {value}"));
    if matches!(value.as_str(), Some("FARGATE")) {
        let text = "ECS changes the launch type of a service only by `capacityProviderStrategy`, for example with the \
                    provider `FARGATE`";
        changes.refuse(text.to_owned());
    }
}

/// The desired count is kept if Application Auto Scaling controls it.
fn desired_count(
    value: &Value,
    service: &Service,
    scaling: &Scaling,
    changes: &mut ServiceChanges,
    notes: &mut Vec<String>,
) -> Result<(), FoundCause> {
    let count = service.desired_count;
    if value.as_i64() == Some(count) {
        return Ok(());
    }
    match scaling {
        Scaling::Manual | Scaling::NotRead => {
            changes.lines.push(format!("desiredCount {count} -> {value}"));
            changes.body.insert("desiredCount".to_owned(), value.clone());
            Ok(())
        }
        Scaling::Automatic => {
            notes.push(format!("the desired count stays {count}, not {value}: Application Auto Scaling controls it"));
            Ok(())
        }
        Scaling::Unknown(error) => Err(causes::CALLER_DENIED
            .finding(format!("cannot find out whether Application Auto Scaling controls the desired count: {error}"))
            .and(format!(
                "the service has the desired count {count}, the definition {value}; without a desired count in the \
                 definition this call is not needed"
            ))),
    }
}
