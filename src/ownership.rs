//! Which keys of `ecs.config` are ours: those that an earlier run wrote and nobody has changed since.
//!
//! A key of ours is no source of a later run, so that a removed tag, an image of this disk or another life cycle does
//! not stick for ever. Only hashes are remembered: some values are secret.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::ecs_config::{effective, read};
use crate::facts::{EarlierSource, Host, Written};
use crate::plan::{ECS_CONFIG, PlannedKey, VENDOR_ECS_CONFIG};
use crate::settings::Rank;

/// The version of `written.json` that is understood.
pub const VERSION: u32 = 1;
const CLUSTER: &str = "ECS_CLUSTER";
/// The one variable whose value is made of several sources.
const ATTRIBUTES: &str = "ECS_INSTANCE_ATTRIBUTES";

/// A key that somebody else wrote, as the agent will see it.
#[derive(Clone, PartialEq, Eq)]
pub struct Foreign {
    /// The file.
    pub path: &'static str,
    /// The key.
    pub key: String,
    /// Its value, which may be a secret.
    pub value: String,
}

/// The keys of both files that we did not write; `/etc/ecs/ecs.config` wins over the other.
pub fn foreign(host: &Host) -> Vec<Foreign> {
    let mut found = Vec::new();
    for (path, file) in [(VENDOR_ECS_CONFIG, &host.var_config), (ECS_CONFIG, &host.etc_config)] {
        let lines = read(file.bytes.as_deref().unwrap_or_default());
        for (key, line) in effective(&lines) {
            let value = match path == ECS_CONFIG && is_ours(&host.written, key, &line.value) {
                false => line.value.clone(),
                true => match &host.written.attributes {
                    // Ours was made of theirs, which must not be lost with it.
                    Some(theirs) if key == ATTRIBUTES => theirs.clone(),
                    _ => continue,
                },
            };
            found.push(Foreign { path, key: key.to_owned(), value });
        }
    }
    found
}

/// The keys of `/etc/ecs/ecs.config` that are ours.
pub fn stale(host: &Host) -> Vec<String> {
    let lines = read(host.etc_config.bytes.as_deref().unwrap_or_default());
    effective(&lines)
        .into_iter()
        .filter(|(key, line)| is_ours(&host.written, key, &line.value))
        .map(|(key, _)| key.to_owned())
        .collect()
}

/// The cluster that an earlier run of this very instance wrote, and that stands there still.
pub fn own_cluster(host: &Host, instance_id: Option<&str>) -> Option<String> {
    let lines = read(host.etc_config.bytes.as_deref().unwrap_or_default());
    let value = &effective(&lines).get(CLUSTER)?.value;
    let here = instance_id.is_some_and(|id| id == host.written.instance_id);
    (here && is_ours(&host.written, CLUSTER, value)).then(|| value.clone())
}

/// Whether the cluster that the file names is a line of ours.
pub fn is_own_cluster(etc: &[u8], written: &Written) -> bool {
    let lines = read(etc);
    effective(&lines).get(CLUSTER).is_some_and(|line| is_ours(written, CLUSTER, &line.value))
}

/// What to remember when these keys are written, with what was remembered before them. A line that stood there before with the same value stays somebody
/// else's.
pub fn remember(host: &Host, keys: &[PlannedKey], instance_id: Option<&str>) -> Written {
    let lines = read(host.etc_config.bytes.as_deref().unwrap_or_default());
    let there = effective(&lines);
    let ours = keys.iter().filter(|planned| {
        let same = there.get(planned.key.as_str()).is_some_and(|line| line.value == planned.value);
        planned.source.rank != Rank::EcsConfig && (!same || is_ours(&host.written, &planned.key, &planned.value))
    });
    let ours: Vec<_> = ours.collect();
    let once = |planned: &&&PlannedKey| {
        planned.key == CLUSTER && matches!(planned.source.rank, Rank::Environment | Rank::CommandLine)
    };
    let said = |planned: &&PlannedKey| EarlierSource { rank: planned.source.rank, key: planned.source.key.clone() };
    let cluster_source = ours.iter().find(once).map(said);
    let keys: BTreeMap<_, _> = ours.into_iter().map(|planned| (planned.key.clone(), hash(&planned.value))).collect();
    let theirs = foreign(host).into_iter().find(|theirs| theirs.path == ECS_CONFIG && theirs.key == ATTRIBUTES);
    Written {
        version: VERSION,
        instance_id: instance_id.unwrap_or_default().to_owned(),
        cluster_source,
        attributes: theirs.map(|theirs| theirs.value).filter(|_| keys.contains_key(ATTRIBUTES)),
        before: host.written.keys.clone().into_iter().filter(|(key, hash)| keys.get(key) != Some(hash)).collect(),
        keys,
    }
}

/// The changes that take all that is ours out of `/etc/ecs/ecs.config`: a key goes, or gets the value that somebody else
/// gave it. What ours replaced is gone, but for attributes, which are remembered.
pub fn withdrawal(config: &[u8], written: &Written) -> BTreeMap<String, Option<String>> {
    let lines = read(config);
    let mut changes = BTreeMap::new();
    let mut said: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    lines.iter().for_each(|line| said.entry(line.key.as_str()).or_default().push(line.value.as_str()));
    for key in written.keys.keys().chain(written.before.keys()) {
        let values = || said.get(key.as_str()).into_iter().flatten().copied();
        if values().any(|value| is_ours(written, key, value)) {
            let theirs = values().rfind(|value| !is_ours(written, key, value)).map(str::to_owned);
            let merged = || written.attributes.clone().filter(|_| key == ATTRIBUTES);
            changes.insert(key.clone(), theirs.or_else(merged));
        }
    }
    changes
}

fn is_ours(written: &Written, key: &str, value: &str) -> bool {
    let Written { version, keys, before, .. } = written;
    *version == VERSION && [keys, before].iter().any(|known| known.get(key).is_some_and(|known| *known == hash(value)))
}

/// What is remembered of a value: its SHA-256, in hex.
pub fn hash(value: &str) -> String {
    Sha256::digest(value.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ecs_config::edit;

    fn without_ours(config: &str, attributes: Option<&str>) -> String {
        let ours = [("ECS_CLUSTER", "prod"), (ATTRIBUTES, r#"{"a":"b","c":"d"}"#), ("ECS_LOGLEVEL", "debug")];
        let keys = ours.iter().map(|(key, value)| ((*key).to_owned(), hash(value))).collect();
        let attributes = attributes.map(str::to_owned);
        let instance_id = "i-1".to_owned();
        let written = Written { version: VERSION, instance_id, keys, attributes, ..Written::default() };
        let new = edit(config.as_bytes(), &withdrawal(config.as_bytes(), &written)).unwrap();
        String::from_utf8(new).unwrap()
    }

    #[test]
    fn withdraws_what_is_ours_and_nothing_else() {
        let cases = [
            ("ECS_CLUSTER=prod\n", ""),
            ("# mine\nECS_CLUSTER=prod\nHTTP_PROXY=p:1\n", "# mine\nHTTP_PROXY=p:1\n"),
            ("ECS_CLUSTER=changed\n", "ECS_CLUSTER=changed\n"),
            ("ECS_CLUSTER=theirs\nECS_CLUSTER=prod\n", "ECS_CLUSTER=theirs\n"),
            ("ECS_CLUSTER=prod\nECS_CLUSTER=theirs\n", "ECS_CLUSTER=theirs\n"),
            ("#ECS_CLUSTER=prod\n", "#ECS_CLUSTER=prod\n"),
            ("ECS_LOGLEVEL=debug\r\nECS_CLUSTER = prod\n", "ECS_CLUSTER = prod\n"),
        ];
        for (config, expected) in cases {
            assert_eq!(without_ours(config, None), expected, "{config}");
        }
    }

    #[test]
    fn attributes_that_ours_was_made_of_come_back() {
        let config = "ECS_INSTANCE_ATTRIBUTES={\"a\":\"b\",\"c\":\"d\"}\n";
        assert_eq!(without_ours(config, Some(r#"{"a":"b"}"#)), "ECS_INSTANCE_ATTRIBUTES={\"a\":\"b\"}\n");
        assert_eq!(without_ours(config, None), "");
    }
}
