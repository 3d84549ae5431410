//! What an agent and we have left on this host, and what shall become of it.
//!
//! Plain data: [`Leftovers`] is gathered, [`Cleanup`] and [`Reset`] are decided of it, `report` prints them and `apply`
//! carries them out. The new text of `ecs.config` may hold secrets, and is never serialized.

use serde::{Deserialize, Serialize};

use crate::boundary::agent::{AgentError, Task};
use crate::boundary::disk::{DiskError, Entry, EntryType};
use crate::boundary::systemd::{SystemdError, UnitState};
use crate::evidence::StageError;
use crate::facts::{Known, SavedAgent, Written};

/// The agent's saved state: its tasks, and which container instance it is.
pub const DATA: &str = "/var/lib/ecs/data";
/// What ecs-init found out about the GPUs of this instance.
pub const GPU: &str = "/var/lib/ecs/gpu";
/// The logs of the agent and of ecs-init.
pub const LOGS: &str = "/var/log/ecs";
/// Our own memory.
pub const OURS: &str = "/var/lib/ecs-bootstrap";
/// The folders whose content belongs to one instance alone. They themselves stay.
pub const FOLDERS: [&str; 4] = [DATA, GPU, LOGS, OURS];
/// What a run has said of this boot.
pub const OF_THIS_BOOT: [&str; 2] = ["/run/ecs-bootstrap/status.json", "/run/ecs-bootstrap/plan.json"];
/// What a reset has to finish, should it be interrupted; lost at a reboot, which starts the agent anyway.
pub const RESET: &str = "/run/ecs-bootstrap/reset.json";

/// Whether an agent runs.
#[derive(Clone, Debug)]
pub enum AgentRuns {
    /// No systemd has booted from this root (sd_booted(3)): it is a mounted image, and nothing runs in it.
    NotBooted,
    /// No unit of an agent is installed.
    NotInstalled,
    /// Its unit says.
    Unit(UnitState),
    /// systemd cannot be asked.
    Unknown(SystemdError),
}

/// A reset that began and did not end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interrupted {
    /// The agent's unit, which it stopped and has to start.
    pub unit: String,
    /// Where it puts the saved state.
    pub to: String,
}

/// Everything that the two commands decide by.
#[derive(Debug)]
pub struct Leftovers {
    /// The folder of the image, where it is not this host: commands for a person name it.
    pub root: Option<String>,
    /// What lies in [`FOLDERS`], what a reset has set aside, and [`OF_THIS_BOOT`].
    pub found: Vec<Entry>,
    /// Saved state that a reset has set aside, among the former.
    pub set_aside: Vec<String>,
    /// What could not be looked into.
    pub unreadable: Vec<Left>,
    /// Symbolic links where a folder should be, so that nothing behind them may be touched.
    pub elsewhere: Vec<DiskError>,
    /// Whether [`DATA`] is a mount, or has one in it.
    pub data_is_mounted: bool,
    /// `/etc/ecs/ecs.config`, byte for byte; an error where it cannot be edited.
    pub ecs_config: Result<Option<Vec<u8>>, StageError>,
    /// Which of its lines are ours.
    pub written: Written,
    /// Whether the agent runs.
    pub agent: AgentRuns,
    /// Whether an agent answers, or its container runs.
    pub answers: bool,
    /// Why an answer on the agent's port is not believed.
    pub port_taken: Option<AgentError>,
    /// The cluster, and the ARN of the container instance, where the agent says that it is registered.
    pub registered: Option<Registered>,
    /// The tasks whose containers may run.
    pub tasks: Known<Vec<Task>>,
    /// The agent's saved state.
    pub saved: Option<SavedAgent>,
    /// Whether docker holds a container of the agent.
    pub has_container: bool,
    /// A reset that did not end.
    pub interrupted: Option<Interrupted>,
}

/// The container instance that this instance is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Registered {
    /// The cluster, by name or ARN.
    pub cluster: String,
    /// The ARN of the container instance.
    pub container_instance_arn: String,
}

/// What is removed, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Removal {
    /// Below the root.
    pub path: String,
    /// What it is.
    #[serde(rename = "kind")]
    pub entry_type: EntryType,
    /// Its size in bytes; `null` where not all of it may be looked at.
    pub bytes: Option<u64>,
    /// Why it must not be in an image.
    pub why: &'static str,
}

/// What is left, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Below the root.
    pub path: String,
    /// What keeps it there, with the path.
    pub why: String,
}

/// How `/etc/ecs/ecs.config` changes.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Withdrawal {
    /// The file.
    pub path: &'static str,
    /// Our keys, which go.
    pub removed: Vec<String>,
    /// Our keys, which get the value again that somebody else gave them.
    pub restored: Vec<String>,
    /// The new text.
    #[serde(skip)]
    pub new: Vec<u8>,
}

impl std::fmt::Debug for Withdrawal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The text may hold secrets.
        f.debug_struct("Withdrawal").field("removed", &self.removed).field("restored", &self.restored).finish()
    }
}

/// What `prepare-image` does.
#[derive(Debug, Serialize)]
pub struct Cleanup {
    /// The agent's unit, where it has to be stopped first.
    pub stop: Option<String>,
    /// What goes, in this order.
    pub remove: Vec<Removal>,
    /// What becomes of `ecs.config`; `null` where none of its lines is ours.
    pub ecs_config: Option<Withdrawal>,
    /// What could not be looked into.
    pub left: Vec<Left>,
    /// The tasks that run.
    pub tasks: Vec<Task>,
    /// The container instance that stays registered.
    pub registered: Option<Registered>,
    /// Why it is not done now.
    #[serde(skip)]
    pub obstacles: Vec<StageError>,
    /// What is not ours to do.
    pub hints: Vec<String>,
    /// The folder of the image, where it is not this host.
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
    /// The agent's unit, where it has to be stopped first.
    pub stop: Option<String>,
    /// What is set aside; `null` where there is no saved state, or an interrupted reset has set it aside.
    pub set_aside: Option<SetAside>,
    /// Where an interrupted reset has put the saved state.
    pub was_set_aside: Option<String>,
    /// The agent's unit, where it is started again.
    pub start: Option<String>,
    /// The tasks that run.
    pub tasks: Vec<Task>,
    /// The container instance that stays registered.
    pub registered: Option<Registered>,
    /// Why it is not done now.
    #[serde(skip)]
    pub obstacles: Vec<StageError>,
    /// What is not ours to do.
    pub hints: Vec<String>,
    /// The folder of the image, where it is not this host.
    #[serde(skip)]
    pub root: Option<String>,
}

impl Reset {
    /// Whether there is nothing to set aside and nothing to finish.
    pub fn is_empty(&self) -> bool {
        self.set_aside.is_none() && self.was_set_aside.is_none() && self.start.is_none()
    }
}

/// A folder that is renamed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetAside {
    /// The folder.
    pub from: String,
    /// Its new name.
    pub to: String,
    /// The size of what is in it, in bytes; `null` where not all of it may be looked at.
    pub bytes: Option<u64>,
}
