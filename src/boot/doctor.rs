//! `doctor` and `explain`: everything looked at once, and the catalogue.
//!
//! In: the world. Out: a report. It writes nothing but the bundle that it is asked for, takes no lock, and may be run by
//! anybody: what only root can see is named as not seen.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join;
use serde_json::{Value, json};

use super::{Boot, Phases, handover};
use crate::boundary::archive::{self, ArchiveError, Entry};
use crate::boundary::disk::{Disk, DiskError};
use crate::boundary::docker::DockerError;
use crate::boundary::systemd::Systemd;
use crate::causes;
use crate::causes::examined::{Examined, Status, examined};
use crate::cli;
use crate::command_line::CommandOutput;
use crate::evidence::{Evidence, StageError};
use crate::exit::Exit;
use crate::host::{AGENT_LOG, INIT_LOG, LONGEST_FILE};
use crate::plan::{ECS_CONFIG, Plan, VENDOR_ECS_CONFIG};
use crate::redaction::{self, error_chain};
use crate::render::{
    Document, VerdictState, as_json, cause_json, cause_text, config_text, contents_text, doctor_json, doctor_text,
    document, list_text, log_text, os_release_text, plan_json,
};
use crate::retry::{Deadline, within};
use crate::settings::fragment::Fragment;
use crate::{report, suggestion, verify};

/// Whoever asks doctor does not wait for what may still come: it says that it is not there.
const NOW: [(&str, &str); 3] = [("imds.deadline", "2s"), ("tags.wait", "0s"), ("run.deadline", "3s")];
/// All of gather and decide.
const LONGEST_PLAN: Duration = Duration::from_secs(4);

/// The plan, and all probes after it.
const LONGEST_LOOK: Duration = Duration::from_secs(12);

/// What doctor has found.
struct Seen {
    plan: Option<Plan>,
    evidence: Evidence,
    /// What could not be looked at, and why.
    unseen: Vec<String>,
}

impl Boot {
    /// `doctor`: all probes once.
    pub async fn doctor(mut self, options: &cli::Doctor) -> CommandOutput {
        self.may_take(LONGEST_LOOK);
        let seen = Box::pin(self.look()).await;
        let rows = examined(&seen.evidence);
        let verdict = verify::verdict_now(&seen.evidence);
        let cluster = seen.evidence.expectation.as_ref().and_then(|expected| expected.cluster.as_deref());
        let mut document = document(&verdict, cluster, &[]);
        document.exit_code = exit_code(&document, &rows);
        let exit = Exit::from_code(document.exit_code).unwrap_or(Exit::Internal);
        let text = doctor_text(&document, &rows, &seen.unseen);
        let json = doctor_json(&document, &rows, &seen.unseen);
        let mut stderr = String::new();
        if let Some(path) = options.bundle.as_deref() {
            match self.bundle(path, &seen, &text, &json) {
                Ok(names) => {
                    stderr = format!("wrote `{}`: {}\n", redaction::line(&path.to_string_lossy()), names.join(", "))
                }
                Err(error) => {
                    let stderr = format!("error: {}\n", error_chain(&error));
                    return CommandOutput { stdout: text, stderr, exit: Exit::Host };
                }
            }
        }
        CommandOutput { stdout: if self.json { as_json(&json) } else { text }, stderr, exit }
    }

    async fn look(&mut self) -> Seen {
        let mut unseen = Vec::new();
        if let Ok(given) = &mut self.given {
            let now = NOW.map(|(key, value)| ("doctor".to_owned(), key.to_owned(), value.to_owned()));
            given.extend(Fragment::from_command_line(&now).ok());
        }
        let mut phases = Phases::new(self.start);
        let decided = within(Deadline::after(LONGEST_PLAN), Box::pin(self.decide(&mut phases, true)));
        let (decided, systemd) = join(decided, Systemd::connect(Deadline::after(LONGEST_PLAN))).await;
        let (plan, stop) = match decided {
            Ok(Ok((plan, mut gathered))) => (Some(plan), gathered.unread.take()),
            Ok(Err(stop)) if is_not_seen(&stop) => {
                unseen.push(error_chain(&stop));
                (None, None)
            }
            Ok(Err(stop)) => (None, Some(stop)),
            Err(_) => {
                unseen.push(format!("what a run would do now: not known within {} s", LONGEST_PLAN.as_secs()));
                (None, None)
            }
        };
        let expectation = match handover::read(&self.world.disk) {
            Ok(Some(handover)) => Some(handover.expectation),
            Ok(None) => None,
            Err(error) => {
                unseen.push(format!("what the last run expects: {}", error_chain(&error)));
                None
            }
        };
        let expectation = expectation.or_else(|| plan.as_ref().map(|plan| plan.expectation.clone()));
        let evidence = Box::pin(verify::examine(&self.world, &systemd, expectation, stop)).await;
        unseen.extend(needs_root(&evidence, &self.world.disk));
        Seen { plan, evidence, unseen }
    }

    /// Writes the bundle; the names of what is in it.
    fn bundle(&self, path: &Path, seen: &Seen, text: &str, json: &Value) -> Result<Vec<&'static str>, ArchiveError> {
        let disk = &self.world.disk;
        let config = |path| config_text(path, disk.read(path, LONGEST_FILE).ok().flatten().as_deref());
        let known = |path: &str| disk.read(path, 4096).ok().flatten().unwrap_or_default();
        let evidence = &seen.evidence;
        let stored = report::stored(disk).ok().flatten();
        let mut files: Vec<(&'static str, &'static str, String)> = vec![
            ("doctor.txt", "what doctor has found", text.to_owned()),
            ("doctor.json", "the same for programs", as_json(json)),
            (
                "ecs.config",
                "both files of the agent's variables, without secrets",
                config(VENDOR_ECS_CONFIG) + &config(ECS_CONFIG),
            ),
            (
                "logs.txt",
                "how many lines the agent's logs have, and the messages of its own source",
                log_text(INIT_LOG, &evidence.init_log) + &log_text(AGENT_LOG, &evidence.agent_log),
            ),
            ("os-release", "the distribution", os_release_text(&known("/etc/os-release"))),
            ("kernel", "its release", redaction::text(&String::from_utf8_lossy(&known("/proc/sys/kernel/osrelease")))),
        ];
        if let Some(plan) = &seen.plan {
            files.push(("plan.json", "what a run would do now", as_json(&plan_json(plan))));
        }
        if let Some(units) = evidence.known_units() {
            files.push(("units.json", "the units as systemd sees them", as_json(&redaction::json(json!(units)))));
        }
        if let Some(stored) = stored {
            files.push(("status.json", "the last verdict", as_json(&stored)));
        }
        let list: Vec<_> = files.iter().map(|(name, what, _)| (*name, *what)).collect();
        files.insert(0, ("contents.txt", "", contents_text(&list)));
        let names = files.iter().map(|(name, ..)| *name).collect();
        let entries = files
            .into_iter()
            .map(|(name, _, text)| Entry { name: format!("ecs-bootstrap-doctor/{name}"), bytes: text.into_bytes() });
        archive::write_new(path, &entries.collect::<Vec<_>>())?;
        Ok(names)
    }
}

/// A stop that only says that this user may not read something: then nobody knows, and nothing is accused.
fn is_not_seen(stop: &StageError) -> bool {
    let error = match stop {
        StageError::Read(error) | StageError::ReadSettings(error) | StageError::ReadHandover(error) => error,
        _ => return false,
    };
    matches!(error, DiskError::Denied { .. })
}

/// What this user may not see.
fn needs_root(evidence: &Evidence, disk: &Disk) -> Vec<String> {
    let mut unseen = Vec::new();
    if let Some(Err(error @ DockerError::Denied { .. })) = &evidence.docker {
        unseen.push(error_chain(error));
    }
    for path in [ECS_CONFIG, VENDOR_ECS_CONFIG, AGENT_LOG, INIT_LOG] {
        if let Err(error @ DiskError::Denied { .. }) = disk.tail(path, 1) {
            unseen.push(error_chain(&error));
        }
    }
    unseen
}

/// 0 without a fail, else that of the first broken layer.
fn exit_code(document: &Document, rows: &[Examined]) -> u8 {
    match rows.iter().any(|row| row.status == Status::Fail) || document.verdict == VerdictState::Unknown {
        true => document.exit_code,
        false => Exit::Done.code(),
    }
}

/// `explain`: one cause, or the list.
pub fn explain(id: Option<&str>, json: bool) -> CommandOutput {
    let all = causes::all();
    let Some(id) = id else {
        return CommandOutput::success(match json {
            true => as_json(&all.iter().map(|cause| cause_json(cause)).collect::<Vec<_>>()),
            false => list_text(all.iter().copied()),
        });
    };
    match causes::find(id.trim_matches(['[', ']'])) {
        Some(cause) if json => CommandOutput::success(as_json(&cause_json(cause))),
        Some(cause) => CommandOutput::success(cause_text(cause)),
        None => {
            let nearest = suggestion::nearest(id, all.iter().map(|cause| cause.id));
            let hint = nearest.map(|nearest| format!(", did you mean `{nearest}`?")).unwrap_or_default();
            CommandOutput::error(Exit::Usage, &format!("no cause has the id `{}`{hint}", redaction::line(id)))
        }
    }
}
