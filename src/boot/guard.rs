//! `guard`: before every start of the agent, the recorded plan is applied once more to `ecs.config` as it now is, and an
//! agent that would join no cluster is not started.
//!
//! It asks nobody: no network, no bus. Without a recorded plan, or where the file cannot be written, an agent whose file
//! names a cluster starts all the same: a broken bootstrap never breaks a working instance.

use std::time::Duration;

use super::{Boot, Report, handover};
use crate::apply::write_config;
use crate::boundary::disk::{Disk, Lock};
use crate::causes::{chain, diagnose};
use crate::decide::guard::{Guarded, guard, joined_cluster};
use crate::ecs_config::{effective, read};
use crate::evidence::{Evidence, Stop};
use crate::exit::Exit;
use crate::facts::Known;
use crate::host::{LONGEST_FILE, device};
use crate::plan::{ECS_CONFIG, Recorded, Refusal, VENDOR_ECS_CONFIG};
use crate::report::{Document, document, verdict_text};
use crate::retry::{Deadline, Policy, Step, until};
use crate::verdict::Verdict;
use crate::{tell, verify};

/// The agent's own configuration file (`agent/config/config.go`).
const AGENT_JSON: &str = "/etc/ecs/ecs.config.json";
/// A run that holds the lock for longer waits for something; its jobs come after it.
const LOCK: Duration = Duration::from_secs(2);
/// As long as ecs-init waits where the image, and not we, asks for GPUs (`ecs-init/gpu`: 10 times 3 s).
const DEVICE: Duration = Duration::from_secs(30);
const DEVICE_POLICY: Policy = Policy { first: Duration::from_millis(100), longest: Duration::from_secs(1) };

/// The cause that guard's own refusal has.
const NO_CLUSTER: &str = "no-cluster-named";

/// What the agent will read.
struct Files {
    etc: Vec<u8>,
    var: Vec<u8>,
    json: Vec<u8>,
}

impl Files {
    fn read(disk: &Disk) -> Files {
        let read = |path| disk.read(path, LONGEST_FILE).ok().flatten().unwrap_or_default();
        Files { etc: read(ECS_CONFIG), var: read(VENDOR_ECS_CONFIG), json: read(AGENT_JSON) }
    }

    fn cluster(&self) -> Option<String> {
        joined_cluster(&self.etc, &self.var, &self.json)
    }
}

impl Boot {
    /// `guard`: exit code 0 lets the agent start.
    pub async fn guard(self) -> Report {
        let disk = &self.world.disk;
        let recorded = match handover::read(disk) {
            Ok(handover) => handover.map(|handover| handover.recorded),
            Err(error) => {
                tracing::warn!(error = chain(&error), "the plan cannot be read, so the file counts as it is");
                None
            }
        };
        let mut files = Files::read(disk);
        if let Some(recorded) = &recorded {
            // Without the lock a run may be writing: then the file is only judged.
            let lock = self.lock(Deadline::after(LOCK), LOCK).await.ok();
            files = Files::read(disk);
            if let Err(stop) = apply_again(disk, lock.as_ref(), recorded, &mut files) {
                return self.refuse(stop, &files);
            }
        }
        let Some(cluster) = files.cluster() else {
            let stop = Refusal::NoCluster { looked: looked(recorded.is_some()) };
            return self.refuse(stop.into(), &files);
        };
        tracing::info!(cluster, planned = recorded.is_some(), "the agent may start");
        self.take_back_refusal(&cluster);
        wait_for_gpu(disk, &files).await;
        Report { stdout: String::new(), stderr: String::new(), exit: Exit::Done }
    }

    /// A verdict that nothing names a cluster is no longer true, and verify may have ended with it.
    fn take_back_refusal(&self, cluster: &str) {
        let stored = tell::stored(&self.world.disk).ok().flatten().and_then(|document| document.cause);
        if stored.is_none_or(|cause| cause.id != NO_CLUSTER) {
            return;
        }
        let text =
            format!("`{cluster}` was named since, and the agent may start; `ecs-bootstrap verify` sees to the rest");
        let verdict = Verdict::Waiting { text, finding: None };
        self.tell(&document(&verdict, Some(cluster), &[]), false);
    }

    /// Tells why the agent is not started: the verdict of a run that failed before, or that nothing names a cluster.
    fn refuse(&self, stop: Stop, files: &Files) -> Report {
        let before = tell::stored(&self.world.disk).ok().flatten().filter(|document| document.exit_code != 0);
        let evidence = Evidence::of_stop(stop);
        let verdict = verify::failed(&evidence, diagnose(&evidence));
        let own = document(&verdict, files.cluster().as_deref(), &[]);
        let stands =
            |before: &Document| before.cause.as_ref().map(|cause| &cause.id) != own.cause.as_ref().map(|c| &c.id);
        if let Some(before) = before.filter(stands) {
            let stderr = format!("{}the run before it:\n{}", verdict_text(&own), verdict_text(&before));
            return Report { stdout: String::new(), stderr, exit: verdict.exit() };
        }
        self.tell(&own, false);
        Report { stdout: String::new(), stderr: verdict_text(&own), exit: verdict.exit() }
    }
}

/// Writes what user data has changed since; `files` is what the agent reads then. An error means that the agent would
/// join another cluster than the planned one.
fn apply_again(disk: &Disk, lock: Option<&Lock>, recorded: &Recorded, files: &mut Files) -> Result<(), Stop> {
    let Guarded { config, overruled, lost } = guard(recorded, &files.etc);
    for key in lost {
        tracing::warn!(key, "ecs.config has lost a secret of the plan; run ecs-bootstrap again to write it");
    }
    let wanted = config.map_err(|refusal| Stop::Refused(Refusal::Edit(refusal)));
    if wanted.as_ref().is_ok_and(|wanted| *wanted == files.etc) {
        return Ok(());
    }
    let written = wanted.and_then(|wanted| {
        if lock.is_none() {
            return Err(Stop::Late { doing: super::WAITING_FOR_ANOTHER, deadline: LOCK });
        }
        // A link is followed by whoever reads, and never by us: then this is the refusal that tells.
        disk.read_regular(ECS_CONFIG, LONGEST_FILE).map_err(Stop::Read)?;
        write_config(disk, &wanted)?;
        Ok(wanted)
    });
    match written {
        Ok(text) => {
            for (key, source) in overruled {
                tracing::warn!(
                    key,
                    source,
                    "ecs.config was changed since the plan; what the plan says was written again"
                );
            }
            tracing::info!("ecs.config was changed since the plan, and has its keys again");
            files.etc = text;
            Ok(())
        }
        Err(stop) if joins_as_planned(recorded, files) => {
            tracing::warn!(error = chain(&stop), "ecs.config is not as planned, but names the planned cluster");
            Ok(())
        }
        Err(stop) => Err(stop),
    }
}

/// Whether the file as it is leads into the planned cluster; where the plan names none, whether into any.
fn joins_as_planned(recorded: &Recorded, files: &Files) -> bool {
    let planned = recorded.keys.iter().find(|planned| planned.key == "ECS_CLUSTER");
    let planned = planned.and_then(|planned| planned.value.as_deref());
    files.cluster().is_some_and(|cluster| planned.is_none_or(|planned| planned == cluster))
}

fn looked(has_plan: bool) -> Vec<String> {
    let plan = match has_plan {
        true => "the run of this boot found no cluster, and user data has not written one since",
        false => "no run of ecs-bootstrap has left a plan in this boot",
    };
    vec![format!("neither {ECS_CONFIG} nor {VENDOR_ECS_CONFIG} names a cluster"), plan.to_owned()]
}

/// A driver may make its device after we have looked. ecs-init waits for it only where the image's own file asks.
async fn wait_for_gpu(disk: &Disk, files: &Files) {
    let lines = read(&files.etc);
    if effective(&lines).get("ECS_ENABLE_GPU_SUPPORT").is_none_or(|line| line.value.trim() != "true") {
        return;
    }
    let waited = until(Deadline::after(DEVICE), DEVICE_POLICY, async |_| match device(disk, "nvidia") {
        Known::Yes(false) => Step::Again(()),
        Known::Yes(true) | Known::Unknown(_) => Step::Done(()),
    });
    if waited.await.is_err() {
        let seconds = DEVICE.as_secs();
        tracing::warn!(seconds, "no NVIDIA device appeared, so the agent registers without GPUs");
    }
}
