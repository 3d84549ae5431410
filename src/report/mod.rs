//! The stage that reports a verdict: to the journal, `STATUS=`, `/run/ecs-bootstrap/status.json`, the console
//! (failures), and through [`SignalClient`] to CloudFormation, Auto Scaling, tags and CloudWatch.
//!
//! In: the document of a verdict. Out: nothing. An error while reporting is logged as a warning and changes no verdict.

mod auto_scaling;
mod client;
mod cloudformation;
mod fault_metric;
mod hooks;
mod instance_tags;
mod launch_metric;
mod sent;
mod signals;
mod termination;

pub use client::{GroupHook, SignalClient};
pub use sent::is_record;
pub use signals::with_heartbeats;
pub use termination::{TerminatingHooks, drain_failure};

use serde_json::Value;

use crate::boundary::console;
use crate::boundary::disk::{Disk, DiskError, Mode};
use crate::journal;
use crate::plan::RUN_FOLDER;
use crate::redaction::{self, error_chain};
use crate::render::{SignalOutcome, VerdictDocument, VerdictState};

/// The file with the last verdict. It is lost at a reboot, because a verdict holds for one boot.
const STATUS: &str = "/run/ecs-bootstrap/status.json";

/// Reports a verdict on this host. `is_handed_over` says that the verify unit continues.
pub fn locally(disk: &Disk, document: &VerdictDocument, is_handed_over: bool, to_journal: bool) {
    // Without a journal, stderr shows the same report.
    if to_journal {
        log(document, is_handed_over);
        print_on_console(disk, document);
    }
    journal::status(&document.text);
    store_or_log(disk, document);
}

/// Prints the id of the cause and its remedy on the console, unless the last verdict had the same cause. Evidence is
/// not printed, because anyone with `ec2:GetConsoleOutput` can read the console.
fn print_on_console(disk: &Disk, document: &VerdictDocument) {
    let Some(cause) = document.cause.as_ref().filter(|_| document.exit_code != 0) else { return };
    let last_cause = stored_or_log(disk).and_then(|stored| stored.cause);
    if last_cause.is_some_and(|last| last.id == cause.id) {
        return;
    }
    let line = redaction::line(&format!("ecs-bootstrap: error [{}] remedy: {}", cause.id, cause.remedy));
    if let Err(error) = console::print(disk, &line) {
        tracing::debug!(%error, "verdict not printed on the console");
    }
}

fn log(document: &VerdictDocument, is_handed_over: bool) {
    let (cause, remedy, evidence) = match &document.cause {
        Some(cause) => (cause.id.as_str(), cause.remedy.as_str(), cause.evidence.join("\n")),
        None => ("", "", String::new()),
    };
    let arn = document.container_instance_arn.as_deref().unwrap_or("");
    let cluster = document.cluster.as_deref().unwrap_or("");
    // A macro, because `tracing` needs a constant level and message for each event.
    macro_rules! event {
        ($level:ident, $id:expr, $message:literal) => {
            tracing::$level!(
                message_id = $id,
                verdict = %document.verdict,
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
        VerdictState::Waiting if is_handed_over => {
            event!(info, journal::MESSAGE_ID_HANDED_OVER, "verification continues in ecs-bootstrap-verify.service")
        }
        VerdictState::Waiting if !arn.is_empty() => {
            event!(info, journal::MESSAGE_ID_WAITING, "the instance is registered, and not ready yet")
        }
        VerdictState::Waiting => event!(info, journal::MESSAGE_ID_WAITING, "the instance is not registered yet"),
        VerdictState::Unknown => {
            event!(warn, journal::MESSAGE_ID_UNKNOWN, "the instance did not register, and no known cause fits")
        }
        VerdictState::Failed if !arn.is_empty() => {
            event!(warn, journal::MESSAGE_ID_FAILED, "the instance is registered, and not ready")
        }
        VerdictState::Failed | VerdictState::None => {
            event!(warn, journal::MESSAGE_ID_FAILED, "the instance did not register")
        }
    }
}

/// Stores and logs the signals of a verdict.
pub fn store_signals(disk: &Disk, document: &VerdictDocument) {
    for signal in &document.signals {
        let (to, status, detail) = (signal.to, &signal.status, &signal.detail);
        match signal.outcome {
            SignalOutcome::Failed => tracing::warn!(%to, status, detail, "signal not sent"),
            outcome => tracing::info!(%to, status, %outcome, detail, "signal"),
        }
    }
    store_or_log(disk, document);
}

fn store_or_log(disk: &Disk, document: &VerdictDocument) {
    if let Err(error) = store(disk, document) {
        tracing::warn!(error = error_chain(&error), "verdict not stored; `status` shows an older one or none");
    }
}

fn store(disk: &Disk, document: &VerdictDocument) -> Result<(), DiskError> {
    let mut bytes = serde_json::to_vec_pretty(document).map_err(|error| DiskError::Io {
        doing: "write",
        path: STATUS.to_owned(),
        source: error.into(),
    })?;
    bytes.push(b'\n');
    disk.create_folder(RUN_FOLDER, 0o755)?;
    disk.replace(STATUS, &bytes, Mode::Exactly(0o644))
}

/// The last verdict of this boot. Its text is redacted, because another program may have written the file.
pub fn stored(disk: &Disk) -> Result<Option<VerdictDocument>, DiskError> {
    let Some(bytes) = disk.read(STATUS, crate::host::MAX_FILE_LENGTH)? else { return Ok(None) };
    let invalid = |error: serde_json::Error| DiskError::Io {
        doing: "read",
        path: STATUS.to_owned(),
        source: std::io::Error::other(redaction::json_error(&error)),
    };
    let value = serde_json::from_slice(&bytes).map_err(invalid)?;
    serde_json::from_value(as_evidence(value)).map(Some).map_err(invalid)
}

/// The same for callers that continue without it; an error is logged.
pub fn stored_or_log(disk: &Disk) -> Option<VerdictDocument> {
    stored(disk).unwrap_or_else(|error| {
        tracing::warn!(error = error_chain(&error), "last verdict not read");
        None
    })
}

/// Every string as one line of evidence, and the first items of every list.
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
