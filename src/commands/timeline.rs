//! `timeline`: when each part of this boot began and ended, and what it waited for.
//!
//! It reads what the boot left on the host and asks instance metadata for the launch. It needs no earlier run of
//! ecs-bootstrap, and changes nothing but the files that its options name.

use std::path::Path;
use std::time::Duration;

use super::CommandContext;
use crate::boundary::output_file;
use crate::cli;
use crate::command_line::CommandOutput;
use crate::exit::Exit;
use crate::probe;
use crate::redaction::{self, error_chain};
use crate::render::{as_json, prometheus_text, timeline_svg, timeline_text};
use crate::report;
use crate::retry::Deadline;
use crate::timeline::assemble;

/// Time limit for all sources together.
const MAX_TIME: Duration = Duration::from_secs(10);

impl CommandContext {
    /// `timeline`: prints the timeline of this boot, and writes it in the other forms that the options name.
    pub async fn timeline(self, options: &cli::Timeline) -> CommandOutput {
        self.set_deadline_after(MAX_TIME);
        let sources = Box::pin(probe::boot_times(&self.host_clients, Deadline::after(MAX_TIME))).await;
        let mut timeline = assemble::timeline(&sources);
        timeline.cluster = report::stored_or_log(&self.host_clients.disk).and_then(|verdict| verdict.cluster);
        let mut forms = Vec::new();
        if let Some(path) = options.prometheus.as_deref() {
            forms.push((path, prometheus_text(&timeline)));
        }
        if let Some(path) = options.svg.as_deref() {
            forms.push((path, timeline_svg(&timeline)));
        }
        let mut output = CommandOutput::success(String::new());
        let to_stdout = forms.iter().filter(|(path, _)| is_stdout(path)).count() + usize::from(self.json);
        if to_stdout > 1 {
            return CommandOutput::error(
                Exit::Usage,
                "only one form can go to stdout: `--json`, or one option with `-`",
            );
        }
        for (path, text) in forms {
            if is_stdout(path) {
                output.stdout = text;
            } else if let Err(error) = output_file::replace(path, text.as_bytes()) {
                return CommandOutput::error(Exit::Host, &error_chain(&error));
            } else {
                output.stderr.push_str(&format!("wrote `{}`\n", redaction::line(&path.to_string_lossy())));
            }
        }
        if output.stdout.is_empty() {
            output.stdout = if self.json { as_json(&timeline) } else { timeline_text(&timeline) };
        }
        output
    }
}

/// Whether a form is printed in place of the table.
fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}
