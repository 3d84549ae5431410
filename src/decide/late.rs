//! Compares the configuration of the agent at its start with that after user data. In and out: names of variables and
//! hashes of their values, so that no secret is stored.

use std::collections::BTreeMap;

use crate::ownership::hash;

/// The agent sends it only at its first registration, not when it registers again with its saved ARN
/// (`ecs-agent/api/ecs/client/ecs_client.go`).
const ATTRIBUTES: &str = "ECS_INSTANCE_ATTRIBUTES";

/// What user data changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LateChanges {
    /// The keys that a restart of the agent applies.
    pub keys: Vec<String>,
    /// A changed key that a restart does not apply.
    pub only_at_first_registration: Option<&'static str>,
}

/// Each key with the hash of its value.
pub fn hashes(config: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    config.iter().map(|(key, value)| (key.clone(), hash(value))).collect()
}

/// The keys that were added, changed or removed.
pub fn changes(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> LateChanges {
    let mut all: Vec<&String> = before.keys().chain(now.keys()).collect();
    all.sort();
    all.dedup();
    let changed = |key: &&String| before.get(*key) != now.get(*key);
    let (first, keys): (Vec<&String>, Vec<&String>) =
        all.into_iter().filter(changed).partition(|key| *key == ATTRIBUTES);
    LateChanges {
        keys: keys.into_iter().cloned().collect(),
        only_at_first_registration: (!first.is_empty()).then_some(ATTRIBUTES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(before: &[(&str, &str)], now: &[(&str, &str)]) -> LateChanges {
        let config = |pairs: &[(&str, &str)]| {
            hashes(&pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
        };
        changes(&config(before), &config(now))
    }

    #[test]
    fn added_changed_and_removed_keys_need_a_restart() {
        let before = [("A", "1"), ("B", "1"), ("C", "1")];
        assert_eq!(changed(&before, &before), LateChanges::default());
        assert_eq!(changed(&before, &[("B", "2"), ("C", "1"), ("D", "1")]).keys, ["A", "B", "D"]);
    }

    #[test]
    fn attributes_alone_need_no_restart() {
        let late = changed(&[], &[(ATTRIBUTES, "{\"a\":\"b\"}")]);
        assert_eq!((late.keys.len(), late.only_at_first_registration), (0, Some(ATTRIBUTES)));
        assert_eq!(changed(&[], &[(ATTRIBUTES, "{}"), ("A", "1")]).keys, ["A"]);
    }
}
