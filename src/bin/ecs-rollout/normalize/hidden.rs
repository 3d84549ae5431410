//! Remembers the members that ECS accepts and does not return, by their hashes in a tag.
//!
//! The tag of the revision or the service has one hash for each such member. The members themselves are not in it. Which
//! members these are is known from the SDK's schemas, and of a service also from the answer to the call that sent them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::Normalizer;
use crate::api_model::schema;
use crate::service::Service;

/// The tag with the hashes.
pub(crate) const UNRETURNED_TAG: &str = "ecs-rollout:unreturned";
/// The longest value of a tag (ECS API Reference, "Tag").
const MAX_TAG_LENGTH: usize = 256;
/// Stands for all members together, if their paths are too long for a tag.
const ALL: &str = "all";

/// The hashes of members that ECS does not return, by path.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Hashes(BTreeMap<String, String>);

impl Hashes {
    /// The members of a task definition that ECS may not return: those that the SDK does not know.
    pub(crate) fn of_task_definition(desired: &Value) -> Hashes {
        let mut found = BTreeMap::new();
        collect(super::of_task_definition(), desired, "", &mut found);
        Hashes::of(found)
    }

    /// The members of a service that ECS may not return: those that the SDK does not know, and those that DescribeServices
    /// has no member for.
    pub(crate) fn of_service<'a>(members: impl IntoIterator<Item = (&'a String, &'a Value)>) -> Hashes {
        let mut found = BTreeMap::new();
        for (name, value) in members {
            if is_never_returned(name) {
                let normalized = super::of_service().member(name, value);
                if !normalized.is_null() {
                    found.insert(name.clone(), vec![normalized]);
                }
            } else {
                collect(super::of_service(), &serde_json::json!({ name: value }), "", &mut found);
            }
        }
        Hashes::of(found)
    }

    /// The members of a body of CreateService or UpdateService that the answer does not show at all.
    pub(crate) fn not_shown(body: &Map<String, Value>, service: &Service) -> Hashes {
        let compared = body.iter().filter(|(name, _)| !is_shown_otherwise(name) && *name != "forceNewDeployment");
        let missing = compared.filter(|(name, _)| service.member(name).is_null());
        Hashes(missing.filter_map(|(name, value)| Some((name.clone(), hash_of_member(name, value)?))).collect())
    }

    /// Whether these hashes have a whole member of a service as it is in the definition.
    pub(crate) fn remember_member(&self, name: &str, value: &Value) -> bool {
        self.0.get(name).is_some_and(|hash| hash_of_member(name, value).as_ref() == Some(hash))
    }

    fn of(found: BTreeMap<String, Vec<Value>>) -> Hashes {
        Hashes(found.into_iter().map(|(path, values)| (path, hash(&Value::from(values)))).collect())
    }

    /// Reads the value of the tag.
    pub(crate) fn read(tag: Option<&str>) -> Hashes {
        let parts = tag.unwrap_or_default().split_ascii_whitespace().filter_map(|part| part.rsplit_once(':'));
        // `[` is not allowed in a tag.
        Hashes(parts.map(|(path, hash)| (path.replace('@', "[]"), hash.to_owned())).collect())
    }

    /// The value of the tag; `None` if there is nothing to remember.
    pub(crate) fn tag(&self) -> Option<String> {
        let text = self.text();
        if text.is_empty() {
            None
        } else if text.len() <= MAX_TAG_LENGTH && text.chars().all(is_allowed_in_tag) {
            Some(text)
        } else {
            Some(format!("{ALL}:{}", self.digest()))
        }
    }

    fn text(&self) -> String {
        let parts = self.0.iter().map(|(path, hash)| format!("{}:{hash}", path.replace("[]", "@")));
        parts.collect::<Vec<_>>().join(" ")
    }

    fn digest(&self) -> String {
        hash(&Value::from(self.text()))
    }

    /// Whether these hashes, read from a tag, have the member at `path` as it is in the definition.
    pub(crate) fn remember(&self, path: &str, desired: &Hashes) -> bool {
        match self.0.get(ALL) {
            Some(all) => *all == desired.digest(),
            None => desired.0.get(path).is_some_and(|hash| self.0.get(path) == Some(hash)),
        }
    }

    /// The members that the tag remembers and the definition no longer has.
    pub(crate) fn removed(&self, desired: &Hashes) -> Vec<&str> {
        let paths = self.0.keys().map(String::as_str);
        paths.filter(|path| !desired.0.contains_key(*path) && (*path != ALL || desired.is_empty())).collect()
    }

    /// These hashes and the ones of a newer definition, which replace those of the same path.
    pub(crate) fn with(&self, newer: &Hashes) -> Hashes {
        let kept = self.0.iter().filter(|(path, _)| *path != ALL);
        Hashes(kept.chain(&newer.0).map(|(path, hash)| (path.clone(), hash.clone())).collect())
    }

    /// These hashes without the whole member of a service.
    pub(crate) fn without(mut self, name: &str) -> Hashes {
        self.0.remove(name);
        self
    }

    /// The paths of the members, as far as the tag names them.
    pub(crate) fn paths(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).filter(|path| *path != ALL).collect()
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether DescribeServices has no member for this member of CreateService.
pub(crate) fn is_never_returned(member: &str) -> bool {
    let is_known = schema::service().get(member).is_some();
    is_known && !is_shown_otherwise(member) && !schema::is_in_service(member) && !schema::is_in_deployment(member)
}

/// Whether a member is returned in another form (ECS API Reference, "Service"), or belongs to the call.
fn is_shown_otherwise(member: &str) -> bool {
    ["cluster", "service", "serviceName", "taskDefinition", "clientToken", "role", "tags"].contains(&member)
}

/// The hash of a whole member of a service; `None` if it says nothing.
fn hash_of_member(name: &str, value: &Value) -> Option<String> {
    let normalized = super::of_service().member(name, value);
    (!normalized.is_null()).then(|| hash(&Value::from(vec![normalized])))
}

/// Finds the members that the SDK does not know.
fn collect(normalizer: &Normalizer, value: &Value, path: &str, found: &mut BTreeMap<String, Vec<Value>>) {
    match value {
        _ if !path.is_empty() && normalizer.members.get(path).is_none() => {
            found.entry(path.to_owned()).or_default().push(value.clone());
        }
        Value::Object(members) => {
            for (name, value) in members {
                collect(normalizer, value, &normalizer.members.step(path, name), found);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| collect(normalizer, value, &format!("{path}[]"), found)),
        _ => {}
    }
}

/// ECS API Reference, "Tag".
fn is_allowed_in_tag(c: char) -> bool {
    c.is_ascii_alphanumeric() || "+-=._:/@ ".contains(c)
}

/// 16 hexadecimal digits.
fn hash(value: &Value) -> String {
    Sha256::digest(value.to_string()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
