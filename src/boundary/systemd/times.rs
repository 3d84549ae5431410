//! When systemd started the parts of the boot and the units (org.freedesktop.systemd1(5)).
//!
//! In: unit names. Out: each time by both clocks. A time that systemd does not have is `None`.

use zbus::OwnedObjectPath;
use zbus::proxy::Proxy;

use super::bus::{call, property_value};
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
        let manager = self.properties("the manager", &path, "Manager").await?;
        let (kernel, initrd, userspace, finish) = tokio::join!(
            dual(&manager, "the manager", "KernelTimestamp", "KernelTimestampMonotonic"),
            dual(&manager, "the manager", "InitRDTimestamp", "InitRDTimestampMonotonic"),
            dual(&manager, "the manager", "UserspaceTimestamp", "UserspaceTimestampMonotonic"),
            dual(&manager, "the manager", "FinishTimestamp", "FinishTimestampMonotonic"),
        );
        Ok(ManagerTimes { kernel: kernel?, initrd: initrd?, userspace: userspace?, finish: finish? })
    }

    /// The times of a unit. Loads the unit if necessary.
    pub async fn unit_times(&self, name: &str) -> Result<UnitTimestamps, SystemdError> {
        let path = call("LoadUnit", name, self.manager.load_unit(name)).await?;
        let unit = self.properties(name, &path, "Unit").await?;
        let (load_state, after, inactive_exit, active_enter, inactive_enter) = tokio::join!(
            async { property_value(name, "LoadState", unit.get_property("LoadState").await) },
            async { property_value(name, "After", unit.get_property("After").await) },
            dual(&unit, name, "InactiveExitTimestamp", "InactiveExitTimestampMonotonic"),
            dual(&unit, name, "ActiveEnterTimestamp", "ActiveEnterTimestampMonotonic"),
            dual(&unit, name, "InactiveEnterTimestamp", "InactiveEnterTimestampMonotonic"),
        );
        let after: Option<Vec<String>> = after?;
        Ok(UnitTimestamps {
            load_state: load_state?,
            inactive_exit: inactive_exit?,
            active_enter: active_enter?,
            inactive_enter: inactive_enter?,
            after: after.unwrap_or_default(),
        })
    }
}

/// A time by both clocks; `None` if its wall clock time is 0, which means that it has not happened.
async fn dual(of: &Proxy<'_>, name: &str, realtime: &str, monotonic: &str) -> Result<Option<DualTime>, SystemdError> {
    let unix_us: Option<u64> = property_value(name, realtime, of.get_property(realtime).await)?;
    let Some(unix_us) = unix_us.filter(|at| *at > 0) else { return Ok(None) };
    let monotonic_us: Option<u64> = property_value(name, monotonic, of.get_property(monotonic).await)?;
    Ok(monotonic_us.map(|monotonic_us| DualTime { monotonic_us, unix_us }))
}
