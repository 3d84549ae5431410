//! The command line: commands, options and their help.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ecs_bootstrap::command_line::{Generated, key_value};

use crate::images::ImageFlags;
use crate::init::InitFlags;
use crate::keep_revisions::RetentionFlags;

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
                          not stable. The output says what was changed.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print what `deploy` would do, and why; change nothing
    Plan(DeploymentFlags),
    /// Register, create or update, wait for the rollout, and roll back if it fails
    Deploy {
        #[command(flatten)]
        flags: DeploymentFlags,
        #[command(flatten)]
        wait: WaitFlags,
        /// Do not roll back if the rollout fails
        #[arg(long)]
        no_rollback: bool,
        /// Exit as soon as ECS has accepted the deployment
        #[arg(long, conflicts_with_all = ["no_rollback", "timeout"])]
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
    /// Roll back to an older revision, and wait for the rollout
    Rollback {
        #[command(flatten)]
        service: ServiceFlags,
        /// A revision number, FAMILY:REVISION or an ARN [default: the newest older revision that was stable]
        #[arg(long, value_name = "REVISION")]
        to: Option<String>,
        #[command(flatten)]
        wait: WaitFlags,
    },
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
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct WaitFlags {
    /// Time limit of the rollout; a rollback that follows it has the same limit
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
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
    /// The task definition: JSON in the format of `aws ecs register-task-definition --cli-input-json`; `-` is stdin
    /// [default: the one that the service runs]
    #[arg(long, value_name = "FILE")]
    pub(crate) task_definition: Option<PathBuf>,
    /// The service: JSON in the format of `aws ecs create-service --cli-input-json`; members that it does not have stay
    /// unchanged
    #[arg(long, value_name = "FILE")]
    pub(crate) service_definition: Option<PathBuf>,
    /// A variable for `${NAME}` in the files; overrides the environment; may be repeated
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = key_value)]
    pub(crate) variables: Vec<(String, String)>,
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
    /// The region [default: as the AWS SDKs find it: AWS_REGION, profile]
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
