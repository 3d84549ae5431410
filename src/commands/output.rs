//! The output and the log lines of commands that are made in more than one place.

use crate::apply::Applied;
use crate::command_line::CommandOutput;
use crate::exit::Exit;
use crate::journal;
use crate::plan::Plan;
use crate::render::{VerdictDocument, as_json, verdict_text};

/// The output for a verdict. Text goes to stderr if the exit code is not 0; JSON always goes to stdout.
pub(super) fn verdict_output(document: &VerdictDocument, exit: Exit, json: bool) -> CommandOutput {
    if json {
        return CommandOutput { stdout: as_json(document), stderr: String::new(), exit };
    }
    let text = verdict_text(document);
    if exit == Exit::Done {
        CommandOutput { stdout: text, stderr: String::new(), exit }
    } else {
        CommandOutput { stdout: String::new(), stderr: text, exit }
    }
}

pub(super) fn log_warnings(plan: &Plan) {
    for warning in &plan.warnings {
        let source = warning.source.as_ref().map(|source| source.to_string());
        tracing::warn!(id = warning.id(), source, "{}", warning.text);
    }
}

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
