//! `doctor`: runs every probe once and prints what it found, as text, as JSON and as a bundle for a support case.
//!
//! It writes nothing except the bundle, and takes no lock. Any user may run it: what only root can read is listed as
//! not visible.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join;
use serde_json::{Value, json};

use super::{CommandContext, handover, phases::Phases};
use crate::boundary::archive::{self, ArchiveError, ArchiveFile};
use crate::boundary::disk::{Disk, DiskError};
use crate::boundary::docker::DockerError;
use crate::boundary::systemd::Systemd;
use crate::causes::diagnose;
use crate::causes::examined::{Examined, Status, examined};
use crate::cli;
use crate::command_line::CommandOutput;
use crate::evidence::{Evidence, StageError};
use crate::exit::Exit;
use crate::host::{AGENT_LOG, INIT_LOG, MAX_FILE_LENGTH};
use crate::plan::{ECS_CONFIG, Plan, VENDOR_ECS_CONFIG};
use crate::redaction::{self, error_chain};
use crate::render::{
    VerdictDocument, VerdictState, as_json, config_text, considered_text, contents_text, doctor_json, doctor_text,
    document, file_text, log_text, os_release_text, plan_json,
};
use crate::retry::{Deadline, within};
use crate::settings::fragment::Fragment;
use crate::settings::{Warning, warning};
use crate::{report, verify};

/// Settings of `doctor`: it reports what is missing and does not wait for it.
const SHORT_DEADLINES: [(&str, &str); 3] = [("imds.deadline", "2s"), ("tags.wait", "0s"), ("run.deadline", "3s")];
/// Time limit for gather and decide.
const MAX_PLAN_TIME: Duration = Duration::from_secs(4);
/// Time limit for the plan and all probes after it.
const MAX_TIME: Duration = Duration::from_secs(12);
/// Size limit of `os-release` and of the kernel release in the bundle, in bytes.
const MAX_SHORT_FILE_LENGTH: usize = 4096;

struct Examination {
    plan: Option<Plan>,
    evidence: Evidence,
    /// What could not be read, and why.
    not_visible: Vec<String>,
}

impl CommandContext {
    /// `doctor`: prints the verdict of this moment and a row for each layer.
    pub async fn doctor(mut self, options: &cli::Doctor) -> CommandOutput {
        self.set_deadline_after(MAX_TIME);
        let examination = Box::pin(self.examine()).await;
        let Examination { evidence, not_visible, .. } = &examination;
        let diagnosis = diagnose(evidence);
        let rows = examined(evidence, &diagnosis);
        let stored = report::stored_or_log(&self.host_clients.disk);
        let is_verifying =
            stored.is_none_or(|stored| matches!(stored.verdict, VerdictState::Waiting | VerdictState::None));
        let verdict = verify::verdict_now(evidence, &diagnosis, is_verifying);
        let cluster = evidence.expectation.as_ref().and_then(|expected| expected.cluster.as_deref());
        let mut document = document(&verdict, cluster, &[]);
        document.exit_code = exit_code(&document, &rows);
        let exit = Exit::from_code(document.exit_code).unwrap_or(Exit::Internal);
        let mut text = doctor_text(&document, &rows, not_visible);
        if self.is_verbose {
            text.push_str(&considered_text(&diagnosis));
        }
        let json = doctor_json(&document, &rows, &diagnosis, not_visible);
        let mut stderr = String::new();
        if let Some(path) = options.bundle.as_deref() {
            match self.write_bundle(path, &examination, &text, &json) {
                Ok(names) => {
                    stderr = format!("wrote `{}`: {}\n", redaction::line(&path.to_string_lossy()), names.join(", "));
                }
                Err(error) => {
                    let stderr = format!("error: {}\n", error_chain(&error));
                    return CommandOutput { stdout: text, stderr, exit: Exit::Host };
                }
            }
        }
        CommandOutput { stdout: if self.json { as_json(&json) } else { text }, stderr, exit }
    }

    async fn examine(&mut self) -> Examination {
        let mut not_visible = Vec::new();
        if let Ok(given) = &mut self.given_settings {
            let short = SHORT_DEADLINES.map(|(key, value)| ("doctor".to_owned(), key.to_owned(), value.to_owned()));
            given.push(Fragment::from_command_line(&short).expect("the settings of doctor are valid"));
        }
        let mut phases = Phases::new(self.start);
        let planned = within(Deadline::after(MAX_PLAN_TIME), Box::pin(self.make_plan(&mut phases, true)));
        let (planned, systemd) = join(planned, Systemd::connect(Deadline::after(MAX_PLAN_TIME))).await;
        let (plan, error) = match planned {
            Ok(Ok((plan, mut gathered))) => (Some(plan), gathered.unread.take()),
            Ok(Err(error)) if is_denied(&error) => {
                not_visible.push(error_chain(&error));
                (None, None)
            }
            Ok(Err(error)) => (None, Some(error)),
            Err(_) => {
                not_visible.push(format!("the plan of a run: not known after {} s", MAX_PLAN_TIME.as_secs()));
                (None, None)
            }
        };
        let expectation = match handover::read(&self.host_clients.disk) {
            Ok(handover) => handover.map(|handover| handover.expectation),
            Err(error) => {
                not_visible.push(format!("the plan of the last run: {}", error_chain(&error)));
                None
            }
        };
        let expectation = expectation.or_else(|| plan.as_ref().map(|plan| plan.expectation.clone()));
        // Without a plan, for example because nothing names a cluster, instance metadata may still have the region.
        let region = self.expectation_without_plan.get().and_then(|expected| expected.region.as_deref());
        let agent_unit = self.agent_unit();
        let about = (agent_unit.as_str(), region);
        let examined = verify::examine(&self.host_clients, &systemd, expectation, about, error);
        let mut evidence = Box::pin(examined).await;
        let stored = report::stored_or_log(&self.host_clients.disk);
        let is_ready = stored.is_some_and(|stored| stored.verdict == VerdictState::Ready);
        let conditions = evidence.expectation.as_ref().and_then(|expected| expected.waits_for_attributes());
        evidence.is_ready_without = is_ready && conditions.is_some_and(|conditions| conditions.allows_after_deadline());
        let is_early_start = |warning: &&Warning| warning.id() == warning::EARLY_START.id;
        evidence.early_start = plan
            .as_ref()
            .and_then(|plan| plan.warnings.iter().find(is_early_start))
            .map(|warning| format!("[{}] {}", warning.id(), warning.text));
        not_visible.extend(denied_to_this_user(&evidence, &self.host_clients.disk));
        Examination { plan, evidence, not_visible }
    }

    /// Writes the bundle and returns the names of its files.
    fn write_bundle(
        &self,
        path: &Path,
        examination: &Examination,
        text: &str,
        json: &Value,
    ) -> Result<Vec<&'static str>, ArchiveError> {
        let files = self.bundle_files(examination, text, json);
        let names = files.iter().map(|(name, ..)| *name).collect();
        let entries = files.into_iter().map(|(name, _, text)| ArchiveFile {
            name: format!("ecs-bootstrap-doctor/{name}"),
            bytes: text.into_bytes(),
        });
        archive::write_new(path, &entries.collect::<Vec<_>>())?;
        Ok(names)
    }

    /// The files of the bundle: name, description and content.
    fn bundle_files(
        &self,
        examination: &Examination,
        text: &str,
        json: &Value,
    ) -> Vec<(&'static str, &'static str, String)> {
        let disk = &self.host_clients.disk;
        let read = |path, longest| disk.read(path, longest).map_err(|error| error_chain(&error));
        let config = |path| config_text(path, &read(path, MAX_FILE_LENGTH));
        let evidence = &examination.evidence;
        let os_release = os_release_text(&read("/etc/os-release", MAX_SHORT_FILE_LENGTH));
        let kernel = file_text(&read("/proc/sys/kernel/osrelease", MAX_SHORT_FILE_LENGTH));
        let mut files = vec![
            ("doctor.txt", "the output of doctor", text.to_owned()),
            ("doctor.json", "the output of doctor as JSON", as_json(json)),
            (
                "ecs.config",
                "both files with variables of the agent, without secrets",
                config(VENDOR_ECS_CONFIG) + &config(ECS_CONFIG),
            ),
            (
                "logs.txt",
                "the number of lines in the agent's logs, and messages known from the agent's source",
                log_text(INIT_LOG, &evidence.init_log) + &log_text(AGENT_LOG, &evidence.agent_log),
            ),
            ("os-release", "the distribution", os_release),
            ("kernel", "the release of the kernel", kernel),
        ];
        if let Some(plan) = &examination.plan {
            files.push(("plan.json", "what a run would do now", as_json(&plan_json(plan))));
        }
        if let Some(units) = evidence.known_units() {
            files.push(("units.json", "the state of the units in systemd", as_json(&redaction::json(json!(units)))));
        }
        if let Some(stored) = report::stored_or_log(disk) {
            files.push(("status.json", "the last verdict", as_json(&stored)));
        }
        let list: Vec<_> = files.iter().map(|(name, description, _)| (*name, *description)).collect();
        files.insert(0, ("contents.txt", "", contents_text(&list)));
        files
    }
}

/// Whether the only error is that this user may not read a file. Then nothing is known, and nothing is reported as
/// wrong.
fn is_denied(error: &StageError) -> bool {
    let error = match error {
        StageError::Read(error) | StageError::ReadSettings(error) | StageError::ReadHandover(error) => error,
        _ => return false,
    };
    matches!(error, DiskError::Denied { .. })
}

/// What the probes could not read because this user is not root.
fn denied_to_this_user(evidence: &Evidence, disk: &Disk) -> Vec<String> {
    let mut denied = Vec::new();
    if let Some(Err(error @ DockerError::Denied { .. })) = &evidence.docker {
        denied.push(error_chain(error));
    }
    for path in [ECS_CONFIG, VENDOR_ECS_CONFIG, AGENT_LOG, INIT_LOG] {
        if let Err(error @ DiskError::Denied { .. }) = disk.tail(path, 1) {
            denied.push(error_chain(&error));
        }
    }
    denied
}

/// The exit code of the verdict if a layer failed or no known cause fits, otherwise 0.
fn exit_code(document: &VerdictDocument, rows: &[Examined]) -> u8 {
    let has_failed = rows.iter().any(|row| row.status == Status::Fail);
    if has_failed || document.verdict == VerdictState::Unknown { document.exit_code } else { Exit::Done.code() }
}
