//! What is said where `ecs-bootstrap-verify.service` has ended without a verdict: by `status`, which asks systemd, and by
//! `verify --died`, which the unit's `OnFailure=` calls once no restart is left.
//!
//! In: the stored verdict. Out: the same, or the cause `verify-died`. A verdict that was told stands.

use super::handover::VERIFY_UNIT;
use super::hangs::SIGNALS;
use super::{BUS, Boot};
use crate::boundary::systemd::{Systemd, SystemdError, UnitState};
use crate::command_line::CommandOutput;
use crate::evidence::StageError;
use crate::exit::Exit;
use crate::plan::{Expectation, Signal};
use crate::redaction::error_chain;
use crate::render::{Document, VerdictState, as_json, document, verdict_text};
use crate::report::{self, SignalClient};
use crate::retry::Deadline;
use crate::verify;

impl Boot {
    /// `status`: the last verdict of this boot. One that waits for the verify unit is true only while that runs.
    pub async fn status(self) -> CommandOutput {
        let document = match report::stored(&self.world.disk) {
            Ok(stored) => stored.unwrap_or_else(Document::none),
            Err(error) => {
                let stderr = format!("error: {}\n", error_chain(&error));
                return CommandOutput { stdout: String::new(), stderr, exit: Exit::Internal };
            }
        };
        let (document, stderr) = match document.verdict == VerdictState::Waiting
            && is_left_to_verify(&document)
            && self.world.disk.is_booted()
        {
            true => match verify_unit().await {
                Ok(unit) if runs(&unit) => (document, String::new()),
                Ok(unit) => (death(&document, &unit), String::new()),
                Err(error) => (
                    document,
                    format!("warning: whether {VERIFY_UNIT} still runs is not known: {}\n", error_chain(&error)),
                ),
            },
            false => (document, String::new()),
        };
        let exit = Exit::from_code(document.exit_code).unwrap_or(Exit::Internal);
        let stdout = if self.json { as_json(&document) } else { verdict_text(&document) };
        CommandOutput { stdout, stderr, exit }
    }

    /// `verify --died`: tells it, and signals whoever waits outside, where neither was done.
    pub async fn verify_died(self) -> CommandOutput {
        let stored = report::stored(&self.world.disk).ok().flatten();
        // A verdict that verify reported itself was signalled by it, or deliberately not.
        if let Some(told) = stored.as_ref().filter(|told| !is_left_to_verify(told)) {
            return self.report(told, Exit::Done);
        }
        let unit = verify_unit().await.unwrap_or_default();
        let stored = stored.unwrap_or_else(Document::none);
        // Before version 230 systemd starts `OnFailure=` at each failure, also where it restarts the unit.
        if unit != UnitState::default() && runs(&unit) {
            return self.report(&stored, Exit::Done);
        }
        let mut document = death(&stored, &unit);
        self.tell(&document, false);
        let of_settings = || Some(Expectation { signal: Signal::of(&self.early().ok()?), ..Expectation::default() });
        if let Some(expectation) = self.expected().or_else(of_settings) {
            self.may_take(SIGNALS);
            let signal_client = SignalClient::new(&self.world, &expectation, self.signals_until()).await;
            self.signal(signal_client.as_ref(), &mut document).await;
        }
        // The verdict is another's failure: this command has done what it is for.
        self.report(&document, Exit::Done)
    }
}

/// Whether a verdict says that the verify unit goes on: no later one of its own has taken its place.
fn is_left_to_verify(document: &Document) -> bool {
    let is_of_verify = document.phases.iter().any(|phase| phase.name == "verify");
    matches!(document.verdict, VerdictState::Waiting | VerdictState::None) && !is_of_verify
}

async fn verify_unit() -> Result<UnitState, SystemdError> {
    let systemd = Systemd::connect(Deadline::after(BUS)).await?;
    match systemd.unit(VERIFY_UNIT).await {
        Err(SystemdError::NoSuchUnit { .. }) => Ok(UnitState::default()),
        answer => answer,
    }
}

/// Whether it runs, is about to, or waits for its next restart. A state that systemd does not tell is no proof of death.
fn runs(unit: &UnitState) -> bool {
    let is_down = matches!(unit.active_state.as_deref(), Some("inactive" | "failed"));
    let is_absent = unit.load_state.as_deref() == Some("not-found") || *unit == UnitState::default();
    unit.job.is_some() || !(is_down || is_absent)
}

fn death(stored: &Document, unit: &UnitState) -> Document {
    let word = |word: &Option<String>| word.clone().unwrap_or_else(|| "unknown".to_owned());
    let state = match unit.load_state.as_deref() {
        Some("not-found") | None => "is not installed, or not known to systemd".to_owned(),
        Some(_) => format!("is {} (result `{}`)", word(&unit.active_state), word(&unit.result)),
    };
    let restarts = unit.restarts.filter(|restarts| *restarts > 0);
    let restarts = restarts.map(|restarts| format!(", after {restarts} restarts")).unwrap_or_default();
    let stop = StageError::VerifyDied { seen: format!("{VERIFY_UNIT} {state}{restarts}") };
    document(&verify::stopped(stop), stored.cluster.as_deref(), &stored.phases)
}
