//! The stage that reports a verdict: to the journal, `STATUS=`, `/run/ecs-bootstrap/status.json`, the console (failures),
//! and through [`SignalClient`] to CloudFormation and Auto Scaling.
//!
//! In: the document of a verdict. Out: nothing. An error while reporting is logged as a warning and changes no verdict.

mod auto_scaling;
mod client;
mod cloudformation;
mod instance_tags;
mod sent;
mod signals;

pub use client::SignalClient;
pub use sent::is_record;
pub use signals::with_heartbeats;

use serde_json::Value;

use crate::boundary::console;
use crate::boundary::disk::{Disk, Mode};
use crate::journal;
use crate::redaction;
use crate::render::{Document, SignalOutcome, VerdictState};

/// Where the last verdict lies; lost at a reboot, as it should be.
pub const STATUS: &str = "/run/ecs-bootstrap/status.json";
/// The folder of all that lives no longer than the boot.
pub const RUN: &str = "/run/ecs-bootstrap";

/// Tells it, once a boot path.
pub fn locally(disk: &Disk, document: &Document, handed_over: bool, to_journal: bool) {
    // Elsewhere the report on stderr says the same.
    if to_journal {
        log(document, handed_over);
        on_console(disk, document);
    }
    journal::status(&document.text);
    if let Err(error) = store(disk, document) {
        tracing::warn!(error = crate::redaction::error_chain(&error), "the verdict could not be stored for `status`");
    }
}

/// The id of the cause and its remedy, once: anyone with `ec2:GetConsoleOutput` reads the console, so evidence stays off.
fn on_console(disk: &Disk, document: &Document) {
    let Some(cause) = document.cause.as_ref().filter(|_| document.exit_code != 0) else { return };
    let told = stored(disk).ok().flatten().and_then(|stored| stored.cause).is_some_and(|stored| stored.id == cause.id);
    if told {
        return;
    }
    if let Err(error) =
        console::print(disk, &redaction::line(&format!("ecs-bootstrap: error [{}] remedy: {}", cause.id, cause.remedy)))
    {
        tracing::debug!(%error, "the console takes nothing");
    }
}

fn log(document: &Document, handed_over: bool) {
    let (cause, remedy, evidence) = match &document.cause {
        Some(cause) => (cause.id.as_str(), cause.remedy.as_str(), cause.evidence.join("\n")),
        None => ("", "", String::new()),
    };
    let arn = document.container_instance_arn.as_deref().unwrap_or("");
    let cluster = document.cluster.as_deref().unwrap_or("");
    // One event for each, since the message is constant and the level differs.
    macro_rules! event {
        ($level:ident, $id:expr, $message:literal) => {
            tracing::$level!(
                message_id = $id,
                verdict = document.verdict.word(),
                exit_code = document.exit_code,
                cause,
                evidence,
                remedy,
                cluster,
                container_instance_arn = arn,
                $message
            )
        };
    }
    match document.verdict {
        VerdictState::Ready => event!(info, journal::MESSAGE_ID_READY, "the instance is registered"),
        VerdictState::Waiting if handed_over => {
            event!(info, journal::MESSAGE_ID_HANDED_OVER, "verification goes on in its own unit")
        }
        VerdictState::Waiting => event!(info, journal::MESSAGE_ID_WAITING, "the instance waits"),
        VerdictState::Unknown => {
            event!(warn, journal::MESSAGE_ID_UNKNOWN, "the instance did not register, for no known cause")
        }
        VerdictState::Failed | VerdictState::None => {
            event!(warn, journal::MESSAGE_ID_FAILED, "the instance did not register")
        }
    }
}

/// Keeps and logs who was told outside this host, after the verdict itself.
pub fn store_signals(disk: &Disk, document: &Document) {
    for signal in &document.signals {
        let (to, status, detail) = (signal.to.word(), &signal.status, &signal.detail);
        match signal.outcome {
            SignalOutcome::Failed => tracing::warn!(to, status, detail, "signal not sent"),
            outcome => tracing::info!(to, status, outcome = outcome.word(), detail, "signal"),
        }
    }
    if let Err(error) = store(disk, document) {
        tracing::warn!(error = crate::redaction::error_chain(&error), "the verdict could not be stored for `status`");
    }
}

fn store(disk: &Disk, document: &Document) -> Result<(), crate::boundary::disk::DiskError> {
    let mut bytes = serde_json::to_vec_pretty(document).map_err(|error| crate::boundary::disk::DiskError::Io {
        doing: "write",
        path: STATUS.to_owned(),
        source: error.into(),
    })?;
    bytes.push(b'\n');
    disk.create_folder(RUN, 0o755)?;
    disk.replace(STATUS, &bytes, Mode::Exactly(0o644))
}

/// The last verdict of this boot.
pub fn stored(disk: &Disk) -> Result<Option<Document>, crate::boundary::disk::DiskError> {
    let Some(bytes) = disk.read(STATUS, crate::host::LONGEST_FILE)? else { return Ok(None) };
    let wrong = |why: String| crate::boundary::disk::DiskError::Io {
        doing: "read",
        path: STATUS.to_owned(),
        source: std::io::Error::other(why),
    };
    let value = serde_json::from_slice(&bytes).map_err(|error| wrong(redaction::json_error(&error)))?;
    // Anybody may have written it.
    serde_json::from_value(as_evidence(value)).map(Some).map_err(|error| wrong(redaction::json_error(&error)))
}

/// Every string as one line of evidence, and of every list the first items.
fn as_evidence(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(redaction::line(&text)),
        Value::Array(items) => items.into_iter().take(redaction::MAX_LINES).map(as_evidence).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(key, value)| match (key.as_str(), value) {
                ("cluster", Value::String(cluster)) => (key, Value::String(redaction::cluster(&cluster))),
                (_, value) => (key, as_evidence(value)),
            })
            .collect(),
        other => other,
    }
}
