//! Brings JSON of the user and JSON of ECS into one normalized form, and compares them.
//!
//! ECS fills in defaults, rewrites values and returns some lists in another order. What it does is data: the rows of
//! `task_definition.rs` and `service.rs`. `reconcile.rs` compares, `changes.rs` names what differs, `hidden.rs`
//! remembers members that ECS does not return.

pub(crate) mod changes;
pub(crate) mod hidden;
mod reconcile;
mod rules;
mod service;
mod task_definition;

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::api_model::schema::{self, MemberType, Members};
pub(crate) use reconcile::{Reconciled, is_same_role};
use rules::{Effect, Rule};

/// The rules and members of one kind of document.
pub(crate) struct Normalizer {
    members: &'static Members,
    rules: HashMap<&'static str, Vec<Effect>>,
}

/// For task definitions.
pub(crate) fn of_task_definition() -> &'static Normalizer {
    static NORMALIZER: LazyLock<Normalizer> =
        LazyLock::new(|| Normalizer::new(schema::task_definition(), task_definition::RULES));
    &NORMALIZER
}

/// For services.
pub(crate) fn of_service() -> &'static Normalizer {
    static NORMALIZER: LazyLock<Normalizer> = LazyLock::new(|| Normalizer::new(schema::service(), service::RULES));
    &NORMALIZER
}

/// The normalized form of a task definition: no member that only ECS can set, no tags, no default and no empty value,
/// and lists whose order has no meaning are sorted.
pub(crate) fn task_definition(value: &Value) -> Value {
    let Some(members) = value.as_object() else { return value.clone() };
    let mut members: Map<String, Value> = members.clone();
    members.remove("tags");
    for member in schema::read_only() {
        members.remove(member);
    }
    of_task_definition().document(&Value::Object(members))
}

/// Whether the SDK knows the member of a task definition.
pub(crate) fn is_known_in_task_definition(path: &str) -> bool {
    schema::task_definition().get(path).is_some()
}

impl Normalizer {
    fn new(members: &'static Members, table: &'static [Rule]) -> Normalizer {
        let mut rules: HashMap<_, Vec<_>> = HashMap::new();
        for row in table {
            rules.entry(row.path).or_default().push(row.effect);
        }
        Normalizer { members, rules }
    }

    fn effects(&self, path: &str) -> &[Effect] {
        self.rules.get(path).map(Vec::as_slice).unwrap_or_default()
    }

    /// The members that identify an element of the list at `path`; `None` if the order has a meaning.
    fn unordered(&self, path: &str) -> Option<&'static [&'static str]> {
        self.effects(path).iter().find_map(|effect| match effect {
            Effect::Unordered(keys) => Some(*keys),
            _ => None,
        })
    }

    /// The value that an absent member stands for, if it is in the table.
    pub(crate) fn default(&self, path: &str) -> Option<Value> {
        self.effects(path).iter().find_map(|effect| match effect {
            Effect::Default(value) | Effect::Filled(value) => Some(value.value()),
            _ => None,
        })
    }

    /// The normalized form of a whole document.
    pub(crate) fn document(&self, document: &Value) -> Value {
        match self.value(document, "", document) {
            Value::Null => json!({}),
            value => value,
        }
    }

    /// The normalized form of the member `name` of a document; null if it says nothing.
    pub(crate) fn member(&self, name: &str, value: &Value) -> Value {
        let document = json!({name: value});
        self.value(value, name, &document)
    }

    /// The value at `path`; null if it says the same as an absent one.
    fn value(&self, value: &Value, path: &str, document: &Value) -> Value {
        let effects = self.effects(path);
        let normalized = match value {
            // Nothing is known about a member that the SDK does not have.
            value if !path.is_empty() && self.members.get(path).is_none() => return value.clone(),
            _ if self.members.get(path) == Some(MemberType::Any) => return value.clone(),
            Value::Object(members) => self.object(members, path, document),
            Value::Array(list) => self.list(list, path, document),
            Value::String(text) => Value::String(self.text(text, path)),
            Value::Number(number) => match number.as_f64() {
                Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15 => json!(float as i64),
                _ => value.clone(),
            },
            other => other.clone(),
        };
        let is_default = |effect: &Effect| matches!(effect, Effect::Default(default) if default.value() == normalized);
        if effects.iter().any(is_default) { Value::Null } else { normalized }
    }

    fn object(&self, members: &Map<String, Value>, path: &str, document: &Value) -> Value {
        let is_map = self.members.get(path) == Some(MemberType::Map);
        let mut normalized = Map::new();
        for (name, value) in members {
            let inner = self.members.step(path, name);
            let value = self.value(value, &inner, document);
            let can_be_empty = is_map || self.effects(&inner).iter().any(|effect| matches!(effect, Effect::CanBeEmpty));
            if !value.is_null() && (can_be_empty || value != "") {
                normalized.insert(name.clone(), value);
            }
        }
        for effect in self.effects(path) {
            if let Effect::Computed(compute) = effect {
                compute(&mut normalized, document);
            }
        }
        let can_be_empty = self.effects(path).iter().any(|effect| matches!(effect, Effect::CanBeEmpty));
        if normalized.is_empty() && !can_be_empty {
            return if path.is_empty() { json!({}) } else { Value::Null };
        }
        self.fill_in(&mut normalized, path);
        Value::Object(normalized)
    }

    /// Adds the defaults of members whose object has a meaning by itself.
    fn fill_in(&self, members: &mut Map<String, Value>, path: &str) {
        for (filled, effects) in &self.rules {
            let Some((object, name)) = filled.rsplit_once('.') else { continue };
            if object == path
                && let Some(Effect::Filled(default)) = effects.first()
            {
                members.entry(name).or_insert_with(|| default.value());
            }
        }
    }

    fn list(&self, list: &[Value], path: &str, document: &Value) -> Value {
        let inner = format!("{path}[]");
        let elements = list.iter().map(|element| self.value(element, &inner, document));
        let mut elements: Vec<Value> = elements.filter(|element| !element.is_null()).collect();
        if let Some(keys) = self.unordered(path) {
            elements.sort_by(|a, b| compare(a, b, keys));
        }
        if elements.is_empty() { Value::Null } else { Value::Array(elements) }
    }

    fn text(&self, text: &str, path: &str) -> String {
        let rewritten = self.effects(path).iter().find_map(|effect| match effect {
            Effect::Rewritten(rewrite) => rewrite(text),
            Effect::Role if !text.starts_with("arn:") => Some(text.trim_start_matches('/').to_owned()),
            _ => None,
        });
        rewritten.unwrap_or_else(|| text.to_owned())
    }
}

/// The order of two elements of an unordered list.
fn compare(a: &Value, b: &Value, keys: &[&str]) -> Ordering {
    let number_or_text = |a: &Value, b: &Value| match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        _ => a.to_string().cmp(&b.to_string()),
    };
    if keys.is_empty() {
        return number_or_text(a, b);
    }
    keys.iter().map(|key| number_or_text(&a[*key], &b[*key])).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests;
