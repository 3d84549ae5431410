//! The state of a unit.
//!
//! In: its name. Out: its properties. What describes the main process changes only with the unit's state, so it is read again
//! only after a change: verify asks for three units ten times while they start.

use serde::Serialize;
use zbus::OwnedObjectPath;

use super::bus::call;
use super::known::{KnownUnit, MainProcess};
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

/// When a unit changed.
struct Change {
    path: OwnedObjectPath,
    /// `StateChangeTimestampMonotonic`; `None` for a unit that has not changed in this boot.
    changed: Option<u64>,
    /// It has not been started in this boot.
    has_never_run: bool,
}

impl Systemd {
    /// The state of a unit, without its main process. Loads the unit if necessary. A unit without a file has the `load_state`
    /// `not-found`.
    pub async fn unit(&self, name: &str) -> Result<UnitState, SystemdError> {
        self.unit_and_change(name).await.map(|(unit, _)| unit)
    }

    /// The state of a service with its main process.
    pub async fn service(&self, name: &str) -> Result<UnitState, SystemdError> {
        let (unit, change) = self.unit_and_change(name).await?;
        let Some(Change { path, changed, has_never_run }) = change else { return Ok(unit) };
        let known = self.known.get(name).and_then(|known| known.process);
        let process = match known {
            Some((since, process)) if Some(since) == changed => process,
            _ if has_never_run => MainProcess::never_started(),
            _ => self.main_process(name, &path).await?,
        };
        let since = changed.map(|changed| (changed, process.clone()));
        self.known.set(name, KnownUnit { path, process: since });
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

    /// Without a change if systemd does not have the method.
    async fn unit_and_change(&self, name: &str) -> Result<(UnitState, Option<Change>), SystemdError> {
        let unknown = UnitState { name: name.to_owned(), ..UnitState::default() };
        let path = match self.known.get(name) {
            Some(known) => known.path,
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
        // 0 for a unit that has not changed in this boot.
        let changed = unit.take("StateChangeTimestampMonotonic").filter(|&changed| changed > 0);
        let state = UnitState {
            load_state: unit.take("LoadState"),
            active_state,
            sub_state: unit.take("SubState"),
            unit_file_state: unit.take("UnitFileState"),
            job: unit.job_id(),
            after: unit.take("After"),
            active_enter_usec: unit.take("ActiveEnterTimestamp"),
            drop_in_paths: unit.take("DropInPaths"),
            ..unknown
        };
        Ok((state, Some(Change { path, changed, has_never_run })))
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
