//! Which parts of a definition are shown. Many people can read the log of a CI job, so a value that may be secret is
//! never shown: names are, and the fact that a value changed.
//!
//! In: a definition. Out: the same JSON with hidden values, or, in [`hidden::HiddenValues`], any other text without
//! them. What is shown is decided by the place of a value in the model of the ECS API, never by its name.

pub(crate) mod hidden;
mod members;
mod place;
pub(crate) mod schema;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use serde_json::{Value, json};

pub(crate) use place::{Definition, joined};
use schema::ValueKind;

/// Stands for a value that is not shown.
pub(crate) const HIDDEN: &str = "<hidden>";
/// Stands for a value that is not shown and differs from the one before.
pub(crate) const HIDDEN_CHANGED: &str = "<hidden, changed>";

/// The model of a definition, and what of it is shown.
pub(crate) struct Model {
    members: BTreeMap<String, ValueKind>,
    shown: BTreeSet<&'static str>,
}

impl Model {
    pub(crate) fn of(definition: Definition) -> &'static Model {
        static TASK: OnceLock<Model> = OnceLock::new();
        static SERVICE: OnceLock<Model> = OnceLock::new();
        let model = match definition {
            Definition::Task => &TASK,
            Definition::Service => &SERVICE,
        };
        model.get_or_init(|| Model {
            members: schema::members(definition),
            shown: members::shown(definition).iter().copied().collect(),
        })
    }

    /// Whether the request has this member.
    fn has_member(&self, name: &str) -> bool {
        let rest = |path: &str| {
            path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[', '{']))
        };
        self.members.keys().any(|path| rest(path))
    }

    /// Whether the keys of the object at `path` are not members of the model.
    pub(crate) fn is_map(&self, path: &str) -> bool {
        self.members.contains_key(&joined(path, "{}"))
    }

    /// Calls `leaf` for each value that is not a list or an object, with whether it is shown, and builds the same JSON
    /// from the results.
    fn map(&self, path: &str, value: &Value, leaf: &mut dyn FnMut(&Value, bool) -> Value) -> Value {
        match value {
            Value::Array(list) => {
                let path = joined(path, "[]");
                Value::Array(list.iter().map(|element| self.map(&path, element, leaf)).collect())
            }
            Value::Object(members) => {
                let is_map = self.is_map(path);
                let member = |(name, value): (&String, &Value)| {
                    let step = if is_map { format!("{{{name}}}") } else { name.clone() };
                    (name.clone(), self.map(&joined(path, &step), value, leaf))
                };
                Value::Object(members.iter().map(member).collect())
            }
            other => leaf(other, self.is_shown(path, other)),
        }
    }

    fn is_shown(&self, path: &str, value: &Value) -> bool {
        match value {
            Value::Null => true,
            Value::Bool(_) | Value::Number(_) => {
                matches!(self.members.get(path), Some(ValueKind::Boolean | ValueKind::Number))
            }
            _ => self.shown.contains(path),
        }
    }
}

/// The definition, or its member at `path`, with [`HIDDEN`] for each value that is not shown.
pub(crate) fn shown(definition: Definition, path: &str, value: &Value) -> Value {
    Model::of(definition).map(path, value, &mut |value, is_shown| match value {
        Value::String(text) if is_shown => json!(without_password(text)),
        value if is_shown => value.clone(),
        _ => json!(HIDDEN),
    })
}

/// The change of a member of the service, for example `desiredCount 1 -> 2`. `path` is its place in the model.
pub(crate) fn change(name: &str, path: &str, before: &Value, after: &Value, show_values: bool) -> String {
    if show_values {
        return format!("{name} {before} -> {after}");
    }
    let [old, new] = [before, after].map(|value| shown(Definition::Service, path, value));
    let note = if old == new && before != after { " (hidden values differ)" } else { "" };
    format!("{name} {old} -> {new}{note}")
}

/// Hides the password of a URL.
fn without_password(text: &str) -> String {
    match password(text) {
        Some(password) => text.replacen(&format!(":{password}@"), &format!(":{HIDDEN}@"), 1),
        None => text.to_owned(),
    }
}

/// The password in `scheme://user:password@host`.
fn password(text: &str) -> Option<&str> {
    let (_, after) = text.split_once("://")?;
    let authority = after.split(['/', '?', '#']).next()?;
    let (user, _) = authority.rsplit_once('@')?;
    user.split_once(':').map(|(_, password)| password)
}
