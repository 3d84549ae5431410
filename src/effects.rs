//! What apply changed on the host. The default value means that nothing was changed.

use serde::Serialize;

use crate::boundary::systemd::JobResult;
use crate::plan::Action;

/// The changes that apply made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Effects {
    /// Whether `ecs.config` was written.
    pub config_written: bool,
    /// The queued systemd jobs, in order.
    pub jobs: Vec<QueuedJob>,
    /// Units that were enabled for the next boot.
    pub enabled: Vec<String>,
    /// Whether the agent was released from its wait for user data (`units.early`).
    pub released: bool,
}

/// A systemd job that apply queued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QueuedJob {
    pub(crate) unit: String,
    pub(crate) action: Action,
    /// The job id in systemd; 0 if the job was queued with systemctl.
    pub id: u32,
    /// How the job ended; `None` while that is not known.
    pub result: Option<JobResult>,
}
