//! What a command leaves behind when it ends: the report of its verdict, and the line of the log for what was configured.

use crate::apply::Applied;
use crate::command_line::CommandOutput;
use crate::exit::Exit;
use crate::journal;
use crate::plan::Plan;
use crate::render::{Document, as_json, verdict_text};

/// A verdict for whoever called.
pub(super) fn reported(document: &Document, exit: Exit, json: bool) -> CommandOutput {
    if json {
        return CommandOutput { stdout: as_json(document), stderr: String::new(), exit };
    }
    let text = verdict_text(document);
    match exit {
        Exit::Done => CommandOutput { stdout: text, stderr: String::new(), exit },
        _ => CommandOutput { stdout: String::new(), stderr: text, exit },
    }
}

/// What a run has configured.
pub(super) fn log_applied(plan: &Plan, applied: &Applied) {
    let jobs: Vec<_> = applied.effects.jobs.iter().map(|job| job.unit.as_str()).collect();
    tracing::info!(
        message_id = journal::MESSAGE_ID_CONFIGURED,
        cluster = plan.expectation.cluster.as_deref().unwrap_or(""),
        config_written = applied.effects.config_written,
        jobs = jobs.join(" "),
        "configured the agent"
    );
}
