//! What the observer notes of some results, beside the evidence itself: times, and which probe must run next.

use tokio::time::Instant;

use super::observe::Observer;
use super::requests::denied;
use super::schedule::{CONNECTION_TIME, DockerState, Probe};
use crate::boundary::imds::{ImdsError, RoleStatus};
use crate::evidence::network_path::NetworkPath;
use crate::evidence::{BlockingStart, NetworkQuestions};

impl Observer<'_> {
    pub(super) fn note_docker(&mut self, state: DockerState) {
        let DockerState { ping, container, log } = state;
        if let (Some(log), Ok(Some(container))) = (log, &container) {
            self.containers.note(&container.started_at, log.lines());
            self.evidence.container_log = log;
        }
        (self.evidence.docker, self.evidence.container) = (Some(ping), Some(container));
        if self.evidence.is_agent_log_empty() {
            self.evidence.agent_loop = self.containers.repeated_error();
        }
    }

    pub(super) fn note_role(&mut self, answer: Result<RoleStatus, ImdsError>) {
        let absent = matches!(answer, Ok(RoleStatus::Absent | RoleStatus::EmptyProfile { .. }));
        self.evidence.role_was_absent |= absent;
        self.evidence.role = Some(answer);
    }

    pub(super) fn note_network_path(&mut self, network_path: NetworkPath) {
        let before = std::mem::replace(&mut self.evidence.network_path, network_path);
        // The call is not repeated after a denial, so the denial is kept.
        if self.evidence.network_path.control_plane.is_none() && denied(&before.control_plane) {
            self.evidence.network_path.control_plane = before.control_plane;
        }
    }

    /// Runs the network probe at once, if the last result raises a question about the network path.
    pub(super) fn probe_network_soon(&mut self, probe: Option<Probe>) {
        let is_about_network = matches!(probe, Some(Probe::Network | Probe::Cluster | Probe::Registration));
        // The first answer of the API contains the time, for the clock skew.
        let has_no_clock = probe == Some(Probe::Cluster) && self.evidence.network_path.api_clock_skew.is_none();
        if has_no_clock || (is_about_network && NetworkQuestions::of(&self.evidence).is_pressing()) {
            self.run_soon(Probe::NetworkPath);
        }
    }

    pub(super) fn note_blocking_start(&mut self, found: Option<(u32, String)>) {
        let since = match (&self.blocking_start, &found) {
            (Some((pid, since)), Some((now, _))) if pid == now => *since,
            _ => Instant::now(),
        };
        self.blocking_start = found.as_ref().map(|(pid, _)| (*pid, since));
        self.evidence.blocking_start =
            found.map(|(pid, command)| BlockingStart { pid, command, seen_for: since.elapsed() });
    }

    pub(super) fn note_registration(&mut self) {
        match self.evidence.container_instance_arn() {
            Some(_) => {
                let is_new = self.registered_at.is_none() && self.was_unregistered;
                if is_new && !self.connected_line && self.evidence.logs_connections() {
                    self.schedule_of(Probe::Registration).for_each(|entry| entry.put_off(CONNECTION_TIME));
                }
                let since = *self.registered_at.get_or_insert_with(Instant::now);
                self.evidence.registered_for = Some(since.elapsed());
                // The agent has had enough time to connect.
                let is_unknown = self.evidence.network_path.control_plane.is_none();
                if is_unknown && NetworkQuestions::of(&self.evidence).control_plane.is_some() {
                    self.run_soon(Probe::NetworkPath);
                }
            }
            None => {
                self.was_unregistered |= self.evidence.introspection.is_some();
                self.registered_at = None;
                self.evidence.registered_for = None;
                self.evidence.container_instance = None;
            }
        }
    }
}
