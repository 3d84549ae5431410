//! The command line: one definition feeds the parser, the help, the man page and the completions.

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::check::InputType;
use crate::settings::schema;

/// Boots an EC2 instance into its ECS cluster, proves that it registered, and says exactly why when it did not.
#[derive(Debug, Parser)]
#[command(name = "ecs-bootstrap", version, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Cli {
    /// What to do; `run` without one.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Options of `run`, for when no command is named.
    #[command(flatten)]
    pub run: Run,
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
}

const AFTER_HELP: &str = "Exit codes: 0 ready, waiting or handed over; 10-13 trying again can help; 20-25 it cannot.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Find the cluster, write ecs.config, start docker and the agent, see that the instance registers (the default)
    Run(Run),
    /// Print what `run` would do, and why; changes nothing
    Plan,
    /// Before each start of the agent: apply the plan once more, and refuse an agent that would join no cluster
    Guard {
        /// Only apply the plan and wait for devices, before the unit's own preparations; refuse nothing
        #[arg(long)]
        rewrite: bool,
    },
    /// Wait for the registration, and say why when it does not come
    Verify {
        /// Do not wait: report that ecs-bootstrap-verify.service died, where it has left no verdict (its OnFailure=)
        #[arg(long)]
        died: bool,
    },
    /// Look at everything once and say what is wrong, layer by layer; changes nothing
    Doctor {
        /// Also write what one attaches to a support case, without secrets, to this new tar.gz
        #[arg(long, value_name = "FILE")]
        bundle: Option<PathBuf>,
    },
    /// Explain a cause: how it looks, what proves it, what to do; without an id, list them all
    Explain {
        /// The id, as it stands in brackets.
        id: Option<String>,
    },
    /// Check user data, ecs.config and settings files for mistakes, by line and column; reads nothing else
    Check {
        /// The files; `-`, or none, is standard input.
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// What the files are [default: by content and name]
        #[arg(long = "type", value_name = "TYPE")]
        input_type: Option<InputType>,
        /// The files are used as they are: a placeholder such as `${cluster}` in them is a mistake
        #[arg(long)]
        rendered: bool,
    },
    /// Print the last verdict of this boot
    Status,
    /// List what must go before a snapshot of this instance becomes an AMI; with --yes, remove it
    PrepareImage(Consent),
    /// List what makes the agent forget which container instance it is; with --yes, set its saved state aside and start it again
    ResetAgent(Consent),
    /// Print the man page, or completions for a shell
    Generate {
        /// What to print.
        what: Generated,
    },
}

/// Options of `run`.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Run {
    /// Verify in this process [default: at a terminal]
    #[arg(long, conflicts_with = "no_wait")]
    pub wait: bool,
    /// Leave verification to ecs-bootstrap-verify.service [default: elsewhere]
    #[arg(long)]
    pub no_wait: bool,
}

/// Options of the commands that remove.
#[derive(Args, Clone, Copy, Debug)]
pub struct Consent {
    /// Do what is listed; without it nothing is changed
    #[arg(long)]
    pub yes: bool,
    /// Go on although tasks run: their containers stay, and nobody looks after them any more
    #[arg(long)]
    pub force: bool,
}

/// What `generate` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Generated {
    /// ecs-bootstrap(8) in roff.
    Man,
    /// Completions for bash.
    Bash,
    /// Completions for zsh.
    Zsh,
    /// Completions for fish.
    Fish,
}

/// Options of every command.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// The cluster to join, by name or ARN
    #[arg(long, global = true, value_name = "CLUSTER")]
    pub cluster: Option<String>,
    /// A tag that the wanted cluster carries; may be given several times
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = pair)]
    pub cluster_tag: Vec<(String, String)>,
    /// Any setting by its dotted name, e.g. `verify.deadline=5m` or `agent.ECS_LOGLEVEL=debug`
    #[arg(long, global = true, value_name = "SETTING=VALUE", value_parser = pair)]
    pub set: Vec<(String, String)>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    // No `env` here: clap would read the variables for `guard` too, which must not use them.
    /// Take this folder for the root of the file system [env: ECS_BOOTSTRAP_ROOT] [default: /]
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Where the agent's introspection is [env: ECS_BOOTSTRAP_AGENT_ENDPOINT] [default: http://127.0.0.1:51678]
    #[arg(long, global = true, value_name = "URL")]
    pub agent_endpoint: Option<String>,
    /// Refuse an AWS endpoint over plain HTTP off this host (`AWS_ENDPOINT_URL`), instead of warning of it
    #[arg(long, global = true)]
    pub https_only: bool,
    /// Log each request and its duration
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

impl Common {
    /// The settings among the options, as `(option, key, value)`.
    pub fn settings(&self) -> Vec<(String, String, String)> {
        let cluster = self.cluster.iter().map(|name| ("--cluster".to_owned(), "cluster".to_owned(), name.clone()));
        let tags = self
            .cluster_tag
            .iter()
            .map(|(key, value)| ("--cluster-tag".to_owned(), format!("cluster-tags.{key}"), value.clone()));
        let set = self.set.iter().map(|(key, value)| (format!("--set {key}"), key.clone(), value.clone()));
        cluster.chain(tags).chain(set).collect()
    }
}

/// What `generate` prints.
pub fn generate(what: Generated) -> std::io::Result<Vec<u8>> {
    let mut command = Cli::command();
    let mut text = Vec::new();
    let shell = match what {
        Generated::Man => {
            man(command, &mut text)?;
            return Ok(text);
        }
        Generated::Bash => clap_complete::Shell::Bash,
        Generated::Zsh => clap_complete::Shell::Zsh,
        Generated::Fish => clap_complete::Shell::Fish,
    };
    clap_complete::generate(shell, &mut command, "ecs-bootstrap", &mut text);
    Ok(text)
}

fn man(command: clap::Command, text: &mut Vec<u8>) -> std::io::Result<()> {
    use std::io::Write;

    let subcommands: Vec<clap::Command> = command.get_subcommands().cloned().collect();
    let page = clap_mangen::Man::new(command).section("8");
    page.render_title(text)?;
    page.render_name_section(text)?;
    page.render_synopsis_section(text)?;
    page.render_description_section(text)?;
    page.render_options_section(text)?;
    writeln!(text, ".SH COMMANDS")?;
    for command in &subcommands {
        writeln!(
            text,
            ".TP\n\\fB{}\\fR\n{}",
            command.get_name(),
            roff(&command.get_about().unwrap_or_default().to_string())
        )?;
        for option in command.get_arguments().filter(|option| !option.is_global_set()) {
            if let (Some(name), Some(about)) = (option.get_long(), option.get_help()) {
                let about = roff(&about.to_string());
                writeln!(text, ".RS\n.TP\n\\fB\\-\\-{}\\fR\n{about}\n.RE", roff(name))?;
            }
        }
    }
    writeln!(
        text,
        ".SH SETTINGS\nIn /etc/ecs\\-bootstrap/config.toml, as ECS_BOOTSTRAP_* in the environment, or by \\-\\-set."
    )?;
    for setting in schema::ALL {
        writeln!(
            text,
            ".TP\n\\fB{}\\fR\n{}. Takes {}.",
            roff(setting.name),
            roff(setting.about),
            roff(setting.expects)
        )?;
    }
    writeln!(text, ".SH CAUSES\nWhat \\fBexplain\\fR lists, in the order in which it is judged.")?;
    for cause in crate::causes::all() {
        writeln!(text, ".TP\n\\fB{}\\fR\n{}.", roff(cause.id), roff(cause.title))?;
        for (name, said) in crate::render::fields(cause) {
            writeln!(text, ".br\n\\fI{}\\fR: {}", roff(name), roff(&said))?;
        }
    }
    writeln!(text, ".SH EXIT STATUS")?;
    for (exit, meaning) in crate::exit::Exit::ALL {
        writeln!(text, ".TP\n\\fB{}\\fR\n{}", exit.code(), roff(meaning))?;
    }
    Ok(())
}

fn roff(text: &str) -> String {
    text.replace('\\', "\\\\").replace('-', "\\-").replace('`', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_man_page_names_every_setting_cause_and_exit_code() {
        let page = String::from_utf8(generate(Generated::Man).unwrap()).unwrap().replace("\\-", "-");
        for setting in schema::ALL {
            assert!(page.contains(setting.name), "{}", setting.name);
        }
        for (exit, _) in crate::exit::Exit::ALL {
            assert!(page.contains(&format!("\\fB{}\\fR", exit.code())));
        }
        for cause in crate::causes::all() {
            assert!(page.contains(&format!("\\fB{}\\fR", cause.id)));
        }
    }
}
