//! Compares two normalized values: one of the user, one of ECS.

use serde_json::{Map, Value};

use super::Normalizer;
use super::rules::Effect;

/// Two normalized values in a form in which they are equal if nothing differs, and in which a difference is as small as
/// it can be shown: elements of unordered lists are at the same place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reconciled {
    /// The value of ECS.
    pub(crate) before: Value,
    /// The value of the user.
    pub(crate) after: Value,
}

impl Reconciled {
    pub(crate) fn is_equal(&self) -> bool {
        self.before == self.after
    }
}

impl Normalizer {
    /// Compares normalized values at `path`, which is empty for a whole document. Unknown members that only ECS has are
    /// left out: they can be a default of a newer ECS. `is_remembered` says of an unknown member of the user, by its
    /// path, whether it is the one that was sent; if so, and ECS does not return it, it is left out too.
    pub(crate) fn reconcile(
        &self,
        desired: &Value,
        actual: &Value,
        path: &str,
        is_remembered: &dyn Fn(&str) -> bool,
    ) -> Reconciled {
        let (before, after) = self.pair(actual, desired, path, is_remembered);
        Reconciled { before, after }
    }

    /// The same two values for display: a default that only one of them lacks is filled in, so that its change is the
    /// change of one value.
    pub(crate) fn shown(&self, compared: &Reconciled, path: &str) -> Reconciled {
        let (mut before, mut after) = (compared.before.clone(), compared.after.clone());
        match (&before, &after) {
            (Value::Null, Value::Null) => {}
            (Value::Null, value) => before = self.default_like(value, path).unwrap_or_default(),
            (value, Value::Null) => after = self.default_like(value, path).unwrap_or_default(),
            _ => self.fill_in_defaults(&mut before, &mut after, path),
        }
        // A list that was filled in is not in the order of the other one yet.
        self.reconcile(&after, &before, path, &|_| false)
    }

    fn fill_in_defaults(&self, before: &mut Value, after: &mut Value, path: &str) {
        match (before, after) {
            (Value::Object(old), Value::Object(new)) => {
                let names: Vec<String> = old.keys().chain(new.keys()).cloned().collect();
                for name in names {
                    let inner = self.members.step(path, &name);
                    let default = |value: &Value| Some((name.clone(), self.default_like(value, &inner)?));
                    match (old.get(&name), new.get(&name)) {
                        (None, Some(value)) => old.extend(default(value)),
                        (Some(value), None) => new.extend(default(value)),
                        _ => {}
                    }
                    if let (Some(old), Some(new)) = (old.get_mut(&name), new.get_mut(&name)) {
                        self.fill_in_defaults(old, new, &inner);
                    }
                }
            }
            (Value::Array(old), Value::Array(new)) => {
                let inner = format!("{path}[]");
                old.iter_mut().zip(new).for_each(|(old, new)| self.fill_in_defaults(old, new, &inner));
            }
            _ => {}
        }
    }

    /// The default in the form of `value`; `None` if a part of it has none.
    fn default_like(&self, value: &Value, path: &str) -> Option<Value> {
        match value {
            Value::Object(members) => {
                let defaults = members.iter().map(|(name, value)| {
                    Some((name.clone(), self.default_like(value, &self.members.step(path, name))?))
                });
                defaults.collect::<Option<Map<_, _>>>().map(Value::Object)
            }
            _ => self.default(path),
        }
    }

    fn pair(&self, before: &Value, after: &Value, path: &str, is_remembered: &dyn Fn(&str) -> bool) -> (Value, Value) {
        if !path.is_empty() && self.members.get(path).is_none() {
            return (before.clone(), after.clone());
        }
        match (before, after) {
            (Value::Object(old), Value::Object(new)) => self.objects(old, new, path, is_remembered),
            (Value::Array(old), Value::Array(new)) => self.lists(old, new, path, is_remembered),
            (Value::String(old), Value::String(new)) if self.has_role(path) && is_same_role(new, old) => {
                (before.clone(), before.clone())
            }
            _ => (before.clone(), after.clone()),
        }
    }

    fn has_role(&self, path: &str) -> bool {
        self.effects(path).iter().any(|effect| matches!(effect, Effect::Role))
    }

    fn objects(
        &self,
        old: &Map<String, Value>,
        new: &Map<String, Value>,
        path: &str,
        is_remembered: &dyn Fn(&str) -> bool,
    ) -> (Value, Value) {
        let (mut before, mut after) = (Map::new(), Map::new());
        for (name, value) in old {
            let inner = self.members.step(path, name);
            match new.get(name) {
                Some(other) => {
                    let (old, new) = self.pair(value, other, &inner, is_remembered);
                    before.insert(name.clone(), old);
                    after.insert(name.clone(), new);
                }
                None if self.members.get(&inner).is_none() => {}
                None => drop(before.insert(name.clone(), value.clone())),
            }
        }
        for (name, value) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
            let inner = self.members.step(path, name);
            if self.members.get(&inner).is_some() || !is_remembered(&inner) {
                after.insert(name.clone(), value.clone());
            }
        }
        (Value::Object(before), Value::Object(after))
    }

    fn lists(&self, old: &[Value], new: &[Value], path: &str, is_remembered: &dyn Fn(&str) -> bool) -> (Value, Value) {
        let inner = format!("{path}[]");
        let partners = match self.unordered(path) {
            Some(keys) => partners(old, new, keys),
            None => (0..old.len()).map(|index| (index < new.len()).then_some(index)).collect(),
        };
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (value, partner) in old.iter().zip(&partners) {
            let pair = partner.and_then(|index| new.get(index)).map(|new| self.pair(value, new, &inner, is_remembered));
            match pair {
                Some((old, new)) => {
                    before.push(old);
                    after.push(new);
                }
                None => before.push(value.clone()),
            }
        }
        let unpaired = new.iter().enumerate().filter(|(index, _)| !partners.contains(&Some(*index)));
        after.extend(unpaired.map(|(_, value)| value.clone()));
        (Value::Array(before), Value::Array(after))
    }
}

/// For each old element the index of the new element that replaces it: an equal one, else one with the same first key,
/// else the next one that is left.
fn partners(old: &[Value], new: &[Value], keys: &[&str]) -> Vec<Option<usize>> {
    let mut partners: Vec<Option<usize>> = vec![None; old.len()];
    let mut is_free = vec![true; new.len()];
    let key = keys.first().copied();
    let has_key = |old: &Value, new: &Value| key.is_some_and(|key| !old[key].is_null() && old[key] == new[key]);
    let is_partner = |round: u8, old: &Value, new: &Value| match round {
        0 => old == new,
        1 => has_key(old, new),
        _ => true,
    };
    for round in 0..3 {
        for (place, old) in old.iter().enumerate().filter(|(place, _)| partners[*place].is_none()).collect::<Vec<_>>() {
            let found = new.iter().enumerate().position(|(index, new)| is_free[index] && is_partner(round, old, new));
            if let Some(index) = found {
                is_free[index] = false;
                partners[place] = Some(index);
            }
        }
    }
    partners
}

/// Whether a role that is named by its name or ARN is the one with this ARN. A name without a path is a role with the
/// path `/` (IAM User Guide, "Friendly names and paths"); the role of ECS itself is found by its name alone.
pub(crate) fn is_same_role(named: &str, arn: &str) -> bool {
    let named = named.trim_start_matches('/');
    let friendly = arn.split_once(":role/").map(|(_, name)| name);
    let linked = friendly.filter(|name| name.starts_with("aws-service-role/"));
    named == arn || Some(named) == friendly || Some(named) == linked.and_then(|name| name.rsplit('/').next())
}
