//! The methods of systemd's D-Bus interface that are used, and the meaning of their errors.
//!
//! In: the future of a call. Out: its answer, or a [`SystemdError`]. It never retries. Names and types are those of
//! org.freedesktop.systemd1(5).

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use zbus::{DBusError, OwnedObjectPath, fdo};

/// A job in the answer to `GetJobBefore`: id, unit, type, state, and the object paths of job and unit.
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
    #[allow(clippy::type_complexity, reason = "EnableUnitFiles returns (b, a(sss)) (org.freedesktop.systemd1(5))")]
    fn enable_unit_files(
        &self,
        files: &[&str],
        runtime: bool,
        force: bool,
    ) -> zbus::Result<(bool, Vec<(String, String, String)>)>;
    fn cancel_job(&self, id: u32) -> zbus::Result<()>;
    fn reload(&self) -> zbus::Result<()>;
    fn get_job_before(&self, id: u32) -> zbus::Result<Vec<ListedJob>>;
    #[zbus(name = "GetUnitByPID")]
    fn get_unit_by_pid(&self, pid: u32) -> zbus::Result<OwnedObjectPath>;
    #[zbus(signal)]
    fn job_removed(&self, id: u32, job: zbus::ObjectPath<'_>, unit: &str, result: &str) -> zbus::Result<()>;
}

/// Why a call to systemd failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SystemdError {
    /// There is no system bus: it is too early in the boot, or systemd does not run.
    #[error("there is no D-Bus system bus at `{address}`")]
    NoBus {
        /// The D-Bus address.
        address: String,
        /// The error of the connection.
        source: Arc<io::Error>,
    },
    /// There is a bus, but systemd is not connected to it.
    #[error("systemd is not on the D-Bus system bus: {message}")]
    NoManager {
        /// The message of the bus.
        message: String,
    },
    /// Systemd did not answer in time.
    #[error("systemd did not answer {operation} within {} ms", waited.as_millis())]
    TimedOut {
        /// The method and its argument.
        operation: String,
        /// How long the client waited.
        waited: Duration,
    },
    /// The job did not end in time.
    #[error("job {job} of {unit} did not end within {} ms", waited.as_millis())]
    Pending {
        /// The unit of the job.
        unit: String,
        /// The id of the job.
        job: u32,
        /// How long the client waited.
        waited: Duration,
    },
    /// The unit does not exist.
    #[error("systemd has no unit {unit}")]
    NoSuchUnit {
        /// The name of the unit.
        unit: String,
    },
    /// The unit is masked.
    #[error("the unit {unit} is masked")]
    Masked {
        /// The name of the unit.
        unit: String,
    },
    /// Systemd does not have this method: it is a simulator, or a very old version. The requested value is unknown.
    #[error("systemd does not support {operation}")]
    Unsupported {
        /// The method and its argument.
        operation: String,
    },
    /// Systemd answered with an error.
    #[error("systemd refused {operation}: {message} ({name})")]
    Refused {
        /// The method and its argument.
        operation: String,
        /// The name of the D-Bus error.
        name: String,
        /// The message of systemd.
        message: String,
    },
    /// The connection was lost.
    #[error("the connection to systemd was lost during {operation}")]
    Lost {
        /// The method and its argument.
        operation: String,
    },
    /// The answer violates D-Bus or systemd's interface.
    #[error("the answer to {operation} is not from systemd")]
    Protocol {
        /// The method and its argument.
        operation: String,
        /// The error of the D-Bus library.
        source: zbus::Error,
    },
}

/// Awaits a call of `method`. `argument` is the unit or the job, for errors and the log.
pub(super) async fn call<T>(
    method: &str,
    argument: &str,
    call: impl Future<Output = zbus::Result<T>>,
) -> Result<T, SystemdError> {
    let start = Instant::now();
    let answer = call.await;
    tracing::debug!(method, argument, duration = ?start.elapsed(), succeeded = answer.is_ok(), "systemd call ended");
    answer.map_err(|error| classify(method, argument, start.elapsed(), error))
}

/// Sorts the error of a call by its D-Bus name.
pub(super) fn classify(method: &str, argument: &str, waited: Duration, error: zbus::Error) -> SystemdError {
    let operation = if argument.is_empty() { method.to_owned() } else { format!("{method}({argument})") };
    let (name, message) = match error {
        zbus::Error::MethodError(name, message, _) => (name.to_string(), message.unwrap_or_default()),
        zbus::Error::FDO(error) => match *error {
            fdo::Error::ZBus(inner) => return classify(method, argument, waited, inner),
            other => (other.name().to_string(), other.description().unwrap_or_default().to_owned()),
        },
        zbus::Error::Connection(source, address) => {
            return SystemdError::NoBus { address: address.to_string(), source };
        }
        zbus::Error::InputOutput(error) if error.kind() == io::ErrorKind::TimedOut => {
            return SystemdError::TimedOut { operation, waited };
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
        | "org.freedesktop.DBus.Error.TimedOut" => SystemdError::TimedOut { operation, waited },
        // If systemd does not run, its D-Bus service file lets the bus start /bin/false.
        name if name.starts_with("org.freedesktop.DBus.Error.Spawn.") => SystemdError::NoManager { message },
        _ => SystemdError::Refused { operation, name, message },
    }
}

/// The name of the unit with this object path. In the path, each character except letters and digits is written as `_`
/// and two hexadecimal digits (sd_bus_path_encode(3)).
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
