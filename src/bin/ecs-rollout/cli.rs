//! The command line: commands, options and their help.

use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand};
use ecs_bootstrap::command_line::{Generated, key_value};

use crate::images::ImageFlags;
use crate::keep_revisions::RetentionFlags;
use crate::visible::HIDDEN;

/// Deploys a service to Amazon ECS from CI: registers the task definition, creates or updates the service, waits for
/// the rollout, and names the cause if it fails.
#[derive(Debug, Parser)]
#[command(name = "ecs-rollout", version, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "Exit codes: 0 success, or nothing to do; 30-34 the rollout did not succeed; 35-38 invalid \
                          input, no such cluster or service, missing permissions, or a failed AWS call; 39 `status`: \
                          not stable; 40 ended by a signal; 41 the one-off task failed. The output says what was \
                          changed.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print what `deploy` would do, and why; change nothing
    Plan(DeploymentFlags),
    /// Register, create or update, wait for the rollout, and roll back if it fails
    Deploy {
        #[command(flatten)]
        flags: DeploymentFlags,
        #[command(flatten)]
        before: BeforeFlags,
        #[command(flatten)]
        wait: WaitFlags,
        #[command(flatten)]
        at_limit: AtLimitFlags,
        /// Do not roll back if the rollout fails
        #[arg(long)]
        no_rollback: bool,
        /// Exit as soon as ECS has accepted the deployment
        #[arg(long, conflicts_with_all = ["no_rollback", "timeout", "rollback_on_timeout"])]
        no_wait: bool,
        #[command(flatten)]
        retention: RetentionFlags,
    },
    /// Write the two definitions of an existing service to files; `plan` with them has nothing to do
    Init {
        #[command(flatten)]
        service: ServiceFlags,
        #[command(flatten)]
        flags: InitFlags,
    },
    /// Print the state of the service and its rollout; exit code 0 if it is stable, 39 if not
    Status {
        #[command(flatten)]
        service: ServiceFlags,
    },
    /// Wait until the rollout of the service ends, and name the cause if it fails; change nothing
    Wait {
        #[command(flatten)]
        service: ServiceFlags,
        #[command(flatten)]
        wait: WaitFlags,
    },
    /// Roll back to an older revision, and wait for the rollout
    Rollback {
        #[command(flatten)]
        service: ServiceFlags,
        /// A revision number, FAMILY:REVISION or an ARN [default: the older revision of the last completed deployment
        /// of the service]
        #[arg(long, value_name = "REVISION")]
        to: Option<String>,
        #[command(flatten)]
        wait: WaitFlags,
    },
    /// Run one task, for example a migration, and wait for it; exit code 0 if it succeeds, 41 if not
    Run(RunFlags),
    /// List the tasks of a service, with the exit codes and reasons of those that stopped
    Tasks {
        #[command(flatten)]
        service: ServiceFlags,
    },
    /// Print the last log lines of a service's tasks, ordered by time
    Logs(LogsFlags),
    /// Explain a cause: symptoms and remedy; without an id, list all causes
    Explain {
        /// The id of the cause, as printed in brackets
        id: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the man page, or the completions for a shell
    Generate {
        /// What to print
        what: Generated,
    },
}

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ServiceFlags {
    /// The cluster, by name or ARN [default: the cluster in the ARN of the service]
    #[arg(long, value_name = "CLUSTER")]
    pub(crate) cluster: Option<String>,
    /// The service, by name or ARN
    #[arg(long, value_name = "SERVICE")]
    pub(crate) service: String,
    /// The region [default: as the AWS SDKs find it: AWS_REGION, profile]
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<String>,
    /// Show values that may be secret, such as those of environment variables
    #[arg(long)]
    pub(crate) show_values: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The options of `init`.
#[derive(Args, Clone, Debug)]
pub(crate) struct InitFlags {
    /// The folder of the two files; it is created if it does not exist
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Replace files that exist with other content
    #[arg(long)]
    pub(crate) force: bool,
}

/// How the files are read, and what of them is shown.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct InputFlags {
    /// A variable for `${NAME}` in the files; takes precedence over `--env-file` and `--vars-from`; may be repeated
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = key_value)]
    pub(crate) variables: Vec<(String, String)>,
    /// A file of variables, NAME=VALUE on each line; takes precedence over `--vars-from`; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// Variables of the environment that the files may use; may be repeated
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = variable_name)]
    pub(crate) vars_from: Vec<String>,
    /// Replace no variables: `${NAME}` in a file is sent as it is
    #[arg(long, conflicts_with_all = ["variables", "env_file", "vars_from"])]
    pub(crate) no_variables: bool,
    /// Show values that may be secret, such as those of environment variables
    #[arg(long)]
    pub(crate) show_values: bool,
}

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct WaitFlags {
    /// Time limit of the rollout, in seconds or as 90s, 15m or 1h 30m; the bake times, traffic steps and hooks of the
    /// service are added; a rollback that follows has the same limit
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = time_limit)]
    pub(crate) timeout: Duration,
}

/// What happens at the time limit.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct AtLimitFlags {
    /// Roll back at the time limit even if nothing has failed. While a lifecycle hook is open, the limit does not pass
    #[arg(long, conflicts_with = "no_rollback")]
    pub(crate) rollback_on_timeout: bool,
}

/// A pause hook of ECS lasts 14 days at most; a longer time limit is a mistake.
const LONGEST_LIMIT: Duration = Duration::from_secs(30 * 24 * 3600);
const SHORTEST_LIMIT: Duration = Duration::from_secs(1);

/// Parses a time limit: a number of seconds, or a duration with units.
fn time_limit(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let is_number = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let limit = if is_number {
        text.parse().map(Duration::from_secs).map_err(|_| "the number is too large".to_owned())
    } else {
        humantime::parse_duration(text)
            .map_err(|error| format!("{error}; use a number of seconds, or for example 90s, 15m or 1h 30m"))
    }?;
    if limit < SHORTEST_LIMIT {
        return Err("the time limit must be at least 1s".to_owned());
    }
    if limit > LONGEST_LIMIT {
        return Err("the time limit must be at most 30 days".to_owned());
    }
    Ok(limit)
}

/// The verification before a deployment.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct VerificationFlags {
    /// Do not verify that roles, image, log groups, secrets, network and capacity exist and fit
    #[arg(long)]
    pub(crate) no_verify: bool,
}

/// The option for members of the files that are newer than the AWS SDK of this version.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct UnknownMemberFlags {
    /// Send members of the files that this version does not know, instead of refusing them
    #[arg(long)]
    pub(crate) allow_unknown: bool,
}

/// The options of `deploy` for the task that runs first.
#[derive(Args, Clone, Debug)]
pub(crate) struct BeforeFlags {
    /// First run a task of the new revision, for example a migration; nothing is deployed unless it succeeds. An object
    /// as of `aws ecs run-task --overrides`, a list of strings (the command of the first essential container), or a
    /// file with one of them
    #[arg(long, value_name = "JSON|FILE")]
    pub(crate) before: Option<String>,
    /// Time limit of that task
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = time_limit)]
    pub(crate) before_timeout: Duration,
    /// Stop that task when its time limit passes; without this option a task that has started goes on
    #[arg(long, requires = "before")]
    pub(crate) before_stop_on_timeout: bool,
}

/// The options of `run`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunFlags {
    /// The cluster, by name or ARN [default: that of the ARN of `--service`]
    #[arg(long, value_name = "CLUSTER")]
    pub(crate) cluster: Option<String>,
    /// The service, by name or ARN, whose revision and settings (network, launch type, capacity providers, tags) the task gets
    #[arg(long, value_name = "NAME", required_unless_present = "task_definition")]
    pub(crate) service: Option<String>,
    /// The revision to run: FAMILY (its newest one), FAMILY:REVISION or ARN [default: that of the service]
    #[arg(long, value_name = "REVISION")]
    pub(crate) task_definition: Option<String>,
    /// What the task overrides: an object as of `aws ecs run-task --overrides`, a list of strings (the command of the
    /// first essential container), or a file with one of them
    #[arg(long, value_name = "JSON|FILE", conflicts_with = "command")]
    pub(crate) overrides: Option<String>,
    /// The container that gets the COMMAND [default: the first essential one]
    #[arg(long, value_name = "NAME", requires = "command")]
    pub(crate) container: Option<String>,
    #[command(flatten)]
    pub(crate) input: InputFlags,
    #[command(flatten)]
    pub(crate) unknown: UnknownMemberFlags,
    /// Time limit of the task
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = time_limit)]
    pub(crate) timeout: Duration,
    /// Stop the task when its time limit passes; without this option a task that has started goes on
    #[arg(long)]
    pub(crate) stop_on_timeout: bool,
    /// The region [default: as the AWS SDKs find it: AWS_REGION, profile]
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The command to run instead of that of the container
    #[arg(last = true)]
    pub(crate) command: Vec<String>,
}

/// The options of `logs`.
#[derive(Args, Clone, Debug)]
pub(crate) struct LogsFlags {
    #[command(flatten)]
    pub(crate) service: ServiceFlags,
    /// Only this task, by id or ARN [default: the running tasks, or else those that stopped last]
    #[arg(long, value_name = "TASK")]
    pub(crate) task: Option<String>,
    /// Only this container
    #[arg(long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// How many lines of each container
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) lines: u16,
}

/// The options of `plan` and `deploy`.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct DeploymentFlags {
    /// The cluster, by name or ARN [default: `cluster` of the service definition]
    #[arg(long, value_name = "CLUSTER")]
    pub(crate) cluster: Option<String>,
    /// The service, by name or ARN [default: `serviceName` of the service definition]
    #[arg(long, value_name = "SERVICE")]
    pub(crate) service: Option<String>,
    /// The task definition: JSON or YAML in the format of `aws ecs register-task-definition --cli-input-json`; `-` is
    /// stdin [default: the one that the service runs]
    #[arg(long, value_name = "FILE")]
    pub(crate) task_definition: Option<PathBuf>,
    /// The service: JSON or YAML in the format of `aws ecs create-service --cli-input-json`; members that it does not
    /// have stay unchanged
    #[arg(long, value_name = "FILE")]
    pub(crate) service_definition: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) unknown: UnknownMemberFlags,
    #[command(flatten)]
    pub(crate) input: InputFlags,
    #[command(flatten)]
    pub(crate) images: ImageFlags,
    /// The build number, stored as a tag of the revision
    #[arg(long, value_name = "NUMBER")]
    pub(crate) build: Option<String>,
    /// The git commit, stored as a tag of the revision
    #[arg(long, value_name = "SHA")]
    pub(crate) commit: Option<String>,
    /// The number of tasks; ignored for an existing service if Application Auto Scaling controls it
    #[arg(long, value_name = "N")]
    pub(crate) desired_count: Option<u32>,
    /// Run one task on each instance
    #[arg(long, conflicts_with = "desired_count")]
    pub(crate) daemon: bool,
    /// How many tasks must stay running during a rollout, in percent of the desired count
    #[arg(long, value_name = "PERCENT")]
    pub(crate) minimum_healthy_percent: Option<u32>,
    /// How many tasks may run during a rollout, in percent of the desired count
    #[arg(long, value_name = "PERCENT")]
    pub(crate) maximum_percent: Option<u32>,
    /// Enable the circuit breaker of ECS: ECS itself stops and rolls back a rollout whose tasks do not start
    #[arg(long)]
    pub(crate) circuit_breaker: bool,
    /// Stop the old task before the new one starts (0 and 100 percent), for an instance that cannot hold both: the
    /// service is down in between, and stays down while the rollout of a bad revision lasts
    #[arg(long, conflicts_with_all = ["minimum_healthy_percent", "maximum_percent"])]
    pub(crate) one_small_instance: bool,
    /// Start a new deployment even if nothing differs, for example to pull a moved image tag
    #[arg(long)]
    pub(crate) force_new_deployment: bool,
    #[command(flatten)]
    pub(crate) verification: VerificationFlags,
    /// The region [default: as the AWS SDKs find it: AWS_REGION, profile]
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Parses a name of `--vars-from`. Blanks around it are ignored.
fn variable_name(text: &str) -> Result<String, String> {
    let name = text.trim();
    if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        Ok(name.to_owned())
    } else {
        Err("expected names of variables: letters, digits and `_`, separated by commas".to_owned())
    }
}

/// An error of clap without the values of options and arguments: a value of `--var`, or a part of one that was not
/// quoted, may be secret.
pub(crate) fn without_values(mut error: clap::Error) -> clap::Error {
    let text = |error: &clap::Error, kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let hide = |error: &mut clap::Error, kind| {
        error.insert(kind, ContextValue::String(HIDDEN.to_owned()));
        let tip = "a part of a value that has blanks is an argument of its own, unless the value is quoted";
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    };
    let argument = text(&error, ContextKind::InvalidArg);
    match error.kind() {
        ErrorKind::UnknownArgument if !argument.starts_with('-') => hide(&mut error, ContextKind::InvalidArg),
        // The name of an option is shown, but not the value after its `=`.
        ErrorKind::UnknownArgument => {
            let name = argument.split('=').next().unwrap_or_default().to_owned();
            error.insert(ContextKind::InvalidArg, ContextValue::String(name));
        }
        ErrorKind::TooManyValues => hide(&mut error, ContextKind::InvalidValue),
        ErrorKind::ValueValidation | ErrorKind::InvalidValue if argument.starts_with("--var") => {
            error.insert(ContextKind::InvalidValue, ContextValue::String(HIDDEN.to_owned()));
        }
        _ => {}
    }
    error
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use ecs_bootstrap::command_line::CommandOutput;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_time_limit_is_a_number_of_seconds_or_a_duration() {
        for (text, seconds) in [("600", 600), ("4s", 4), ("15m", 900), ("1h 30m", 5400), ("1h30m", 5400), (" 90 ", 90)]
        {
            assert_eq!(time_limit(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for (text, expected) in [
            ("0", "at least 1s"),
            ("0s", "at least 1s"),
            ("10ms", "at least 1s"),
            ("31days", "at most 30 days"),
            ("9999999999", "at most 30 days"),
            ("99999999999999999999999", "too large"),
            ("-5", "use a number of seconds"),
            ("1.5", "use a number of seconds"),
            ("soon", "use a number of seconds"),
            ("", "use a number of seconds"),
        ] {
            let error = time_limit(text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn an_error_of_the_command_line_has_no_value() {
        const PLAN: [&str; 4] = ["ecs-rollout", "plan", "--task-definition", "task.json"];
        for arguments in [
            &["--var", "hunter2"][..],
            &["--var", "=hunter2"],
            &["--var=hunter2"],
            &["--var", "PASS=correct", "hunter2"],
            &["--var", "PASS=correct", "hunter2", "staple"],
            &["--vars=PASS=hunter2"],
            &["--vars", "PASS=hunter2"],
            &["--json=hunter2"],
            &["--vars-from", "PASS=hunter2"],
            &["--", "hunter2"],
        ] {
            let error = Cli::try_parse_from(PLAN.iter().chain(arguments)).unwrap_err();
            let text = CommandOutput::of_clap(without_values(error)).stderr;
            assert!(!text.contains("hunter2") && text.contains("error:"), "{arguments:?}: {text}");
        }
        let error = Cli::try_parse_from(PLAN.iter().chain(&["--desired-count", "many"])).unwrap_err();
        assert!(CommandOutput::of_clap(without_values(error)).stderr.contains("'many'"));
    }
}
