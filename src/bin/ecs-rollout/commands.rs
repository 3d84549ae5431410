//! Runs the command that the command line names: reads its input, makes its client, and reports how it ended.

use std::path::PathBuf;
use std::time::Duration;

use ecs_bootstrap::boundary::aws::Aws;
use serde_json::Value;

use crate::activity::{Activity, ServiceName};
use crate::arn::{ServiceAddress, Written};
use crate::cause::FoundCause;
use crate::cli::{BeforeFlags, Command, DeploymentFlags, InputFlags, RunFlags, ServiceFlags};
use crate::client::ServiceClient;
use crate::deploy::DeployOptions;
use crate::desired::DesiredState;
use crate::github::Finished;
use crate::one_off::run::OneOffTask;
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::session::Session;
use crate::variables::Variables;
use crate::visible::Definition;
use crate::visible::hidden::HiddenValues;
use crate::{arn, causes, environment, explain, files, generate, image_only, one_off};

/// Runs a command until it ends or a signal arrives.
pub(crate) async fn run(command: Command, progress: Progress) -> Finished {
    let (name, as_json) = match &command {
        Command::Plan(flags) => ("plan", flags.json),
        Command::Deploy { flags, .. } => ("deploy", flags.json),
        Command::Run(flags) => ("run", flags.json),
        Command::Tasks { service } => ("tasks", service.json),
        Command::Logs(flags) => ("logs", flags.service.json),
        Command::Init { service, .. } => ("init", service.json),
        Command::Status { service } => ("status", service.json),
        Command::Wait { service, .. } => ("wait", service.json),
        Command::Rollback { service, .. } => ("rollback", service.json),
        Command::Explain { json, .. } => ("explain", *json),
        Command::Generate { .. } => ("generate", false),
    };
    let session = Session { progress, activity: Activity::default(), command: name, as_json };
    session.run(carry_out(command, &session)).await
}

async fn carry_out(command: Command, session: &Session) -> Finished {
    match command {
        Command::Generate { what } => generate::generate(what).into(),
        Command::Explain { id, json } => explain::explain(id.as_deref(), json).into(),
        Command::Plan(flags) => plan(&flags, session).await,
        Command::Deploy { flags, before, wait, at_limit, no_rollback, no_wait, retention } => {
            let options = DeployOptions {
                timeout: wait.timeout,
                wait: !no_wait,
                roll_back: !no_rollback,
                keep_revisions: retention.keep_revisions,
                roll_back_on_timeout: at_limit.rollback_on_timeout,
                verify: !flags.verification.no_verify,
            };
            Box::pin(deploy(&flags, &before, options, session)).await
        }
        Command::Init { service, flags } => match client_for_service(&service, session).await {
            Ok(client) => client.init(&service, &flags).await,
            Err(finding) => Finished::of_outcome("init", &Outcome::refused(finding), service.json),
        },
        Command::Run(flags) => Box::pin(run_task(&flags, session)).await,
        Command::Tasks { service } => match client_for_service(&service, session).await {
            Ok(client) => client.tasks(service.json).await,
            Err(finding) => Finished::of_outcome("tasks", &Outcome::refused(finding), service.json),
        },
        Command::Logs(flags) => match client_for_service(&flags.service, session).await {
            Ok(client) => client.logs(&flags).await,
            Err(finding) => Finished::of_outcome("logs", &Outcome::refused(finding), flags.service.json),
        },
        Command::Status { service } => match client_for_service(&service, session).await {
            Ok(client) => client.status(service.json).await,
            Err(finding) => Finished::of_outcome("status", &Outcome::refused(finding), service.json),
        },
        Command::Wait { service, wait } => Box::pin(wait_for(&service, wait.timeout, session)).await,
        Command::Rollback { service, to, wait } => {
            Box::pin(rollback(&service, to.as_deref(), wait.timeout, session)).await
        }
    }
}

async fn plan(flags: &DeploymentFlags, session: &Session) -> Finished {
    match read_input(flags, None, session).await {
        Ok(Input { desired, client, .. }) => client.plan(&desired, !flags.verification.no_verify, flags.json).await,
        Err(finding) => Finished::of_outcome("plan", &Outcome::refused(finding), flags.json),
    }
}

async fn deploy(flags: &DeploymentFlags, before: &BeforeFlags, options: DeployOptions, session: &Session) -> Finished {
    let outcome = async {
        let Input { desired, before, client } = read_input(flags, Some(before), session).await?;
        let outcome = client.deploy(&desired, before.as_ref(), options, &mut session.progress.clone()).await;
        Ok(Outcome { variables: desired.variables, ..outcome })
    };
    let outcome = outcome.await.unwrap_or_else(Outcome::refused);
    session.progress.clear();
    Finished::of_outcome("deploy", &outcome, flags.json)
}

async fn run_task(flags: &RunFlags, session: &Session) -> Finished {
    let outcome = async {
        let hidden = HiddenValues::new(flags.input.show_values);
        let task = with_variables(&flags.input, &hidden, |variables| one_off::input::run(flags, variables));
        let task = task.map_err(|finding| finding.hiding(&hidden))?;
        hidden.learn(Definition::Task, &task.overrides.as_definition());
        let client = client_for_task(flags, hidden, session).await?;
        let task_definition = flags.task_definition.as_deref();
        Ok(client.run_and_report(&task, task_definition, &mut session.progress.clone()).await)
    };
    let outcome = outcome.await.unwrap_or_else(Outcome::refused);
    session.progress.clear();
    Finished::of_outcome("run", &outcome, flags.json)
}

async fn wait_for(service: &ServiceFlags, timeout: Duration, session: &Session) -> Finished {
    let outcome = match client_for_service(service, session).await {
        Ok(client) => client.wait(timeout, &mut session.progress.clone()).await,
        Err(finding) => Outcome::refused(finding),
    };
    session.progress.clear();
    Finished::of_outcome("wait", &outcome, service.json)
}

async fn rollback(service: &ServiceFlags, to: Option<&str>, timeout: Duration, session: &Session) -> Finished {
    let outcome = match client_for_service(service, session).await {
        Ok(client) => client.rollback_command(to, timeout, &mut session.progress.clone()).await,
        Err(finding) => Outcome::refused(finding),
    };
    session.progress.clear();
    Finished::of_outcome("rollback", &outcome, service.json)
}

/// The input of `plan` and `deploy`.
struct Input {
    desired: DesiredState,
    before: Option<OneOffTask>,
    client: ServiceClient,
}

/// Reads the files and options, and makes the client of the service that they name.
async fn read_input(
    flags: &DeploymentFlags,
    before: Option<&BeforeFlags>,
    session: &Session,
) -> Result<Input, FoundCause> {
    let hidden = HiddenValues::new(flags.input.show_values);
    let read = with_variables(&flags.input, &hidden, |variables| {
        let before =
            before.map(|before| one_off::input::before(before, flags.unknown.allow_unknown, variables)).transpose()?;
        Ok((read_desired_state(flags, variables)?, before.flatten()))
    });
    let (desired, before) = read.map_err(|finding| finding.hiding(&hidden))?;
    hidden.learn(Definition::Task, &desired.task_definition);
    if let Some(before) = &before {
        hidden.learn(Definition::Task, &before.overrides.as_definition());
    }
    hidden.learn(Definition::Service, &Value::Object(desired.members.clone()));
    let client = client(&desired.cluster, &desired.service, flags.region.as_deref(), hidden, session).await?;
    let desired = match flags.task_definition {
        Some(_) => desired,
        None => client.with_running_task_definition(desired, flags).await?,
    };
    Ok(Input { desired, before, client })
}

fn read_desired_state(flags: &DeploymentFlags, variables: Option<&Variables<'_>>) -> Result<DesiredState, FoundCause> {
    image_only::check(flags)?;
    let task_definition = flags.task_definition.as_deref().map(files::read).transpose()?;
    let service = flags.service_definition.as_deref().map(files::read).transpose()?;
    DesiredState::read(task_definition.as_ref(), service.as_ref(), flags, variables)
}

/// Reads something with the variables of the options. The values that it uses are hidden in the output, also if it
/// fails.
fn with_variables<T>(
    input: &InputFlags,
    hidden: &HiddenValues,
    read: impl FnOnce(Option<&Variables<'_>>) -> Result<T, FoundCause>,
) -> Result<T, FoundCause> {
    let environment_files = input.env_file.iter().map(|path| files::read_environment(path));
    let environment_files = environment_files.collect::<Result<Vec<_>, _>>()?;
    let variables = Variables::new(&input.variables, environment_files, &input.vars_from, &environment::variable);
    let outcome = read((!input.no_variables).then_some(&variables));
    variables.values().iter().for_each(|value| hidden.hide(value));
    outcome
}

/// A client for the service of a one-off task, or only for a cluster.
async fn client_for_task(
    flags: &RunFlags,
    hidden: HiddenValues,
    session: &Session,
) -> Result<ServiceClient, FoundCause> {
    let region = flags.region.as_deref();
    match (&flags.service, &flags.cluster) {
        (Some(service), cluster) => {
            let address = address(cluster.as_deref(), service, region)?;
            client(&address.cluster, &address.service, region, hidden, session).await
        }
        (None, Some(cluster)) => client(cluster, "", region, hidden, session).await,
        (None, None) => Err(causes::BAD_OPTION.finding("the cluster is not named; use `--cluster NAME`")),
    }
}

async fn client_for_service(service: &ServiceFlags, session: &Session) -> Result<ServiceClient, FoundCause> {
    let region = service.region.as_deref();
    let address = address(service.cluster.as_deref(), &service.service, region)?;
    client(&address.cluster, &address.service, region, HiddenValues::new(service.show_values), session).await
}

fn address(cluster: Option<&str>, service: &str, region: Option<&str>) -> Result<ServiceAddress, FoundCause> {
    let cluster = cluster.map(|text| Written { text, place: "--cluster" });
    let address = arn::service_address(cluster, Written { text: service, place: "--service" }, region);
    address.map_err(|why| causes::BAD_OPTION.finding(why))
}

async fn client(
    cluster: &str,
    service: &str,
    region: Option<&str>,
    hidden: HiddenValues,
    session: &Session,
) -> Result<ServiceClient, FoundCause> {
    [cluster, service].iter().for_each(|name| hidden.show(name));
    session.progress.hide(&hidden);
    let (cluster, service) = (cluster.to_owned(), service.to_owned());
    let name = ServiceName { cluster: cluster.clone(), service: service.clone(), region: region.map(str::to_owned) };
    session.activity.set_name(name);
    let ca_bundle = environment::variable("AWS_CA_BUNDLE").map(PathBuf::from);
    let region_of_arn = arn::region(&cluster);
    let aws = Aws::with_default_credentials(region.or(region_of_arn.as_deref()), ca_bundle).await;
    let aws = aws.map_err(|error| causes::from_error(&error))?;
    Ok(ServiceClient { aws, cluster, service, activity: session.activity.clone(), hidden })
}
