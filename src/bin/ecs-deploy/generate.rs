//! Generates the man page and the shell completions from the command line and the catalogue of causes.

use std::io::Write;

use clap::CommandFactory;
use ecs_bootstrap::exit::Exit;

use crate::causes;
use crate::cli::{Cli, Generated};
use crate::explain;

pub(crate) fn generate(what: Generated) -> std::io::Result<Vec<u8>> {
    let mut command = Cli::command();
    let mut out = Vec::new();
    let shell = match what {
        Generated::Man => {
            write_man_page(command, &mut out)?;
            return Ok(out);
        }
        Generated::Bash => clap_complete::Shell::Bash,
        Generated::Zsh => clap_complete::Shell::Zsh,
        Generated::Fish => clap_complete::Shell::Fish,
    };
    clap_complete::generate(shell, &mut command, "ecs-deploy", &mut out);
    Ok(out)
}

fn write_man_page(command: clap::Command, out: &mut Vec<u8>) -> std::io::Result<()> {
    let commands: Vec<clap::Command> = command.get_subcommands().cloned().collect();
    let page = clap_mangen::Man::new(command).section("1");
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    for command in commands {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(out, ".SH {}\n{}.", command.get_name().to_uppercase(), roff(&about))?;
        clap_mangen::Man::new(command).render_options_section(out)?;
    }
    writeln!(out, ".SH CAUSES\nThe causes that \\fBexplain\\fR lists.")?;
    for cause in causes::all() {
        writeln!(out, ".TP\n\\fB{}\\fR\n{}.", roff(cause.id), roff(cause.title))?;
        for (name, text) in explain::fields(cause) {
            writeln!(out, ".br\n\\fI{}\\fR: {}", roff(name), roff(&text))?;
        }
    }
    writeln!(out, ".SH EXIT STATUS")?;
    for (exit, meaning) in Exit::DEPLOY {
        writeln!(out, ".TP\n\\fB{}\\fR\n{}", exit.code(), roff(meaning))?;
    }
    Ok(())
}

fn roff(text: &str) -> String {
    text.replace('\\', "\\\\").replace('-', "\\-").replace('`', "")
}
