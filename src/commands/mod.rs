//! The commands, one file each, and the only place that knows the order of the pipeline stages.
//!
//! In: [`Boot`], which holds the clients, the given settings and the form of the output. Out: a [`CommandOutput`] that
//! `main` prints. Every path of `run` and `verify` ends in exactly one verdict, which is reported once.
//!
//! `prepare-image` and `reset-agent` are in [`crate::maintenance`].

mod after_user_data;
mod check;
mod doctor;
mod drain;
mod explain;
mod follow_tags;
mod guard;
mod handover;
mod image_sources;
mod output;
mod phases;
mod plan;
mod pull_images;
mod record;
mod release;
mod run;
mod signal;
mod status;
mod timeline;
mod verify;
mod verify_died;
mod watch;
mod watchdog;

use std::cell::OnceCell;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

pub use self::check::check;
pub use self::explain::explain;
pub use self::handover::is_handover;
pub use self::watchdog::{HangReport, STARTUP};
use crate::boundary::HostClients;
use crate::boundary::disk::{Disk, DiskError, Lock};
use crate::command_line::CommandOutput;
use crate::evidence::StageError;
use crate::exit::Exit;
use crate::gather;
use crate::plan::{Expectation, RUN_FOLDER};
use crate::render::VerdictDocument;
use crate::report;
use crate::retry::{AttemptResult, Deadline, Policy, Watchdog, until};
use crate::settings::fragment::Fragment;
use crate::settings::merge::merge;
use crate::settings::{Settings, SettingsError, Warning};

/// The lock of every command that writes.
const LOCK_FILE: &str = "/run/ecs-bootstrap/lock";
/// The lock of `watch`, which does not wait for a run.
const LOCK_FILE_OF_WATCH: &str = "/run/ecs-bootstrap/watch.lock";
/// Pauses between attempts to take the lock while another run holds it.
const LOCK_POLICY: Policy = Policy { first: Duration::from_millis(100), longest: Duration::from_secs(1) };
/// How long the lock of a command that stores its state is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(2);
const WAITING_FOR_LOCK: &str = "waiting for another run";
/// Time limit for the connection to systemd.
pub(crate) const BUS_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum attempts to write `ecs.config`, if another program changes it in the meantime.
const MAX_WRITE_ATTEMPTS: u32 = 5;

/// Where the registration is verified after a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyPlace {
    /// In this process. It is an error if that would never end.
    Here,
    /// In this process if that can end, otherwise in `ecs-bootstrap-verify.service`.
    HereIfPossible,
    /// In `ecs-bootstrap-verify.service`.
    InVerifyUnit,
}

/// The input of a command.
pub struct CommandContext {
    /// The clients for everything outside of this process.
    pub host_clients: HostClients,
    /// The settings of the environment and of the command line.
    pub given_settings: Result<Vec<Fragment>, SettingsError>,
    /// Whether `--verbose` was given.
    pub is_verbose: bool,
    /// Whether the output is JSON.
    pub json: bool,
    /// Whether to show a progress line on stderr.
    pub shows_progress: bool,
    /// Whether the log goes to the journal. If so, verdicts are also logged there.
    pub to_journal: bool,
    /// When this process started.
    pub start: Instant,
    /// The path of this program, for the text of the verify unit.
    pub program: Option<PathBuf>,
    /// Warnings of `main`.
    pub warnings: Vec<Warning>,
    /// Ends the process if the command does not end.
    pub watchdog: Option<Watchdog>,
    /// What signals need if a run ends before it has a plan.
    pub expectation_without_plan: OnceCell<Expectation>,
}

impl CommandContext {
    /// The settings of files, environment and command line: all that are known before gather.
    pub(crate) fn early_settings(&self) -> Result<Settings, StageError> {
        Ok(merge(&self.early_fragments()?))
    }

    /// The value of `units.agent`; its default if the settings are not valid, which is reported elsewhere.
    pub(crate) fn agent_unit(&self) -> String {
        self.early_settings().map_or_else(|_| "auto".to_owned(), |settings| settings.units_agent.value)
    }

    fn early_fragments(&self) -> Result<Vec<Fragment>, StageError> {
        let mut fragments = gather::local_settings(&self.host_clients)?;
        fragments.extend(self.given_settings.clone()?);
        Ok(fragments)
    }

    /// Takes the lock of the commands that write. The error contains `limit`.
    pub(crate) async fn lock(&self, deadline: Deadline, limit: Duration) -> Result<Lock, StageError> {
        self.host_clients.disk.create_folder(RUN_FOLDER, 0o755).map_err(StageError::Write)?;
        until(deadline, LOCK_POLICY, async |_| match self.host_clients.disk.lock(LOCK_FILE) {
            Ok(lock) => AttemptResult::Done(lock),
            Err(error @ DiskError::Busy { .. }) => AttemptResult::Retry(error),
            Err(error) => AttemptResult::Stop(error),
        })
        .await
        .map_err(|gave_up| match gave_up.last {
            DiskError::Busy { .. } => StageError::RunDeadlineExceeded { doing: WAITING_FOR_LOCK, deadline: limit },
            error => StageError::Write(error),
        })
    }

    /// Takes the lock of a command that stores its state. Others take it for a moment to find out whether that command runs.
    async fn lock_of_state(&self, file: &str) -> Result<Lock, DiskError> {
        let disk = &self.host_clients.disk;
        disk.create_folder(RUN_FOLDER, 0o755)?;
        let locked = until(Deadline::after(LOCK_WAIT), LOCK_POLICY, async |_| match disk.lock(file) {
            Ok(lock) => AttemptResult::Done(lock),
            Err(error @ DiskError::Busy { .. }) => AttemptResult::Retry(error),
            Err(error) => AttemptResult::Stop(error),
        });
        locked.await.map_err(|gave_up| gave_up.last)
    }

    /// What the last run of this boot expects, if there was one.
    pub(crate) fn last_expectation(&self) -> Option<Expectation> {
        Some(handover::read_or_log(&self.host_clients.disk)?.expectation)
    }

    /// The output for a verdict, in the form that the caller asked for.
    pub(crate) fn verdict_output(&self, document: &VerdictDocument, exit: Exit) -> CommandOutput {
        output::verdict_output(document, exit, self.json)
    }

    /// Reports a verdict on this host. Each path through a command does so once.
    fn report_locally(&self, document: &VerdictDocument, is_handed_over: bool) {
        report_locally(&self.host_clients.disk, document, is_handed_over, self.to_journal);
    }
}

fn report_locally(disk: &Disk, document: &VerdictDocument, is_handed_over: bool, to_journal: bool) {
    report::locally(disk, document, is_handed_over, to_journal);
}
