//! Starts and stops units, and watches their jobs, through systemd's D-Bus interface.
//!
//! In: unit names. Out: the state of units, and the results of jobs. It uses only the system bus: zbus rejects the
//! sender in answers from systemd's private socket. If there is no bus yet, [`control`] queues the jobs. It never masks
//! or edits a unit, and never polls: systemd sends a D-Bus signal when a job has ended.

mod bus;
mod cache;
pub mod control;
mod properties;
mod times;
mod unit;

use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use futures_util::stream::{SelectAll, StreamExt, select_all};
use serde::Serialize;
use tokio::time::Instant;
use zbus::proxy::CacheProperties;
use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath};

pub use self::bus::SystemdError;
use self::bus::{JobRemovedStream, ManagerProxy, call, classify, unit_of};
use self::cache::UnitCache;
pub use self::times::{DualTime, ManagerTimes, UnitTimestamps};
pub use self::unit::UnitState;
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

/// A connection to systemd.
#[derive(Clone, Debug)]
pub struct Systemd {
    connection: Connection,
    manager: ManagerProxy<'static>,
    cache: UnitCache,
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
            Ok(Systemd { connection, manager, cache: UnitCache::default() })
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
        Ok(self.properties(unit, &path, "Unit").await?.take("NeedDaemonReload").unwrap_or(false))
    }

    /// Reads all unit files again (systemctl(1) `daemon-reload`).
    pub async fn reload(&self) -> Result<(), SystemdError> {
        call("Reload", "", self.manager.reload()).await
    }

    /// Cancels the queued job of a unit (systemctl(1) `cancel`). Returns whether there was one.
    pub async fn cancel_job(&self, unit: &str) -> Result<bool, SystemdError> {
        let path = call("LoadUnit", unit, self.manager.load_unit(unit)).await?;
        let Some(id) = self.properties(unit, &path, "Unit").await?.job_id() else { return Ok(false) };
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
