//! The end of a command that does not end by itself: a system call that blocks the one thread, past every deadline.
//!
//! In: which command it is, and how long it may take. Out: a report for `main`, which prints it and ends the process. It
//! runs on the watchdog's own thread, so it takes nothing of what the command is doing.

use std::time::Duration;

use super::Boot;
use crate::boundary::disk::Disk;
use crate::cli::HostCommand;
use crate::command_line::CommandOutput;
use crate::evidence::StageError;
use crate::exit::Exit;
use crate::render::{Document, document};
use crate::retry::{Deadline, Watchdog};
use crate::verify;

/// Reading the settings and opening what the command needs takes no longer.
pub const STARTUP: Duration = Duration::from_secs(2);
/// How long the signals of a verdict are tried while the command's deadline is further away: a new role takes up to a
/// minute until every service knows it.
pub(super) const SIGNALS: Duration = Duration::from_secs(60);
/// How long after the deadline signals may still be tried. It is less than [`Watchdog::GRACE`].
const LATE_SIGNALS: Duration = Duration::from_secs(7);
/// The least time for signals, where the last look at the host took long.
const LEAST_SIGNALS: Duration = Duration::from_secs(4);

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
    pub fn of(boot: &Boot, command: &HostCommand) -> Ending {
        Ending { disk: boot.world.disk.clone(), command: name(command), json: boot.json, to_journal: boot.to_journal }
    }

    /// The verdict and the report of it. Guard lets the agent start: nothing here may keep it down.
    pub fn report(&self) -> (Document, CommandOutput) {
        let verdict = verify::stopped(StageError::Hangs { command: self.command, since: Watchdog::GRACE });
        let document = document(&verdict, None, &[]);
        let exit = if self.command == "guard" { Exit::Done } else { verdict.exit() };
        let report = super::output::reported(&document, exit, self.json);
        (document, report)
    }

    /// Tells the verdict where a command tells one. The disk may be what hangs.
    pub fn report_locally(&self, document: &Document) {
        if matches!(self.command, "run" | "verify") {
            super::report_locally(&self.disk, document, false, self.to_journal);
        }
    }
}

/// As it is called.
fn name(command: &HostCommand) -> &'static str {
    match command {
        HostCommand::Run(_) => "run",
        HostCommand::Plan => "plan",
        HostCommand::Guard { .. } => "guard",
        HostCommand::Verify { .. } => "verify",
        HostCommand::Doctor { .. } => "doctor",
        HostCommand::PrepareImage(_) => "prepare-image",
        HostCommand::ResetAgent(_) => "reset-agent",
        HostCommand::Status => "status",
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

    /// Until when the signals of a verdict are tried, so that the command ends within ten seconds of its deadline.
    pub(super) fn signals_until(&self) -> Deadline {
        let longest = Deadline::after(SIGNALS);
        let late = self.watchdog.as_ref().map_or(longest, |watchdog| watchdog.deadline().plus(LATE_SIGNALS));
        late.max(Deadline::after(LEAST_SIGNALS)).earliest(longest)
    }
}
