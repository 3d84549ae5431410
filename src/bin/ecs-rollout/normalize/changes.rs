//! Names what differs between two values, one line for each member.

use serde_json::Value;

use super::{Normalizer, Reconciled};
use crate::api_model::schema::MemberType;
use crate::visible::{self, Definition, Model};

impl Normalizer {
    /// The members of a service that differ, as `path old -> new`. Values that may be secret are hidden, unless
    /// `show_values` is true.
    pub(crate) fn changes(&self, of: &Reconciled, path: &str, show_values: bool) -> Vec<String> {
        let (mut lines, of) = (Vec::new(), self.shown(of, path));
        self.compare((&of.before, &of.after), path, (path, path), show_values, &mut lines);
        lines
    }

    /// `shown` is the path with the indices of the elements, `visible` the path in the model of what is shown.
    fn compare(
        &self,
        (before, after): (&Value, &Value),
        path: &str,
        (shown, visible): (&str, &str),
        show_values: bool,
        lines: &mut Vec<String>,
    ) {
        if before == after {
            return;
        }
        match (before, after) {
            (Value::Object(old), Value::Object(new)) if self.members.get(path) != Some(MemberType::Any) => {
                let added = new.keys().filter(|name| !old.contains_key(*name));
                let is_map = Model::of(Definition::Service).is_map(visible);
                for name in old.keys().chain(added) {
                    let both = (old.get(name).unwrap_or(&Value::Null), new.get(name).unwrap_or(&Value::Null));
                    let (inner, shown) = (self.members.step(path, name), format!("{shown}.{name}"));
                    let step = if is_map { format!("{{{name}}}") } else { name.clone() };
                    self.compare(both, &inner, (&shown, &visible::joined(visible, &step)), show_values, lines);
                }
            }
            (Value::Array(old), Value::Array(new)) => {
                for index in 0..old.len().max(new.len()) {
                    let both = (old.get(index).unwrap_or(&Value::Null), new.get(index).unwrap_or(&Value::Null));
                    let (inner, shown) = (format!("{path}[]"), format!("{shown}[{index}]"));
                    self.compare(both, &inner, (&shown, &visible::joined(visible, "[]")), show_values, lines);
                }
            }
            _ => lines.push(visible::change(shown, visible, before, after, show_values)),
        }
    }
}
