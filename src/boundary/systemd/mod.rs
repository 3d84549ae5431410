//! Starts and stops units, and watches their jobs, through systemd's D-Bus interface.
//!
//! In: unit names. Out: the state of units, and the results of jobs. It uses only the system bus: zbus rejects the
//! sender in answers from systemd's private socket. If there is no bus yet, [`control`] queues the jobs. It never masks
//! or edits a unit, and never polls: systemd sends a D-Bus signal when a job has ended.

mod bus;
pub mod control;
mod times;

use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use futures_util::stream::{SelectAll, StreamExt, select_all};
use serde::Serialize;
use tokio::time::Instant;
use zbus::proxy::{CacheProperties, Proxy};
use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath};

pub use self::bus::SystemdError;
use self::bus::{JobRemovedStream, ManagerProxy, call, classify, property_value, unit_of};
pub use self::times::{DualTime, ManagerTimes, UnitTimestamps};
use crate::retry::{Deadline, within};

/// The time-out for a call, as in libsystemd (sd_bus_set_method_call_timeout(3)).
const MAX_CALL_TIME: Duration = Duration::from_secs(25);
const SERVICE: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const NO_SUCH_JOB: &str = "org.freedesktop.systemd1.NoSuchJob";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// The capacity of the queue of changes. If the queue is full the connection blocks.
const MAX_QUEUED_CHANGES: NonZeroUsize = NonZeroUsize::new(1024).expect("is not zero");

/// The time of a unit's property in microseconds since 1970 (org.freedesktop.systemd1(5)); `None` for 0, which means that
/// the event has not happened.
pub fn time_of(usec: Option<u64>) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(usec.filter(|usec| *usec > 0)?))
}

/// Reads properties of a unit side by side.
macro_rules! properties {
    ($name:ident, $of:ident: $($property:literal),*) => { tokio::join!($(async {
        property_value($name, $property, $of.get_property($property).await)
    }),*) };
}

/// A connection to systemd.
#[derive(Clone, Debug)]
pub struct Systemd {
    connection: Connection,
    manager: ManagerProxy<'static>,
}

/// The state of a unit. A property that systemd does not have is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UnitState {
    /// The requested name.
    pub name: String,
    /// `loaded`, `not-found`, `masked`, `bad-setting`, ...
    pub load_state: Option<String>,
    /// `active`, `inactive`, `activating`, `failed`, ...
    pub active_state: Option<String>,
    /// `running`, `dead`, `auto-restart`, ...
    pub sub_state: Option<String>,
    /// `enabled`, `disabled`, `static`, ...; empty for a unit without a file.
    pub unit_file_state: Option<String>,
    /// `success`, `exit-code`, `timeout`, ...
    pub result: Option<String>,
    /// The exit code, or the number of the fatal signal, of the last main process.
    pub exec_main_status: Option<i32>,
    /// How the last main process ended: 1 exited, 2 killed, 3 dumped core (waitid(2)); 0 if it has not ended.
    pub exec_main_code: Option<i32>,
    /// The number of automatic restarts since the last manual start.
    pub restarts: Option<u32>,
    /// The id of the unit's queued or running job.
    pub job: Option<u32>,
    /// The units in `After=`.
    pub after: Option<Vec<String>>,
    /// When the main process last started, microseconds since 1970; 0 for never.
    pub exec_main_start_usec: Option<u64>,
    /// When the main process last ended, microseconds since 1970; 0 for never.
    pub exec_main_exit_usec: Option<u64>,
    /// When the unit last became active, microseconds since 1970; 0 for never.
    pub active_enter_usec: Option<u64>,
    /// The drop-in files that systemd has loaded.
    pub drop_in_paths: Option<Vec<String>>,
}

/// A job that must end before another job starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobBefore {
    /// The id of the job.
    pub id: u32,
    /// The unit of the job.
    pub unit: String,
    /// The type: `start`, `stop`, ...
    pub kind: String,
    /// `waiting` or `running`.
    pub state: String,
}

/// The result of a job (org.freedesktop.systemd1(5), JobRemoved).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobResult {
    /// The job succeeded.
    Done,
    /// The unit failed.
    Failed,
    /// A unit that it requires failed.
    Dependency,
    /// Another job replaced it.
    Canceled,
    /// The job reached its time-out.
    Timeout,
    /// A condition of the unit was not met.
    Skipped,
    /// A result that only a later systemd has.
    Other(String),
}

impl From<&str> for JobResult {
    fn from(word: &str) -> JobResult {
        match word {
            "done" => JobResult::Done,
            "failed" => JobResult::Failed,
            "dependency" => JobResult::Dependency,
            "canceled" => JobResult::Canceled,
            "timeout" => JobResult::Timeout,
            "skipped" => JobResult::Skipped,
            other => JobResult::Other(other.to_owned()),
        }
    }
}

/// A queued job. [`Job::ended`] waits for its result.
#[derive(Debug)]
pub struct Job {
    unit: String,
    path: OwnedObjectPath,
    removed: JobRemovedStream,
}

/// A stream of changes of the watched units and of their jobs.
#[derive(Debug)]
pub struct UnitChanges(SelectAll<MessageStream>);

impl Systemd {
    /// Connects to the system bus, at `DBUS_SYSTEM_BUS_ADDRESS` or the standard address. The time-out for each later
    /// call is 25 s, or the time that is left now until the deadline if that is shorter.
    pub async fn connect(deadline: Deadline) -> Result<Systemd, SystemdError> {
        Systemd::connect_to(None, deadline).await
    }

    /// Connects to the bus at a D-Bus address, or to the system bus without an address.
    pub async fn connect_to(address: Option<&str>, deadline: Deadline) -> Result<Systemd, SystemdError> {
        let start = Instant::now();
        let builder = match address {
            Some(address) => zbus::connection::Builder::address(address),
            None => zbus::connection::Builder::system(),
        };
        let builder = builder.method_timeout(MAX_CALL_TIME.min(deadline.remaining()));
        let opening = async {
            let connection = builder.build().await?;
            let manager = ManagerProxy::builder(&connection).cache_properties(CacheProperties::No).build().await?;
            Ok(Systemd { connection, manager })
        };
        let systemd = match within(deadline, call("connect", "", opening)).await {
            Ok(systemd) => systemd?,
            Err(_) => return Err(SystemdError::TimedOut { operation: "connect".to_owned(), waited: start.elapsed() }),
        };
        match call("Subscribe", "", systemd.manager.subscribe()).await {
            // Simulators of systemd have no `Subscribe`; they always send their signals.
            Ok(()) | Err(SystemdError::Unsupported { .. }) => Ok(systemd),
            Err(error) => Err(error),
        }
    }

    /// The state of a unit. Loads the unit if necessary. A unit without a file has the `load_state` `not-found`.
    pub async fn unit(&self, name: &str) -> Result<UnitState, SystemdError> {
        self.read_unit(name, true).await
    }

    /// As [`Systemd::unit`], but what describes the main process is `None`, which takes six calls less.
    pub async fn unit_without_process(&self, name: &str) -> Result<UnitState, SystemdError> {
        self.read_unit(name, false).await
    }

    async fn read_unit(&self, name: &str, with_process: bool) -> Result<UnitState, SystemdError> {
        let unknown = UnitState { name: name.to_owned(), ..UnitState::default() };
        let path = match call("LoadUnit", name, self.manager.load_unit(name)).await {
            Ok(path) => path,
            Err(SystemdError::Unsupported { .. }) => return Ok(unknown),
            Err(error) => return Err(error),
        };
        let unit = self.properties(name, &path, "Unit").await?;
        let (load_state, active_state, sub_state, file_state, job, after, began, entered, drop_ins) = properties!(
            name, unit: "LoadState", "ActiveState", "SubState", "UnitFileState", "Job", "After", "InactiveExitTimestamp",
            "ActiveEnterTimestamp", "DropInPaths"
        );
        let job: Option<(u32, OwnedObjectPath)> = job?;
        let active_state: Option<String> = active_state?;
        // At the first start of the boot, most units have not run.
        let has_never_run = began? == Some(0_u64) && active_state.as_deref() == Some("inactive");
        let process = if !with_process {
            unknown
        } else if has_never_run {
            // What systemd reports for a service that has not been started in this boot.
            UnitState {
                result: Some("success".to_owned()),
                exec_main_status: Some(0),
                exec_main_code: Some(0),
                restarts: Some(0),
                exec_main_start_usec: Some(0),
                exec_main_exit_usec: Some(0),
                ..unknown
            }
        } else {
            self.with_main_process(&path, unknown).await?
        };
        Ok(UnitState {
            load_state: load_state?,
            active_state,
            sub_state: sub_state?,
            unit_file_state: file_state?,
            job: job.map(|(id, _)| id).filter(|&id| id != 0),
            after: after?,
            active_enter_usec: entered?,
            drop_in_paths: drop_ins?,
            ..process
        })
    }

    /// Adds the properties of a service that describe its main process.
    async fn with_main_process(&self, path: &OwnedObjectPath, unit: UnitState) -> Result<UnitState, SystemdError> {
        let name = unit.name.as_str();
        let service = self.properties(name, path, "Service").await?;
        let (result, status, code, restarts, start, exit) = properties!(
            name, service: "Result", "ExecMainStatus", "ExecMainCode", "NRestarts", "ExecMainStartTimestamp",
            "ExecMainExitTimestamp"
        );
        Ok(UnitState {
            result: result?,
            exec_main_status: status?,
            exec_main_code: code?,
            restarts: restarts?,
            exec_main_start_usec: start?,
            exec_main_exit_usec: exit?,
            ..unit
        })
    }

    /// Queues a start job. Its end is not missed even if it comes before the answer to this call.
    pub async fn start(&self, unit: &str) -> Result<Job, SystemdError> {
        let removed = self.job_ends(unit).await?;
        let path = call("StartUnit", unit, self.manager.start_unit(unit, "replace")).await?;
        Ok(Job { unit: unit.to_owned(), path, removed })
    }

    /// Enables a unit for the next boot (systemctl(1) `enable`), without starting it.
    pub async fn enable(&self, unit: &str) -> Result<(), SystemdError> {
        call("EnableUnitFiles", unit, self.manager.enable_unit_files(&[unit], false, false)).await.map(|_| ())
    }

    /// Queues a restart job, which also starts a unit that does not run.
    pub async fn restart(&self, unit: &str) -> Result<Job, SystemdError> {
        let removed = self.job_ends(unit).await?;
        let path = call("RestartUnit", unit, self.manager.restart_unit(unit, "replace")).await?;
        Ok(Job { unit: unit.to_owned(), path, removed })
    }

    /// Resets the failed state and the start counter of a unit (systemctl(1) `reset-failed`).
    pub async fn reset_failed(&self, unit: &str) -> Result<(), SystemdError> {
        call("ResetFailedUnit", unit, self.manager.reset_failed_unit(unit)).await
    }

    /// Queues a stop job, which ends at once if the unit does not run.
    pub async fn stop(&self, unit: &str) -> Result<Job, SystemdError> {
        let removed = self.job_ends(unit).await?;
        let path = call("StopUnit", unit, self.manager.stop_unit(unit, "replace")).await?;
        Ok(Job { unit: unit.to_owned(), path, removed })
    }

    /// Whether the files of a unit have changed since systemd read them.
    pub async fn needs_reload(&self, unit: &str) -> Result<bool, SystemdError> {
        let path = call("LoadUnit", unit, self.manager.load_unit(unit)).await?;
        let proxy = self.properties(unit, &path, "Unit").await?;
        let answer = proxy.get_property("NeedDaemonReload").await;
        Ok(property_value(unit, "NeedDaemonReload", answer)?.unwrap_or(false))
    }

    /// Reads all unit files again (systemctl(1) `daemon-reload`).
    pub async fn reload(&self) -> Result<(), SystemdError> {
        call("Reload", "", self.manager.reload()).await
    }

    /// Cancels the queued job of a unit (systemctl(1) `cancel`). Returns whether there was one.
    pub async fn cancel_job(&self, unit: &str) -> Result<bool, SystemdError> {
        let path = call("LoadUnit", unit, self.manager.load_unit(unit)).await?;
        let proxy = self.properties(unit, &path, "Unit").await?;
        let job: Option<(u32, OwnedObjectPath)> = property_value(unit, "Job", proxy.get_property("Job").await)?;
        let Some((id, _)) = job.filter(|(id, _)| *id != 0) else { return Ok(false) };
        match call("CancelJob", &id.to_string(), self.manager.cancel_job(id)).await {
            Ok(()) => Ok(true),
            // It has just ended.
            Err(SystemdError::Refused { name, .. }) if name == NO_SUCH_JOB => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The jobs that must end before this job starts, without indirect ones.
    pub async fn jobs_before(&self, job: u32) -> Result<Vec<JobBefore>, SystemdError> {
        let jobs = call("GetJobBefore", &job.to_string(), self.manager.get_job_before(job)).await?;
        Ok(jobs.into_iter().map(|(id, unit, kind, state, ..)| JobBefore { id, unit, kind, state }).collect())
    }

    /// The name of the unit of a process; pid 0 means this process.
    pub async fn unit_of_pid(&self, pid: u32) -> Result<String, SystemdError> {
        let argument = pid.to_string();
        let path = call("GetUnitByPID", &argument, self.manager.get_unit_by_pid(pid)).await?;
        unit_of(&path).ok_or_else(|| classify("GetUnitByPID", &argument, Duration::ZERO, zbus::Error::InvalidReply))
    }

    /// Watches units for ends of their jobs and changes of their state. The names must be main names, not aliases.
    pub async fn changes(&self, units: &[&str]) -> Result<UnitChanges, SystemdError> {
        let mut streams = Vec::new();
        for unit in units {
            let ends = MatchRule::builder().interface(MANAGER).member("JobRemoved").arg(2, *unit);
            streams.push(call("AddMatch", unit, self.watch(ends)).await?);
            let path = match call("LoadUnit", unit, self.manager.load_unit(unit)).await {
                Ok(path) => path,
                Err(SystemdError::Unsupported { .. } | SystemdError::NoSuchUnit { .. }) => continue,
                Err(error) => return Err(error),
            };
            let changes = MatchRule::builder().interface(PROPERTIES).member("PropertiesChanged").path(path);
            streams.push(call("AddMatch", unit, self.watch(changes)).await?);
        }
        Ok(UnitChanges(select_all(streams)))
    }

    async fn watch(&self, rule: zbus::match_rule::Builder<'_>) -> zbus::Result<MessageStream> {
        let rule = rule.msg_type(zbus::message::Type::Signal).sender(SERVICE).build()?.into_owned();
        MessageStream::for_match_rule(rule, &self.connection, Some(MAX_QUEUED_CHANGES)).await
    }

    /// The ends of this unit's jobs. Not of all jobs: at boot hundreds of jobs end, and a stream that is not read would
    /// block the connection.
    async fn job_ends(&self, unit: &str) -> Result<JobRemovedStream, SystemdError> {
        call("AddMatch", unit, self.manager.receive_job_removed_with_args(&[(2, unit)])).await
    }

    /// A proxy to read properties one by one. `GetAll` would make systemd collect more than a hundred.
    async fn properties(&self, name: &str, path: &OwnedObjectPath, kind: &str) -> Result<Proxy<'_>, SystemdError> {
        let proxy = zbus::proxy::Builder::<Proxy<'_>>::new(&self.connection)
            .destination(SERVICE)
            .path(path.clone())
            .interface(format!("{SERVICE}.{kind}"))
            .cache_properties(CacheProperties::No)
            .build();
        call("Get", name, proxy).await
    }
}

impl Job {
    /// The id of the job; 0, which systemd never uses, if the object path has no id.
    pub fn id(&self) -> u32 {
        self.path.rsplit('/').next().and_then(|id| id.parse().ok()).unwrap_or(0)
    }

    /// Waits for the end of the job and returns its result.
    pub async fn ended(mut self, deadline: Deadline) -> Result<JobResult, SystemdError> {
        let (start, job) = (Instant::now(), self.id());
        let waiting = async {
            while let Some(signal) = self.removed.next().await {
                let arguments = signal.args()?;
                if arguments.job == self.path.as_ref() {
                    return Ok(Some(JobResult::from(arguments.result)));
                }
            }
            Ok(None)
        };
        match within(deadline, waiting).await {
            Err(_) => Err(SystemdError::Pending { unit: self.unit, job, waited: start.elapsed() }),
            Ok(Ok(Some(result))) => Ok(result),
            Ok(Ok(None)) => Err(SystemdError::Lost { operation: format!("JobRemoved({})", self.unit) }),
            Ok(Err(error)) => Err(classify("JobRemoved", &self.unit, start.elapsed(), error)),
        }
    }
}

impl UnitChanges {
    /// Waits for a change since the last call. Several changes at once count as one. Cancellation-safe: if the future
    /// is dropped, no change is lost.
    pub async fn next(&mut self) -> Result<(), SystemdError> {
        match self.0.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(classify("changes", "", Duration::ZERO, error)),
            None => return Err(SystemdError::Lost { operation: "changes".to_owned() }),
        }
        while let Some(Some(Ok(_))) = self.0.next().now_or_never() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests;
