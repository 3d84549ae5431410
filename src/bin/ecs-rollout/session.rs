//! Runs a command until it ends or a signal arrives, and prints a line each minute while it waits silently.
//!
//! In: the future of a command. Out: its output, or after SIGINT, SIGTERM or SIGHUP a report of what was changed and
//! what ECS continues by itself. A second signal ends the command at once.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use ecs_bootstrap::exit::Exit;
use ecs_bootstrap::retry::pause_for;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::activity::{Activity, Phase};
use crate::files;
use crate::github::Finished;
use crate::outcome::{CommandResult, Outcome};
use crate::progress::Progress;

/// How long the command is silent at most without a terminal. Travis CI ends a job after 10 silent minutes.
const SILENCE: Duration = Duration::from_secs(55);
/// How long to wait after a signal for the answer of a call that changes something.
const ANSWER_GRACE: Duration = Duration::from_secs(5);

/// What a command and its supervision share.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) progress: Progress,
    pub(crate) activity: Activity,
    /// The name of the command.
    pub(crate) command: &'static str,
    pub(crate) as_json: bool,
}

impl Session {
    /// Runs the command. Its files are read before its first pause, and only then the signals are caught: a command that
    /// waits for stdin has changed nothing and ends as any other program.
    pub(crate) async fn run(&self, command: impl Future<Output = Finished>) -> Finished {
        let mut command = pin!(command);
        let mut signals = None;
        let received = tokio::select! {
            biased;
            output = &mut command => return output,
            received = async { signals.insert(Signals::catch()).next().await } => received,
            never = self.progress.heartbeat(SILENCE) => match never {},
        };
        self.progress.clone().event(&format!("received {received}"));
        self.activity.interrupt();
        tokio::select! {
            biased;
            // The command may end by itself, with a more exact outcome.
            output = &mut command => return output,
            () = self.activity.settled() => {}
            _ = async { signals.get_or_insert_with(Signals::catch).next().await } => {}
            () = pause_for(ANSWER_GRACE) => {}
        }
        let output = Finished::of_outcome(self.command, &self.interrupted(received), self.as_json);
        self.progress.clear();
        output
    }

    fn interrupted(&self, signal: &str) -> Outcome {
        let name = self.activity.name();
        let go_on = format!("go on with `{}`", name.command("wait"));
        let changes = self.activity.changes();
        let (deployment, text) = match self.activity.phase() {
            _ if self.activity.is_change_unknown() => {
                let text =
                    format!("it is not known whether ECS accepted the last change of service `{}`", name.service);
                (None, format!("{text}; {go_on}"))
            }
            Phase::Before if changes.is_empty() => (None, "nothing was changed".to_owned()),
            Phase::Before => (None, "no rollout was started".to_owned()),
            Phase::TaskRequested(command) => {
                (None, format!("a task may have been started; `{command}` shows it; no rollout was started"))
            }
            Phase::OneOffTask(arn) => (None, format!("ECS continues task {arn}; no rollout was started")),
            Phase::Accepted => (None, format!("ECS continues the change of service `{}`; {go_on}", name.service)),
            Phase::Rollout(deployment) => {
                let (label, counts) = (deployment.label(), deployment.counts());
                let text = format!("ECS continues {label} ({counts}); nothing was rolled back; {go_on}");
                (Some(deployment), text)
            }
            Phase::Rollback(deployment) => {
                let (label, counts) = (deployment.label(), deployment.counts());
                (Some(deployment), format!("ECS continues the rollback to {label} ({counts}); {go_on}"))
            }
            Phase::Completed(deployment) => {
                let text = format!("the rollout of {} is complete", deployment.label());
                (Some(deployment), text)
            }
        };
        let registered = self.activity.registered_revision();
        let deployed = deployment.as_ref().map(|deployment| deployment.task_definition.clone());
        Outcome {
            text: format!("interrupted by {signal}: {text}"),
            task_definition: registered.clone().or(deployed),
            registered: registered.is_some(),
            deployment: deployment.map(|deployment| deployment.id),
            action: self.activity.action(),
            changes,
            cluster: name.cluster,
            service: name.service,
            duration: self.progress.elapsed(),
            ..Outcome::new(CommandResult::Interrupted, Exit::Interrupted)
        }
    }
}

/// The termination signals.
struct Signals {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
    hangup: Option<Signal>,
}

impl Signals {
    fn catch() -> Signals {
        // `nohup` ignores SIGHUP, so that a command survives its terminal.
        let hangup = if files::ignores_hangup() { None } else { signal(SignalKind::hangup()).ok() };
        Signals {
            interrupt: signal(SignalKind::interrupt()).ok(),
            terminate: signal(SignalKind::terminate()).ok(),
            hangup,
        }
    }

    /// The name of the next signal.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            () = received(&mut self.interrupt) => "SIGINT",
            () = received(&mut self.terminate) => "SIGTERM",
            () = received(&mut self.hangup) => "SIGHUP",
        }
    }
}

async fn received(signal: &mut Option<Signal>) {
    if let Some(signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    let never: Infallible = std::future::pending().await;
    match never {}
}
