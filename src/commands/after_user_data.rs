//! `guard --after-user-data`: with early start, applies what user data wrote to `ecs.config` after the start of the agent.
//!
//! At each start of the agent guard records which configuration the agent reads, as hashes. When user data has ended,
//! `ecs-bootstrap-after-user-data.service` calls this command once. It applies the plan again, compares, and restarts the
//! agent if it runs with another configuration. An agent that does not run is left alone: guard runs at its next start.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::handover::VERIFY_UNIT;
use super::{BUS_TIMEOUT, CommandContext, handover};
use crate::boundary::disk::{Disk, DiskError, Mode};
use crate::boundary::systemd::control::Jobs;
use crate::boundary::systemd::{Systemd, SystemdError};
use crate::command_line::CommandOutput;
use crate::decide::late::{LateChanges, changes, hashes};
use crate::evidence::StageError;
use crate::exit::Exit;
use crate::host::{MAX_FILE_LENGTH, agent_config, read_or_log};
use crate::plan::AGENT_JSON;
use crate::redaction::{self, error_chain};
use crate::retry::Deadline;

/// What the agent read at its last start.
const STARTED: &str = "/run/ecs-bootstrap/agent-config.json";
/// Time limit for the restart. The stop of a unit takes 90 s at most (systemd-system.conf(5), DefaultTimeoutStopSec=).
const RESTART_LIMIT: Duration = Duration::from_secs(120);

/// The configuration that the agent read at its last start.
#[derive(Serialize, Deserialize)]
struct Started {
    version: u32,
    /// The hash of the value of each key.
    keys: BTreeMap<String, String>,
}

/// The configuration that the agent reads now.
fn current(disk: &Disk) -> BTreeMap<String, String> {
    let mut config = agent_config(disk);
    if let Some(json) = read_or_log(disk, AGENT_JSON) {
        config.insert(AGENT_JSON.to_owned(), String::from_utf8_lossy(&json).into_owned());
    }
    hashes(&config)
}

/// Records what the agent reads at this start. An error is logged: then the agent is not restarted after user data.
pub(super) fn record_start(disk: &Disk) {
    let started = Started { version: 1, keys: current(disk) };
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
        self.set_deadline_after(BUS_TIMEOUT + RESTART_LIMIT);
        match self.apply_late_changes().await {
            Ok(()) => CommandOutput::success(""),
            Err(error) => {
                let text = format!("what user data wrote to ecs.config is not applied: {}", error_chain(&error));
                CommandOutput::error(Exit::Systemd, &redaction::line(&text))
            }
        }
    }

    async fn apply_late_changes(&self) -> Result<(), StageError> {
        let disk = &self.host_clients.disk;
        let Some(started) = started(disk).map_err(StageError::Read)? else {
            tracing::info!("the agent has not started; guard applies the plan at its start");
            return Ok(());
        };
        if let Err((error, _)) = self.apply_again_and_judge().await {
            // The agent keeps its cluster while it runs, and guard refuses its next start.
            tracing::warn!(error = error_chain(&error), "agent not restarted, because it would not start again");
            return Ok(());
        }
        let LateChanges { keys, only_at_first_registration } = changes(&started.keys, &current(disk));
        if let Some(key) = only_at_first_registration {
            tracing::warn!(
                key,
                "changed by user data after the agent registered; ECS takes it only at the first registration: set it in \
                 tags or settings, or run `ecs-bootstrap reset-agent --yes`"
            );
        }
        if keys.is_empty() {
            tracing::info!("user data changed nothing that the running agent must read again");
            return Ok(());
        }
        let keys = redaction::line(&keys.join(" "));
        let systemd = Systemd::connect(Deadline::after(BUS_TIMEOUT)).await?;
        let Some(handover) = handover::read_or_log(disk) else { return Ok(()) };
        let agent = handover.expectation.agent_unit;
        let state = systemd.unit(&agent).await?.active_state;
        if !matches!(state.as_deref(), Some("active" | "activating" | "reloading")) {
            tracing::info!(keys, "the agent does not run; it reads the changed keys at its next start");
            return Ok(());
        }
        tracing::info!(keys, "restarting the agent, because user data changed its configuration after its start");
        restart(disk, systemd, &agent).await
    }
}

/// Restarts the agent, and verifies its registration again, because a changed key may prevent it.
async fn restart(disk: &Disk, systemd: Systemd, agent: &str) -> Result<(), StageError> {
    match systemd.restart(agent).await?.ended(Deadline::after(RESTART_LIMIT)).await {
        Ok(result) => tracing::debug!(?result, "restart ended"),
        Err(error @ SystemdError::Pending { .. }) => tracing::warn!(error = error_chain(&error), "restart continues"),
        Err(error) => return Err(error.into()),
    }
    let systemd = Ok(systemd);
    Jobs::of(disk, systemd.as_ref())?.queue("start", VERIFY_UNIT).await?;
    Ok(())
}
