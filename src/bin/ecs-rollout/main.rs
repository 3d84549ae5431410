//! Deploys a service to Amazon ECS from CI.
//!
//! `deploy.rs` is the pipeline: `observe` reads the current state, `decide` makes a plan without I/O, `apply` carries
//! it out, `watch` follows the rollout, `rollback` undoes it, and `report` renders text and JSON. What counts as stable
//! is decided in `stability`, what counts as failed in `failure`. `session` runs a command until a signal arrives, and
//! `activity` records what was changed. Of the library it uses the AWS clients, `retry` and the exit codes; `ecs-bootstrap` uses
//! nothing of this program.

mod activity;
mod api_model;
mod apply;
mod arn;
mod cause;
mod causes;
mod cli;
mod client;
mod current;
mod decide;
mod deploy;
mod described;
mod desired;
mod diff;
mod document;
mod evidence;
mod explain;
mod failure;
mod files;
mod generate;
mod history;
mod image_only;
mod images;
mod init;
mod keep_revisions;
mod log_stream;
mod normalize;
mod observe;
mod outcome;
mod plan;
mod printable;
mod progress;
mod report;
mod revision;
mod rollback;
mod service;
mod service_deployment;
mod session;
mod stability;
mod strategy;
mod template;
mod wait;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use ecs_bootstrap::boundary::aws::Aws;
use ecs_bootstrap::command_line::CommandOutput;
use ecs_bootstrap::exit::Exit;

use crate::activity::{Activity, ServiceName};
use crate::arn::Written;
use crate::cause::FoundCause;
use crate::cli::{Cli, Command, DeploymentFlags, ServiceFlags};
use crate::client::ServiceClient;
use crate::deploy::DeployOptions;
use crate::desired::DesiredState;
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::session::Session;

fn main() -> ExitCode {
    let start = Instant::now();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return CommandOutput::of_clap(error).print(),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return CommandOutput::error(Exit::Internal, &error.to_string()).print(),
    };
    // Unlike ecs-bootstrap, the output is not redacted: the user of ecs-rollout wrote the files and requests in it.
    runtime.block_on(run(cli.command, start)).print()
}

async fn run(command: Command, start: Instant) -> CommandOutput {
    let as_json = match &command {
        Command::Plan(flags) | Command::Deploy { flags, .. } => flags.json,
        Command::Status { service }
        | Command::Init { service, .. }
        | Command::Wait { service, .. }
        | Command::Rollback { service, .. } => service.json,
        Command::Explain { json, .. } => *json,
        Command::Generate { .. } => false,
    };
    let session = Session { progress: Progress::new(start), activity: Activity::default(), as_json };
    session.run(carry_out(command, &session)).await
}

async fn carry_out(command: Command, session: &Session) -> CommandOutput {
    match command {
        Command::Generate { what } => generate::generate(what),
        Command::Explain { id, json } => explain::explain(id.as_deref(), json),
        Command::Plan(flags) => plan(&flags, session).await,
        Command::Deploy { flags, wait, at_limit, no_rollback, no_wait, retention } => {
            let options = DeployOptions {
                timeout: wait.timeout,
                wait: !no_wait,
                roll_back: !no_rollback,
                keep_revisions: retention.keep_revisions,
                roll_back_on_timeout: at_limit.rollback_on_timeout,
            };
            Box::pin(deploy(&flags, options, session)).await
        }
        Command::Init { service, flags } => match client_for_service(&service, session).await {
            Ok(client) => client.init(&service, &flags).await,
            Err(finding) => report::outcome(&Outcome::refused(finding), service.json),
        },
        Command::Status { service } => match client_for_service(&service, session).await {
            Ok(client) => client.status(service.json).await,
            Err(finding) => report::outcome(&Outcome::refused(finding), service.json),
        },
        Command::Wait { service, wait } => Box::pin(wait_for(&service, wait.timeout, session)).await,
        Command::Rollback { service, to, wait } => {
            Box::pin(rollback(&service, to.as_deref(), wait.timeout, session)).await
        }
    }
}

async fn plan(flags: &DeploymentFlags, session: &Session) -> CommandOutput {
    match read_input(flags, session).await {
        Ok((desired, client)) => client.plan(&desired, flags.json).await,
        Err(finding) => report::outcome(&Outcome::refused(finding), flags.json),
    }
}

async fn deploy(flags: &DeploymentFlags, options: DeployOptions, session: &Session) -> CommandOutput {
    let outcome = match read_input(flags, session).await {
        Ok((desired, client)) => client.deploy(&desired, options, &mut session.progress.clone()).await,
        Err(finding) => Outcome::refused(finding),
    };
    session.progress.clear();
    report::outcome(&outcome, flags.json)
}

async fn wait_for(service: &ServiceFlags, timeout: Duration, session: &Session) -> CommandOutput {
    let outcome = match client_for_service(service, session).await {
        Ok(client) => client.wait(timeout, &mut session.progress.clone()).await,
        Err(finding) => Outcome::refused(finding),
    };
    session.progress.clear();
    report::outcome(&outcome, service.json)
}

async fn rollback(service: &ServiceFlags, to: Option<&str>, timeout: Duration, session: &Session) -> CommandOutput {
    let outcome = match client_for_service(service, session).await {
        Ok(client) => client.rollback_command(to, timeout, &mut session.progress.clone()).await,
        Err(finding) => Outcome::refused(finding),
    };
    session.progress.clear();
    report::outcome(&outcome, service.json)
}

/// The desired state, and a client for its service.
async fn read_input(flags: &DeploymentFlags, session: &Session) -> Result<(DesiredState, ServiceClient), FoundCause> {
    let desired = read_desired_state(flags)?;
    let client = client(&desired.cluster, &desired.service, flags.region.as_deref(), session).await?;
    let desired = match flags.task_definition {
        Some(_) => desired,
        None => client.from_running(desired, flags).await?,
    };
    Ok((desired, client))
}

/// Reads the files and options. `--var` overrides the environment.
fn read_desired_state(flags: &DeploymentFlags) -> Result<DesiredState, FoundCause> {
    image_only::check(flags)?;
    let task_definition = flags.task_definition.as_deref().map(files::read).transpose()?;
    let service = flags.service_definition.as_deref().map(files::read).transpose()?;
    let variable = |name: &str| match flags.variables.iter().rev().find(|(key, _)| key == name) {
        Some((_, value)) => Some(value.clone()),
        None => environment(name),
    };
    DesiredState::read(task_definition.as_ref(), service.as_ref(), flags, &variable)
}

#[expect(clippy::disallowed_methods, reason = "main reads the environment")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

async fn client_for_service(service: &ServiceFlags, session: &Session) -> Result<ServiceClient, FoundCause> {
    let region = service.region.as_deref();
    let cluster = service.cluster.as_deref().map(|text| Written { text, place: "--cluster" });
    let address = arn::service_address(cluster, Written { text: &service.service, place: "--service" }, region);
    let address = address.map_err(|why| causes::BAD_INPUT.finding(why))?;
    client(&address.cluster, &address.service, region, session).await
}

async fn client(
    cluster: &str,
    service: &str,
    region: Option<&str>,
    session: &Session,
) -> Result<ServiceClient, FoundCause> {
    let (cluster, service) = (cluster.to_owned(), service.to_owned());
    let name = ServiceName { cluster: cluster.clone(), service: service.clone(), region: region.map(str::to_owned) };
    session.activity.set_name(name);
    let ca_bundle = environment("AWS_CA_BUNDLE").map(PathBuf::from);
    let region_of_arn = arn::region(&cluster);
    let aws = Aws::with_default_credentials(region.or(region_of_arn.as_deref()), ca_bundle).await;
    let aws = aws.map_err(|error| causes::from_error(&error))?;
    Ok(ServiceClient { aws, cluster, service, activity: session.activity.clone() })
}
