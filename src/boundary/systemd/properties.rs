//! Properties of systemd's objects: all of an interface in one call, or one by one.
//!
//! In: an object path and an interface. Out: the values that are used here. On systemd 252 and dbus-daemon 1.14, one `GetAll`
//! of a unit took 0.35 ms of CPU time of both, nine calls of `Get` 0.8 ms. To decode the more than two hundred properties of
//! a service costs this process more than six calls of `Get`.

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use zbus::{OwnedObjectPath, OwnedVariant, Type};

use super::bus::call;
use super::times::DualTime;
use super::{PROPERTIES, SERVICE, Systemd, SystemdError};

const SERVICE_INTERFACE: &str = "org.freedesktop.systemd1.Service";
const UNKNOWN_PROPERTY: &str = "org.freedesktop.DBus.Error.UnknownProperty";
/// The properties that are kept of a `GetAll`; systemd has more than a hundred others.
const KEPT: [&str; 23] = [
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "Job",
    "After",
    "DropInPaths",
    "NeedDaemonReload",
    "InactiveExitTimestamp",
    "InactiveExitTimestampMonotonic",
    "ActiveEnterTimestamp",
    "ActiveEnterTimestampMonotonic",
    "InactiveEnterTimestamp",
    "InactiveEnterTimestampMonotonic",
    "StateChangeTimestampMonotonic",
    "KernelTimestamp",
    "KernelTimestampMonotonic",
    "InitRDTimestamp",
    "InitRDTimestampMonotonic",
    "UserspaceTimestamp",
    "UserspaceTimestampMonotonic",
    "FinishTimestamp",
    "FinishTimestampMonotonic",
];

/// The values by name. A property that systemd does not have is missing.
#[derive(Debug, Default, Type)]
#[zvariant(signature = "a{sv}")]
pub(super) struct Properties(HashMap<&'static str, OwnedVariant>);

impl Properties {
    /// The value of a property; `None` if systemd does not have it, or has it with another type.
    pub(super) fn take<T: TryFrom<OwnedVariant>>(&mut self, name: &str) -> Option<T> {
        debug_assert!(KEPT.contains(&name), "{name} is not kept");
        T::try_from(self.0.remove(name)?).ok()
    }

    /// The id of the queued or running job of a unit; systemd writes 0 for none.
    pub(super) fn job_id(&mut self) -> Option<u32> {
        let job: (u32, OwnedObjectPath) = self.take("Job")?;
        Some(job.0).filter(|&id| id != 0)
    }

    /// A time by both clocks; `None` if its wall clock time is 0, which means that it has not happened.
    pub(super) fn time(&mut self, realtime: &str, monotonic: &str) -> Option<DualTime> {
        let unix_us = self.take(realtime).filter(|at| *at > 0)?;
        Some(DualTime { monotonic_us: self.take(monotonic)?, unix_us })
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Properties, D::Error> {
        struct Kept;
        impl<'de> Visitor<'de> for Kept {
            type Value = Properties;

            fn expecting(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
                text.write_str("properties by name")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Properties, M::Error> {
                let mut values = HashMap::with_capacity(KEPT.len());
                while let Some(name) = map.next_key::<&str>()? {
                    match KEPT.iter().find(|kept| **kept == name) {
                        Some(kept) => drop(values.insert(*kept, map.next_value()?)),
                        None => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(Properties(values))
            }
        }
        deserializer.deserialize_map(Kept)
    }
}

impl Systemd {
    /// All properties of an interface of an object. `of` is the unit, for errors. Simulators of systemd may not have the
    /// method; their answer is empty.
    pub(super) async fn properties(
        &self,
        of: &str,
        path: &OwnedObjectPath,
        interface: &str,
    ) -> Result<Properties, SystemdError> {
        let interface = (format!("{SERVICE}.{interface}"),);
        let asked = self.connection.call_method(Some(SERVICE), path, Some(PROPERTIES), "GetAll", &interface);
        match call("GetAll", of, async { asked.await?.body().deserialize() }).await {
            Err(SystemdError::Unsupported { .. }) => Ok(Properties::default()),
            found => found,
        }
    }

    /// One property of a service; `None` if systemd does not have it, or has it with another type.
    pub(super) async fn property_of_service<T: TryFrom<OwnedVariant>>(
        &self,
        of: &str,
        path: &OwnedObjectPath,
        name: &str,
    ) -> Result<Option<T>, SystemdError> {
        let which = (SERVICE_INTERFACE, name);
        let asked = self.connection.call_method(Some(SERVICE), path, Some(PROPERTIES), "Get", &which);
        match call("Get", of, async { asked.await?.body().deserialize::<OwnedVariant>() }).await {
            Ok(value) => Ok(T::try_from(value).ok()),
            Err(SystemdError::Unsupported { .. }) => Ok(None),
            Err(SystemdError::Refused { name, .. }) if name == UNKNOWN_PROPERTY => Ok(None),
            Err(error) => Err(error),
        }
    }
}
