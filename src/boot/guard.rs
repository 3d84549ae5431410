//! `guard`: before every start of the agent, the recorded plan is applied once more to `ecs.config` as it now is, and an
//! agent that would join no cluster is not started.
//!
//! It uses no network and no bus, and none of the variables of its environment, which are those of `ecs.config`. It refuses
//! only where nothing names a cluster, or only `default` is left because nothing does. Every other fault (a plan, a lock or a
//! file that cannot be used) is logged and the agent starts: a broken bootstrap never breaks a working instance.

use std::time::Duration;

use super::Boot;
use super::handover::{self, VERIFY_UNIT};
use crate::apply::write_config;
use crate::boundary::disk::{Disk, DiskError, Lock};
use crate::boundary::systemd::control::Control;
use crate::causes::{Cause, Layer, find};
use crate::command_line::CommandOutput;
use crate::decide::guard::{Guarded, guard};
use crate::ecs_config::{effective, joined, may_join_other, read};
use crate::evidence::StageError;
use crate::exit::Exit;
use crate::facts::Known;
use crate::host::{LONGEST_FILE, device, user_data_runs, written};
use crate::ownership::is_own_cluster;
use crate::plan::{AGENT_JSON, ECS_CONFIG, Recorded, Refusal, VENDOR_ECS_CONFIG};
use crate::redaction::{self, error_chain};
use crate::render::{Document, document, verdict_text, verdict_text_within};
use crate::retry::{Deadline, Policy, Step, until};
use crate::verdict::Verdict;
use crate::{report, verify};

/// Where cloud-init writes which instance this is (cloud-init, "Instance metadata").
const CLOUD_INSTANCE_ID: &str = "/var/lib/cloud/data/instance-id";
/// A run that holds the lock for longer waits for something; its jobs come after it.
const LOCK: Duration = Duration::from_secs(2);
/// ecs-init waits for 30 s where the image, and not we, asks for GPUs (`ecs-init/gpu`). The drop-in calls twice, and the
/// start of the agent's unit may take 90 s in all.
const DEVICE: Duration = Duration::from_secs(20);
const DEVICE_POLICY: Policy = Policy { first: Duration::from_millis(100), longest: Duration::from_secs(1) };

/// How a refusal ends, whatever its cause: the drop-in stops the agent for this code only, and tolerates all others.
const REFUSED: Exit = Exit::Cluster;

/// What the agent will read.
struct Files {
    etc: Vec<u8>,
    var: Vec<u8>,
    json: Vec<u8>,
    /// Whether the first could be read, or is absent.
    has_etc: bool,
    /// Those that cannot be read, which may name a cluster all the same.
    unread: Vec<DiskError>,
}

impl Files {
    fn read(disk: &Disk) -> Files {
        let mut unread = Vec::new();
        let mut read = |path| match disk.read(path, LONGEST_FILE) {
            Ok(bytes) => Some(bytes.unwrap_or_default()),
            Err(error) => {
                unread.push(error);
                None
            }
        };
        let (etc, var, json) = (read(ECS_CONFIG), read(VENDOR_ECS_CONFIG), read(AGENT_JSON));
        let has_etc = etc.is_some();
        Files {
            etc: etc.unwrap_or_default(),
            var: var.unwrap_or_default(),
            json: json.unwrap_or_default(),
            has_etc,
            unread,
        }
    }

    fn cluster(&self) -> Option<String> {
        joined(&self.etc, &self.var, &self.json)
    }
}

impl Boot {
    /// `guard`: exit code 0 lets the agent start.
    pub async fn guard(self) -> CommandOutput {
        self.may_take(LOCK + DEVICE);
        match self.guarded().await {
            Ok(files) => {
                wait_for_gpu(&self.world.disk, &files).await;
                CommandOutput { stdout: String::new(), stderr: String::new(), exit: Exit::Done }
            }
            Err((stop, files)) => self.refuse(stop, &files),
        }
    }

    /// `guard --rewrite`: the same before the agent's own preparations, which read the file too. It refuses nothing.
    pub async fn rewrite(self) -> CommandOutput {
        self.may_take(LOCK + DEVICE);
        let (text, files) = match self.guarded().await {
            Ok(files) => (String::new(), files),
            Err((stop, files)) => (format!("{}\n", error_chain(&stop)), files),
        };
        wait_for_gpu(&self.world.disk, &files).await;
        CommandOutput { stdout: String::new(), stderr: text, exit: Exit::Done }
    }

    /// What the agent will read, with the plan applied once more; or why it must not start.
    async fn guarded(&self) -> Result<Files, (StageError, Files)> {
        let disk = &self.world.disk;
        // Without the lock a run may be writing: then the file is only judged.
        let lock = self.lock(Deadline::after(LOCK), LOCK).await.ok();
        let recorded = match handover::read(disk) {
            Ok(handover) => handover.map(|handover| handover.recorded),
            Err(error) => {
                tracing::warn!(error = error_chain(&error), "the plan cannot be read, so the file counts as it is");
                None
            }
        };
        let mut files = Files::read(disk);
        for error in &files.unread {
            tracing::warn!(
                error = error_chain(error),
                "a file of the agent cannot be read, so the agent may start: the file may name a cluster"
            );
        }
        let mut failed = None;
        if let Some(recorded) = &recorded
            && let Err(stop) = apply_again(disk, lock.as_ref(), recorded, &mut files)
        {
            tracing::warn!(error = error_chain(&stop), "ecs.config cannot be made as planned, so it counts as it is");
            failed = Some(stop);
        }
        if recorded.is_none() && is_of_another_instance(disk, &files) {
            // A file that names a cluster starts the agent: no fault of a run may stop it.
            tracing::warn!(
                "the cluster in ecs.config was written by the instance that this image was made of; run `ecs-bootstrap \
                 prepare-image --yes` before the next snapshot"
            );
        }
        match files.cluster() {
            Some(cluster) => {
                tracing::info!(
                    cluster = redaction::cluster(&cluster),
                    planned = recorded.is_some(),
                    "the agent may start"
                );
                self.take_back_refusal(&cluster, recorded.is_some(), &files).await;
                Ok(files)
            }
            None if !files.unread.is_empty() => Ok(files),
            None if may_join_other(&files.etc, &files.var, &files.json) => {
                tracing::warn!("the agent may find a cluster in its JSON file that is not found here, so it may start");
                Ok(files)
            }
            None => {
                let evidence_lines =
                    || Refusal::NoCluster { evidence_lines: evidence_lines(recorded.is_some()) }.into();
                Err((failed.unwrap_or_else(evidence_lines), files))
            }
        }
    }

    /// A verdict that nothing names a cluster is no longer true once somebody has named one; verify has ended with it.
    async fn take_back_refusal(&self, cluster: &str, planned: bool, files: &Files) {
        let disk = &self.world.disk;
        let stored = report::stored(disk).ok().flatten().and_then(|document| document.cause);
        let is_ours = !planned && is_own_cluster(&files.etc, &written(disk));
        // That nothing names a cluster, or why: a line of a file, user data, cloud-init.
        let is_missing = |cause: &'static Cause| cause.exit == Exit::Cluster && cause.layer <= Layer::CloudInit;
        if is_ours || !stored.and_then(|cause| find(&cause.id)).is_some_and(is_missing) {
            return;
        }
        let shown = redaction::cluster(cluster);
        let text = format!("`{shown}` was named since, and the agent may start; {VERIFY_UNIT} sees to the rest");
        let verdict = Verdict::Waiting { text, finding: None };
        self.tell(&document(&verdict, Some(cluster), &[]), false);
        if let Some(control) = Control::new(disk)
            && let Err(error) = control.queue("start", VERIFY_UNIT).await
        {
            tracing::warn!(error = error_chain(&error), "the registration is not verified");
        }
    }

    /// Tells why the agent is not started: the verdict of a run that failed before, or that nothing names a cluster.
    fn refuse(&self, stop: StageError, files: &Files) -> CommandOutput {
        let disk = &self.world.disk;
        let undecided = matches!(stop, StageError::Refused(Refusal::NoCluster { .. }));
        let before = report::stored(disk).ok().flatten().filter(|document| document.exit_code != 0);
        let verdict = verify::stopped(stop);
        let own = document(&verdict, files.cluster().as_deref(), &[]);
        let stands =
            |before: &Document| before.cause.as_ref().map(|cause| &cause.id) != own.cause.as_ref().map(|c| &c.id);
        if let Some(before) = before.filter(stands) {
            let shown = own.cause.as_ref().map_or(0, |cause| cause.evidence.len());
            let before = verdict_text_within(&before, redaction::MAX_LINES.saturating_sub(shown));
            let stderr = format!("{}the run before it:\n{before}", verdict_text(&own));
            return CommandOutput { stdout: String::new(), stderr, exit: REFUSED };
        }
        // Not an error yet: the agent's unit tries again, and verify tells what user data comes to.
        let may_still_come = undecided && user_data_runs(disk).get() == Some(&true);
        if !may_still_come {
            self.tell(&own, false);
        }
        CommandOutput { stdout: String::new(), stderr: verdict_text(&own), exit: REFUSED }
    }
}

/// Whether the only cluster is a line that we wrote on the instance that this one's image was made of, as far as
/// cloud-init can tell.
fn is_of_another_instance(disk: &Disk, files: &Files) -> bool {
    let written = written(disk);
    let here = disk.read(CLOUD_INSTANCE_ID, LONGEST_FILE).ok().flatten();
    let here = here.map(|id| String::from_utf8_lossy(&id).trim().to_owned()).filter(|id| id.starts_with("i-"));
    is_own_cluster(&files.etc, &written) && here.is_some_and(|here| here != written.instance_id)
}

/// Writes what user data has changed since; `files` is what the agent reads then.
fn apply_again(disk: &Disk, lock: Option<&Lock>, recorded: &Recorded, files: &mut Files) -> Result<(), StageError> {
    for _ in 0..super::MOST_ATTEMPTS {
        match apply_once(disk, lock, recorded, files) {
            Err(StageError::Write(DiskError::Changed { .. })) => *files = Files::read(disk),
            result => return result,
        }
    }
    Err(StageError::Write(DiskError::Changed { path: ECS_CONFIG.to_owned() }))
}

fn apply_once(disk: &Disk, lock: Option<&Lock>, recorded: &Recorded, files: &mut Files) -> Result<(), StageError> {
    // What was not read must not be replaced.
    if !files.has_etc {
        return Ok(());
    }
    let Guarded { config, overruled, lost } = guard(recorded, &files.etc);
    if !lost.is_empty() {
        let (count, keys) = (lost.len(), redaction::line(&lost.join(" ")));
        tracing::warn!(count, keys, "ecs.config has lost values that the plan does not store; run ecs-bootstrap again");
    }
    let wanted = config.map_err(|refusal| StageError::Refused(Refusal::Edit(refusal)))?;
    if wanted == files.etc {
        return Ok(());
    }
    // A broken plan must not take the cluster out of a file that names one.
    if files.cluster().is_some() && joined(&wanted, &files.var, &files.json).is_none() {
        tracing::warn!("the plan would leave ecs.config without a cluster, so it is not applied");
        return Ok(());
    }
    if lock.is_none() {
        return Err(StageError::Write(DiskError::Busy { path: super::LOCK.to_owned() }));
    }
    // A link is followed by whoever reads, and never by us: then this is the refusal that tells.
    disk.read_regular(ECS_CONFIG, LONGEST_FILE).map_err(StageError::Read)?;
    write_config(disk, &files.etc, &wanted)?;
    if !overruled.is_empty() {
        let keys: Vec<String> = overruled.iter().map(|(key, source)| format!("{key} ({source})")).collect();
        let (count, keys) = (keys.len(), redaction::line(&keys.join(", ")));
        tracing::warn!(count, keys, "ecs.config was changed since the plan; what the plan says was written again");
    }
    tracing::info!("ecs.config was changed since the plan, and has its keys again");
    files.etc = wanted;
    Ok(())
}

fn evidence_lines(has_plan: bool) -> Vec<String> {
    let plan = match has_plan {
        true => "the run of this boot found no cluster, and user data has not written one since",
        false => {
            "no run of ecs-bootstrap has left a plan in this boot, and guard reads no settings; run `ecs-bootstrap`, or enable \
             `ecs-bootstrap.service`"
        }
    };
    let files = format!("neither {ECS_CONFIG} nor {VENDOR_ECS_CONFIG} names a cluster");
    vec![files, plan.to_owned()]
}

/// A driver may make its device after we have looked. ecs-init waits for it only where the image's own file asks.
async fn wait_for_gpu(disk: &Disk, files: &Files) {
    let lines = read(&files.etc);
    if effective(&lines).get("ECS_ENABLE_GPU_SUPPORT").is_none_or(|line| line.value.trim() != "true") {
        return;
    }
    let waited = until(Deadline::after(DEVICE), DEVICE_POLICY, async |_| match device(disk, "nvidia") {
        Known::Yes(false) => Step::Retry(()),
        Known::Yes(true) | Known::Unknown(_) => Step::Done(()),
    });
    if waited.await.is_err() {
        let seconds = DEVICE.as_secs();
        tracing::warn!(seconds, "no NVIDIA device appeared, so the agent registers without GPUs");
    }
}
