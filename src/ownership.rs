//! Decides which keys of `ecs.config` ecs-bootstrap owns: those that an earlier run wrote and that have not changed
//! since.
//!
//! A later run does not take an owned key as a setting. Otherwise the value of a removed tag, or a value in an image of
//! this disk, would stay in the file. Only hashes of the values are recorded, because some values are secret.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::ecs_config::{effective, read};
use crate::facts::{EarlierSource, Host, WriteRecord};
use crate::plan::{ECS_CONFIG, PlannedKey, VENDOR_ECS_CONFIG};
use crate::settings::Rank;

/// The version of `written.json` that this program reads and writes.
pub const VERSION: u32 = 1;
const CLUSTER: &str = "ECS_CLUSTER";
/// The only variable whose value is merged from several sources.
const ATTRIBUTES: &str = "ECS_INSTANCE_ATTRIBUTES";

/// A key that ecs-bootstrap does not own, with the value that the agent reads.
#[derive(Clone, PartialEq, Eq)]
pub struct Foreign {
    /// The file that sets it.
    pub path: &'static str,
    /// The name of the variable.
    pub key: String,
    /// Its value, which may be a secret.
    pub value: String,
}

/// The keys of both files that ecs-bootstrap does not own. `/etc/ecs/ecs.config` overrides the other file.
pub fn foreign(host: &Host) -> Vec<Foreign> {
    let mut found = Vec::new();
    for (path, file) in [(VENDOR_ECS_CONFIG, &host.var_config), (ECS_CONFIG, &host.etc_config)] {
        let lines = read(file.bytes.as_deref().unwrap_or_default());
        for (key, line) in effective(&lines) {
            let is_own = path == ECS_CONFIG && is_own(&host.written, key, &line.value);
            let value = match &host.written.attributes {
                _ if !is_own => line.value.clone(),
                // The owned value was merged from this one, which must not be lost.
                Some(merged) if key == ATTRIBUTES => merged.clone(),
                _ => continue,
            };
            found.push(Foreign { path, key: key.to_owned(), value });
        }
    }
    found
}

/// The keys of `/etc/ecs/ecs.config` that ecs-bootstrap owns.
pub fn own_keys(host: &Host) -> Vec<String> {
    let lines = read(host.etc_config.bytes.as_deref().unwrap_or_default());
    effective(&lines)
        .into_iter()
        .filter(|(key, line)| is_own(&host.written, key, &line.value))
        .map(|(key, _)| key.to_owned())
        .collect()
}

/// The value of a key that an earlier run on this instance wrote.
pub fn own_value(host: &Host, instance_id: Option<&str>, key: &str) -> Option<String> {
    let lines = read(host.etc_config.bytes.as_deref().unwrap_or_default());
    let value = &effective(&lines).get(key)?.value;
    let is_this_instance = instance_id.is_some_and(|id| id == host.written.instance_id);
    (is_this_instance && is_own(&host.written, key, value)).then(|| value.clone())
}

/// The cluster that an earlier run on this instance wrote and that is still in the file.
pub fn own_cluster(host: &Host, instance_id: Option<&str>) -> Option<String> {
    own_value(host, instance_id, CLUSTER)
}

/// Whether ecs-bootstrap owns the line of the file that names the cluster.
pub fn is_own_cluster(etc: &[u8], written: &WriteRecord) -> bool {
    let lines = read(etc);
    effective(&lines).get(CLUSTER).is_some_and(|line| is_own(written, CLUSTER, &line.value))
}

/// The record to write when these keys are written. It keeps the hashes of the record before it. ecs-bootstrap does not
/// own a line that already had the new value before the first write.
pub fn remember(host: &Host, keys: &[PlannedKey], instance_id: Option<&str>) -> WriteRecord {
    let lines = read(host.etc_config.bytes.as_deref().unwrap_or_default());
    let present = effective(&lines);
    let own = keys.iter().filter(|planned| {
        let is_present = present.get(planned.key.as_str()).is_some_and(|line| line.value == planned.value);
        planned.source.rank != Rank::EcsConfig && (!is_present || is_own(&host.written, &planned.key, &planned.value))
    });
    let own: Vec<_> = own.collect();
    // An option or an environment variable is set for one run only, so later runs need its value.
    let is_cluster_of_one_run = |planned: &&&PlannedKey| {
        planned.key == CLUSTER && matches!(planned.source.rank, Rank::Environment | Rank::CommandLine)
    };
    let record =
        |planned: &&PlannedKey| EarlierSource { rank: planned.source.rank, key: planned.source.key.to_string() };
    let cluster_source = own.iter().find(is_cluster_of_one_run).map(record);
    let keys: BTreeMap<_, _> = own.into_iter().map(|planned| (planned.key.clone(), hash(&planned.value))).collect();
    let merged = foreign(host).into_iter().find(|foreign| foreign.path == ECS_CONFIG && foreign.key == ATTRIBUTES);
    WriteRecord {
        version: VERSION,
        instance_id: instance_id.unwrap_or_default().to_owned(),
        cluster_source,
        attributes: merged.map(|merged| merged.value).filter(|_| keys.contains_key(ATTRIBUTES)),
        before: host.written.keys.clone().into_iter().filter(|(key, hash)| keys.get(key) != Some(hash)).collect(),
        keys,
    }
}

/// The changes that remove all owned lines from `/etc/ecs/ecs.config`. If the file has another line with the same key,
/// the key gets the value of that line. A value that ecs-bootstrap replaced cannot be restored, except attributes,
/// which are recorded.
pub fn withdrawal(config: &[u8], written: &WriteRecord) -> BTreeMap<String, Option<String>> {
    let lines = read(config);
    let mut changes = BTreeMap::new();
    let mut present: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    lines.iter().for_each(|line| present.entry(line.key.as_str()).or_default().push(line.value.as_str()));
    for key in written.keys.keys().chain(written.before.keys()) {
        let values = || present.get(key.as_str()).into_iter().flatten().copied();
        if values().any(|value| is_own(written, key, value)) {
            let other = values().rfind(|value| !is_own(written, key, value)).map(str::to_owned);
            let merged = || written.attributes.clone().filter(|_| key == ATTRIBUTES);
            changes.insert(key.clone(), other.or_else(merged));
        }
    }
    changes
}

/// Whether an earlier run wrote this value of this key.
fn is_own(written: &WriteRecord, key: &str, value: &str) -> bool {
    let WriteRecord { version, keys, before, .. } = written;
    *version == VERSION && [keys, before].iter().any(|known| known.get(key).is_some_and(|known| *known == hash(value)))
}

/// The hash of a value in `written.json`: SHA-256 in hexadecimal digits.
pub fn hash(value: &str) -> String {
    Sha256::digest(value.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ecs_config::edit;

    fn without_own_lines(config: &str, attributes: Option<&str>) -> String {
        let own = [("ECS_CLUSTER", "prod"), (ATTRIBUTES, r#"{"a":"b","c":"d"}"#), ("ECS_LOGLEVEL", "debug")];
        let keys = own.iter().map(|(key, value)| ((*key).to_owned(), hash(value))).collect();
        let attributes = attributes.map(str::to_owned);
        let instance_id = "i-1".to_owned();
        let written = WriteRecord { version: VERSION, instance_id, keys, attributes, ..WriteRecord::default() };
        let new = edit(config.as_bytes(), &withdrawal(config.as_bytes(), &written)).unwrap();
        String::from_utf8(new).unwrap()
    }

    #[test]
    fn a_withdrawal_removes_owned_lines_and_no_others() {
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
            assert_eq!(without_own_lines(config, None), expected, "{config}");
        }
    }

    #[test]
    fn a_withdrawal_restores_merged_attributes() {
        let config = "ECS_INSTANCE_ATTRIBUTES={\"a\":\"b\",\"c\":\"d\"}\n";
        assert_eq!(without_own_lines(config, Some(r#"{"a":"b"}"#)), "ECS_INSTANCE_ATTRIBUTES={\"a\":\"b\"}\n");
        assert_eq!(without_own_lines(config, None), "");
    }
}
