//! Deploys a service to ECS from CI.
//!
//! The same corridor as the boot's: `observe` reads, `decide` is pure, `apply` does what the plan says, `watch` follows the
//! rollout, `report` turns it into text. Of the library it uses the AWS clients, the waits, the exit codes and the log; the
//! instance's program uses nothing of this one.

mod apply;
mod calls;
mod cause;
mod cli;
mod decide;
mod deploy;
mod files;
mod normal;
mod observe;
mod report;
mod rollout;
mod screen;
mod shape;
mod template;
mod wanted;
mod watch;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use ecs_bootstrap::boundary::aws::Aws;
use ecs_bootstrap::exit::Exit;

use crate::calls::Calls;
use crate::cause::{Refusal, of_call};
use crate::cli::{Cli, Command, Flags, ServiceFlags};
use crate::deploy::Patience;
use crate::report::{Outcome, Report};
use crate::screen::Screen;
use crate::wanted::Wanted;

fn main() -> ExitCode {
    let start = Instant::now();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let text = error.render().to_string();
            return print(match error.use_stderr() {
                true => Report { stdout: String::new(), stderr: text, exit: Exit::Usage },
                false => Report { stdout: text, stderr: String::new(), exit: Exit::Done },
            });
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return print(failure(&error.to_string())),
    };
    print(runtime.block_on(run(cli.command, start)))
}

async fn run(command: Command, start: Instant) -> Report {
    match command {
        Command::Generate { what } => match cli::generate(what) {
            Ok(text) => {
                let stdout = String::from_utf8_lossy(&text).into_owned();
                Report { stdout, stderr: String::new(), exit: Exit::Done }
            }
            Err(error) => failure(&error.to_string()),
        },
        Command::Explain { id, json } => report::explain(id.as_deref(), json),
        Command::Plan(flags) => match wanted(&flags) {
            Ok(wanted) => match calls(&wanted.cluster, &wanted.service, flags.region.as_deref()).await {
                Ok(calls) => calls.plan(&wanted, flags.json).await,
                Err(refusal) => Outcome::refused(refusal).report(flags.json),
            },
            Err(refusal) => Outcome::refused(refusal).report(flags.json),
        },
        Command::Deploy { flags, wait, no_rollback, no_wait } => {
            let patience = Patience { timeout: wait.timeout, wait: !no_wait, rollback: !no_rollback };
            Box::pin(deploy(&flags, patience, start)).await
        }
        Command::Status { service } => match of(&service).await {
            Ok(calls) => calls.status(service.json).await,
            Err(refusal) => Outcome::refused(refusal).report(service.json),
        },
        Command::Rollback { service, to, wait } => {
            Box::pin(rollback(&service, to.as_deref(), wait.timeout, start)).await
        }
    }
}

async fn deploy(flags: &Flags, patience: Patience, start: Instant) -> Report {
    let outcome = async {
        let wanted = wanted(flags)?;
        let calls = calls(&wanted.cluster, &wanted.service, flags.region.as_deref()).await?;
        Ok(calls.deploy(&wanted, patience, &mut Screen::new(start)).await)
    };
    outcome.await.unwrap_or_else(Outcome::refused).report(flags.json)
}

async fn rollback(service: &ServiceFlags, to: Option<&str>, timeout: Duration, start: Instant) -> Report {
    let outcome = async {
        let calls = of(service).await?;
        Ok(calls.rollback(to, timeout, &mut Screen::new(start)).await)
    };
    outcome.await.unwrap_or_else(Outcome::refused).report(service.json)
}

/// What the files and flags come to. `--var` stands before the environment.
fn wanted(flags: &Flags) -> Result<Wanted, Refusal> {
    let task_definition = files::read(&flags.task_definition)?;
    let service = flags.service_definition.as_deref().map(files::read).transpose()?;
    let variable = |name: &str| match flags.variables.iter().rev().find(|(said, _)| said == name) {
        Some((_, value)) => Some(value.clone()),
        None => environment(name),
    };
    Wanted::read(&task_definition, service.as_ref(), flags, &variable)
}

#[expect(clippy::disallowed_methods, reason = "main reads the environment")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

async fn of(service: &ServiceFlags) -> Result<Calls, Refusal> {
    calls(&service.cluster, &service.service, service.region.as_deref()).await
}

async fn calls(cluster: &str, service: &str, region: Option<&str>) -> Result<Calls, Refusal> {
    let ca_bundle = environment("AWS_CA_BUNDLE").map(PathBuf::from);
    // An ARN says its region (IAM User Guide, "Amazon Resource Names").
    let of_arn = cluster.starts_with("arn:").then(|| cluster.split(':').nth(3)).flatten();
    let aws = Aws::with_default_credentials(region.or(of_arn), ca_bundle).await.map_err(|error| of_call(&error))?;
    Ok(Calls { aws, cluster: cluster.to_owned(), service: service.to_owned() })
}

fn failure(text: &str) -> Report {
    Report { stdout: String::new(), stderr: format!("error: {text}\n"), exit: Exit::Internal }
}

/// The only place that prints a report. A reader that has gone away is no reason to fail.
fn print(report: Report) -> ExitCode {
    let _ = std::io::stdout().write_all(report.stdout.as_bytes());
    let _ = std::io::stderr().write_all(report.stderr.as_bytes());
    report.exit.into()
}
