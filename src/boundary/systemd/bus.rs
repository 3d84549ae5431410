//! The part of systemd's D-Bus interface that is used, and what its errors mean.
//!
//! In: a call on its way. Out: its answer, or a [`SystemdError`]. It never retries. Names and types are those of
//! org.freedesktop.systemd1(5).

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use zbus::{DBusError, OwnedObjectPath, fdo};

/// A job as `GetJobBefore` lists it: id, unit, type, state, and the paths of job and unit.
pub(super) type ListedJob = (u32, String, String, String, OwnedObjectPath, OwnedObjectPath);

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
pub(super) trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;
    fn load_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
    #[allow(clippy::type_complexity, reason = "EnableUnitFiles answers (b, a(sss)) (org.freedesktop.systemd1(5))")]
    fn enable_unit_files(
        &self,
        files: &[&str],
        runtime: bool,
        force: bool,
    ) -> zbus::Result<(bool, Vec<(String, String, String)>)>;
    fn get_job_before(&self, id: u32) -> zbus::Result<Vec<ListedJob>>;
    #[zbus(name = "GetUnitByPID")]
    fn get_unit_by_pid(&self, pid: u32) -> zbus::Result<OwnedObjectPath>;
    #[zbus(signal)]
    fn job_removed(&self, id: u32, job: zbus::ObjectPath<'_>, unit: &str, result: &str) -> zbus::Result<()>;
}

/// Why systemd gave no answer, or a bad one.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SystemdError {
    /// No system bus: too early in the boot, or no systemd.
    #[error("there is no D-Bus system bus at `{address}`")]
    NoBus {
        /// As D-Bus writes it.
        address: String,
        /// Why it cannot be connected to.
        source: Arc<io::Error>,
    },
    /// A bus, but no systemd on it.
    #[error("systemd is not on the D-Bus system bus: {message}")]
    NoManager {
        /// The bus's own words.
        message: String,
    },
    /// It does not answer.
    #[error("systemd did not answer {operation} within {} ms", waited.as_millis())]
    Silent {
        /// The call, with its unit.
        operation: String,
        /// For how long.
        waited: Duration,
    },
    /// The job is still there.
    #[error("job {job} of {unit} did not end within {} ms", waited.as_millis())]
    Pending {
        /// Whose job.
        unit: String,
        /// Its number.
        job: u32,
        /// For how long.
        waited: Duration,
    },
    /// There is no such unit.
    #[error("systemd has no unit {unit}")]
    NoSuchUnit {
        /// Its name.
        unit: String,
    },
    /// The unit is masked.
    #[error("the unit {unit} is masked")]
    Masked {
        /// Its name.
        unit: String,
    },
    /// The other side does not know this call: not a real systemd, or a very old one. What it would say is unknown.
    #[error("systemd does not know {operation}")]
    Unsupported {
        /// The call, with its unit.
        operation: String,
    },
    /// It said no.
    #[error("systemd refused {operation}: {message} ({name})")]
    Refused {
        /// The call, with its unit.
        operation: String,
        /// The name of the D-Bus error.
        name: String,
        /// systemd's own words.
        message: String,
    },
    /// The connection broke.
    #[error("the connection to systemd was lost during {operation}")]
    Lost {
        /// The call, with its unit.
        operation: String,
    },
    /// The other side does not keep to D-Bus, or to systemd's interface.
    #[error("the answer to {operation} is not systemd's")]
    Protocol {
        /// The call, with its unit.
        operation: String,
        /// Where it differs.
        source: zbus::Error,
    },
}

/// Awaits a call, named `operation` in errors; a unit's name is taken out of its argument.
pub(super) async fn ask<T>(
    method: &str,
    argument: &str,
    call: impl Future<Output = zbus::Result<T>>,
) -> Result<T, SystemdError> {
    let start = Instant::now();
    let answer = call.await;
    tracing::debug!(method, argument, duration = ?start.elapsed(), answered = answer.is_ok(), "asked systemd");
    answer.map_err(|error| sort(method, argument, start.elapsed(), error))
}

/// What an error of a call means.
pub(super) fn sort(method: &str, argument: &str, waited: Duration, error: zbus::Error) -> SystemdError {
    let operation = if argument.is_empty() { method.to_owned() } else { format!("{method}({argument})") };
    let (name, message) = match error {
        zbus::Error::MethodError(name, message, _) => (name.to_string(), message.unwrap_or_default()),
        zbus::Error::FDO(error) => match *error {
            fdo::Error::ZBus(inner) => return sort(method, argument, waited, inner),
            other => (other.name().to_string(), other.description().unwrap_or_default().to_owned()),
        },
        zbus::Error::Connection(source, address) => {
            return SystemdError::NoBus { address: address.to_string(), source };
        }
        zbus::Error::InputOutput(error) if error.kind() == io::ErrorKind::TimedOut => {
            return SystemdError::Silent { operation, waited };
        }
        zbus::Error::InputOutput(_) => return SystemdError::Lost { operation },
        source => return SystemdError::Protocol { operation, source },
    };
    let unit = || argument.to_owned();
    match name.as_str() {
        "org.freedesktop.systemd1.NoSuchUnit" => SystemdError::NoSuchUnit { unit: unit() },
        "org.freedesktop.systemd1.UnitMasked" => SystemdError::Masked { unit: unit() },
        "org.freedesktop.DBus.Error.UnknownMethod"
        | "org.freedesktop.DBus.Error.UnknownInterface"
        | "org.freedesktop.DBus.Error.UnknownObject" => SystemdError::Unsupported { operation },
        "org.freedesktop.DBus.Error.ServiceUnknown" | "org.freedesktop.DBus.Error.NameHasNoOwner" => {
            SystemdError::NoManager { message }
        }
        "org.freedesktop.DBus.Error.NoReply"
        | "org.freedesktop.DBus.Error.Timeout"
        | "org.freedesktop.DBus.Error.TimedOut" => SystemdError::Silent { operation, waited },
        // Where systemd does not run, its entry among the bus's services "starts" /bin/false.
        name if name.starts_with("org.freedesktop.DBus.Error.Spawn.") => SystemdError::NoManager { message },
        _ => SystemdError::Refused { operation, name, message },
    }
}

/// A property's value; `None` where the other side does not have it, or has it in another type.
pub(super) fn known<T>(unit: &str, name: &str, value: zbus::Result<T>) -> Result<Option<T>, SystemdError> {
    match value {
        Ok(value) => Ok(Some(value)),
        Err(error) => match sort("Get", &format!("{name} of {unit}"), Duration::ZERO, error) {
            error @ (SystemdError::Silent { .. } | SystemdError::Lost { .. }) => Err(error),
            error => {
                tracing::debug!(unit, property = name, %error, "a property is unknown");
                Ok(None)
            }
        },
    }
}

/// The unit's name in its object path: all but letters and digits is written `_` and two hexadecimal digits
/// (sd_bus_path_encode(3)).
pub(super) fn unit_of(path: &str) -> Option<String> {
    let mut rest = path.strip_prefix("/org/freedesktop/systemd1/unit/")?;
    let mut name = Vec::new();
    while let Some((&first, _)) = rest.as_bytes().split_first() {
        if first == b'_' {
            name.push(u8::from_str_radix(rest.get(1..3)?, 16).ok()?);
            rest = &rest[3..];
        } else {
            name.push(first);
            rest = &rest[1..];
        }
    }
    String::from_utf8(name).ok()
}
