//! Generates the man page and the shell completions from the command line and the catalogue of causes.

use clap::CommandFactory;
use ecs_bootstrap::command_line::{self, CommandOutput, Generated};
use ecs_bootstrap::exit::Exit;

use crate::causes;
use crate::cli::Cli;
use crate::explain;

pub(crate) fn generate(what: Generated) -> CommandOutput {
    command_line::generate(Cli::command(), what, "1", |page| {
        page.heading("causes", "The causes that `explain` lists.");
        for cause in causes::all() {
            page.entry(cause.id, &format!("{}.", cause.title));
            for (name, text) in explain::fields(cause) {
                page.field(name, &text);
            }
        }
        page.exit_codes(Exit::DEPLOY);
    })
}
