//! What `run` and `verify` leave for the timeline: their stages and requests, in a file for each command.

use serde::{Deserialize, Serialize};

/// A command that ran in this boot. The times of its steps are microseconds since the start of its process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandRecord {
    /// The version of this format.
    pub version: u32,
    /// `run` or `verify`.
    pub command: String,
    /// When the process started, in microseconds of CLOCK_MONOTONIC, so that no step of the system clock moves it.
    pub started_monotonic_us: i64,
    /// How long the process ran.
    pub duration_us: u64,
    /// The exit code.
    pub exit_code: u8,
    /// The stages, in their order.
    pub stages: Vec<Step>,
    /// The first requests to instance metadata and AWS, in the order in which they ended.
    pub requests: Vec<Step>,
    /// How many more requests there were.
    pub requests_dropped: usize,
}

/// A stage or a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The name of the stage; the service and path or action of the request.
    pub name: String,
    /// When it began.
    pub start_us: u64,
    /// How long it took.
    pub duration_us: u64,
    /// Whether the service answered and did not refuse. A stage has always succeeded: it is noted at its end.
    pub succeeded: bool,
}
