//! Everything that was observed about an instance: the results of all probes, and the error that ended a stage.
//!
//! The causes are matched against this data. An error of gather, decide or apply is evidence too, so that a broken
//! metadata service, an invalid setting and an agent without an answer are all diagnosed in the same way. `None` means
//! that a probe has not run.

mod acs_log;
pub mod agent_log;
mod crash_loop;
mod exits;
mod expected_attributes;
pub mod files;
pub mod host;
mod introspection;
pub mod lifecycle;
mod line;
pub mod log;
mod logs;
pub mod network_path;
pub mod overrides;
pub mod proxies;
mod questions;
pub mod routes;
pub mod task_hold;
mod units;
pub mod user_data;
mod wanted_images;
mod watched;

pub use self::acs_log::{DroppedConnections, LostConnection, acs_endpoint};
pub use self::crash_loop::CrashLoop;
pub use self::expected_attributes::{AttributeState, MissingAttribute};
pub use self::logs::ContainerLog;
pub use self::network_path::EndpointConnection;
pub use self::questions::NetworkQuestions;
pub use self::task_hold::{StartFailure, TaskStart};
pub use self::wanted_images::{ImageState, missing_images};
pub use self::watched::Watched;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use self::files::Files;
use self::host::HostState;
use self::log::{Lines, Log};
use self::network_path::NetworkPath;
use self::task_hold::TaskHold;
use self::user_data::UserData;
use crate::boundary::agent::{AgentError, AgentMetadata};
use crate::boundary::aws::{AwsError, ContainerInstance, DescribedClusters};
use crate::boundary::disk::DiskError;
use crate::boundary::docker::{Container, DockerError};
use crate::boundary::imds::{ImdsError, RoleStatus};
use crate::boundary::systemd::{SystemdError, time_of};
use crate::drain::Drain;
use crate::effects::QueuedJob;
use crate::facts::{NO_UNIT, SavedAgent, Units, user_data_may_run};
use crate::followed_tags::FollowedTags;
use crate::images::Pulls;
use crate::plan::{Action, Expectation, Refusal};
use crate::settings::SettingsError;

/// The error that ended gather, decide or apply, or that keeps a maintenance command from running.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A setting is invalid.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Decide refused to make a plan.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A request to the metadata service failed.
    #[error(transparent)]
    Imds(#[from] ImdsError),
    /// A call of an AWS API failed.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// One of the two `ecs.config` files could not be read.
    #[error(transparent)]
    Read(DiskError),
    /// A settings file or the folder of settings files could not be read.
    #[error(transparent)]
    ReadSettings(DiskError),
    /// The plan that an earlier run handed over could not be read.
    #[error(transparent)]
    ReadHandover(DiskError),
    /// A file could not be written.
    #[error(transparent)]
    Write(DiskError),
    /// systemd could not be reached, or it refused a request.
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    /// The metadata service sent an invalid answer.
    #[error("the answer of instance metadata to `{path}` is not {expected}")]
    NotMetadata {
        /// The path below `/latest/`.
        path: &'static str,
        /// What a valid answer is.
        expected: &'static str,
    },
    /// `run.deadline` has passed.
    #[error("`run.deadline` ({}) passed while {doing}", humantime::format_duration(*.deadline))]
    RunDeadlineExceeded {
        /// The running stage, as text.
        doing: &'static str,
        /// The value of `run.deadline`.
        deadline: Duration,
    },
    /// A command still runs after its deadline.
    #[error(
        "`ecs-bootstrap {command}` still ran {} after its deadline",
        humantime::format_duration(*.since)
    )]
    Hangs {
        /// The subcommand.
        command: &'static str,
        /// How long ago the deadline was.
        since: Duration,
    },
    /// The instance runs tasks, and the agent would lose track of them.
    #[error("{} tasks have not stopped", .tasks.len())]
    TasksRun {
        /// Each task with its state.
        tasks: Vec<String>,
    },
    /// Neither the agent nor docker could list the running tasks.
    #[error("the running tasks are unknown: {why}")]
    TasksUnknown {
        /// The errors of the agent and of docker.
        why: String,
    },
    /// The verifying process ended without a verdict.
    #[error("{seen}, and there is no verdict")]
    VerifyDied {
        /// The unit and its state.
        seen: String,
    },
    /// The answer on the agent's port is not trusted.
    #[error(transparent)]
    PortTaken(AgentError),
    /// An agent runs outside of its systemd unit.
    #[error("an agent runs, but not in its systemd unit")]
    RunsOutside,
    /// A folder is a symbolic link or a mount point.
    #[error(transparent)]
    Elsewhere(DiskError),
    /// A job of the agent's unit failed.
    #[error("the {action} job of {unit} failed: {why}")]
    UnitJob {
        /// The unit.
        unit: String,
        /// `stop` or `start`.
        action: &'static str,
        /// How the job ended.
        why: String,
    },
    /// Some files or folders could not be removed.
    #[error("{} paths were not removed", .left.len())]
    NotRemoved {
        /// Each path with its error.
        left: Vec<String>,
    },
    /// A deadlock: the agent's start waits for the unit in which this process runs.
    #[error("the start of the agent waits for `{unit}`, and this process runs in that unit")]
    Blocked {
        /// The unit of this process.
        unit: String,
    },
}

/// A process of user data that starts the agent's unit and waits for the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockingStart {
    pub(crate) pid: u32,
    /// `systemctl VERB UNIT`.
    pub command: String,
    /// How long it has been observed.
    pub seen_for: Duration,
}

/// The oldest process of user data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldestProcess {
    pub(crate) pid: u32,
    /// The name of the process, without its arguments, which are user data.
    pub name: String,
    /// How long it has run.
    pub age: Duration,
    /// The name of its last descendant, which is what it waits for.
    pub waits_for: Option<String>,
}

/// Everything that was observed. What was not probed is `None` or empty.
#[derive(Debug, Default)]
pub struct Evidence {
    /// The error that ended an earlier stage.
    pub stage_error: Option<StageError>,
    /// Whether this error ended a command before the agent was started. Not set for maintenance and `guard`.
    pub run_ended: bool,
    /// What verify waits for.
    pub expectation: Option<Expectation>,
    /// How long ago the instance was launched.
    pub age: Option<Duration>,
    /// How long verify has been waiting.
    pub waited: Duration,
    /// Whether the deadline of verify has passed.
    pub timed_out: bool,
    /// The last answer of systemd about the units.
    pub units: Option<Result<Units, SystemdError>>,
    /// How often systemd has not been there since that answer.
    pub units_unanswered: u32,
    /// What is wrong with the agent's unit of early start, if anything. Only doctor examines it.
    pub early_start: Option<String>,
    /// The jobs that apply queued, with the results of those that have ended.
    pub jobs: Vec<QueuedJob>,
    /// A process of user data that waits for the agent's start.
    pub blocking_start: Option<BlockingStart>,
    /// The oldest process of user data, while user data runs.
    pub oldest_process: Option<OldestProcess>,
    /// The agent's introspection, once [`Evidence::trusted`] has checked it.
    pub introspection: Option<Result<AgentMetadata, AgentError>>,
    /// The container instance as ECS describes it.
    pub container_instance: Option<Result<Option<ContainerInstance>, AwsError>>,
    /// How long ago the agent was first observed as registered; in doctor, how long the unit of an agent has run that
    /// never connected.
    pub registered_for: Option<Duration>,
    /// The daemons that must run before the instance takes tasks; `None` if none must.
    pub task_hold: Option<TaskHold>,
    /// The tasks of `start-tasks`; `None` before they were started.
    pub task_starts: Option<Vec<TaskStart>>,
    /// Whether the conditions of `ready.*` were not fulfilled at `ready.deadline`, and the instance is ready without them.
    pub is_ready_without: bool,
    /// What is known in this boot about attributes that follow tags.
    pub followed: Option<FollowedTags>,
    /// The state of the pulls of `ready.images`; `None` if there is none.
    pub pulls: Option<Pulls>,
    /// The state of the draining; `None` if there is none.
    pub drain: Option<Drain>,
    /// Whether the account setting `awsvpcTrunking` is on for the role; `None` if ECS was not asked.
    pub trunking: Option<Result<bool, AwsError>>,
    /// How many NVIDIA devices the host has; 0 if nothing asks for them.
    pub gpu_devices: usize,
    /// What the checks of `watch` have seen over time; `None` for a single observation and while verify waits.
    pub watched: Option<Watched>,
    /// The expected cluster as ECS describes it.
    pub cluster: Option<Result<DescribedClusters, AwsError>>,
    /// The instance's role, from instance metadata.
    pub role: Option<Result<RoleStatus, ImdsError>>,
    /// Name resolution and TCP connection to the ECS endpoint.
    pub network: Option<EndpointConnection>,
    /// docker's answer to a ping.
    pub docker: Option<Result<(), DockerError>>,
    /// The agent's container.
    pub container: Option<Result<Option<Container>, DockerError>>,
    /// The agent's variables, as ecs-init reads them from both files.
    pub config: BTreeMap<String, String>,
    /// The agent's saved state.
    pub saved: Option<SavedAgent>,
    /// `ecs-agent.log` since the last start.
    pub agent_log: Log,
    /// What the agent's container printed in its last run, if `ecs-agent.log` does not show why the agent fails.
    pub container_log: ContainerLog,
    /// When `ecs-agent.log` was last written to.
    pub agent_log_written: Option<SystemTime>,
    /// When the host booted.
    pub booted: Option<SystemTime>,
    /// `ecs-init.log` since the last start.
    pub init_log: Log,
    /// `ecs-init.log` of the start before the last one.
    pub init_log_before: Log,
    /// When `ecs-init.log` was last written to.
    pub init_log_written: Option<SystemTime>,
    /// The error with which the last attempts of the agent ended.
    pub agent_loop: Option<CrashLoop>,
    /// The error with which the last attempts of ecs-init ended.
    pub init_loop: Option<CrashLoop>,
    /// How the instance is about to end, if it is.
    pub ending: Option<String>,
    /// The target lifecycle state in the Auto Scaling group.
    pub target_state: Option<String>,
    /// Whether instance metadata has no target state: the instance is not, or not yet, in a group.
    pub outside_group: bool,
    /// The files that configure the agent, and cloud-init's records.
    pub files: Files,
    /// The type and the faults of the user data.
    pub user_data: Option<Result<UserData, ImdsError>>,
    /// Disk space, memory, docker and SELinux on this host.
    pub host: HostState,
    /// The network path to AWS.
    pub network_path: NetworkPath,
    /// The time of this observation.
    pub observed_at: Option<SystemTime>,
    /// When the evidence was collected, if it was collected once (doctor).
    pub examined_at: Option<SystemTime>,
    /// Whether the instance was observed without a role at some time.
    pub role_was_absent: bool,
    /// How long the evidence has supported each cause without a break, by cause id.
    pub lasted: BTreeMap<&'static str, Duration>,
}

impl Evidence {
    /// Evidence with nothing except the error that ended a stage.
    pub fn of_stage_error(error: StageError) -> Evidence {
        Evidence { stage_error: Some(error), ..Evidence::default() }
    }

    /// The ARN that introspection reports; `None` if the agent has not registered.
    pub fn container_instance_arn(&self) -> Option<&str> {
        match &self.introspection {
            Some(Ok(metadata)) => Some(metadata.container_instance_arn.as_str()).filter(|arn| !arn.is_empty()),
            _ => None,
        }
    }

    /// The container instance, if ECS has described it.
    pub fn described(&self) -> Option<&ContainerInstance> {
        self.container_instance.as_ref()?.as_ref().ok()?.as_ref()
    }

    /// How long the agent's unit had run when the evidence was collected.
    pub fn agent_runs_for(&self) -> Option<Duration> {
        let started = time_of(self.agent_unit()?.exec_main_start_usec)?;
        self.examined_at?.duration_since(started).ok()
    }

    /// The failed AWS call that ended a stage.
    pub fn failed_call(&self) -> Option<&AwsError> {
        match &self.stage_error {
            Some(StageError::Aws(error)) => Some(error),
            _ => None,
        }
    }

    /// Whether the agent process of the last start exited with this code, according to its unit, its container, or the
    /// log of ecs-init.
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
            && (self.init_log.exit_codes().contains(&i64::from(code))
                || (code == 5 && self.init_log.last_with(Lines::All, &["terminal exit code"]).is_some()));
        unit || container || init
    }

    /// Whether a job that apply queued for this unit is still running. systemd's signal about its end can be missing:
    /// after [`JOB_BEGINS`] the job counts as pending only if the unit itself shows a job.
    pub fn job_pending(&self, unit: &str) -> bool {
        let queued = self.jobs.iter().any(|job| job.unit == unit && job.result.is_none());
        let state = self.known_units().into_iter().flat_map(|units| [&units.docker, &units.agent]);
        let is_queued = state.into_iter().any(|state| state.name == unit && state.job.is_some());
        queued && (is_queued || self.waited < JOB_BEGINS)
    }

    /// Whether a queued restart of the agent is still running, so that the old agent may still answer.
    pub fn restart_pending(&self) -> bool {
        let Some(expected) = &self.expectation else { return false };
        let restart = |job: &QueuedJob| job.unit == expected.agent_unit && job.action == Action::Restart;
        self.jobs.iter().any(restart) && self.job_pending(&expected.agent_unit)
    }

    /// Whether the agent's unit has not started yet. Then its exit codes and logs belong to an earlier start or boot.
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

    /// Whether something that happened `at` this time belongs to the last start of the agent's unit, or, if it has not
    /// started since the boot, to this boot; true if the times are unknown.
    fn is_of_this_start(&self, at: Option<SystemTime>) -> bool {
        if self.agent_start_pending() {
            return false;
        }
        let started = self.agent_unit().and_then(|unit| time_of(unit.exec_main_start_usec));
        match (at, started.or(self.booted)) {
            (Some(at), Some(since)) => at + COARSE >= since,
            _ => true,
        }
    }

    /// Whether user data can still write `ecs.config` or start the agent's unit; false if systemd could not be asked.
    pub fn user_data_runs(&self) -> bool {
        self.known_units().is_some_and(|units| user_data_may_run(&units.cloud_final))
    }

    /// Whether the agent cannot have started yet because user data still runs: its unit waits for the end of user data,
    /// or for the cluster that user data can still name.
    pub fn held_by_user_data(&self) -> bool {
        let undecided = self.expectation.as_ref().is_some_and(|expected| expected.cluster.is_none());
        let waits = |units: &Units| {
            let agent = &units.agent;
            let is_held = units.agent_waits_for_user_data();
            // A script of user data can still run the container of an agent without a unit.
            if agent.name == NO_UNIT {
                return !matches!(self.container, Some(Ok(Some(_)))) && !matches!(self.introspection, Some(Ok(_)));
            }
            agent.active_state.as_deref() == Some("inactive") && (is_held || agent.job.is_none())
        };
        self.user_data_runs() && (undecided || self.known_units().is_some_and(waits))
    }

    /// Whether user data may still repair what is wrong: with early start, the agent is restarted after user data if it has
    /// not registered.
    pub fn user_data_may_repair(&self) -> bool {
        let Some(units) = self.known_units() else { return false };
        // While the agent is held, the verification must go on: it releases the agent if user data waits for it.
        let is_held = units.user_data_target.as_ref().is_some_and(|target| target.job.is_some());
        let is_at_work = |unit: &crate::boundary::systemd::UnitState| {
            unit.job.is_some() || unit.active_state.as_deref() == Some("activating")
        };
        is_held || units.after_user_data.as_ref().is_some_and(is_at_work)
    }

    /// The agent's unit; `None` if systemd could not be asked.
    pub fn agent_unit(&self) -> Option<&crate::boundary::systemd::UnitState> {
        self.known_units().map(|units| &units.agent)
    }

    /// The units; `None` if systemd could not be asked.
    pub fn known_units(&self) -> Option<&Units> {
        self.units.as_ref().and_then(|units| units.as_ref().ok())
    }

    /// The error of systemd that ended a stage.
    pub fn systemd_error(&self) -> Option<&SystemdError> {
        match &self.stage_error {
            Some(StageError::Systemd(error)) => Some(error),
            _ => None,
        }
    }

    /// Every failed AWS call.
    pub fn aws_errors(&self) -> impl Iterator<Item = &AwsError> {
        let registration = self.container_instance.as_ref().and_then(|answer| answer.as_ref().err());
        let cluster = self.cluster.as_ref().and_then(|answer| answer.as_ref().err());
        self.failed_call().into_iter().chain(registration).chain(cluster)
    }
}

/// File times have the resolution of the kernel's tick: they are up to 10 ms behind the clock that systemd reads.
const COARSE: Duration = Duration::from_millis(10);
/// After this time a queued job has begun, so that the unit's own state shows it.
const JOB_BEGINS: Duration = Duration::from_secs(2);
