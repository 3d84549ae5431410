//! Queues jobs by systemctl(1), for the part of the boot that has systemd and no D-Bus system bus yet (`bootcmd`).
//!
//! In: a verb and a unit. Out: that the job is queued, or why not. It waits for no job, and nothing is known of the job's
//! end. systemctl speaks to systemd's private socket, which zbus cannot.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::time::Instant;

use super::{Job, Systemd, SystemdError};
use crate::boundary::disk::Disk;
use crate::boundary::program::output;
use crate::retry::{Deadline, within};

/// Where systemd takes calls from the first unit on.
const PRIVATE: &str = "/run/systemd/private";
/// Queueing is quick; a systemd that does not answer is not waited for.
const LONGEST_CALL: Duration = Duration::from_secs(10);
/// Of what it says.
const LONGEST_TEXT: usize = 16 * 1024;
/// What a unit that is not there answers with, beside exit code 5 (systemctl(1), "Exit status").
const NOT_INSTALLED: i32 = 5;

/// systemctl, for whoever has no bus.
#[derive(Debug)]
pub struct Control(());

impl Control {
    /// `None` where systemd does not run.
    pub fn new(disk: &Disk) -> Option<Control> {
        disk.exists(PRIVATE).is_ok_and(|exists| exists).then_some(Control(()))
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
        let called = async {
            let mut child = command.spawn()?;
            let pipe = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
            output(pipe, child, LONGEST_TEXT).await
        };
        let (status, said) = match within(Deadline::after(LONGEST_CALL), called).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => return Err(refused(operation(), "it cannot be run".to_owned(), error.to_string())),
            Err(_) => return Err(SystemdError::Silent { operation: operation(), waited: start.elapsed() }),
        };
        let said = String::from_utf8_lossy(&said);
        let said = said.lines().next().unwrap_or_default();
        tracing::debug!(arguments = arguments.join(" "), duration = ?start.elapsed(), status = %status, "asked systemctl");
        match status.code() {
            Some(0) => Ok(()),
            Some(NOT_INSTALLED) => Err(SystemdError::NoSuchUnit { unit: unit.to_owned() }),
            _ if said.contains("is masked") => Err(SystemdError::Masked { unit: unit.to_owned() }),
            _ => Err(refused(operation(), status.to_string(), said.to_owned())),
        }
    }
}

/// What takes jobs: the bus, or systemctl where there is none yet.
#[derive(Debug)]
pub enum Jobs<'s> {
    /// Their ends can be seen.
    Bus(&'s Systemd),
    /// They cannot.
    Control(Control),
}

impl<'s> Jobs<'s> {
    /// The bus's own error where it is not the absence of a bus, or where systemd does not run.
    pub fn of(disk: &Disk, systemd: Result<&'s Systemd, &SystemdError>) -> Result<Jobs<'s>, SystemdError> {
        match systemd {
            Ok(systemd) => Ok(Jobs::Bus(systemd)),
            Err(error @ SystemdError::NoBus { .. }) => {
                Control::new(disk).map(Jobs::Control).ok_or_else(|| error.clone())
            }
            Err(error) => Err(error.clone()),
        }
    }

    /// Queues a `start` or `restart`; the job, where its end can be seen.
    pub async fn queue(&self, verb: &str, unit: &str) -> Result<Option<Job>, SystemdError> {
        match self {
            Jobs::Bus(systemd) if verb == "restart" => systemd.restart(unit).await.map(Some),
            Jobs::Bus(systemd) => systemd.start(unit).await.map(Some),
            Jobs::Control(control) => control.queue(verb, unit).await.map(|()| None),
        }
    }

    /// Enables a unit for the next boot.
    pub async fn enable(&self, unit: &str) -> Result<(), SystemdError> {
        match self {
            Jobs::Bus(systemd) => systemd.enable(unit).await,
            Jobs::Control(control) => control.enable(unit).await,
        }
    }
}

fn refused(operation: String, name: String, message: String) -> SystemdError {
    SystemdError::Refused { operation, name, message }
}
