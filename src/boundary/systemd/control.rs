//! Queues jobs with systemctl(1), for the part of the boot before the D-Bus system bus starts (`bootcmd`).
//!
//! In: a verb and a unit. Out: success once the job is queued, or a [`SystemdError`]. It does not wait for the job, and
//! cannot know its result. systemctl can use systemd's private socket; zbus cannot.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::time::Instant;

use super::{Job, Systemd, SystemdError};
use crate::boundary::disk::Disk;
use crate::boundary::program_output::output;
use crate::retry::{Deadline, within};

/// Systemd's private socket, which exists before the first unit starts.
const PRIVATE: &str = "/run/systemd/private";
/// The time-out for systemctl. Queueing a job is quick.
const MAX_CALL_TIME: Duration = Duration::from_secs(10);
/// The most bytes of systemctl's error output that are used.
const MAX_TEXT_LENGTH: usize = 16 * 1024;
/// The exit code of systemctl if the unit does not exist (systemctl(1), "Exit status").
const NOT_INSTALLED: i32 = 5;

/// A client of systemd that uses systemctl.
#[derive(Debug)]
pub struct Control(());

impl Control {
    /// `None` if systemd does not run.
    pub fn new(disk: &Disk) -> Option<Control> {
        let is_running = disk.exists(PRIVATE).unwrap_or_else(|error| {
            tracing::debug!(%error, "systemd's private socket not examined");
            false
        });
        is_running.then_some(Control(()))
    }

    /// Queues the job `verb` (`start`, `restart`) for a unit.
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
        #[expect(clippy::disallowed_methods, reason = "without a bus, systemctl is the only client of systemd")]
        let mut command = tokio::process::Command::new("systemctl");
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let call = async {
            let mut child = command.spawn()?;
            let pipe = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
            output(pipe, child, MAX_TEXT_LENGTH).await
        };
        let (status, printed) = match within(Deadline::after(MAX_CALL_TIME), call).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => return Err(refused(operation(), "systemctl failed".to_owned(), error.to_string())),
            Err(_) => return Err(SystemdError::TimedOut { operation: operation(), waited: start.elapsed() }),
        };
        let printed = String::from_utf8_lossy(&printed);
        let message = printed.lines().next().unwrap_or_default();
        tracing::debug!(arguments = arguments.join(" "), duration = ?start.elapsed(), %status, "systemctl ended");
        match status.code() {
            Some(0) => Ok(()),
            Some(NOT_INSTALLED) => Err(SystemdError::NoSuchUnit { unit: unit.to_owned() }),
            _ if message.contains("is masked") => Err(SystemdError::Masked { unit: unit.to_owned() }),
            _ => Err(refused(operation(), status.to_string(), message.to_owned())),
        }
    }
}

/// Queues jobs through the bus, or through systemctl if there is no bus yet.
#[derive(Debug)]
pub enum Jobs<'s> {
    /// The bus. Results of jobs are reported.
    Bus(&'s Systemd),
    /// systemctl. Results of jobs stay unknown.
    Control(Control),
}

impl<'s> Jobs<'s> {
    /// The bus if it is connected; systemctl if there is no bus but systemd runs; otherwise the error of the bus.
    pub fn of(disk: &Disk, systemd: Result<&'s Systemd, &SystemdError>) -> Result<Jobs<'s>, SystemdError> {
        match systemd {
            Ok(systemd) => Ok(Jobs::Bus(systemd)),
            Err(error @ SystemdError::NoBus { .. }) => {
                Control::new(disk).map(Jobs::Control).ok_or_else(|| error.clone())
            }
            Err(error) => Err(error.clone()),
        }
    }

    /// Queues a `start` or `restart` job. Returns the job if its result will be reported.
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
