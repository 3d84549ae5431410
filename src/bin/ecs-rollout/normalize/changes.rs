//! Names what differs between two values, one line for each member.

use serde_json::Value;

use super::{Normalizer, Reconciled};
use crate::api_model::schema::MemberType;

impl Normalizer {
    /// The members that differ, as `path old -> new`. A value that can be a secret is not shown: a value of a map such
    /// as the options of a log driver, any JSON, and a member that the SDK does not know.
    pub(crate) fn changes(&self, of: &Reconciled, path: &str) -> Vec<String> {
        let (mut lines, of) = (Vec::new(), self.shown(of, path));
        self.compare(&of.before, &of.after, path, path, &mut lines);
        lines
    }

    /// `shown` is the path with the indices of the elements.
    fn compare(&self, before: &Value, after: &Value, path: &str, shown: &str, lines: &mut Vec<String>) {
        if before == after {
            return;
        }
        match (before, after) {
            (Value::Object(old), Value::Object(new)) if self.members.get(path) != Some(MemberType::Any) => {
                let added = new.keys().filter(|name| !old.contains_key(*name));
                for name in old.keys().chain(added) {
                    let (old, new) = (old.get(name), new.get(name));
                    let (inner, shown) = (self.members.step(path, name), format!("{shown}.{name}"));
                    self.compare(old.unwrap_or(&Value::Null), new.unwrap_or(&Value::Null), &inner, &shown, lines);
                }
            }
            (Value::Array(old), Value::Array(new)) => {
                for index in 0..old.len().max(new.len()) {
                    let (inner, shown) = (format!("{path}[]"), format!("{shown}[{index}]"));
                    let (old, new) = (old.get(index), new.get(index));
                    self.compare(old.unwrap_or(&Value::Null), new.unwrap_or(&Value::Null), &inner, &shown, lines);
                }
            }
            _ if self.is_public(path) => lines.push(format!(
                "{shown} {} -> {}",
                self.without_secrets(before, path),
                self.without_secrets(after, path)
            )),
            _ => lines.push(format!("{shown} changes (its value is not shown)")),
        }
    }

    /// Whether a value at `path` is never a secret.
    fn is_public(&self, path: &str) -> bool {
        !path.contains("{}") && !matches!(self.members.get(path), None | Some(MemberType::Any))
    }

    /// The value of a whole member or element, in which the values that are not shown are `"..."`.
    fn without_secrets(&self, value: &Value, path: &str) -> Value {
        match value {
            Value::Null => Value::Null,
            _ if !self.is_public(path) => "...".into(),
            Value::Array(list) => {
                let inner = format!("{path}[]");
                list.iter().map(|value| self.without_secrets(value, &inner)).collect()
            }
            Value::Object(members) => {
                let shown = members
                    .iter()
                    .map(|(name, value)| (name.clone(), self.without_secrets(value, &self.members.step(path, name))));
                Value::Object(shown.collect())
            }
            other => other.clone(),
        }
    }
}
