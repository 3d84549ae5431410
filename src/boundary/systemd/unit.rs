//! The state of a unit.
//!
//! In: its name. Out: its properties. While a service stays in a state in which its main process neither starts nor ends,
//! what describes that process is not read again: verify reads three units whenever one of them changes.

use serde::Serialize;
use zbus::OwnedObjectPath;

use super::bus::call;
use super::cache::{CachedUnit, MainProcess};
use super::{Systemd, SystemdError};

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

/// The sub-states in which the main process of docker, the agent and cloud-final neither starts nor ends (service.c: while a
/// command of the unit runs, its end changes `ExecMainStatus` without a change of state).
const SETTLED: [&str; 3] = ["running", "exited", "dead"];

/// What is needed to read the main process of a unit.
struct Process {
    path: OwnedObjectPath,
    /// `StateChangeTimestampMonotonic` of a unit in one of the states [`SETTLED`].
    settled_since: Option<u64>,
    /// The unit has not been started in this boot.
    has_never_run: bool,
}

impl Systemd {
    /// The state of a unit, without its main process. Loads the unit if necessary. A unit without a file has the `load_state`
    /// `not-found`.
    pub async fn unit(&self, name: &str) -> Result<UnitState, SystemdError> {
        self.read_unit(name).await.map(|(unit, _)| unit)
    }

    /// As [`Systemd::unit`], for a service, with its main process.
    pub async fn unit_with_process(&self, name: &str) -> Result<UnitState, SystemdError> {
        let (unit, process) = self.read_unit(name).await?;
        let Some(Process { path, settled_since, has_never_run }) = process else { return Ok(unit) };
        let cached = self.cache.get(name).and_then(|cached| cached.process);
        let process = match cached {
            Some((since, process)) if Some(since) == settled_since => process,
            _ if has_never_run => MainProcess::never_started(),
            _ => self.main_process(name, &path).await?,
        };
        let settled = settled_since.map(|since| (since, process.clone()));
        self.cache.set(name, CachedUnit { path, process: settled });
        Ok(UnitState {
            result: process.result,
            exec_main_status: process.exec_main_status,
            exec_main_code: process.exec_main_code,
            restarts: process.restarts,
            exec_main_start_usec: process.exec_main_start_usec,
            exec_main_exit_usec: process.exec_main_exit_usec,
            ..unit
        })
    }

    /// The state, and how to read the main process. Both are unknown if systemd does not have the method.
    async fn read_unit(&self, name: &str) -> Result<(UnitState, Option<Process>), SystemdError> {
        let unknown = UnitState { name: name.to_owned(), ..UnitState::default() };
        let path = match self.cache.get(name) {
            Some(cached) => cached.path,
            None => match call("LoadUnit", name, self.manager.load_unit(name)).await {
                Ok(path) => path,
                Err(SystemdError::Unsupported { .. }) => return Ok((unknown, None)),
                Err(error) => return Err(error),
            },
        };
        let mut unit = self.properties(name, &path, "Unit").await?;
        let active_state: Option<String> = unit.take("ActiveState");
        let has_never_run =
            unit.take("InactiveExitTimestamp") == Some(0_u64) && active_state.as_deref() == Some("inactive");
        let sub_state: Option<String> = unit.take("SubState");
        let is_settled = sub_state.as_deref().is_some_and(|state| SETTLED.contains(&state));
        // 0 for a unit that has not changed in this boot.
        let changed = unit.take("StateChangeTimestampMonotonic").filter(|&changed| changed > 0);
        let state = UnitState {
            load_state: unit.take("LoadState"),
            active_state,
            sub_state,
            unit_file_state: unit.take("UnitFileState"),
            job: unit.job_id(),
            after: unit.take("After"),
            active_enter_usec: unit.take("ActiveEnterTimestamp"),
            drop_in_paths: unit.take("DropInPaths"),
            ..unknown
        };
        let settled_since = changed.filter(|_| is_settled);
        Ok((state, Some(Process { path, settled_since, has_never_run })))
    }

    async fn main_process(&self, name: &str, path: &OwnedObjectPath) -> Result<MainProcess, SystemdError> {
        let (result, exec_main_status, exec_main_code, restarts, exec_main_start_usec, exec_main_exit_usec) = tokio::try_join!(
            self.property_of_service(name, path, "Result"),
            self.property_of_service(name, path, "ExecMainStatus"),
            self.property_of_service(name, path, "ExecMainCode"),
            self.property_of_service(name, path, "NRestarts"),
            self.property_of_service(name, path, "ExecMainStartTimestamp"),
            self.property_of_service(name, path, "ExecMainExitTimestamp"),
        )?;
        Ok(MainProcess {
            result,
            exec_main_status,
            exec_main_code,
            restarts,
            exec_main_start_usec,
            exec_main_exit_usec,
        })
    }
}
