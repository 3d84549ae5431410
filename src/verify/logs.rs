//! Reads the logs of the agent and of ecs-init into the evidence.

use std::time::{Duration, SystemTime};

use futures_util::future::join;

use super::schedule::DockerState;
use crate::boundary::HostClients;
use crate::boundary::disk::Disk;
use crate::boundary::docker::{Container, DockerError};
use crate::boundary::kernel;
use crate::evidence::agent_log::{Line, attempts, last_two};
use crate::evidence::{ContainerLog, CrashLoop, Evidence};
use crate::host::{AGENT_LOG, INIT_LOG, known_or_log};
use crate::retry::Deadline;

pub(super) const LOG_TAIL: usize = 256 * 1024;

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
    // The uptime is in whole seconds.
    let uptime = kernel::uptime(disk).map(|seconds| Duration::from_secs(seconds + 1));
    evidence.booted = uptime.and_then(|uptime| SystemTime::now().checked_sub(uptime));
    evidence.agent_log_written = modified(disk, AGENT_LOG);
    evidence.init_log_written = modified(disk, INIT_LOG);
}

/// The name of the agent's container.
pub(super) const CONTAINER: &str = "ecs-agent";

/// The answers of docker about itself and about the agent's container.
pub(super) async fn docker(host_clients: &HostClients, asks_for_log: bool, deadline: Deadline) -> DockerState {
    let docker = &host_clients.docker;
    let (ping, container) = join(docker.ping(deadline), docker.container(CONTAINER, deadline)).await;
    let log = if asks_for_log { container_log(host_clients, &container, deadline).await } else { None };
    DockerState { ping, container, log }
}

/// What the agent's container printed; `None` if docker does not answer, or if ecs-init has replaced the container. It is
/// empty if docker keeps no output.
pub(super) async fn container_log(
    host_clients: &HostClients,
    container: &Result<Option<Container>, DockerError>,
    deadline: Deadline,
) -> Option<ContainerLog> {
    let docker = &host_clients.docker;
    let Container { started_at, finished_at, .. } = container.as_ref().ok()?.as_ref()?;
    let output = docker.output(CONTAINER, deadline).await;
    let output = output.inspect_err(|error| tracing::debug!(%error, "output of the agent's container not read"));
    let output = match output {
        Err(DockerError::Status { .. }) => Ok(Vec::new()),
        output => output,
    };
    let after = docker.container(CONTAINER, deadline).await;
    let is_same = matches!(after, Ok(Some(after)) if after.started_at == *started_at);
    output.ok().filter(|_| is_same).map(|text| ContainerLog::of(&text, started_at, finished_at))
}

/// The runs of an agent without a log file. ecs-init removes the container of a run, and its output, before the next.
#[derive(Debug, Default)]
pub(super) struct ContainerRuns {
    /// When each run started, as docker reports it, and what it printed.
    runs: Vec<(String, Vec<Line>)>,
}

impl ContainerRuns {
    /// More runs than are needed to recognize a repeated error.
    const MAX_RUNS: usize = 16;

    pub(super) fn note(&mut self, started_at: &str, lines: &[Line]) {
        match self.runs.last_mut() {
            Some((last, kept)) if last == started_at => *kept = lines.to_vec(),
            _ => self.runs.push((started_at.to_owned(), lines.to_vec())),
        }
        self.runs.drain(..self.runs.len().saturating_sub(Self::MAX_RUNS));
    }

    /// The error with which the last runs ended.
    pub(super) fn repeated_error(&self) -> Option<CrashLoop> {
        // The errors of one run are not those of several.
        if self.runs.len() < 2 {
            return None;
        }
        let attempts: Vec<Vec<Line>> = self.runs.iter().map(|(_, lines)| lines.clone()).collect();
        CrashLoop::of(&attempts)
    }
}
