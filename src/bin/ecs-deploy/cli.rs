//! The command line: one definition feeds the parser, the help, the man page and the completions.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use ecs_bootstrap::exit::Exit;

/// Deploys a service to ECS from CI: registers the task definition, creates or updates the service by its true state,
/// waits for the rollout, and says exactly why when it did not succeed.
#[derive(Debug, Parser)]
#[command(name = "ecs-deploy", version, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "Exit codes: 0 done, or nothing to do (the text says which); 30-34 how a rollout ended; 35-38 what \
                          stood in its way (the text says what was begun); 39 `status`: not stable.";

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print what `deploy` would do, and why; changes nothing
    Plan(Flags),
    /// Register, create or update, wait for the rollout, and roll back when it does not succeed
    Deploy {
        /// What to deploy.
        #[command(flatten)]
        flags: Flags,
        /// How to wait.
        #[command(flatten)]
        wait: Wait,
        /// Leave the service as it is when the rollout does not succeed
        #[arg(long)]
        no_rollback: bool,
        /// End once ECS has taken the deployment
        #[arg(long, conflicts_with_all = ["no_rollback", "timeout"])]
        no_wait: bool,
    },
    /// Print how the service and its rollout are; 0 when it is stable, 39 when it is not
    Status {
        /// Which service.
        #[command(flatten)]
        service: ServiceFlags,
    },
    /// Go back to an older revision, and wait for it
    Rollback {
        /// Which service.
        #[command(flatten)]
        service: ServiceFlags,
        /// A revision number or FAMILY:REVISION [default: the newest older one that was seen to run well]
        #[arg(long, value_name = "REVISION")]
        to: Option<String>,
        /// How to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// Explain a cause: how it looks and what to do; without an id, list them all
    Explain {
        /// The id, as it stands in brackets.
        id: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the man page, or completions for a shell
    Generate {
        /// What to print.
        what: Generated,
    },
}

/// Which service, and how to speak.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ServiceFlags {
    /// The cluster, by name or ARN
    #[arg(long, value_name = "CLUSTER")]
    pub(crate) cluster: String,
    /// The service, by name
    #[arg(long, value_name = "NAME")]
    pub(crate) service: String,
    /// The region [default: as the AWS SDKs find it: AWS_REGION, profile]
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// How to wait.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Wait {
    /// How long a rollout may take from its beginning; a rollback has as long again
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
}

/// What to deploy.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Flags {
    /// The cluster, by name or ARN [default: `cluster` of the service definition]
    #[arg(long, value_name = "CLUSTER")]
    pub(crate) cluster: Option<String>,
    /// The service, by name [default: `serviceName` of the service definition]
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<String>,
    /// The task definition, JSON as `aws ecs register-task-definition --cli-input-json` takes it; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) task_definition: PathBuf,
    /// The service, JSON as `aws ecs create-service --cli-input-json` takes it; what it does not say stays as it is
    #[arg(long, value_name = "FILE")]
    pub(crate) service_definition: Option<PathBuf>,
    /// A variable for `${NAME}` in the files, before those of the environment; may be given several times
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) variables: Vec<(String, String)>,
    /// The image of a container, in place of the file's; may be given several times
    #[arg(long, value_name = "CONTAINER=IMAGE", value_parser = pair)]
    pub(crate) image: Vec<(String, String)>,
    /// The number of the build: a tag of the revision
    #[arg(long, value_name = "NUMBER")]
    pub(crate) build: Option<String>,
    /// The git commit: a tag of the revision
    #[arg(long, value_name = "SHA")]
    pub(crate) commit: Option<String>,
    /// How many tasks; left alone where Application Auto Scaling decides it
    #[arg(long, value_name = "N")]
    pub(crate) desired_count: Option<u32>,
    /// Run one task on each instance
    #[arg(long, conflicts_with = "desired_count")]
    pub(crate) daemon: bool,
    /// How many of the desired tasks must stay up during a rollout, in percent
    #[arg(long, value_name = "PERCENT")]
    pub(crate) minimum_healthy_percent: Option<u32>,
    /// How many tasks there may be during a rollout, in percent of the desired
    #[arg(long, value_name = "PERCENT")]
    pub(crate) maximum_percent: Option<u32>,
    /// Let ECS itself give up on a rollout whose tasks do not start, and roll it back
    #[arg(long)]
    pub(crate) circuit_breaker: bool,
    /// Stop the old task before the new one starts (0 and 100 percent), for an instance that cannot hold both: the
    /// service is down meanwhile, and stays down while a bad revision is rolled out
    #[arg(long, conflicts_with_all = ["minimum_healthy_percent", "maximum_percent"])]
    pub(crate) one_small_instance: bool,
    /// Deploy again although nothing differs, so that a moved image tag is pulled
    #[arg(long)]
    pub(crate) force_new_deployment: bool,
    /// The region [default: as the AWS SDKs find it: AWS_REGION, profile]
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `generate` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Generated {
    /// ecs-deploy(1) in roff.
    Man,
    /// Completions for bash.
    Bash,
    /// Completions for zsh.
    Zsh,
    /// Completions for fish.
    Fish,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("takes a name, `=` and a value".to_owned()),
    }
}

/// The man page, or completions.
pub(crate) fn generate(what: Generated) -> std::io::Result<Vec<u8>> {
    let mut command = Cli::command();
    let mut out = Vec::new();
    let shell = match what {
        Generated::Man => {
            man(command, &mut out)?;
            return Ok(out);
        }
        Generated::Bash => clap_complete::Shell::Bash,
        Generated::Zsh => clap_complete::Shell::Zsh,
        Generated::Fish => clap_complete::Shell::Fish,
    };
    clap_complete::generate(shell, &mut command, "ecs-deploy", &mut out);
    Ok(out)
}

fn man(command: clap::Command, out: &mut Vec<u8>) -> std::io::Result<()> {
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
    writeln!(out, ".SH CAUSES\nWhat \\fBexplain\\fR lists.")?;
    for cause in crate::cause::all() {
        writeln!(out, ".TP\n\\fB{}\\fR\n{}.", roff(cause.id), roff(cause.title))?;
        for (name, said) in crate::report::fields(cause) {
            writeln!(out, ".br\n\\fI{}\\fR: {}", roff(name), roff(&said))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
