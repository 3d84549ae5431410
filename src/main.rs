//! The program on the instance: parses the command line, starts the log, runs one command, and prints its output.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::mem::ManuallyDrop;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use ecs_bootstrap::boundary::HostClients;
use ecs_bootstrap::boundary::imds::Address;
use ecs_bootstrap::check::Options;
use ecs_bootstrap::cli::{self, Cli, Command, Common, HostCommand, Run};
use ecs_bootstrap::command_line::CommandOutput;
use ecs_bootstrap::commands::{CommandContext, HangReport, STARTUP, VerifyPlace, check, explain};
use ecs_bootstrap::exit::Exit;
use ecs_bootstrap::journal::{self, Logging};
use ecs_bootstrap::maintenance::Consent;
use ecs_bootstrap::redaction::{self, error_chain};
use ecs_bootstrap::retry::{FinalReport, Watchdog};
use ecs_bootstrap::settings::fragment::Fragment;
use ecs_bootstrap::settings::warning;
use ecs_bootstrap::settings::{SettingsError, Warning};
use tokio::runtime::LocalOptions;
use tokio::time::Instant;

fn main() -> ExitCode {
    let start = Instant::now();
    std::panic::set_hook(Box::new(exit_after_panic));
    // Memory can hold secrets, and a core dump would write them to the disk. If the kernel refuses the limit, the instance
    // must boot all the same.
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match Cli::parse_arguments(&arguments) {
        Ok(cli) => print(run(cli, start)),
        Err(error) => print(not_parsed(error, arguments)),
    }
}

fn run(cli: Cli, start: Instant) -> CommandOutput {
    let has_wait_option = cli.run.wait || cli.run.no_wait;
    let command = match cli.command {
        None => HostCommand::Run(cli.run),
        Some(Command::OnHost(HostCommand::Run(options))) => {
            HostCommand::Run(Run { wait: options.wait || cli.run.wait, no_wait: options.no_wait || cli.run.no_wait })
        }
        Some(_) if has_wait_option => return failure(Exit::Usage, "`--wait` and `--no-wait` are options of `run`"),
        Some(Command::OnHost(command)) => command,
        Some(Command::Generate { what }) => return cli::generate(what),
        Some(Command::Explain { id }) => return explain(id.as_deref(), cli.common.json),
        Some(Command::Check { files, input_type, rendered }) => {
            return check(&files, Options { input_type, is_rendered: rendered }, cli.common.json);
        }
    };
    run_on_host(command, &cli.common, start)
}

/// Runs a command with settings, a log, and a watchdog.
fn run_on_host(command: HostCommand, common: &Common, start: Instant) -> CommandOutput {
    // systemd starts guard with the variables of ecs.config. None of them may keep the agent from starting.
    let is_guard = matches!(command, HostCommand::Guard { .. });
    let variables: BTreeMap<String, OsString> = std::env::vars_os()
        .filter(|_| !is_guard)
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value)))
        .collect();
    let root = variables.get("ECS_BOOTSTRAP_ROOT").filter(|root| !root.is_empty()).map(PathBuf::from);
    let environment: BTreeMap<String, String> =
        variables.into_iter().map(|(key, value)| (key, value.to_string_lossy().into_owned())).collect();
    let root = common.root.clone().or(root).unwrap_or_else(|| PathBuf::from("/"));
    let filter = environment.get("ECS_BOOTSTRAP_LOG").map(String::as_str);
    let logging = match journal::start(&root, common.verbose, filter) {
        Ok(logging) => logging,
        Err(error) => return failure(Exit::Settings, &error_chain(&error)),
    };
    let mut context = match context(common, &root, &environment, &logging, start) {
        Ok(context) => context,
        Err(output) => return output,
    };
    context.watchdog = Some(watchdog(HangReport::new(&context, &command)));
    let outcome = tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let outcome = outcome.and_then(|runtime| {
        // Not dropped: that would cancel each open connection, which the exit closes too.
        let runtime = ManuallyDrop::new(runtime);
        // In a task: a wake of the future of `block_on` itself costs two system calls, and each answer is one.
        let command = runtime.spawn_local(run_command(command, context));
        runtime.block_on(command).map_err(std::io::Error::other)
    });
    outcome.unwrap_or_else(|error| failure(Exit::Internal, &error.to_string()))
}

async fn run_command(command: HostCommand, context: CommandContext) -> CommandOutput {
    // Boxed: the future of this function would be as long as that of the longest command, and is moved into its task.
    match command {
        HostCommand::Run(options) => {
            let wait = match options {
                Run { wait: true, .. } => VerifyPlace::Here,
                Run { no_wait: true, .. } => VerifyPlace::InVerifyUnit,
                _ if std::io::stdin().is_terminal() && context.shows_progress => VerifyPlace::HereIfPossible,
                _ => VerifyPlace::InVerifyUnit,
            };
            Box::pin(context.run(wait)).await
        }
        HostCommand::Plan { iam } => Box::pin(context.plan(iam)).await,
        HostCommand::Guard { after_user_data: true, .. } => Box::pin(context.guard_after_user_data()).await,
        HostCommand::Guard { rewrite: true, .. } => Box::pin(context.rewrite()).await,
        HostCommand::Guard { rewrite: false, .. } => Box::pin(context.guard()).await,
        HostCommand::Verify { died: false } => Box::pin(context.verify()).await,
        HostCommand::Verify { died: true } => Box::pin(context.verify_died()).await,
        HostCommand::PrepareImage(options) => Box::pin(context.prepare_image(consent(options))).await,
        HostCommand::ResetAgent(options) => Box::pin(context.reset_agent(consent(options))).await,
        HostCommand::Doctor(options) => Box::pin(context.doctor(&options)).await,
        HostCommand::Status => Box::pin(context.status()).await,
        HostCommand::Watch => Box::pin(context.watch()).await,
        HostCommand::PullImages => Box::pin(context.pull_images()).await,
        HostCommand::Drain => Box::pin(context.drain()).await,
        HostCommand::Timeline(options) => Box::pin(context.timeline(&options)).await,
    }
}

fn consent(options: cli::ConsentFlags) -> Consent {
    Consent { yes: options.yes, force: options.force }
}

fn context(
    common: &Common,
    root: &Path,
    environment: &BTreeMap<String, String>,
    logging: &Logging,
    start: Instant,
) -> Result<CommandContext, CommandOutput> {
    let variable = |name: &str| environment.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let address = Address::from_environment(
        variable("AWS_EC2_METADATA_SERVICE_ENDPOINT"),
        variable("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"),
    );
    let mut given = fragments(common, environment);
    // A wrong endpoint is reported like any other wrong setting: as the verdict of the command.
    if let Err(error) = address.usable() {
        given = given.and(Err(in_environment(error.to_string())));
    }
    let mut warnings = plain_http_endpoints(environment);
    if let Some(first) = warnings.first().filter(|_| common.https_only) {
        given = Err(in_environment(format!("{}, which `--https-only` refuses", first.text)));
        warnings.clear();
    }
    let ca_bundle = variable("AWS_CA_BUNDLE").map(PathBuf::from);
    let agent_endpoint = common.agent_endpoint.as_deref().or(variable("ECS_BOOTSTRAP_AGENT_ENDPOINT"));
    let host_clients = HostClients::new(root, address, agent_endpoint, ca_bundle)
        .map_err(|error| failure(Exit::Usage, &error_chain(&error)))?;
    Ok(CommandContext {
        is_verbose: common.verbose > 0,
        host_clients,
        given_settings: given,
        json: common.json,
        shows_progress: std::io::stderr().is_terminal(),
        to_journal: matches!(logging, Logging::Journal),
        start,
        program: std::env::current_exe().ok(),
        warnings,
        watchdog: None,
        expectation_without_plan: std::cell::OnceCell::new(),
    })
}

/// The settings of the environment and of the command line.
fn fragments(common: &Common, environment: &BTreeMap<String, String>) -> Result<Vec<Fragment>, SettingsError> {
    let variables = environment.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    Ok(vec![Fragment::from_environment(variables)?, Fragment::from_command_line(&common.settings())?])
}

fn in_environment(what: String) -> SettingsError {
    SettingsError { place: "the environment".to_owned(), what, did_you_mean: None }
}

/// A warning for each `AWS_ENDPOINT_URL` and `AWS_ENDPOINT_URL_<SERVICE>` (AWS SDKs and Tools Reference Guide,
/// "Service-specific endpoints") that sends credentials over plain HTTP to another host.
fn plain_http_endpoints(environment: &BTreeMap<String, String>) -> Vec<Warning> {
    let endpoints = environment.iter().filter(|(name, _)| name.starts_with("AWS_ENDPOINT_URL"));
    let plain = endpoints.filter_map(|(name, endpoint)| {
        let url = reqwest::Url::parse(endpoint).ok().filter(|url| url.scheme() == "http")?;
        let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        (!is_loopback).then(|| {
            Warning::new(
                &warning::PLAIN_ENDPOINT,
                format!("{name} sends signed requests to `{host}` over plain HTTP"),
                None,
            )
        })
    });
    plain.collect()
}

/// Ends the process if a system call blocks its only thread past every deadline.
#[expect(clippy::exit, reason = "the thread that would return to `main` is blocked")]
fn watchdog(hang_report: HangReport) -> Watchdog {
    let (printed, reported) = (hang_report.clone(), hang_report.clone());
    let final_reports: Vec<FinalReport> = vec![
        Box::new(move || {
            let _ = print(printed.output());
        }),
        Box::new(move || reported.report_locally()),
    ];
    Watchdog::start(STARTUP, final_reports, move || std::process::exit(hang_report.output().exit.code().into()))
}

/// The output for `--help`, `--version` and a wrong command line.
fn not_parsed(error: clap::Error, arguments: Vec<OsString>) -> CommandOutput {
    if let Some(text) = wrong_value(&error) {
        return CommandOutput::error(Exit::Usage, &text);
    }
    // The error repeats the arguments. Parsed again with their control characters replaced, it is the same error with
    // one line for each argument.
    let printable = |argument: OsString| argument.to_string_lossy().replace(redaction::is_unprintable, " ");
    let error = Cli::try_parse_from(arguments.into_iter().map(printable)).err().unwrap_or(error);
    let mut output = CommandOutput::of_clap(error);
    output.stderr = output.stderr.lines().map(|line| shortened(&redaction::line(line)) + "\n").collect();
    output
}

/// The message for a value that an option does not accept. Only the value is redacted: in clap's own message, redaction
/// would also take the name of the value in `--set <SETTING=VALUE>` for an assignment.
fn wrong_value(error: &clap::Error) -> Option<String> {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let reason = std::error::Error::source(error).filter(|_| error.kind() == ErrorKind::ValueValidation)?;
    let (option, value) = (context(ContextKind::InvalidArg)?, context(ContextKind::InvalidValue)?);
    let value = value.replace(redaction::is_unprintable, " ");
    Some(format!("invalid value `{}` for `{option}`: {reason}", shortened(&redaction::line(&value))))
}

/// Arguments can be very long. The end of a line is dropped after redaction, which needs the whole line.
fn shortened(line: &str) -> String {
    const MAX_LENGTH: usize = 200;
    match line.char_indices().nth(MAX_LENGTH) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.to_owned(),
    }
}

/// The message of a panic can contain data, so only the place in the code is printed.
#[expect(clippy::exit, reason = "after a panic, `main` does not return")]
fn exit_after_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map(|place| format!(" at {}:{}", place.file(), place.line())).unwrap_or_default();
    print(failure(Exit::Internal, &format!("internal error in ecs-bootstrap{place}; please report it")));
    std::process::exit(Exit::Internal.code().into());
}

fn failure(exit: Exit, text: &str) -> CommandOutput {
    CommandOutput::error(exit, &redaction::line(text))
}

/// Redacts and prints the output.
fn print(output: CommandOutput) -> ExitCode {
    let CommandOutput { stdout, stderr, exit } = output;
    let (stdout, stderr) = (redaction::printed(&stdout).into_owned(), redaction::printed(&stderr).into_owned());
    CommandOutput { stdout, stderr, exit }.print()
}
