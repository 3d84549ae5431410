//! `guard`: before each start of the agent, applies the plan of this boot again to `ecs.config` as it is now, and
//! refuses the start if the agent would join no cluster.
//!
//! It uses no network and no bus. It ignores its environment, which holds the variables of `ecs.config`. It refuses
//! only if nothing names a cluster, so that the agent would join `default`. Every other error (a plan, a lock or a file
//! that cannot be used) is logged, and the agent starts: a broken bootstrap must never break a working instance.

use std::time::Duration;

use super::after_user_data::record_start;
use super::handover::{self, VERIFY_UNIT};
use super::{CommandContext, LOCK_FILE, MAX_WRITE_ATTEMPTS};
use crate::apply::write_config;
use crate::boundary::disk::{Disk, DiskError, Lock};
use crate::boundary::systemd::control::Control;
use crate::causes::{Cause, Layer, find};
use crate::command_line::CommandOutput;
use crate::decide::guard::{Guarded, guard};
use crate::ecs_config::{agent_cluster, effective, may_join_other, read};
use crate::evidence::StageError;
use crate::exit::Exit;
use crate::facts::Fact;
use crate::host::{MAX_FILE_LENGTH, device, user_data_runs, written};
use crate::ownership::is_own_cluster;
use crate::plan::{AGENT_JSON, ECS_CONFIG, Recorded, Refusal, VENDOR_ECS_CONFIG};
use crate::redaction::{self, error_chain};
use crate::render::{VerdictDocument, document, verdict_text, verdict_text_within};
use crate::retry::{AttemptResult, Deadline, Policy, until};
use crate::verdict::Verdict;
use crate::{report, verify};

/// Where cloud-init writes the id of this instance (cloud-init, "Instance metadata").
const CLOUD_INSTANCE_ID: &str = "/var/lib/cloud/data/instance-id";
/// Time limit for the lock. A run that holds it for longer is waiting and has not queued the agent yet.
const LOCK_WAIT: Duration = Duration::from_secs(2);
/// Time limit for a GPU device. ecs-init itself waits for 30 s, but only if the image's own file asks for GPUs
/// (`ecs-init/gpu`). The drop-in calls guard twice, and the start of the agent's unit may take 90 s in total.
const GPU_WAIT: Duration = Duration::from_secs(20);
const GPU_POLICY: Policy = Policy { first: Duration::from_millis(100), longest: Duration::from_secs(1) };
/// The exit code of every refusal, whatever its cause: the drop-in stops the agent for this code only.
const REFUSED: Exit = Exit::Cluster;

/// The files from which the agent reads its cluster.
pub(super) struct AgentFiles {
    ecs_config: Vec<u8>,
    vendor_ecs_config: Vec<u8>,
    agent_json: Vec<u8>,
    /// Whether `ecs_config` was read, or is absent.
    has_read_ecs_config: bool,
    /// The files that were not read. They may name a cluster.
    errors: Vec<DiskError>,
    /// The agent's unit, if it is that of early start.
    early_unit: Option<String>,
}

impl AgentFiles {
    fn read(disk: &Disk) -> AgentFiles {
        let mut errors = Vec::new();
        let mut read = |path| match disk.read(path, MAX_FILE_LENGTH) {
            Ok(bytes) => Some(bytes.unwrap_or_default()),
            Err(error) => {
                errors.push(error);
                None
            }
        };
        let (ecs_config, vendor_ecs_config, agent_json) = (read(ECS_CONFIG), read(VENDOR_ECS_CONFIG), read(AGENT_JSON));
        let has_read_ecs_config = ecs_config.is_some();
        AgentFiles {
            ecs_config: ecs_config.unwrap_or_default(),
            vendor_ecs_config: vendor_ecs_config.unwrap_or_default(),
            agent_json: agent_json.unwrap_or_default(),
            has_read_ecs_config,
            errors,
            early_unit: None,
        }
    }

    /// The cluster that the agent would join.
    fn cluster(&self) -> Option<String> {
        agent_cluster(&self.ecs_config, &self.vendor_ecs_config, &self.agent_json)
    }
}

impl CommandContext {
    /// `guard`: exit code 0 lets the agent start.
    pub async fn guard(self) -> CommandOutput {
        self.set_deadline_after(LOCK_WAIT + GPU_WAIT);
        match self.apply_again_and_judge().await {
            Ok(files) => {
                wait_for_gpu(&self.host_clients.disk, &files).await;
                if let Some(unit) = &files.early_unit {
                    record_start(&self.host_clients.disk, unit);
                }
                CommandOutput::success("")
            }
            Err((error, files)) => self.refuse(error, &files),
        }
    }

    /// `guard --rewrite`: applies the plan before the agent's own preparations, which read the file too. It refuses
    /// nothing.
    pub async fn rewrite(self) -> CommandOutput {
        self.set_deadline_after(LOCK_WAIT + GPU_WAIT);
        let (stderr, files) = match self.apply_again_and_judge().await {
            Ok(files) => (String::new(), files),
            Err((error, files)) => (format!("{}\n", error_chain(&error)), files),
        };
        wait_for_gpu(&self.host_clients.disk, &files).await;
        CommandOutput { stdout: String::new(), stderr, exit: Exit::Done }
    }

    /// Applies the plan again. Returns the files that the agent will read, and an error if it must not start.
    pub(super) async fn apply_again_and_judge(&self) -> Result<AgentFiles, (StageError, AgentFiles)> {
        let disk = &self.host_clients.disk;
        // Without the lock a run may be writing, so the file is judged and not changed.
        let lock = self.lock(Deadline::after(LOCK_WAIT), LOCK_WAIT).await;
        let lock = lock.inspect_err(|error| tracing::debug!(error = error_chain(error), "no lock")).ok();
        let handover = handover::read_or_log(disk);
        let early_unit = handover.as_ref().filter(|handover| handover.early);
        let early_unit = early_unit.map(|handover| handover.expectation.agent_unit.clone());
        let recorded = handover.map(|handover| handover.recorded);
        let mut files = AgentFiles::read(disk);
        for error in &files.errors {
            tracing::warn!(
                error = error_chain(error),
                "file of the agent not read; the agent may start, because the file may name a cluster"
            );
        }
        let applied = match &recorded {
            Some(recorded) => apply_again(disk, lock.as_ref(), recorded, &mut files),
            None => Ok(()),
        };
        if let Err(error) = &applied {
            tracing::warn!(error = error_chain(error), "plan not applied to ecs.config; the file is used as it is");
        }
        if recorded.is_none() && is_from_another_instance(disk, &files) {
            // Only a warning, because a file that names a cluster starts the agent.
            tracing::warn!(
                "the cluster in ecs.config was written on the instance from which this image was made; run \
                 `ecs-bootstrap prepare-image --yes` before the next snapshot"
            );
        }
        files.early_unit = early_unit;
        if let Some(cluster) = files.cluster() {
            let planned = recorded.is_some();
            tracing::info!(cluster = redaction::cluster(&cluster), planned, "agent start allowed");
            self.withdraw_refusal(&cluster, planned, &files).await;
            return Ok(files);
        }
        if !files.errors.is_empty() {
            return Ok(files);
        }
        if may_join_other(&files.ecs_config, &files.vendor_ecs_config, &files.agent_json) {
            tracing::warn!("agent start allowed, because the agent may read a cluster from its JSON file");
            return Ok(files);
        }
        let no_cluster = || Refusal::NoCluster { evidence_lines: evidence_lines(recorded.is_some()) }.into();
        Err((applied.err().unwrap_or_else(no_cluster), files))
    }

    /// Replaces a stored verdict that no cluster is named, now that one is named, and starts the verify unit again,
    /// which ended with that verdict.
    async fn withdraw_refusal(&self, cluster: &str, planned: bool, files: &AgentFiles) {
        let disk = &self.host_clients.disk;
        // Without a plan, a line that ecs-bootstrap wrote is from an earlier boot.
        let is_own_line = !planned && is_own_cluster(&files.ecs_config, &written(disk));
        // Either no cluster is named, or a cause in an earlier layer explains why: a line of a file, user data, cloud-init.
        let is_missing_cluster = |cause: &'static Cause| cause.exit == Exit::Cluster && cause.layer <= Layer::CloudInit;
        let cause = report::stored_or_log(disk).and_then(|document| document.cause);
        if is_own_line || !cause.and_then(|cause| find(&cause.id)).is_some_and(is_missing_cluster) {
            return;
        }
        let shown = redaction::cluster(cluster);
        let text =
            format!("cluster `{shown}` is named now, so the agent may start; {VERIFY_UNIT} verifies the registration");
        let verdict = Verdict::Waiting { text, finding: None, container_instance_arn: None };
        self.report_locally(&document(&verdict, Some(cluster), &[]), false);
        if let Some(control) = Control::new(disk)
            && let Err(error) = control.queue("start", VERIFY_UNIT).await
        {
            tracing::warn!(
                error = error_chain(&error),
                "registration not verified: start of the verify unit not queued"
            );
        }
    }

    /// Reports why the agent is not started. If an earlier run failed for another cause, that verdict stays stored, and
    /// both are printed.
    fn refuse(&self, error: StageError, files: &AgentFiles) -> CommandOutput {
        let disk = &self.host_clients.disk;
        let is_undecided = matches!(error, StageError::Refused(Refusal::NoCluster { .. }));
        let refusal = document(&verify::verdict_of_error(error), files.cluster().as_deref(), &[]);
        let id = |document: &VerdictDocument| document.cause.as_ref().map(|cause| cause.id.clone());
        let is_other_failure = |earlier: &VerdictDocument| earlier.exit_code != 0 && id(earlier) != id(&refusal);
        if let Some(earlier) = report::stored_or_log(disk).filter(is_other_failure) {
            let lines = refusal.cause.as_ref().map_or(0, |cause| cause.evidence.len());
            let earlier = verdict_text_within(&earlier, redaction::MAX_LINES.saturating_sub(lines));
            let stderr = format!("{}verdict of the last run:\n{earlier}", verdict_text(&refusal));
            return CommandOutput { stdout: String::new(), stderr, exit: REFUSED };
        }
        // User data may still name a cluster: systemd starts the agent again, and verify reports if user data names
        // none.
        let may_still_be_named = is_undecided && user_data_runs(disk).get() == Some(&true);
        if !may_still_be_named {
            self.report_locally(&refusal, false);
        }
        CommandOutput { stdout: String::new(), stderr: verdict_text(&refusal), exit: REFUSED }
    }
}

/// Whether the cluster is a line that ecs-bootstrap wrote on the instance from which this image was made, by the
/// instance id of cloud-init.
fn is_from_another_instance(disk: &Disk, files: &AgentFiles) -> bool {
    let written = written(disk);
    let instance_id = disk.read(CLOUD_INSTANCE_ID, MAX_FILE_LENGTH).unwrap_or_else(|error| {
        tracing::debug!(error = error_chain(&error), "instance id of cloud-init not read");
        None
    });
    let instance_id = instance_id.map(|id| String::from_utf8_lossy(&id).trim().to_owned());
    let instance_id = instance_id.filter(|id| id.starts_with("i-"));
    is_own_cluster(&files.ecs_config, &written) && instance_id.is_some_and(|id| id != written.instance_id)
}

/// Restores the planned keys that user data has changed. Afterwards `files` holds what the agent will read.
fn apply_again(
    disk: &Disk,
    lock: Option<&Lock>,
    recorded: &Recorded,
    files: &mut AgentFiles,
) -> Result<(), StageError> {
    for _ in 0..MAX_WRITE_ATTEMPTS {
        match apply_once(disk, lock, recorded, files) {
            Err(StageError::Write(DiskError::Changed { .. })) => *files = AgentFiles::read(disk),
            result => return result,
        }
    }
    Err(StageError::Write(DiskError::Changed { path: ECS_CONFIG.to_owned() }))
}

fn apply_once(disk: &Disk, lock: Option<&Lock>, recorded: &Recorded, files: &mut AgentFiles) -> Result<(), StageError> {
    // Content that was not read must not be replaced.
    if !files.has_read_ecs_config {
        return Ok(());
    }
    let Guarded { config, overruled, lost } = guard(recorded, &files.ecs_config);
    if !lost.is_empty() {
        let (count, keys) = (lost.len(), redaction::line(&lost.join(" ")));
        tracing::warn!(
            count,
            keys,
            "values are missing in ecs.config, and the plan does not store them; run `ecs-bootstrap` again"
        );
    }
    let wanted = config.map_err(|refusal| StageError::Refused(Refusal::Edit(refusal)))?;
    if wanted == files.ecs_config {
        return Ok(());
    }
    // A broken plan must not remove the cluster from a file that names one.
    if files.cluster().is_some() && agent_cluster(&wanted, &files.vendor_ecs_config, &files.agent_json).is_none() {
        tracing::warn!("plan not applied, because ecs.config would no longer name a cluster");
        return Ok(());
    }
    if lock.is_none() {
        return Err(StageError::Write(DiskError::Busy { path: LOCK_FILE.to_owned() }));
    }
    // The agent follows a symbolic link, ecs-bootstrap does not: this is the error that names the link.
    disk.read_regular(ECS_CONFIG, MAX_FILE_LENGTH).map_err(StageError::Read)?;
    write_config(disk, &files.ecs_config, &wanted)?;
    if !overruled.is_empty() {
        let keys: Vec<String> = overruled.iter().map(|(key, source)| format!("{key} ({source})")).collect();
        let (count, keys) = (keys.len(), redaction::line(&keys.join(", ")));
        tracing::warn!(count, keys, "planned values written again, because ecs.config has other values");
    }
    tracing::info!("planned keys restored in ecs.config, which was changed after the plan was made");
    files.ecs_config = wanted;
    Ok(())
}

fn evidence_lines(has_plan: bool) -> Vec<String> {
    let files = format!("neither {ECS_CONFIG} nor {VENDOR_ECS_CONFIG} names a cluster");
    let plan = if has_plan {
        "the run of this boot found no cluster, and user data has not written one since then"
    } else {
        "no run of this boot left a plan, and guard reads no settings; run `ecs-bootstrap`, or enable \
         `ecs-bootstrap.service`"
    };
    vec![files, plan.to_owned()]
}

/// Waits for the NVIDIA device if `ecs.config` asks for GPUs: a driver may make it late, and ecs-init waits only if the
/// image's own file asks for GPUs.
async fn wait_for_gpu(disk: &Disk, files: &AgentFiles) {
    let lines = read(&files.ecs_config);
    if effective(&lines).get("ECS_ENABLE_GPU_SUPPORT").is_none_or(|line| line.value.trim() != "true") {
        return;
    }
    let waited = until(Deadline::after(GPU_WAIT), GPU_POLICY, async |_| match device(disk, "nvidia") {
        Fact::Known(false) => AttemptResult::Retry(()),
        Fact::Known(true) | Fact::Unknown(_) => AttemptResult::Done(()),
    });
    if waited.await.is_err() {
        let seconds = GPU_WAIT.as_secs();
        tracing::warn!(seconds, "no NVIDIA device appeared; the agent registers without GPUs");
    }
}
