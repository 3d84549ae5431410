//! What the agent and ecs-bootstrap left on this host, and what `prepare-image` and `reset-agent` do with it.
//!
//! Plain data: `gather` makes [`Leftovers`], `decide` makes [`Cleanup`] or [`Reset`] from them, `render` prints these,
//! and `apply` carries them out. The new text of `ecs.config` can contain secrets and is never serialized.

use serde::{Deserialize, Serialize};

use crate::boundary::agent::{AgentError, Task};
use crate::boundary::disk::{DiskError, EntryType, TreeEntry};
use crate::boundary::systemd::{SystemdError, UnitState};
use crate::evidence::StageError;
use crate::facts::{Fact, SavedAgent, WriteRecord};

/// The agent's saved state: its tasks, and which container instance it is.
pub const DATA: &str = "/var/lib/ecs/data";
/// The GPUs of this instance, as detected by ecs-init.
pub const GPU: &str = "/var/lib/ecs/gpu";
/// The logs of the agent and of ecs-init.
pub const LOGS: &str = "/var/log/ecs";
/// The records of ecs-bootstrap itself.
pub const OWN_STATE: &str = "/var/lib/ecs-bootstrap";
/// The folders whose content is valid for one instance only. `prepare-image` empties them and keeps the folders.
pub const FOLDERS: [&str; 4] = [DATA, GPU, LOGS, OWN_STATE];
/// The files that a run writes about this boot.
pub const OF_THIS_BOOT: [&str; 6] = [
    VERDICT,
    "/run/ecs-bootstrap/plan.json",
    "/run/ecs-bootstrap/run.json",
    "/run/ecs-bootstrap/verify.json",
    "/run/ecs-bootstrap/agent-config.json",
    "/run/ecs-bootstrap/watch.json",
];
/// The last verdict.
pub const VERDICT: &str = "/run/ecs-bootstrap/status.json";
/// The steps that an interrupted reset still has to finish. The file is lost at a reboot, which starts the agent
/// anyway.
pub const RESET: &str = "/run/ecs-bootstrap/reset.json";

/// Whether the agent runs, as far as systemd knows.
#[derive(Clone, Debug)]
pub enum AgentRuns {
    /// systemd did not boot from this root (sd_booted(3)): it is a mounted image, and nothing runs in it.
    NotBooted,
    /// No unit for the agent is installed.
    NotInstalled,
    /// The state of the agent's unit.
    Unit(UnitState),
    /// systemd could not be asked.
    Unknown(SystemdError),
}

/// A reset that was interrupted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interrupted {
    /// The agent's unit, which the reset stopped and has to start again.
    pub unit: String,
    /// The new path of the saved state.
    pub to: String,
}

/// Everything that `prepare-image` and `reset-agent` base their decisions on.
#[derive(Debug)]
pub struct Leftovers {
    /// The folder of a mounted image; `None` for this host. Commands in hints contain it.
    pub root: Option<String>,
    /// The content of [`FOLDERS`], saved state that a reset set aside, and [`OF_THIS_BOOT`].
    pub found: Vec<TreeEntry>,
    /// The paths among them that are saved state that a reset set aside.
    pub set_aside: Vec<String>,
    /// Files and folders that could not be read.
    pub unreadable: Vec<NotRemoved>,
    /// Folders that are symbolic links or mounts. Their content is not touched.
    pub elsewhere: Vec<DiskError>,
    /// Whether [`DATA`] is a mount point or contains one.
    pub data_is_mounted: bool,
    /// `/etc/ecs/ecs.config`, byte for byte; an error if it cannot be edited.
    pub ecs_config: Result<Option<Vec<u8>>, StageError>,
    /// The lines of it that ecs-bootstrap wrote.
    pub written: WriteRecord,
    /// Whether the agent runs, as far as systemd knows.
    pub agent: AgentRuns,
    /// Whether the agent's introspection answers or its container runs.
    pub agent_answers: bool,
    /// Why the answer on the agent's port is not trusted.
    pub port_taken: Option<AgentError>,
    /// The container instance, if the agent reports that it is registered.
    pub registered: Option<Registered>,
    /// The tasks that may have running containers.
    pub tasks: Fact<Vec<Task>>,
    /// The agent's saved state.
    pub saved: Option<SavedAgent>,
    /// Whether docker has a container of the agent, running or stopped.
    pub has_container: bool,
    /// A reset that was interrupted.
    pub interrupted: Option<Interrupted>,
}

/// The container instance that this instance is registered as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Registered {
    /// The cluster, by name or ARN.
    pub cluster: String,
    pub(crate) container_instance_arn: String,
}

/// A file or folder to remove, and the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Removal {
    /// The path below the root.
    pub path: String,
    #[serde(rename = "kind")]
    pub(crate) entry_type: EntryType,
    /// The size in bytes; `null` if a part of it could not be read.
    pub bytes: Option<u64>,
    /// Why it must not be part of an image.
    pub why: &'static str,
}

/// A file or folder that was not removed, and the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotRemoved {
    /// The path below the root.
    pub path: String,
    /// The error or reason as text; it includes the path.
    pub why: String,
}

/// The change to `/etc/ecs/ecs.config` that takes out the lines that ecs-bootstrap wrote.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Withdrawal {
    pub(crate) path: &'static str,
    /// Keys that are removed.
    pub removed: Vec<String>,
    /// Keys that get back the value from before ecs-bootstrap changed it.
    pub restored: Vec<String>,
    /// The new content of the file.
    #[serde(skip)]
    pub new: Vec<u8>,
}

impl std::fmt::Debug for Withdrawal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The content can contain secrets.
        f.debug_struct("Withdrawal").field("removed", &self.removed).field("restored", &self.restored).finish()
    }
}

/// What `prepare-image` does.
#[derive(Debug, Serialize)]
pub struct Cleanup {
    /// The agent's unit, if it must be stopped first.
    pub stop: Option<String>,
    /// The files and folders to remove, in this order.
    pub remove: Vec<Removal>,
    /// The change to `ecs.config`; `null` if ecs-bootstrap wrote none of its lines.
    pub ecs_config: Option<Withdrawal>,
    /// Files and folders that could not be read.
    pub left: Vec<NotRemoved>,
    /// The running tasks.
    pub tasks: Vec<Task>,
    /// The container instance, which stays registered.
    pub registered: Option<Registered>,
    /// Why the command does not run now; empty if it can run.
    #[serde(skip)]
    pub obstacles: Vec<StageError>,
    /// Steps that ecs-bootstrap leaves to the user.
    pub hints: Vec<String>,
    /// The folder of a mounted image; `None` for this host.
    #[serde(skip)]
    pub root: Option<String>,
}

impl Cleanup {
    /// Whether there is nothing to remove and nothing to change.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.ecs_config.is_none() && self.left.is_empty()
    }
}

/// What `reset-agent` does.
#[derive(Debug, Serialize)]
pub struct Reset {
    /// The agent's unit, if it must be stopped first.
    pub stop: Option<String>,
    /// The rename of the saved state; `null` if there is no saved state, or if an interrupted reset already moved it.
    pub set_aside: Option<SetAside>,
    /// Where an interrupted reset put the saved state.
    pub was_set_aside: Option<String>,
    /// The agent's unit, if it is started again.
    pub start: Option<String>,
    /// The running tasks.
    pub tasks: Vec<Task>,
    /// The container instance, which stays registered.
    pub registered: Option<Registered>,
    /// Why the command does not run now; empty if it can run.
    #[serde(skip)]
    pub obstacles: Vec<StageError>,
    /// Steps that ecs-bootstrap leaves to the user.
    pub hints: Vec<String>,
    /// The folder of a mounted image; `None` for this host.
    #[serde(skip)]
    pub root: Option<String>,
}

impl Reset {
    /// Whether there is nothing to set aside and nothing to finish.
    pub fn is_empty(&self) -> bool {
        self.set_aside.is_none() && self.was_set_aside.is_none() && self.start.is_none()
    }
}

/// A folder to rename.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetAside {
    pub(crate) from: String,
    pub(crate) to: String,
    /// The size of its content in bytes; `null` if a part of it could not be read.
    pub bytes: Option<u64>,
}
