//! Deploys a service to Amazon ECS from CI.
//!
//! `deploy.rs` is the pipeline: `observe` reads the current state, `decide` makes a plan without I/O, `verify` looks
//! whether it can succeed, `apply` carries it out, `watch` follows the rollout, `rollback` undoes it, and `report`
//! renders text and JSON. What counts as stable is decided in `stability`, what counts as failed in `failure`.
//! `session` runs a command until a signal arrives, and `activity` records what was changed. Of the library it uses
//! the AWS clients, `retry`, the comparison of causes, and what belongs to a command line; `ecs-bootstrap` uses
//! nothing of this program.

mod activity;
mod api_model;
mod apply;
mod arn;
mod cause;
mod causes;
mod cli;
mod client;
mod commands;
mod current;
mod decide;
mod definition_text;
mod deploy;
mod described;
mod desired;
mod diff;
mod document;
mod environment;
mod environment_entries;
mod evidence;
mod explain;
mod failure;
mod files;
mod generate;
mod github;
mod history;
mod image_only;
mod images;
mod init;
mod json_text;
mod keep_revisions;
mod log_stream;
mod logs;
mod normalize;
mod observe;
mod one_off;
mod outcome;
mod plan;
mod printable;
mod progress;
mod report;
mod revision;
mod rollback;
mod runner;
mod service;
mod service_deployment;
mod session;
mod skeleton;
mod stability;
mod strategy;
mod tasks;
mod template;
mod undo;
mod variables;
mod verify;
mod visible;
mod wait;
mod watch;
mod yaml;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use ecs_bootstrap::command_line::CommandOutput;
use ecs_bootstrap::exit::Exit;

use crate::cli::Cli;
use crate::runner::Runner;

fn main() -> ExitCode {
    let start = Instant::now();
    let runner = Runner::from_environment(environment::variable);
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return runner.finish(CommandOutput::of_clap(cli::without_values(error)).into()).print(),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return CommandOutput::error(Exit::Internal, &error.to_string()).print(),
    };
    let finished = runtime.block_on(commands::run(cli.command, runner.progress(start)));
    runner.finish(finished).print()
}
