//! When systemd started the parts of the boot and the units (org.freedesktop.systemd1(5)).
//!
//! In: unit names. Out: each time by both clocks. A time that systemd does not have is `None`.

use zbus::OwnedObjectPath;

use super::bus::call;
use super::{Systemd, SystemdError};

/// A time by both clocks, in microseconds: of the kernel's monotonic clock, and since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DualTime {
    /// CLOCK_MONOTONIC.
    pub monotonic_us: u64,
    /// CLOCK_REALTIME.
    pub unix_us: u64,
}

/// The starts of kernel, initrd and systemd, and the end of the boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ManagerTimes {
    /// `KernelTimestamp`; its monotonic time is 0.
    pub kernel: Option<DualTime>,
    /// `InitRDTimestamp`.
    pub initrd: Option<DualTime>,
    /// `UserspaceTimestamp`.
    pub userspace: Option<DualTime>,
    /// `FinishTimestamp`.
    pub finish: Option<DualTime>,
}

/// The last changes of a unit's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitTimestamps {
    /// `not-found` if there is no such unit.
    pub load_state: Option<String>,
    /// `InactiveExitTimestamp`.
    pub inactive_exit: Option<DualTime>,
    /// `ActiveEnterTimestamp`.
    pub active_enter: Option<DualTime>,
    /// `InactiveEnterTimestamp`.
    pub inactive_enter: Option<DualTime>,
    /// `After`.
    pub after: Vec<String>,
}

impl Systemd {
    /// The times of the boot.
    pub async fn manager_times(&self) -> Result<ManagerTimes, SystemdError> {
        let path = OwnedObjectPath::try_from(super::OBJECT).expect("a constant path");
        let mut manager = self.properties("the manager", &path, "Manager").await?;
        Ok(ManagerTimes {
            kernel: manager.time("KernelTimestamp", "KernelTimestampMonotonic"),
            initrd: manager.time("InitRDTimestamp", "InitRDTimestampMonotonic"),
            userspace: manager.time("UserspaceTimestamp", "UserspaceTimestampMonotonic"),
            finish: manager.time("FinishTimestamp", "FinishTimestampMonotonic"),
        })
    }

    /// The times of a unit. Loads the unit if necessary.
    pub async fn unit_times(&self, name: &str) -> Result<UnitTimestamps, SystemdError> {
        let path = call("LoadUnit", name, self.manager.load_unit(name)).await?;
        let mut unit = self.properties(name, &path, "Unit").await?;
        Ok(UnitTimestamps {
            load_state: unit.take("LoadState"),
            inactive_exit: unit.time("InactiveExitTimestamp", "InactiveExitTimestampMonotonic"),
            active_enter: unit.time("ActiveEnterTimestamp", "ActiveEnterTimestampMonotonic"),
            inactive_enter: unit.time("InactiveEnterTimestamp", "InactiveEnterTimestampMonotonic"),
            after: unit.take("After").unwrap_or_default(),
        })
    }
}
