//! The report for a command that does not end, because a system call blocks the only thread past every deadline.
//!
//! In: which command runs, and how long it may take. Out: a report for `main`, which prints it and ends the process.
//! The report is made on the watchdog's own thread, so it uses no data of the running command.

use std::time::Duration;

use super::CommandContext;
use super::output::verdict_output;
use crate::boundary::disk::Disk;
use crate::cli::HostCommand;
use crate::command_line::CommandOutput;
use crate::evidence::StageError;
use crate::exit::Exit;
use crate::render::document;
use crate::retry::{Deadline, Watchdog};
use crate::verdict::Verdict;
use crate::verify;

/// Time limit for reading the settings and opening what the command needs.
pub const STARTUP: Duration = Duration::from_secs(2);
/// Time limit for the signals of a verdict, if the deadline of the command is not earlier. A new role takes up to a
/// minute until every service knows it.
pub(super) const SIGNALS: Duration = Duration::from_secs(60);
/// How long after the deadline of the command signals may still be sent. It is less than [`Watchdog::GRACE`].
const LATE_SIGNALS: Duration = Duration::from_secs(7);
/// The minimum time for signals, even if the command has used all of its deadline.
const MIN_SIGNALS: Duration = Duration::from_secs(4);

/// Makes the report for a command that hangs.
#[derive(Clone, Debug)]
pub struct HangReport {
    disk: Disk,
    command: &'static str,
    json: bool,
    to_journal: bool,
}

impl HangReport {
    /// The report for this command, made before the command runs.
    pub fn new(context: &CommandContext, command: &HostCommand) -> HangReport {
        let command = name(command);
        HangReport {
            disk: context.host_clients.disk.clone(),
            command,
            json: context.json,
            to_journal: context.to_journal,
        }
    }

    /// The output. `guard` ends with exit code 0, because a fault of ecs-bootstrap must not stop the agent.
    pub fn output(&self) -> CommandOutput {
        let verdict = self.verdict();
        let exit = if self.command == "guard" { Exit::Done } else { verdict.exit() };
        verdict_output(&document(&verdict, None, &[]), exit, self.json)
    }

    /// Reports the verdict on this host, if the command is one that reports verdicts. This can block too: the disk may
    /// be the cause.
    pub fn report_locally(&self) {
        if matches!(self.command, "run" | "verify") {
            let document = document(&self.verdict(), None, &[]);
            super::report_locally(&self.disk, &document, false, self.to_journal);
        }
    }

    fn verdict(&self) -> Verdict {
        verify::verdict_of_error(StageError::Hangs { command: self.command, since: Watchdog::HANG_GRACE })
    }
}

/// The name on the command line.
fn name(command: &HostCommand) -> &'static str {
    match command {
        HostCommand::Run(_) => "run",
        HostCommand::Plan { .. } => "plan",
        HostCommand::Guard { .. } => "guard",
        HostCommand::Verify { .. } => "verify",
        HostCommand::Doctor { .. } => "doctor",
        HostCommand::PrepareImage(_) => "prepare-image",
        HostCommand::ResetAgent(_) => "reset-agent",
        HostCommand::Status => "status",
        HostCommand::Timeline(_) => "timeline",
        HostCommand::Watch => "watch",
        HostCommand::PullImages => "pull-images",
        HostCommand::Drain => "drain",
    }
}

impl CommandContext {
    /// Moves the deadline of the command to `duration` from now. A last observation and the report, which follow, end
    /// within [`Watchdog::GRACE`].
    pub(crate) fn set_deadline_after(&self, duration: Duration) {
        self.set_deadline(Deadline::after(duration));
    }

    /// Sets the deadline of the command.
    pub(super) fn set_deadline(&self, deadline: Deadline) {
        if let Some(watchdog) = &self.watchdog {
            watchdog.set_deadline(deadline);
        }
    }

    /// The deadline for the signals of a verdict, so that the command ends at most ten seconds after its own deadline.
    pub(super) fn signal_deadline(&self) -> Deadline {
        let longest = Deadline::after(SIGNALS);
        let late = self.watchdog.as_ref().map_or(longest, |watchdog| watchdog.deadline().plus(LATE_SIGNALS));
        late.max(Deadline::after(MIN_SIGNALS)).earliest(longest)
    }
}
