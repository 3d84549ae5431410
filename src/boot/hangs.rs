//! The end of a command that does not end by itself: a system call that blocks the one thread, past every deadline.
//!
//! In: which command it is, and how long it may take. Out: a report for `main`, which prints it and ends the process. It
//! runs on the watchdog's own thread, so it takes nothing of what the command is doing.

use std::time::Duration;

use super::{Boot, Report};
use crate::boundary::disk::Disk;
use crate::cli::Command;
use crate::evidence::Stop;
use crate::exit::Exit;
use crate::plan::Signal;
use crate::report::{Document, document};
use crate::retry::Watchdog;
use crate::verify;

/// Reading the settings and opening what the command needs takes no longer.
pub const BEGINNING: Duration = Duration::from_secs(2);
/// Telling the parties outside: metadata and tags, then five signals of a minute each.
const SIGNALS: Duration = Duration::from_secs(360);

/// What is known of a command before it runs, for the case that it does not end.
#[derive(Clone, Debug)]
pub struct Ending {
    disk: Disk,
    command: &'static str,
    json: bool,
    to_journal: bool,
}

impl Ending {
    /// Of a command.
    pub fn of(boot: &Boot, command: &Command) -> Ending {
        Ending { disk: boot.world.disk.clone(), command: name(command), json: boot.json, to_journal: boot.to_journal }
    }

    /// The verdict and the report of it. Guard lets the agent start: nothing here may keep it down.
    pub fn report(&self) -> (Document, Report) {
        let verdict = verify::stopped(Stop::Hangs { command: self.command, since: Watchdog::GRACE });
        let document = document(&verdict, None, &[]);
        let exit = if self.command == "guard" { Exit::Done } else { verdict.exit() };
        let report = super::reports::reported(&document, exit, self.json);
        (document, report)
    }

    /// Tells the verdict where a command tells one. The disk may be what hangs.
    pub fn tell(&self, document: &Document) {
        if matches!(self.command, "run" | "verify") {
            super::told(&self.disk, document, false, self.to_journal);
        }
    }
}

/// As it is called.
fn name(command: &Command) -> &'static str {
    match command {
        Command::Run(_) => "run",
        Command::Plan => "plan",
        Command::Guard { .. } => "guard",
        Command::Verify { .. } => "verify",
        Command::Doctor { .. } => "doctor",
        Command::PrepareImage(_) => "prepare-image",
        Command::ResetAgent(_) => "reset-agent",
        _ => "status",
    }
}

impl Boot {
    /// The command may take so long from now on. What it does afterwards, a last look and its report, it does within
    /// [`Watchdog::GRACE`].
    pub(crate) fn may_take(&self, duration: Duration) {
        if let Some(watchdog) = &self.watchdog {
            watchdog.allow(duration);
        }
    }

    /// The same for telling the parties outside, where there are some.
    pub(super) fn may_signal(&self, signal: &Signal) {
        if !signal.is_off() {
            self.may_take(SIGNALS);
        }
    }
}
