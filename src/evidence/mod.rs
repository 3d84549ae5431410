//! What was seen while the instance did not join, probe by probe.
//!
//! What stops a room becomes evidence like everything else, so that a broken metadata service, a bad setting and a
//! silent agent all take the same way: the causes name one. `None` means that a probe has not been run.

pub mod agent_log;
mod ends;
pub mod files;
pub mod host;
mod introspection;
pub mod network_path;
pub mod proxies;
mod questions;
pub mod routes;
pub mod user_data;

pub use self::network_path::NetworkProbe;
pub use self::questions::NetworkQuestions;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use self::agent_log::Line;
use self::files::Files;
use self::host::HostState;
use self::network_path::NetworkPath;
use self::user_data::UserData;
use crate::boundary::agent::{AgentError, Metadata};
use crate::boundary::aws::{AwsError, ContainerInstance, Described};
use crate::boundary::disk::DiskError;
use crate::boundary::docker::{Container, DockerError};
use crate::boundary::imds::{ImdsError, RoleStatus};
use crate::boundary::systemd::SystemdError;
use crate::effects::QueuedJob;
use crate::facts::{SavedAgent, Units, user_data_may_run};
use crate::plan::{Action, Expectation, Refusal};
use crate::redaction;
use crate::settings::SettingsError;

/// What stopped gather, decide or apply.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A setting cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Decide will not do it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The metadata service.
    #[error(transparent)]
    Imds(#[from] ImdsError),
    /// An AWS API.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// One of the two `ecs.config` files.
    #[error(transparent)]
    Read(DiskError),
    /// A settings file of ours, or their folder.
    #[error(transparent)]
    ReadSettings(DiskError),
    /// What the run before has handed over.
    #[error(transparent)]
    ReadHandover(DiskError),
    /// A file that must be written.
    #[error(transparent)]
    Write(DiskError),
    /// systemd.
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    /// The metadata service answered with something that is not what was asked for.
    #[error("instance metadata answered `{path}` with something else than {expected}")]
    NotMetadata {
        /// The path below `/latest/`.
        path: &'static str,
        /// What it should have been.
        expected: &'static str,
    },
    /// All the time of `run.deadline` is gone.
    #[error("`run.deadline` ({}) passed while {doing}", humantime::format_duration(*.deadline))]
    Late {
        /// The room.
        doing: &'static str,
        /// The setting's value.
        deadline: Duration,
    },
    /// The deadline of a command has passed, and nothing has ended the command.
    #[error("`ecs-bootstrap {command}` has not ended by itself {} after its deadline", humantime::format_duration(*.since))]
    Hangs {
        /// The subcommand.
        command: &'static str,
        /// How long ago the deadline was.
        since: Duration,
    },
    /// The instance runs tasks, which the agent must not lose.
    #[error("{} tasks have not stopped", .tasks.len())]
    TasksRun {
        /// Each with its state.
        tasks: Vec<String>,
    },
    /// Neither the agent nor docker says which tasks run.
    #[error("which tasks run is unknown: {why}")]
    TasksUnknown {
        /// Why nobody says.
        why: String,
    },
    /// Nothing verifies the registration any more, and no verdict was told.
    #[error("{seen}, and has left no verdict")]
    VerifyDied {
        /// The unit and its state.
        seen: String,
    },
    /// What answers on the agent's port is not believed to be the agent.
    #[error(transparent)]
    PortTaken(AgentError),
    /// An agent runs, and not by its unit.
    #[error("an agent runs, and no unit of systemd runs it")]
    RunsOutside,
    /// A folder is somewhere else: a link or a mount.
    #[error(transparent)]
    Elsewhere(DiskError),
    /// The agent's unit did not do what it was told.
    #[error("{unit} was told to {action}: {why}")]
    UnitJob {
        /// The unit.
        unit: String,
        /// `stop` or `start`.
        action: &'static str,
        /// What became of it.
        why: String,
    },
    /// Not all could be removed.
    #[error("{} paths are left", .left.len())]
    Left {
        /// Each with its reason.
        left: Vec<String>,
    },
    /// Waiting would never end: the agent's start waits for the caller's own unit.
    #[error("the start of the agent waits for `{unit}`, in which this program runs")]
    Blocked {
        /// The caller's unit.
        unit: String,
    },
}

/// A process of user data that starts the agent's unit and waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockingStart {
    /// Its number.
    pub pid: u32,
    /// What it asks systemctl(1) for.
    pub command: String,
    /// For how long it has been seen.
    pub seen_for: Duration,
}

/// The process of user data that has run for the longest time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LongRun {
    /// Its number.
    pub pid: u32,
    /// Its name, without its arguments.
    pub name: String,
    /// For how long it has run.
    pub age: Duration,
    /// The name of the last process below it, which is what it waits for.
    pub waits_for: Option<String>,
}

/// All that was seen.
#[derive(Debug, Default)]
pub struct Evidence {
    /// What stopped an earlier room.
    pub stop: Option<StageError>,
    /// What verify waits for.
    pub expectation: Option<Expectation>,
    /// How long ago the instance was launched.
    pub age: Option<Duration>,
    /// How long verify has been waiting.
    pub waited: Duration,
    /// Whether the deadline of verify has passed.
    pub timed_out: bool,
    /// The units, last time they were asked for.
    pub units: Option<Result<Units, SystemdError>>,
    /// The jobs that apply queued and that have ended.
    pub jobs: Vec<QueuedJob>,
    /// Somebody in user data who waits for the agent's start.
    pub blocking_start: Option<BlockingStart>,
    /// What user data is at, while it has not ended.
    pub long_run: Option<LongRun>,
    /// The agent's introspection, once [`Evidence::trusted`] has checked it.
    pub introspection: Option<Result<Metadata, AgentError>>,
    /// ECS's own view of this container instance.
    pub registration: Option<Result<Option<ContainerInstance>, AwsError>>,
    /// For how long the registered agent has been seen disconnected.
    pub disconnected_for: Option<Duration>,
    /// ECS's view of the expected cluster.
    pub cluster: Option<Result<Described, AwsError>>,
    /// The instance's role.
    pub role: Option<Result<RoleStatus, ImdsError>>,
    /// The way to the ECS endpoint.
    pub network: Option<NetworkProbe>,
    /// docker's answer to a ping.
    pub docker: Option<Result<(), DockerError>>,
    /// The agent's container.
    pub container: Option<Result<Option<Container>, DockerError>>,
    /// What the agent is configured with, as ecs-init reads both files.
    pub config: BTreeMap<String, String>,
    /// The agent's saved state.
    pub saved: Option<SavedAgent>,
    /// `ecs-agent.log` since the last start.
    pub agent_log: Vec<Line>,
    /// When `ecs-agent.log` was last written to.
    pub agent_log_written: Option<SystemTime>,
    /// `ecs-init.log` since the last start.
    pub init_log: Vec<Line>,
    /// The same of the start before it.
    pub init_log_before: Vec<Line>,
    /// When `ecs-init.log` was last written to.
    pub init_log_written: Option<SystemTime>,
    /// Where Auto Scaling wants the instance.
    pub target_state: Option<String>,
    /// Whether instance metadata has no such thing: the instance is in no group, or not yet.
    pub outside_group: bool,
    /// What configures the agent, and cloud-init's records.
    pub files: Files,
    /// What user data is.
    pub user_data: Option<Result<UserData, ImdsError>>,
    /// The machine itself.
    pub host: HostState,
    /// The way to AWS.
    pub network_path: NetworkPath,
    /// When it was looked, where that was once.
    pub examined_at: Option<SystemTime>,
    /// Whether the instance was seen without a role.
    pub role_was_absent: bool,
    /// For how long each cause has been supported without a break, by its id.
    pub lasted: BTreeMap<&'static str, Duration>,
}

impl Evidence {
    /// The evidence of a room that was stopped.
    pub fn of_stop(stop: StageError) -> Evidence {
        Evidence { stop: Some(stop), ..Evidence::default() }
    }

    /// The ARN that introspection tells; `None` when the agent has not registered.
    pub fn container_instance_arn(&self) -> Option<&str> {
        match &self.introspection {
            Some(Ok(metadata)) => Some(metadata.container_instance_arn.as_str()).filter(|arn| !arn.is_empty()),
            _ => None,
        }
    }

    /// For how long the agent's unit has run, by the look at it.
    pub fn agent_runs_for(&self) -> Option<Duration> {
        let started = self.agent_unit()?.exec_main_start_usec.filter(|usec| *usec > 0)?;
        let started = SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(started))?;
        self.examined_at?.duration_since(started).ok()
    }

    /// The AWS call that stopped a room.
    pub fn stopping_call(&self) -> Option<&AwsError> {
        match &self.stop {
            Some(StageError::Aws(error)) => Some(error),
            _ => None,
        }
    }

    /// Whether the agent process, as last started, has ended with this code: by its unit, its container, or ecs-init's log.
    pub fn agent_exited_with(&self, code: i32) -> bool {
        let unit = !self.agent_start_pending()
            && self.agent_unit().is_some_and(|unit| {
                unit.exec_main_status == Some(code)
                    && unit.active_state.as_deref().is_some_and(|state| state == "failed" || state == "activating")
            });
        let container = matches!(&self.container, Some(Ok(Some(container)))
            if !container.running
                && container.exit_code == i64::from(code)
                && self.is_of_this_start(humantime::parse_rfc3339(&container.finished_at).ok()));
        let init = self.is_of_this_start(self.init_log_written)
            && self.init_log.iter().any(|line| match code {
                5 => line.holds("terminal exit code") || line.holds("Agent exited with code 5"),
                other => line.holds(&format!("Agent exited with code {other}")),
            });
        unit || container || init
    }

    /// Whether a job that apply queued for this unit has yet to end. Where systemd tells of no end, the unit's own state
    /// counts once the job has had time to begin.
    pub fn job_pending(&self, unit: &str) -> bool {
        let queued = self.jobs.iter().any(|job| job.unit == unit && job.result.is_none());
        let state = self.known_units().into_iter().flat_map(|units| [&units.docker, &units.agent]);
        let is_queued = state.into_iter().any(|state| state.name == unit && state.job.is_some());
        queued && (is_queued || self.waited < JOB_BEGINS)
    }

    /// Whether the agent that answers may still be the one that a queued restart ends.
    pub fn restart_pending(&self) -> bool {
        let Some(expected) = &self.expectation else { return false };
        let restart = |job: &QueuedJob| job.unit == expected.agent_unit && job.action == Action::Restart;
        self.jobs.iter().any(restart) && self.job_pending(&expected.agent_unit)
    }

    /// Whether the agent's unit has yet to start: then its exit codes and logs are of an earlier start, or boot.
    fn agent_start_pending(&self) -> bool {
        let Some(unit) = self.agent_unit() else { return false };
        if self.job_pending(&unit.name) {
            return true;
        }
        let never = unit.exec_main_start_usec == Some(0);
        match unit.active_state.as_deref() {
            Some("activating") => unit.sub_state.as_deref() != Some("auto-restart"),
            Some("inactive") => unit.job.is_some() || never,
            _ => unit.job.is_some(),
        }
    }

    /// Whether something that happened `at` this time belongs to the last start of the agent's unit. Unknown times do.
    fn is_of_this_start(&self, at: Option<SystemTime>) -> bool {
        if self.agent_start_pending() {
            return false;
        }
        let started = self.agent_unit().and_then(|unit| unit.exec_main_start_usec).filter(|usec| *usec > 0);
        let started = started.and_then(|usec| SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(usec)));
        match (at, started) {
            (Some(at), Some(started)) => at + COARSE >= started,
            _ => true,
        }
    }

    /// Whether user data may still write the agent's file or start its unit; not, where systemd could not be asked.
    pub fn user_data_runs(&self) -> bool {
        self.known_units().is_some_and(|units| user_data_may_run(&units.cloud_final))
    }

    /// Whether the agent cannot have started yet, since user data has not ended: its unit waits for it, or for the
    /// cluster that it may still name.
    pub fn held_by_user_data(&self) -> bool {
        let undecided = self.expectation.as_ref().is_some_and(|expected| expected.cluster.is_none());
        let waits = |units: &Units| {
            let agent = &units.agent;
            let is_after = agent.after.iter().flatten().any(|name| *name == units.cloud_final.name);
            agent.active_state.as_deref() == Some("inactive") && (is_after || agent.job.is_none())
        };
        self.user_data_runs() && (undecided || self.known_units().is_some_and(waits))
    }

    /// The agent's unit, where systemd could be asked.
    pub fn agent_unit(&self) -> Option<&crate::boundary::systemd::UnitState> {
        self.known_units().map(|units| &units.agent)
    }

    /// The units, where systemd could be asked.
    pub fn known_units(&self) -> Option<&Units> {
        self.units.as_ref().and_then(|units| units.as_ref().ok())
    }

    /// The answer of systemd that stopped a room.
    pub fn systemd_error(&self) -> Option<&SystemdError> {
        match &self.stop {
            Some(StageError::Systemd(error)) => Some(error),
            _ => None,
        }
    }

    /// Every AWS call that came to nothing.
    pub fn aws_errors(&self) -> impl Iterator<Item = &AwsError> {
        let registration = self.registration.as_ref().and_then(|answer| answer.as_ref().err());
        let cluster = self.cluster.as_ref().and_then(|answer| answer.as_ref().err());
        self.stopping_call().into_iter().chain(registration).chain(cluster)
    }

    /// The first line of the agent's log that holds one of these fragments, as evidence: the matched part only.
    pub fn agent_logged(&self, fragments: &[&str]) -> Option<String> {
        if !self.is_of_this_start(self.agent_log_written) {
            return None;
        }
        logged(&self.agent_log, "ecs-agent.log", fragments)
    }

    /// The refusal of a registration that the agent's log tells, when it holds one of these fragments.
    pub fn registration_refused(&self, fragments: &[&str]) -> Option<String> {
        if !self.is_of_this_start(self.agent_log_written) {
            return None;
        }
        let refused: Vec<Line> = self
            .agent_log
            .iter()
            .filter(|line| line.holds("Unable to register as a container instance with ECS"))
            .cloned()
            .collect();
        logged(&refused, "ecs-agent.log", fragments)
    }
}

/// The time of a write is the kernel's last tick, at most 10 ms before the clock that systemd reads.
const COARSE: Duration = Duration::from_millis(10);
/// A queued job without a signal of its end has begun after this long.
const JOB_BEGINS: Duration = Duration::from_secs(2);

fn logged<'l>(
    lines: impl IntoIterator<Item = &'l Line, IntoIter: DoubleEndedIterator>,
    file: &str,
    fragments: &[&str],
) -> Option<String> {
    lines.into_iter().rev().find_map(|line| {
        let text = line.text();
        let at = fragments.iter().find_map(|fragment| text.find(fragment))?;
        Some(format!("{file}: `{}`", redaction::line(&text[at..])))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_logged_address_is_not_shown() {
        let line = |text| logged(&agent_log::last_attempt(text), "ecs-agent.log", &["proxyconnect"]);
        assert_eq!(
            line(b"level=error msg=\"proxyconnect tcp: http://u:hunter2@proxy:3128: dial tcp https://a@b/c\"\n")
                .as_deref(),
            Some("ecs-agent.log: `proxyconnect tcp: http://<redacted>@proxy:3128: dial tcp https://<redacted>@b/c`")
        );
    }
}
