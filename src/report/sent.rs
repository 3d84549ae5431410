//! Who was told of this instance already, so that no later boot tells them again.
//!
//! `/var/lib/ecs-bootstrap/signals.json`, written only after a signal was taken. What it says of another instance (the
//! parent of an image) counts for nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::boundary::disk::{Disk, Mode};

const RECORD: &str = "/var/lib/ecs-bootstrap/signals.json";

#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    instance_id: String,
    /// Whom, and what.
    told: BTreeMap<String, String>,
}

fn read(disk: &Disk, instance_id: &str) -> Record {
    let stored = disk.read(RECORD, crate::host::LONGEST_FILE).ok().flatten();
    let record = stored.and_then(|bytes| understood(&bytes));
    let record = record.filter(|record| record.instance_id == instance_id);
    record.unwrap_or_else(|| Record { instance_id: instance_id.to_owned(), ..Record::default() })
}

fn understood(bytes: &[u8]) -> Option<Record> {
    serde_json::from_slice(bytes).ok()
}

/// Whether bytes are a record of signals.
pub fn is_record(bytes: &[u8]) -> bool {
    understood(bytes).is_some()
}

/// What he was told.
pub(super) fn last_sent(disk: &Disk, instance_id: &str, whom: &str) -> Option<String> {
    read(disk, instance_id).told.remove(whom)
}

/// He was told this.
pub(super) fn remember(disk: &Disk, instance_id: &str, whom: &str, what: &str) {
    let mut record = read(disk, instance_id);
    record.told.insert(whom.to_owned(), what.to_owned());
    let bytes = serde_json::to_vec_pretty(&record).expect("its keys are strings");
    if let Err(error) = disk.replace(RECORD, &bytes, Mode::Exactly(0o600)) {
        tracing::warn!(error = crate::causes::chain(&error), "the next boot will signal again");
    }
}
