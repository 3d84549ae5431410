//! Properties of systemd's objects: all of an interface in one call, or one by one.
//!
//! In: an object path and an interface. Out: the values that are used here. One `GetAll` of a unit costs systemd, the bus and
//! this process together less than half of nine calls of `Get`. A service has more than two hundred properties, of which six
//! are used; there `Get` costs less.

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use zbus::{OwnedObjectPath, OwnedVariant, Type};

use super::bus::call;
use super::times::DualTime;
use super::{PROPERTIES, SERVICE, Systemd, SystemdError};

const SERVICE_INTERFACE: &str = "org.freedesktop.systemd1.Service";
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
    /// All properties of an interface of an object. `of` is the unit, for errors. Simulators have fewer interfaces; their
    /// answer is empty.
    pub(super) async fn properties(
        &self,
        of: &str,
        path: &OwnedObjectPath,
        interface: &str,
    ) -> Result<Properties, SystemdError> {
        let interface = (format!("{SERVICE}.{interface}"),);
        let asked = self.connection.call_method(Some(SERVICE), path, Some(PROPERTIES), "GetAll", &interface);
        let found = call("GetAll", of, async { asked.await?.body().deserialize() }).await;
        Ok(known(of, found)?.unwrap_or_default())
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
        let found = call("Get", of, async { asked.await?.body().deserialize::<OwnedVariant>() }).await;
        Ok(known(of, found)?.and_then(|value| T::try_from(value).ok()))
    }
}

/// What was read; `None` after an error other than a lost connection or a time-out.
fn known<T>(of: &str, found: Result<T, SystemdError>) -> Result<Option<T>, SystemdError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error @ (SystemdError::TimedOut { .. } | SystemdError::Lost { .. })) => Err(error),
        Err(error) => {
            tracing::debug!(unit = of, %error, "systemd properties not read");
            Ok(None)
        }
    }
}
