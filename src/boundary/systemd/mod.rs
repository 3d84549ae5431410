//! Starts and stops units and watches their jobs through systemd's D-Bus interface.
//!
//! In: unit names. Out: the state of units, and how jobs ended. It speaks to the system bus only: systemd's private
//! socket stamps its answers with a sender that zbus does not take. Where there is no bus yet, [`control`] queues the
//! jobs. It masks and edits no unit, and never polls: that a job has ended is a signal.

mod bus;
pub mod control;

use std::num::NonZeroUsize;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{SelectAll, StreamExt, select_all};
use serde::Serialize;
use tokio::time::Instant;
use zbus::proxy::{CacheProperties, Proxy};
use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath};

pub use self::bus::SystemdError;
use self::bus::{JobRemovedStream, ManagerProxy, ask, known, sort, unit_of};
use crate::retry::{Deadline, within};

/// What libsystemd's own clients wait for an answer (sd_bus_set_method_call_timeout(3)).
const LONGEST_CALL: Duration = Duration::from_secs(25);
const SERVICE: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// Changes kept for whoever looks late. When they are full the connection stands still.
const KEPT_CHANGES: NonZeroUsize = NonZeroUsize::new(1024).expect("is not zero");

/// A connection to systemd.
#[derive(Clone, Debug)]
pub struct Systemd {
    connection: Connection,
    manager: ManagerProxy<'static>,
}

/// A unit, as systemd sees it. What the other side does not have is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UnitState {
    /// The name that was asked for.
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
    /// Exit code or signal of the main process's last end.
    pub exec_main_status: Option<i32>,
    /// How it ended: 1 exited, 2 killed, 3 dumped (waitid(2)); 0 not at all.
    pub exec_main_code: Option<i32>,
    /// Automatic restarts since it was last started by hand.
    pub restarts: Option<u32>,
    /// The job that is queued or running for it.
    pub job: Option<u32>,
    /// The units that it is ordered after.
    pub after: Option<Vec<String>>,
    /// When the main process last started, microseconds since 1970; 0 for never.
    pub exec_main_start_usec: Option<u64>,
    /// When the unit last became active, microseconds since 1970; 0 for never.
    pub active_enter_usec: Option<u64>,
    /// The drop-ins in force.
    pub drop_in_paths: Option<Vec<String>>,
}

/// A job that another one waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobBefore {
    /// Its number.
    pub id: u32,
    /// Its unit.
    pub unit: String,
    /// `start`, `stop`, ...
    pub kind: String,
    /// `waiting` or `running`.
    pub state: String,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobResult {
    /// As wanted.
    Done,
    /// The unit failed.
    Failed,
    /// A unit that it requires failed.
    Dependency,
    /// Another job took its place.
    Canceled,
    /// Its time ran out.
    Timeout,
    /// A condition of the unit was not met.
    Skipped,
    /// A word of a later systemd.
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

/// A queued job whose end is going to be seen.
#[derive(Debug)]
pub struct Job {
    unit: String,
    path: OwnedObjectPath,
    removed: JobRemovedStream,
}

/// Tells that one of the watched units, or a job of it, has changed.
#[derive(Debug)]
pub struct Changes(SelectAll<MessageStream>);

impl Systemd {
    /// The system bus, at `DBUS_SYSTEM_BUS_ADDRESS` or its usual place. No later call takes longer than 25 s or than
    /// what is left until the deadline now.
    pub async fn connect(deadline: Deadline) -> Result<Systemd, SystemdError> {
        Systemd::connect_to(None, deadline).await
    }

    /// The bus at a D-Bus address, the system bus without one.
    pub async fn connect_to(address: Option<&str>, deadline: Deadline) -> Result<Systemd, SystemdError> {
        let start = Instant::now();
        let builder = match address {
            Some(address) => zbus::connection::Builder::address(address),
            None => zbus::connection::Builder::system(),
        };
        let builder = builder.method_timeout(LONGEST_CALL.min(deadline.remaining()));
        let opening = async {
            let connection = builder.build().await?;
            let manager = ManagerProxy::builder(&connection).cache_properties(CacheProperties::No).build().await?;
            Ok(Systemd { connection, manager })
        };
        let systemd = match within(deadline, ask("connect", "", opening)).await {
            Ok(systemd) => systemd?,
            Err(_) => return Err(SystemdError::Silent { operation: "connect".to_owned(), waited: start.elapsed() }),
        };
        match ask("Subscribe", "", systemd.manager.subscribe()).await {
            // A simulator without it sends its signals unasked.
            Ok(()) | Err(SystemdError::Unsupported { .. }) => Ok(systemd),
            Err(error) => Err(error),
        }
    }

    /// The state of a unit, which is loaded if it is not. One without a file has the `load_state` `not-found`.
    pub async fn unit(&self, name: &str) -> Result<UnitState, SystemdError> {
        let unknown = UnitState { name: name.to_owned(), ..UnitState::default() };
        let path = match ask("LoadUnit", name, self.manager.load_unit(name)).await {
            Ok(path) => path,
            Err(SystemdError::Unsupported { .. }) => return Ok(unknown),
            Err(error) => return Err(error),
        };
        let unit = self.properties(name, &path, "Unit").await?;
        let service = self.properties(name, &path, "Service").await?;
        macro_rules! all {
            ($($of:ident . $property:literal),*) => { tokio::join!($(async {
                known(name, $property, $of.get_property($property).await)
            }),*) };
        }
        let (
            load_state,
            active_state,
            sub_state,
            file_state,
            job,
            after,
            entered,
            result,
            status,
            code,
            restarts,
            began,
            drop_ins,
        ) = all!(
            unit."LoadState", unit."ActiveState", unit."SubState", unit."UnitFileState", unit."Job", unit."After",
            unit."ActiveEnterTimestamp", service."Result", service."ExecMainStatus", service."ExecMainCode",
            service."NRestarts", service."ExecMainStartTimestamp", unit."DropInPaths"
        );
        let job: Option<(u32, OwnedObjectPath)> = job?;
        Ok(UnitState {
            load_state: load_state?,
            active_state: active_state?,
            sub_state: sub_state?,
            unit_file_state: file_state?,
            result: result?,
            exec_main_status: status?,
            exec_main_code: code?,
            restarts: restarts?,
            job: job.map(|(id, _)| id).filter(|&id| id != 0),
            after: after?,
            exec_main_start_usec: began?,
            active_enter_usec: entered?,
            drop_in_paths: drop_ins?,
            ..unknown
        })
    }

    /// Queues a start. The job's end is seen even when it comes before the answer.
    pub async fn start(&self, unit: &str) -> Result<Job, SystemdError> {
        let removed = self.job_ends(unit).await?;
        let path = ask("StartUnit", unit, self.manager.start_unit(unit, "replace")).await?;
        Ok(Job { unit: unit.to_owned(), path, removed })
    }

    /// Enables a unit for the next boot (systemctl(1) `enable`), without starting it.
    pub async fn enable(&self, unit: &str) -> Result<(), SystemdError> {
        ask("EnableUnitFiles", unit, self.manager.enable_unit_files(&[unit], false, false)).await.map(|_| ())
    }

    /// Queues a restart, which starts a unit that does not run.
    pub async fn restart(&self, unit: &str) -> Result<Job, SystemdError> {
        let removed = self.job_ends(unit).await?;
        let path = ask("RestartUnit", unit, self.manager.restart_unit(unit, "replace")).await?;
        Ok(Job { unit: unit.to_owned(), path, removed })
    }

    /// Forgets that a unit has failed, and how often it was started (systemctl(1) `reset-failed`).
    pub async fn reset_failed(&self, unit: &str) -> Result<(), SystemdError> {
        ask("ResetFailedUnit", unit, self.manager.reset_failed_unit(unit)).await
    }

    /// Queues a stop, which ends at once for a unit that does not run.
    pub async fn stop(&self, unit: &str) -> Result<Job, SystemdError> {
        let removed = self.job_ends(unit).await?;
        let path = ask("StopUnit", unit, self.manager.stop_unit(unit, "replace")).await?;
        Ok(Job { unit: unit.to_owned(), path, removed })
    }

    /// The jobs that this one waits for, direct predecessors only.
    pub async fn jobs_before(&self, job: u32) -> Result<Vec<JobBefore>, SystemdError> {
        let jobs = ask("GetJobBefore", &job.to_string(), self.manager.get_job_before(job)).await?;
        Ok(jobs.into_iter().map(|(id, unit, kind, state, ..)| JobBefore { id, unit, kind, state }).collect())
    }

    /// The name of the unit that a process belongs to; pid 0 is this process.
    pub async fn unit_of_pid(&self, pid: u32) -> Result<String, SystemdError> {
        let argument = pid.to_string();
        let path = ask("GetUnitByPID", &argument, self.manager.get_unit_by_pid(pid)).await?;
        unit_of(&path).ok_or_else(|| sort("GetUnitByPID", &argument, Duration::ZERO, zbus::Error::InvalidReply))
    }

    /// Watches units, by their main names: the end of each job, and each change of state.
    pub async fn changes(&self, units: &[&str]) -> Result<Changes, SystemdError> {
        let mut streams = Vec::new();
        for unit in units {
            let ends = MatchRule::builder().interface(MANAGER).member("JobRemoved").arg(2, *unit);
            streams.push(ask("AddMatch", unit, self.watch(ends)).await?);
            let path = match ask("LoadUnit", unit, self.manager.load_unit(unit)).await {
                Ok(path) => path,
                Err(SystemdError::Unsupported { .. } | SystemdError::NoSuchUnit { .. }) => continue,
                Err(error) => return Err(error),
            };
            let changes = MatchRule::builder().interface(PROPERTIES).member("PropertiesChanged").path(path);
            streams.push(ask("AddMatch", unit, self.watch(changes)).await?);
        }
        Ok(Changes(select_all(streams)))
    }

    async fn watch(&self, rule: zbus::match_rule::Builder<'_>) -> zbus::Result<MessageStream> {
        let rule = rule.msg_type(zbus::message::Type::Signal).sender(SERVICE).build()?.into_owned();
        MessageStream::for_match_rule(rule, &self.connection, Some(KEPT_CHANGES)).await
    }

    /// Only this unit's: at boot hundreds of jobs end, and a stream that nobody reads holds up the connection.
    async fn job_ends(&self, unit: &str) -> Result<JobRemovedStream, SystemdError> {
        ask("AddMatch", unit, self.manager.receive_job_removed_with_args(&[(2, unit)])).await
    }

    /// One `Get` a property instead of `GetAll`: systemd gathers more than a hundred for the latter.
    async fn properties(&self, name: &str, path: &OwnedObjectPath, kind: &str) -> Result<Proxy<'_>, SystemdError> {
        let building = zbus::proxy::Builder::<Proxy<'_>>::new(&self.connection)
            .destination(SERVICE)
            .path(path.clone())
            .interface(format!("{SERVICE}.{kind}"))
            .cache_properties(CacheProperties::No)
            .build();
        ask("Get", name, building).await
    }
}

impl Job {
    /// Its number; 0, which systemd never gives, where the path holds none.
    pub fn id(&self) -> u32 {
        self.path.rsplit('/').next().and_then(|id| id.parse().ok()).unwrap_or(0)
    }

    /// Waits for its end.
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
            Ok(Err(error)) => Err(sort("JobRemoved", &self.unit, start.elapsed(), error)),
        }
    }
}

impl Changes {
    /// Waits until something has changed since the last look. Several changes at once count as one. May be dropped
    /// while it waits: nothing is lost.
    pub async fn next(&mut self) -> Result<(), SystemdError> {
        match self.0.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(sort("changes", "", Duration::ZERO, error)),
            None => return Err(SystemdError::Lost { operation: "changes".to_owned() }),
        }
        while let Some(Some(Ok(_))) = self.0.next().now_or_never() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests;
