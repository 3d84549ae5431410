//! What was read of the host, before it becomes a timeline: plain data, with the reason for all that could not be read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Instance;
use super::record::CommandRecord;

/// A value, or why it is not known.
pub type Read<T> = Result<T, String>;

/// A moment that systemd or the journal noted with both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Microseconds since the start of the kernel, without the time in suspend.
    pub monotonic_us: i64,
    /// Microseconds since 1970, by the clock of the host.
    pub unix_us: i64,
}

/// Everything that was read.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The times of the boot, from systemd.
    pub boot: Read<BootTimes>,
    /// The units that were asked for and those that they are ordered after, by name. A unit that systemd does not know is
    /// not in it.
    pub units: Read<BTreeMap<String, UnitTimes>>,
    /// The entries of this boot about the start of units and about our verdict, the oldest first.
    pub journal: Read<Vec<JournalEntry>>,
    /// The last trace of an earlier boot of this host in the journal; `Ok(None)` if the journal has none.
    pub last_of_earlier_boot: Read<Option<i64>>,
    /// When cloud-init last ran something that it runs once for each instance, in microseconds since 1970.
    pub once_per_instance: Read<Option<i64>>,
    /// The identity document.
    pub launch: Read<Launch>,
    /// The end of `cloud-init.log`.
    pub cloud_init_log: Read<String>,
    /// Lines of the agent's log files, the oldest first, in whole seconds.
    pub agent_log: Read<Vec<LoggedLine>>,
    /// The agent's container, from docker.
    pub agent_container: Read<AgentContainer>,
    /// When each known container of a task last started, in microseconds since 1970.
    pub task_starts: Read<Vec<i64>>,
    /// What `run` and `verify` recorded in this boot.
    pub records: Vec<CommandRecord>,
}

/// The parts of the boot (org.freedesktop.systemd1(5), `KernelTimestamp` to `FinishTimestamp`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BootTimes {
    /// The start of the kernel; `None` in a container.
    pub kernel: Option<Moment>,
    /// The start of the initrd; `None` without one.
    pub initrd: Option<Moment>,
    /// The start of systemd of the root file system.
    pub userspace: Option<Moment>,
    /// When no job of the boot was left; `None` if there still is one.
    pub finish: Option<Moment>,
}

/// The last activation of a unit (org.freedesktop.systemd1(5), "Unit Objects").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitTimes {
    /// When it last began to start.
    pub inactive_exit: Option<Moment>,
    /// When it was last active.
    pub active_enter: Option<Moment>,
    /// When it was last inactive or failed.
    pub inactive_enter: Option<Moment>,
    /// The units that it is ordered after.
    pub after: Vec<String>,
}

/// An entry of the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalEntry {
    /// When journald received it.
    pub at: Moment,
    /// What kind of message it is.
    pub message_id: String,
    /// The unit that systemd writes about.
    pub unit: String,
}

/// The launch, from the instance identity document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Launch {
    /// `pendingTime`, in microseconds since 1970, with a resolution of a second.
    pub pending_unix_us: i64,
    /// The instance.
    pub instance: Instance,
    /// Where the document was read.
    pub source: String,
}

/// A line of the agent's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoggedLine {
    /// When it was written, in microseconds since 1970.
    pub unix_us: i64,
    /// The message.
    pub message: String,
}

/// The agent's container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentContainer {
    /// When it started, in microseconds since 1970.
    pub started_unix_us: i64,
    /// The beginning of its output.
    pub output: Read<Vec<LoggedLine>>,
}

impl UnitTimes {
    /// When the start ended: the unit was active, or it failed or had nothing more to do.
    pub fn start_ended(&self) -> Option<Moment> {
        let begun = self.inactive_exit?;
        let is_later = |moment: &Moment| moment.monotonic_us >= begun.monotonic_us;
        self.active_enter.filter(is_later).or(self.inactive_enter.filter(is_later))
    }
}

/// The units whose times are read, with those that they are ordered after.
pub const UNITS: [&str; 11] = [
    "network-online.target",
    "cloud-init-local.service",
    // The network stage of cloud-init 24.3 and later; before, it is cloud-init.service.
    "cloud-init-network.service",
    "cloud-init.service",
    "cloud-config.service",
    "cloud-final.service",
    "docker.service",
    "ecs-bootstrap.service",
    "ecs-bootstrap-verify.service",
    "ecs.service",
    // The unit's name on SUSE.
    "amazon-ecs.service",
];

/// The unit whose start ended last of those that `name` is ordered after and that ended before `name` began to start
/// (systemd-analyze(1), `critical-chain`).
pub fn waited_for<'u>(name: &str, units: &'u BTreeMap<String, UnitTimes>) -> Option<(&'u str, Moment)> {
    let unit = units.get(name)?;
    let begun = unit.inactive_exit?;
    let ended = unit.after.iter().filter_map(|before| {
        let (before, times) = units.get_key_value(before.as_str())?;
        let ended = times.start_ended()?;
        (ended.monotonic_us <= begun.monotonic_us && before != name).then_some((before.as_str(), ended))
    });
    // Of two that ended at once the name decides, so that the answer does not depend on the order in `After=`.
    ended.max_by_key(|(before, ended)| (ended.monotonic_us, std::cmp::Reverse(*before)))
}
