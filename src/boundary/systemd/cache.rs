//! The object paths and main processes of units that were read before.
//!
//! In: what systemd has answered. Out: the same, for a later call.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use zbus::OwnedObjectPath;

/// What systemd has answered about a service.
#[derive(Clone, Debug)]
pub(super) struct CachedUnit {
    pub(super) path: OwnedObjectPath,
    /// `StateChangeTimestampMonotonic`, and what describes the main process since then.
    pub(super) process: Option<(u64, MainProcess)>,
}

/// By name of the service. Clones have the same content.
#[derive(Clone, Debug, Default)]
pub(super) struct UnitCache(Arc<Mutex<BTreeMap<String, CachedUnit>>>);

impl UnitCache {
    pub(super) fn get(&self, name: &str) -> Option<CachedUnit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(super) fn set(&self, name: &str, unit: CachedUnit) {
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
