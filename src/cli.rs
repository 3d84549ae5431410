//! The command line: one definition feeds the parser, the help, the man page and the completions.

use std::ffi::OsString;
use std::mem::ManuallyDrop;
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::check::InputType;
use crate::command_line::{self, CommandOutput, Generated, key_value};
use crate::exit::Exit;
use crate::settings::schema;

/// Joins an EC2 instance to its ECS cluster, verifies that it registered, and names the cause if it did not
#[derive(Debug, Parser)]
#[command(name = "ecs-bootstrap", version, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Cli {
    /// The command; without one, `run`.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Options of `run`, if no command is given.
    #[command(flatten)]
    pub run: Run,
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
}

const AFTER_HELP: &str = "Exit codes: 0 ready, waiting, or verification left to ecs-bootstrap-verify.service; 1 internal error; 2 invalid \
                          command line; 10-13 a retry can help; 20-25 a retry cannot help.";

impl Cli {
    /// Parses a command line, which begins with the name of the program.
    ///
    /// clap copies the options of every command into each command that it knows, which takes longer than the rest of
    /// the start. So it first gets only the named command. Errors and help come from the whole definition.
    pub fn parse_arguments(arguments: &[OsString]) -> Result<Cli, clap::Error> {
        // Freed by the exit: the definitions are hundreds of small allocations.
        let mut whole = ManuallyDrop::new(Cli::command());
        let parsed = arguments.get(1).and_then(|name| whole.find_subcommand(name)).and_then(|named| {
            let parser = clap::Command::new("ecs-bootstrap").args(whole.get_arguments()).subcommand(named);
            let mut parser = ManuallyDrop::new(parser);
            Cli::from_arg_matches(&parser.try_get_matches_from_mut(arguments).ok()?).ok()
        });
        match parsed {
            Some(cli) => Ok(cli),
            None => Cli::from_arg_matches(&whole.try_get_matches_from_mut(arguments)?),
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The commands that read the host.
    #[command(flatten)]
    OnHost(HostCommand),
    /// Explain a cause: symptoms, proof, remedy; without an id, list all causes
    Explain {
        /// The id of a cause, for example `no-cluster-named`
        id: Option<String>,
    },
    /// Check user data, ecs.config and settings files for mistakes, by line and column; reads nothing else
    Check {
        /// Files to check; `-` or no file is standard input
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Type of the files [default: found out from content and name]
        #[arg(long = "type", value_name = "TYPE")]
        input_type: Option<InputType>,
        /// The files are used as they are: report placeholders such as `${cluster}` as mistakes
        #[arg(long)]
        rendered: bool,
    },
    /// Print the man page, or completions for a shell
    Generate {
        /// What to print
        what: Generated,
    },
}

/// Commands that read the host, with settings, a log and deadlines.
#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// Find the cluster, write ecs.config, start docker and the agent, verify the registration (the default)
    Run(Run),
    /// Print what `run` would do, and why; changes nothing
    Plan {
        /// Print the IAM policy that the settings need, as JSON: the calls of the agent and of ecs-bootstrap
        #[arg(long)]
        iam: bool,
    },
    /// Before each start of the agent: apply the plan again, and refuse the start if no source names a cluster
    Guard {
        /// Only apply the plan and wait for devices; never refuse the start
        #[arg(long)]
        rewrite: bool,
        /// After user data: restart the agent if it needs that, or start it (for early start)
        #[arg(long, conflicts_with = "rewrite")]
        after_user_data: bool,
    },
    /// Wait until the instance registers; if it does not, print the cause
    Verify {
        /// Do not wait: report that ecs-bootstrap-verify.service died without a verdict (for OnFailure=)
        #[arg(long)]
        died: bool,
    },
    /// Check the host once, layer by layer, and print what is wrong (with -v also which causes were considered); changes
    /// nothing
    Doctor(Doctor),
    /// Print the last verdict of this boot
    Status,
    /// Check once that the agent is still connected, and let attributes follow the tags (for ecs-bootstrap-watch.timer)
    Watch,
    /// Pull the images of `ready.images` (for ecs-bootstrap-images.service)
    PullImages,
    /// Wait for a sign that the instance ends, then drain its container instance (for ecs-bootstrap-drain.service)
    Drain,
    /// Show when each part of this boot began and ended, and what it waited for; needs no earlier run, changes nothing
    Timeline(Timeline),
    /// List what must be removed before a snapshot of this instance becomes an AMI; with --yes, remove it
    PrepareImage(ConsentFlags),
    /// Make the agent register as a new container instance; without --yes, only list what would be done
    ResetAgent(ConsentFlags),
}

/// Options of `run`.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Run {
    /// Verify the registration in this process [default on a terminal]
    #[arg(long, conflicts_with = "no_wait")]
    pub wait: bool,
    /// Leave the verification to ecs-bootstrap-verify.service [default without a terminal]
    #[arg(long)]
    pub no_wait: bool,
}

/// Options of `doctor`.
#[derive(Args, Clone, Debug, Default)]
pub struct Doctor {
    /// Also write a redacted support bundle to FILE, a new tar.gz
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<PathBuf>,
}

/// Options of `timeline`.
#[derive(Args, Clone, Debug, Default)]
pub struct Timeline {
    /// Also write metrics for the textfile collector of node_exporter to FILE; `-` prints them in place of the table
    #[arg(long, value_name = "FILE")]
    pub prometheus: Option<PathBuf>,
    /// Also draw a picture, as SVG with light and dark colours, to FILE; `-` prints it in place of the table
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// Options of the commands that remove or move files.
#[derive(Args, Clone, Copy, Debug)]
pub struct ConsentFlags {
    /// Do what is listed; without this option, nothing is changed
    #[arg(long)]
    pub yes: bool,
    /// Continue although tasks run: their containers keep running without an agent
    #[arg(long)]
    pub force: bool,
}

/// Options of every command.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// The cluster to join, by name or ARN
    #[arg(long, global = true, value_name = "CLUSTER")]
    pub cluster: Option<String>,
    /// A tag of the cluster to join; may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_value)]
    pub cluster_tag: Vec<(String, String)>,
    /// Any setting by its dotted name, for example `verify.deadline=5m` or `agent.ECS_LOGLEVEL=debug`
    #[arg(long, global = true, value_name = "SETTING=VALUE", value_parser = key_value)]
    pub set: Vec<(String, String)>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    // Without `env`: clap would also read the variables for `guard`, which must ignore them.
    /// Use this folder as the root of the file system [env: ECS_BOOTSTRAP_ROOT] [default: /]
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// URL of the agent's introspection API [env: ECS_BOOTSTRAP_AGENT_ENDPOINT] [default: http://127.0.0.1:51678]
    #[arg(long, global = true, value_name = "URL")]
    pub agent_endpoint: Option<String>,
    /// Refuse an `AWS_ENDPOINT_URL` over plain HTTP to another host, instead of printing a warning
    #[arg(long, global = true)]
    pub https_only: bool,
    /// Log each request and its duration; repeat for more
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
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

/// The man page or completions.
pub fn generate(what: Generated) -> CommandOutput {
    command_line::generate(Cli::command(), what, "8", |page| {
        page.heading(
            "settings",
            "Set in /etc/ecs-bootstrap/config.toml, as ECS_BOOTSTRAP_* in the environment, or with --set.",
        );
        for setting in schema::ALL {
            page.entry(setting.name, &format!("{}. Takes {}.", setting.about, setting.expects));
        }
        page.heading("causes", "The list of `explain`, in the order in which causes are judged.");
        for cause in crate::causes::all() {
            page.entry(cause.id, &format!("{}.", cause.title));
            for (name, text) in crate::render::fields(cause) {
                page.field(name, &text);
            }
        }
        page.exit_codes(Exit::ALL);
    })
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
        let page = generate(Generated::Man).stdout.replace("\\-", "-");
        for setting in schema::ALL {
            assert!(page.contains(setting.name), "{}", setting.name);
        }
        for (exit, _) in Exit::ALL {
            assert!(page.contains(&format!("\\fB{}\\fR", exit.code())));
        }
        for cause in crate::causes::all() {
            assert!(page.contains(&format!("\\fB{}\\fR", cause.id)));
        }
    }
}
