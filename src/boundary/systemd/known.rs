//! What earlier calls found out about services.
//!
//! In: the answers of systemd. Out: the same again. It calls nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use zbus::OwnedObjectPath;

/// What is known about a service from an earlier call.
#[derive(Clone, Debug)]
pub(super) struct KnownUnit {
    pub(super) path: OwnedObjectPath,
    /// `StateChangeTimestampMonotonic`, and what describes the main process since then.
    pub(super) process: Option<(u64, MainProcess)>,
}

/// The services that were asked for, by name. Clones have the same content.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownUnits(Arc<Mutex<BTreeMap<String, KnownUnit>>>);

impl KnownUnits {
    pub(super) fn get(&self, name: &str) -> Option<KnownUnit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(super) fn set(&self, name: &str, unit: KnownUnit) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), unit);
    }
}

/// The properties of a service that describe its main process.
#[derive(Clone, Debug, Default)]
pub(super) struct MainProcess {
    pub(super) result: Option<String>,
    pub(super) exec_main_status: Option<i32>,
    pub(super) exec_main_code: Option<i32>,
    pub(super) restarts: Option<u32>,
    pub(super) exec_main_start_usec: Option<u64>,
    pub(super) exec_main_exit_usec: Option<u64>,
}

impl MainProcess {
    /// What systemd reports for a service that has not been started in this boot.
    pub(super) fn never_started() -> MainProcess {
        MainProcess {
            result: Some("success".to_owned()),
            exec_main_status: Some(0),
            exec_main_code: Some(0),
            restarts: Some(0),
            exec_main_start_usec: Some(0),
            exec_main_exit_usec: Some(0),
        }
    }
}
