//! Queues jobs by systemctl(1), for the part of the boot that has systemd and no D-Bus system bus yet (`bootcmd`).
//!
//! In: a verb and a unit. Out: that the job is queued, or why not. It waits for no job, and nothing is known of the job's
//! end. systemctl speaks to systemd's private socket, which zbus cannot.

use std::process::Stdio;
use std::time::Duration;

use tokio::time::Instant;

use super::SystemdError;
use crate::boundary::disk::Disk;
use crate::retry::{Deadline, within};

/// Where systemd takes calls from the first unit on.
const PRIVATE: &str = "/run/systemd/private";
/// Queueing is quick; a systemd that does not answer is not waited for.
const LONGEST_CALL: Duration = Duration::from_secs(10);
/// What a unit that is not there answers with, beside exit code 5 (systemctl(1), "Exit status").
const NOT_INSTALLED: i32 = 5;

/// systemctl on a host without a bus.
#[derive(Debug)]
pub struct Control(());

impl Control {
    /// For whoever was refused by the bus with `error`; `None` where that error is not the absence of a bus, or where
    /// systemd does not run.
    pub fn without_bus(disk: &Disk, error: &SystemdError) -> Option<Control> {
        let has_systemd = || disk.exists(PRIVATE).is_ok_and(|exists| exists);
        (matches!(error, SystemdError::NoBus { .. }) && has_systemd()).then_some(Control(()))
    }

    /// Queues the job that `verb` (`start`, `restart`) means.
    pub async fn queue(&self, verb: &str, unit: &str) -> Result<(), SystemdError> {
        self.call(&["--no-block", verb, unit], unit).await
    }

    /// Enables a unit for the next boot.
    pub async fn enable(&self, unit: &str) -> Result<(), SystemdError> {
        self.call(&["enable", unit], unit).await
    }

    async fn call(&self, arguments: &[&str], unit: &str) -> Result<(), SystemdError> {
        let start = Instant::now();
        let operation = || format!("systemctl {}", arguments.join(" "));
        #[expect(clippy::disallowed_methods, reason = "the one program that is called, where there is no bus")]
        let mut command = tokio::process::Command::new("systemctl");
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let output = match within(Deadline::after(LONGEST_CALL), command.output()).await {
            Ok(output) => output,
            Err(_) => return Err(SystemdError::Silent { operation: operation(), waited: start.elapsed() }),
        };
        let output = output.map_err(|error| refused(operation(), "it cannot be run".to_owned(), error.to_string()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next().unwrap_or_default();
        tracing::debug!(arguments = arguments.join(" "), duration = ?start.elapsed(), status = %output.status, "asked systemctl");
        match output.status.code() {
            Some(0) => Ok(()),
            Some(NOT_INSTALLED) => Err(SystemdError::NoSuchUnit { unit: unit.to_owned() }),
            _ if said.contains("is masked") => Err(SystemdError::Masked { unit: unit.to_owned() }),
            _ => Err(refused(operation(), output.status.to_string(), said.to_owned())),
        }
    }
}

fn refused(operation: String, name: String, message: String) -> SystemdError {
    SystemdError::Refused { operation, name, message }
}
