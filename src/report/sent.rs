//! The signals that this instance has sent, so that a later boot does not send them again.
//!
//! They are stored in `/var/lib/ecs-bootstrap/signals.json`, after the target accepted the signal (the metric:
//! before it is sent). Entries for another
//! instance id (for example, baked into an AMI) are ignored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::boundary::disk::{Disk, Mode};

const FILE: &str = "/var/lib/ecs-bootstrap/signals.json";

#[derive(Debug, Default, Serialize, Deserialize)]
struct SentSignals {
    instance_id: String,
    /// The last status sent to each target.
    #[serde(rename = "told")]
    statuses: BTreeMap<String, String>,
}

fn read(disk: &Disk, instance_id: &str) -> SentSignals {
    let stored = match disk.read(FILE, crate::host::MAX_FILE_LENGTH) {
        Ok(stored) => stored,
        Err(error) => {
            tracing::warn!(
                error = crate::redaction::error_chain(&error),
                "record of sent signals not read; signals may repeat"
            );
            None
        }
    };
    let sent = stored.and_then(|bytes| parse(&bytes)).filter(|sent| sent.instance_id == instance_id);
    sent.unwrap_or_else(|| SentSignals { instance_id: instance_id.to_owned(), ..SentSignals::default() })
}

fn parse(bytes: &[u8]) -> Option<SentSignals> {
    serde_json::from_slice(bytes).ok()
}

/// Whether bytes are a record of sent signals.
pub fn is_record(bytes: &[u8]) -> bool {
    parse(bytes).is_some()
}

/// The last status sent to this target.
pub(super) fn last_sent(disk: &Disk, instance_id: &str, target: &str) -> Option<String> {
    read(disk, instance_id).statuses.remove(target)
}

/// Stores the status that was sent to this target.
pub(super) fn remember(disk: &Disk, instance_id: &str, target: &str, status: &str) {
    let mut sent = read(disk, instance_id);
    sent.statuses.insert(target.to_owned(), status.to_owned());
    let bytes = serde_json::to_vec_pretty(&sent).expect("its keys are strings");
    if let Err(error) = disk.replace(FILE, &bytes, Mode::Exactly(0o600)) {
        tracing::warn!(
            error = crate::redaction::error_chain(&error),
            "sent signal not recorded; the next boot sends it again"
        );
    }
}
