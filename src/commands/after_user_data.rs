//! `guard --after-user-data`: with early start, applies what user data did after the start of the agent.
//!
//! At each start of the agent guard records which configuration the agent reads, as hashes. When user data has ended,
//! `ecs-bootstrap-after-user-data.service` calls this command once. It applies the plan again, compares, and restarts the
//! agent if it runs with another configuration or has not registered. It starts an agent that user data has stopped
//! together with docker.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::CommandContext;
use super::handover::{self, VERIFY_UNIT};
use crate::boundary::disk::{Disk, DiskError, Mode};
use crate::boundary::systemd::control::Jobs;
use crate::boundary::systemd::{JobResult, Systemd, SystemdError, UnitState, time_of};
use crate::command_line::CommandOutput;
use crate::decide::late::{LateAction, LateChanges, action, changes, hashes};
use crate::evidence::StageError;
use crate::exit::Exit;
use crate::host::{MAX_FILE_LENGTH, agent_config, read_or_log, runs_in_unit, saved_agent};
use crate::plan::{AGENT_JSON, Expectation};
use crate::redaction::{self, error_chain};
use crate::render::VerdictState;
use crate::report;
use crate::retry::{AttemptResult, Deadline, Policy, until};

/// What the agent read at its last start.
const STARTED: &str = "/run/ecs-bootstrap/agent-config.json";
/// Time limit for each call of systemd. A reload takes seconds on a small instance that has just started.
const RELOAD_LIMIT: Duration = Duration::from_secs(25);
/// Time limit for the restart. The stop of a unit takes 90 s at most (systemd-system.conf(5), DefaultTimeoutStopSec=).
const RESTART_LIMIT: Duration = Duration::from_secs(120);
/// How long after its start the agent may take to register before it is restarted. Most agents need less than 10 s.
const REGISTRATION_LIMIT: Duration = Duration::from_secs(60);
const REGISTRATION_POLICY: Policy = Policy { first: Duration::from_millis(200), longest: Duration::from_secs(1) };

/// The configuration that the agent read at its last start.
#[derive(Serialize, Deserialize)]
struct Started {
    version: u32,
    /// The hash of the value of each key.
    keys: BTreeMap<String, String>,
}

/// Where user data may write drop-ins.
const UNIT_FOLDERS: [&str; 2] = ["/etc/systemd/system", "/run/systemd/system"];

/// What a start of the agent depends on: its variables, its JSON file, and the files of its unit that user data may write.
fn current(disk: &Disk, agent: &str) -> BTreeMap<String, String> {
    let mut config = agent_config(disk);
    let mut paths = vec![AGENT_JSON.to_owned()];
    for folder in UNIT_FOLDERS {
        let folder = format!("{folder}/{agent}.d");
        let drop_ins = disk.list(&folder).unwrap_or_else(|error| {
            tracing::debug!(error = error_chain(&error), "drop-ins of the agent not listed");
            Vec::new()
        });
        paths.extend(drop_ins.iter().filter(|name| name.ends_with(".conf")).map(|name| format!("{folder}/{name}")));
    }
    for path in paths {
        if let Some(bytes) = read_or_log(disk, &path) {
            config.insert(path, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    hashes(&config)
}

/// Records what the agent reads at this start, if guard runs in the agent's unit and was not called by a person. An error
/// is logged: then changes by user data do not restart the agent.
pub(super) fn record_start(disk: &Disk, agent: &str) {
    if !runs_in_unit(disk, agent) {
        return;
    }
    let started = Started { version: 1, keys: current(disk, agent) };
    let bytes = crate::render::as_json(&started).into_bytes();
    if let Err(error) = disk.replace(STARTED, &bytes, Mode::Exactly(0o600)) {
        tracing::warn!(
            error = error_chain(&error),
            "configuration of this start not recorded; changes by user data take effect at the next start"
        );
    }
}

fn started(disk: &Disk) -> Result<Option<Started>, DiskError> {
    let stored = disk.read_regular(STARTED, MAX_FILE_LENGTH)?;
    Ok(stored.and_then(|stored| {
        serde_json::from_slice(&stored.bytes)
            .inspect_err(|error| tracing::warn!(error = redaction::json_error(error), path = STARTED, "not parsed"))
            .ok()
    }))
}

impl CommandContext {
    /// `guard --after-user-data`.
    pub async fn guard_after_user_data(self) -> CommandOutput {
        self.set_deadline_after(RELOAD_LIMIT + REGISTRATION_LIMIT + RESTART_LIMIT);
        match self.apply_late_changes().await {
            Ok(()) => CommandOutput::success(""),
            Err(error) => {
                let text = format!("what user data changed is not applied to the agent: {}", error_chain(&error));
                CommandOutput::error(Exit::Systemd, &redaction::line(&text))
            }
        }
    }

    async fn apply_late_changes(&self) -> Result<(), StageError> {
        let disk = &self.host_clients.disk;
        let Some(handover) = handover::read_or_log(disk) else {
            tracing::info!("no run of this boot left a plan, so there is nothing to apply");
            return Ok(());
        };
        let expectation = handover.expectation;
        if let Err((error, _)) = self.apply_again_and_judge().await {
            // The agent keeps its cluster while it runs, and guard refuses its next start.
            tracing::warn!(error = error_chain(&error), "agent not restarted, because it would not start again");
            return Ok(());
        }
        let systemd = Systemd::connect(Deadline::after(RELOAD_LIMIT)).await?;
        let agent = systemd.unit_with_process(&expectation.agent_unit).await?;
        let docker = systemd.unit("docker.service").await?;
        let started = started(disk).map_err(StageError::Read)?;
        let late = started.map(|started| changes(&started.keys, &current(disk, &agent.name))).unwrap_or_default();
        // systemd does not see a new folder of drop-ins: it looks only at the folders that it found at its last reload.
        let is_unit_file = |key: &String| UNIT_FOLDERS.iter().any(|folder| key.starts_with(folder));
        let needs_reload = late.keys.iter().any(is_unit_file) || systemd.needs_reload(&agent.name).await?;
        log_not_applicable(&late);
        let keys = redaction::line(&late.keys.join(" "));
        let why = match action(&agent, &docker, !late.keys.is_empty() || needs_reload) {
            LateAction::Leave(why) => {
                tracing::info!(why, keys, "agent not started or restarted");
                return Ok(());
            }
            LateAction::LeaveIfRegistered if is_registered_in_time(disk, &expectation, &agent).await => {
                tracing::info!("user data changed nothing that the running agent must read again");
                return Ok(());
            }
            LateAction::LeaveIfRegistered => "it has not registered",
            LateAction::Restart(_) if late.changes_cluster && is_registered(disk, &expectation) => {
                tracing::warn!(
                    "agent not restarted, because user data named another cluster after the agent had registered; to move \
                     the instance, run `ecs-bootstrap reset-agent --yes`"
                );
                return Ok(());
            }
            LateAction::Restart(why) => why,
        };
        tracing::info!(why, keys, "restarting the agent after user data");
        if needs_reload {
            systemd.reload().await?;
        }
        restart(disk, systemd, &agent.name).await
    }
}

fn log_not_applicable(late: &LateChanges) {
    if let Some(key) = late.only_at_first_registration {
        tracing::warn!(
            key,
            "changed by user data after the agent registered; ECS takes it only at the first registration: set it in tags or \
             settings, or run `ecs-bootstrap reset-agent --yes`"
        );
    }
}

/// Whether this instance has registered, by the verdict of this boot or by what the agent saved.
fn is_registered(disk: &Disk, expectation: &Expectation) -> bool {
    let is_ready = report::stored_or_log(disk).is_some_and(|stored| stored.verdict == VerdictState::Ready);
    is_ready
        || saved_agent(disk).and_then(|saved| saved.state.get().cloned().flatten()).is_some_and(|saved| {
            saved.container_instance_arn.is_some() && saved.ec2_instance_id == expectation.instance_id
        })
}

/// Waits until the agent has had [`REGISTRATION_LIMIT`] to register. An agent in a warm pool may wait for its pool.
async fn is_registered_in_time(disk: &Disk, expectation: &Expectation, agent: &UnitState) -> bool {
    if expectation.enters_warm_pool == Some(true) {
        return true;
    }
    let age = time_of(agent.exec_main_start_usec).and_then(|began| SystemTime::now().duration_since(began).ok());
    let left = REGISTRATION_LIMIT.saturating_sub(age.unwrap_or_default());
    let registered = until(Deadline::after(left), REGISTRATION_POLICY, async |_| {
        if is_registered(disk, expectation) { AttemptResult::Done(()) } else { AttemptResult::Retry(()) }
    });
    registered.await.is_ok()
}

/// Restarts the agent, and verifies its registration again, because a changed key may prevent it.
async fn restart(disk: &Disk, systemd: Systemd, agent: &str) -> Result<(), StageError> {
    if let Err(error) = systemd.reset_failed(agent).await {
        tracing::debug!(error = error_chain(&error), "start counter of the agent's unit not reset");
    }
    match systemd.restart(agent).await?.ended(Deadline::after(RESTART_LIMIT)).await {
        Ok(JobResult::Done) => {}
        Ok(result) => tracing::warn!(?result, "the agent was not restarted; `systemctl status` of its unit says why"),
        Err(error @ SystemdError::Pending { .. }) => tracing::warn!(error = error_chain(&error), "restart continues"),
        Err(error) => return Err(error.into()),
    }
    let systemd = Ok(systemd);
    Jobs::of(disk, systemd.as_ref())?.queue("start", VERIFY_UNIT).await?;
    Ok(())
}
