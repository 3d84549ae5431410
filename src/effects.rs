//! What was changed, file by file and job by job; that nothing was changed is a value.

use serde::Serialize;

use crate::boundary::systemd::JobResult;
use crate::plan::Action;

/// What apply did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Effects {
    /// Whether `ecs.config` was written.
    pub config_written: bool,
    /// The jobs that were queued, in order.
    pub jobs: Vec<QueuedJob>,
    /// Units that were enabled for the next boot.
    pub enabled: Vec<String>,
}

/// A job that was queued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QueuedJob {
    /// Its unit.
    pub unit: String,
    /// What was asked for.
    pub action: Action,
    /// systemd's number for it.
    pub id: u32,
    /// How it ended, where that was waited for.
    pub result: Option<JobResult>,
}
