//! Reads the logs of the agent and of ecs-init into the evidence.

use std::time::SystemTime;

use crate::boundary::disk::Disk;
use crate::evidence::agent_log::{attempts, last_two};
use crate::evidence::{CrashLoop, Evidence};
use crate::host::{AGENT_LOG, INIT_LOG, known_or_log};

const LOG_TAIL: usize = 256 * 1024;

/// When a file was last written to; `None` if it does not exist or cannot be read.
pub(super) fn modified(disk: &Disk, path: &str) -> Option<SystemTime> {
    known_or_log(disk.modified(path))
}

/// Reads both logs since the agent's last start.
pub(super) fn read_logs(disk: &Disk, evidence: &mut Evidence) {
    let read = |path| known_or_log(disk.tail(path, LOG_TAIL)).map(|tail| attempts(&tail.bytes)).unwrap_or_default();
    let (agent, init) = (read(AGENT_LOG), read(INIT_LOG));
    (evidence.agent_loop, evidence.init_loop) = (CrashLoop::of(&agent), CrashLoop::of(&init));
    (_, evidence.agent_log) = last_two(agent);
    (evidence.init_log_before, evidence.init_log) = last_two(init);
    evidence.agent_log_written = modified(disk, AGENT_LOG);
    evidence.init_log_written = modified(disk, INIT_LOG);
}
