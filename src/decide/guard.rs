//! Applies a recorded plan to the current `ecs.config` before each start of the agent. User data may have appended to
//! the file or replaced it since the plan was carried out.
//!
//! In: the keys of the plan, and the file. Out: the content that the file should have. By the order of [`Rank`], a key
//! from a source above the file is set again; a derived key, or one that came from the file, is overridden by a newer
//! line.

use std::collections::BTreeMap;

use crate::ecs_config::{EditRefusal, edit, effective, read};
use crate::ownership::hash;
use crate::plan::{PlannedKey, Recorded, RecordedKey};
use crate::redaction::{self, is_shown_whole};
use crate::settings::Rank;

const CLUSTER: &str = "ECS_CLUSTER";

/// The result of guard.
#[derive(Debug)]
pub struct Guarded {
    /// The new content of `/etc/ecs/ecs.config`, or why it cannot be edited.
    pub config: Result<Vec<u8>, EditRefusal>,
    /// The keys that were set again, because a newer line had changed them, each with its source.
    pub overruled: Vec<(String, String)>,
    /// Keys with a secret that are no longer in the file. The secret is not recorded, so they cannot be set again.
    pub lost: Vec<String>,
}

/// Records the keys of a plan, without the values that are secrets. With `follows_file` a cluster that is written to
/// the file later overrides the planned one.
pub fn record(keys: &[PlannedKey], follows_file: bool) -> Recorded {
    let record = |planned: &PlannedKey| {
        let is_overridden = follows_file && planned.key == CLUSTER;
        RecordedKey {
            key: planned.key.clone(),
            value: is_shown_whole(&planned.key, &planned.value).then(|| planned.value.clone()),
            hash: hash(&planned.value),
            rank: if is_overridden { planned.source.rank.min(Rank::EcsConfig) } else { planned.source.rank },
            source: redaction::line(&planned.source.to_string()),
        }
    };
    Recorded { keys: keys.iter().map(record).collect() }
}

/// Applies the recorded keys to the file.
pub fn guard(recorded: &Recorded, etc: &[u8]) -> Guarded {
    let lines = read(etc);
    let current = effective(&lines);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    lines.iter().for_each(|line| *counts.entry(line.key.as_str()).or_default() += 1);
    let count = |key: &str| counts.get(key).copied().unwrap_or_default();
    let mut changes: BTreeMap<String, Option<String>> = BTreeMap::new();
    let (mut overruled, mut lost) = (Vec::new(), Vec::new());
    for planned in &recorded.keys {
        let key = planned.key.as_str();
        let now = current.get(key).map(|line| line.value.as_str());
        let is_as_planned = now.is_some_and(|value| hash(value) == planned.hash);
        let is_overridden = planned.rank <= Rank::EcsConfig;
        let desired = match (&planned.value, now) {
            (_, Some(value)) if is_as_planned || is_overridden => Some(value),
            (Some(value), _) => Some(value.as_str()),
            (None, _) => None,
        };
        let Some(desired) = desired else {
            lost.push(key.to_owned());
            continue;
        };
        if now.is_some() && !is_as_planned && !is_overridden {
            overruled.push((key.to_owned(), planned.source.clone()));
        }
        if now != Some(desired) || count(key) > 1 {
            changes.insert(key.to_owned(), Some(desired.to_owned()));
        }
    }
    // Only the file names the cluster: the agent reads the last line, and the others are removed.
    if let Some(line) = current.get(CLUSTER).filter(|_| count(CLUSTER) > 1) {
        changes.entry(CLUSTER.to_owned()).or_insert_with(|| Some(line.value.clone()));
    }
    Guarded { config: edit(etc, &changes), overruled, lost }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Source;

    fn planned(rank: Rank, key: &str, value: &str) -> PlannedKey {
        PlannedKey { key: key.to_owned(), value: value.to_owned(), source: Source::new(rank, "there", key) }
    }

    /// The content of the file after guard.
    fn after(keys: &[PlannedKey], etc: &str) -> (String, Guarded) {
        let guarded = guard(&record(keys, false), etc.as_bytes());
        (String::from_utf8(guarded.config.clone().unwrap()).unwrap(), guarded)
    }

    #[test]
    fn a_line_that_was_appended_does_not_outrank_a_tag() {
        let keys = [planned(Rank::InstanceTag, CLUSTER, "prod")];
        let (text, guarded) = after(&keys, "ECS_CLUSTER=prod\nECS_CLUSTER=old\n");
        assert_eq!(text, "ECS_CLUSTER=prod\n");
        assert_eq!(guarded.overruled.len(), 1);
        let (text, guarded) = after(&keys, "ECS_CLUSTER=prod\nECS_CLUSTER=prod\n");
        assert_eq!(text, "ECS_CLUSTER=prod\n");
        assert!(guarded.overruled.is_empty());
    }

    #[test]
    fn a_file_that_was_replaced_gets_its_keys_back() {
        let keys = [planned(Rank::Config, CLUSTER, "prod"), planned(Rank::Default, "ECS_WARM_POOLS_CHECK", "true")];
        let (text, _) = after(&keys, "ECS_LOGLEVEL=debug\n");
        for line in ["ECS_CLUSTER=prod\n", "ECS_WARM_POOLS_CHECK=true\n", "ECS_LOGLEVEL=debug\n"] {
            assert!(text.contains(line), "{text}");
        }
        assert_eq!(after(&keys, &text).0, text, "a second time changes nothing");
    }

    #[test]
    fn a_newer_line_overrides_a_derived_key() {
        let keys = [planned(Rank::Default, "ECS_RESERVED_MEMORY", "256")];
        let (text, guarded) = after(&keys, "ECS_RESERVED_MEMORY=256\nECS_RESERVED_MEMORY=512\n");
        assert_eq!(text, "ECS_RESERVED_MEMORY=512\n");
        assert!(guarded.overruled.is_empty());
    }

    #[test]
    fn the_last_of_several_clusters_is_kept_if_only_the_file_names_one() {
        let text = "ECS_CLUSTER=old\n# by hand\nECS_CLUSTER=new\n";
        assert_eq!(after(&[], text).0.matches("ECS_CLUSTER=").count(), 1);
        assert!(after(&[], text).0.contains("ECS_CLUSTER=new\n") && after(&[], text).0.contains("# by hand\n"));
        let keys = [planned(Rank::EcsConfig, CLUSTER, "old")];
        assert_eq!(after(&keys, "ECS_CLUSTER=old\nECS_CLUSTER=new\n").0, "ECS_CLUSTER=new\n");
    }

    #[test]
    fn a_secret_is_recorded_as_hash_and_reported_when_it_is_lost() {
        let keys = [planned(Rank::Config, "ECS_ENGINE_AUTH_DATA", r#"{"hub":{"password":"hunter2"}}"#)];
        assert!(!serde_json::to_string(&record(&keys, false)).unwrap().contains("hunter2"));
        let (text, guarded) = after(&keys, "ECS_ENGINE_AUTH_DATA={\"hub\":{\"password\":\"hunter2\"}}\n");
        assert!(guarded.lost.is_empty() && text.contains("hunter2"));
        assert_eq!(after(&keys, "").1.lost, ["ECS_ENGINE_AUTH_DATA"]);
        let proxy = record(&[planned(Rank::Config, "HTTPS_PROXY", "http://u:hunter2@proxy:3128")], false);
        assert_eq!(proxy.keys[0].value, None);
    }
}
