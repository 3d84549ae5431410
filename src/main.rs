//! Boots an EC2 instance into its ECS cluster.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use ecs_bootstrap::boot::{BEGINNING, Boot, CommandOutput, Ending, Wait, check, explain};
use ecs_bootstrap::boundary::World;
use ecs_bootstrap::boundary::imds::Address;
use ecs_bootstrap::check::Options;
use ecs_bootstrap::cli::{self, Cli, Command, Common, Run};
use ecs_bootstrap::exit::Exit;
use ecs_bootstrap::journal::{self, Logging};
use ecs_bootstrap::maintenance::Consent;
use ecs_bootstrap::redaction;
use ecs_bootstrap::retry::{FinalReport, Watchdog};
use ecs_bootstrap::settings::fragment::Fragment;
use ecs_bootstrap::settings::{SettingsError, Warning};
use tokio::time::Instant;

fn main() -> ExitCode {
    let start = Instant::now();
    std::panic::set_hook(Box::new(end_of_panic));
    // What is in memory may be secret, and the cause of a crash does not lie there. A kernel that refuses is no reason to
    // keep an instance from its cluster.
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
    let cli = match Cli::try_parse_from(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // The error repeats the argument, line breaks and all: one about the same arguments on one line says the same.
            let printable = |argument: OsString| argument.to_string_lossy().replace(redaction::is_unprintable, " ");
            let error = Cli::try_parse_from(std::env::args_os().map(printable)).err().unwrap_or(error);
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            return print(CommandOutput {
                stdout: if error.use_stderr() { String::new() } else { error.render().to_string() },
                stderr: if error.use_stderr() { usage_error(&error.render().to_string()) } else { String::new() },
                exit,
            });
        }
    };
    print(command(cli, start))
}

/// The error of a wrong command line. It repeats the arguments, which may hold anything.
fn usage_error(text: &str) -> String {
    const LONGEST: usize = 200;
    // What is cut off may be what shows that the rest is a secret.
    let cut = |line: &str| {
        let line = redaction::line(line);
        match line.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}...", &line[..end]),
            None => line,
        }
    };
    text.lines().map(|line| cut(line) + "\n").collect()
}

fn command(cli: Cli, start: Instant) -> CommandOutput {
    let given_to_run = cli.run.wait || cli.run.no_wait;
    let command = match cli.command {
        None => Command::Run(cli.run),
        Some(Command::Run(options)) => {
            Command::Run(Run { wait: options.wait || cli.run.wait, no_wait: options.no_wait || cli.run.no_wait })
        }
        Some(_) if given_to_run => return failure(Exit::Usage, "`--wait` and `--no-wait` are options of `run`"),
        Some(command) => command,
    };
    if let Command::Generate { what } = command {
        return match cli::generate(what) {
            Ok(text) => CommandOutput {
                stdout: String::from_utf8_lossy(&text).into_owned(),
                stderr: String::new(),
                exit: Exit::Done,
            },
            Err(error) => failure(Exit::Internal, &error.to_string()),
        };
    }
    if let Command::Explain { id } = &command {
        return explain(id.as_deref(), cli.common.json);
    }
    if let Command::Check { files, input_type, rendered } = &command {
        let options = Options { input_type: *input_type, is_rendered: *rendered };
        return check(files, options, cli.common.json);
    }
    // Guard has the variables of ecs.config in its environment, and needs none: nothing there may keep an agent down.
    let is_guard = matches!(command, Command::Guard { .. });
    let variables: BTreeMap<String, OsString> = std::env::vars_os()
        .filter(|_| !is_guard)
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value)))
        .collect();
    let root = variables.get("ECS_BOOTSTRAP_ROOT").filter(|root| !root.is_empty()).map(PathBuf::from);
    let environment: BTreeMap<String, String> =
        variables.into_iter().map(|(key, value)| (key, value.to_string_lossy().into_owned())).collect();
    let root = cli.common.root.clone().or(root).unwrap_or_else(|| PathBuf::from("/"));
    let filter = environment.get("ECS_BOOTSTRAP_LOG").map(String::as_str);
    let logging = match journal::start(&root, cli.common.verbose, filter) {
        Ok(logging) => logging,
        Err(error) => return failure(Exit::Settings, &ecs_bootstrap::redaction::error_chain(&error)),
    };
    let mut boot = match boot(&cli.common, &root, &environment, &logging, start) {
        Ok(boot) => boot,
        Err(report) => return report,
    };
    boot.watchdog = Some(watch(Ending::of(&boot, &command)));
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure(Exit::Internal, &error.to_string()),
    };
    runtime.block_on(act(command, boot))
}

/// What ends a command that does not end by itself.
#[expect(clippy::exit, reason = "the thread that would return to `main` is blocked")]
fn watch(ending: Ending) -> Watchdog {
    let (document, report) = ending.report();
    let exit = report.exit;
    let last_words: Vec<FinalReport> = vec![
        Box::new(move || {
            let _ = print(report);
        }),
        Box::new(move || ending.tell(&document)),
    ];
    Watchdog::start(BEGINNING, last_words, move || std::process::exit(exit.code().into()))
}

async fn act(command: Command, boot: Boot) -> CommandOutput {
    match command {
        Command::Run(options) => {
            let wait = match options {
                Run { wait: true, .. } => Wait::Here,
                Run { no_wait: true, .. } => Wait::InItsUnit,
                _ if std::io::stdin().is_terminal() && boot.watched => Wait::HereIfPossible,
                _ => Wait::InItsUnit,
            };
            boot.run(wait).await
        }
        Command::Plan => boot.plan().await,
        Command::Guard { rewrite: true } => boot.rewrite().await,
        Command::Guard { rewrite: false } => boot.guard().await,
        Command::Verify { died: false } => boot.verify().await,
        Command::Verify { died: true } => boot.verify_died().await,
        Command::PrepareImage(options) => boot.prepare_image(consent(options)).await,
        Command::ResetAgent(options) => boot.reset_agent(consent(options)).await,
        Command::Doctor { bundle } => Box::pin(boot.doctor(bundle.as_deref())).await,
        Command::Status | Command::Generate { .. } | Command::Explain { .. } | Command::Check { .. } => {
            boot.status().await
        }
    }
}

fn consent(options: cli::Consent) -> Consent {
    Consent { yes: options.yes, force: options.force }
}

fn boot(
    common: &Common,
    root: &Path,
    environment: &BTreeMap<String, String>,
    logging: &Logging,
    start: Instant,
) -> Result<Boot, CommandOutput> {
    let variable = |name: &str| environment.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let mut given = Vec::new();
    let fragments = Fragment::from_environment(environment.iter().map(|(key, value)| (key.as_str(), value.as_str())))
        .and_then(|environment| {
            given.push(environment);
            given.push(Fragment::from_command_line(&common.settings())?);
            Ok(given)
        });
    let address = Address::from_environment(
        variable("AWS_EC2_METADATA_SERVICE_ENDPOINT"),
        variable("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"),
    );
    // A wrong address is a wrong setting, told like the others once there is a world to tell it in.
    let (address, fragments) = match address {
        Ok(address) => (address, fragments),
        Err(error) => (Address::Fixed("http://127.0.0.1:9".to_owned()), fragments.and(Err(in_environment(&error)))),
    };
    let (warnings, fragments) = match plain_endpoints(environment) {
        plain if common.https_only && !plain.is_empty() => {
            let what = format!("{}, which `--https-only` refuses", plain[0].text);
            (Vec::new(), Err(SettingsError { place: "the environment".to_owned(), what, did_you_mean: None }))
        }
        plain => (plain, fragments),
    };
    let ca_bundle = variable("AWS_CA_BUNDLE").map(PathBuf::from);
    let agent_endpoint = common.agent_endpoint.as_deref().or(variable("ECS_BOOTSTRAP_AGENT_ENDPOINT"));
    let world = World::new(root, address, agent_endpoint, ca_bundle)
        .map_err(|error| failure(Exit::Usage, &ecs_bootstrap::redaction::error_chain(&error)))?;
    Ok(Boot {
        world,
        given: fragments,
        json: common.json,
        watched: std::io::stderr().is_terminal(),
        to_journal: matches!(logging, Logging::Journal),
        start,
        program: std::env::current_exe().ok(),
        warnings,
        watchdog: None,
        stopped: std::cell::OnceCell::new(),
    })
}

fn in_environment(error: &dyn std::error::Error) -> SettingsError {
    SettingsError { place: "the environment".to_owned(), what: error.to_string(), did_you_mean: None }
}

/// `AWS_ENDPOINT_URL`, and the same of one service (AWS SDKs and Tools Reference Guide, "Service-specific endpoints"):
/// credentials over plain HTTP are for simulators on this host.
fn plain_endpoints(environment: &BTreeMap<String, String>) -> Vec<Warning> {
    let endpoints = environment.iter().filter(|(name, _)| name.starts_with("AWS_ENDPOINT_URL"));
    let plain = endpoints.filter_map(|(name, endpoint)| {
        let url = reqwest::Url::parse(endpoint).ok().filter(|url| url.scheme() == "http")?;
        let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        (!is_loopback).then(|| Warning {
            id: "plain-endpoint",
            text: format!("{name} sends signed requests to `{host}` over plain HTTP"),
            source: None,
        })
    });
    plain.collect()
}

/// A panic is a fault of this program. Its message may repeat what it was working on, so only the place is told.
#[expect(clippy::exit, reason = "a panic is the one way to end without returning to `main`")]
fn end_of_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map(|place| format!(" at {}:{}", place.file(), place.line())).unwrap_or_default();
    print(failure(Exit::Internal, &format!("ecs-bootstrap has a fault{place}; please report it")));
    std::process::exit(Exit::Internal.code().into());
}

fn failure(exit: Exit, text: &str) -> CommandOutput {
    CommandOutput { stdout: String::new(), stderr: format!("error: {}\n", redaction::line(text)), exit }
}

/// The only place that prints a report. A reader that has gone away is no reason to fail.
fn print(report: CommandOutput) -> ExitCode {
    // One that does not read holds its lock for ever, and must not hold back the other.
    if !report.stdout.is_empty() {
        let _ = std::io::stdout().write_all(redaction::printed(&report.stdout).as_bytes());
    }
    let _ = std::io::stderr().write_all(redaction::printed(&report.stderr).as_bytes());
    report.exit.into()
}
