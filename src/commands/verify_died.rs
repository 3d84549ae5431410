//! `verify --died`: reports that `ecs-bootstrap-verify.service` ended without a verdict. `OnFailure=` of that unit
//! calls it when systemd starts the unit no more.
//!
//! In: the stored verdict, and the state of the unit. Out: the stored verdict if verify reported one, otherwise the
//! cause `verify-died`.

use super::handover::VERIFY_UNIT;
use super::watchdog::SIGNALS;
use super::{BUS_TIMEOUT, CommandContext};
use crate::boundary::systemd::{Systemd, SystemdError, UnitState};
use crate::command_line::CommandOutput;
use crate::evidence::StageError;
use crate::exit::Exit;
use crate::render::{VerdictDocument, VerdictState, document};
use crate::report::{self, SignalClient};
use crate::retry::Deadline;
use crate::verify;

impl CommandContext {
    /// `verify --died`: reports and signals the failure, unless that is already done.
    pub async fn verify_died(self) -> CommandOutput {
        let stored = report::stored_or_log(&self.host_clients.disk);
        // A verdict that verify reported was also signalled by it, or not signalled on purpose.
        if let Some(reported) = stored.as_ref().filter(|stored| !is_left_to_verify_unit(stored)) {
            return self.verdict_output(reported, Exit::Done);
        }
        let unit = verify_unit().await.unwrap_or_else(|error| {
            tracing::debug!(%error, "state of the verify unit not read");
            UnitState::default()
        });
        let stored = stored.unwrap_or_else(VerdictDocument::none);
        // Before version 230, systemd starts `OnFailure=` at each failure, also if it restarts the unit.
        if unit != UnitState::default() && is_running(&unit) {
            return self.verdict_output(&stored, Exit::Done);
        }
        let mut document = died_document(&stored, &unit);
        self.report_locally(&document, false);
        if let Some(expectation) = self.last_expectation().or_else(|| self.expectation_of_settings()) {
            self.set_deadline_after(SIGNALS);
            let signal_client = SignalClient::new(&self.host_clients, &expectation, self.signal_deadline()).await;
            self.signal(signal_client.as_ref(), &mut document).await;
        }
        // The verify unit failed, not this command.
        self.verdict_output(&document, Exit::Done)
    }
}

/// Whether a stored verdict leaves the rest to the verify unit, and that unit has not yet replaced it with its own.
pub(super) fn is_left_to_verify_unit(document: &VerdictDocument) -> bool {
    let is_of_verify = document.phases.iter().any(|phase| phase.name == "verify");
    matches!(document.verdict, VerdictState::Waiting | VerdictState::None) && !is_of_verify
}

/// The state of the verify unit; the default state if systemd does not know it.
pub(super) async fn verify_unit() -> Result<UnitState, SystemdError> {
    let systemd = Systemd::connect(Deadline::after(BUS_TIMEOUT)).await?;
    match systemd.unit_with_process(VERIFY_UNIT).await {
        Err(SystemdError::NoSuchUnit { .. }) => Ok(UnitState::default()),
        answer => answer,
    }
}

/// Whether the unit runs, has a queued job, or waits for its next restart. A state that systemd does not report counts
/// as running, because it does not prove the opposite.
pub(super) fn is_running(unit: &UnitState) -> bool {
    let is_down = matches!(unit.active_state.as_deref(), Some("inactive" | "failed"));
    let is_absent = unit.load_state.as_deref() == Some("not-found") || *unit == UnitState::default();
    unit.job.is_some() || !(is_down || is_absent)
}

/// The verdict `verify-died`, with the cluster and the phases of the stored one.
pub(super) fn died_document(stored: &VerdictDocument, unit: &UnitState) -> VerdictDocument {
    let or_unknown = |word: &Option<String>| word.clone().unwrap_or_else(|| "unknown".to_owned());
    let state = match unit.load_state.as_deref() {
        Some("not-found") | None => "is not installed, or systemd does not know it".to_owned(),
        Some(_) => format!("is {} (result `{}`)", or_unknown(&unit.active_state), or_unknown(&unit.result)),
    };
    let restarts = unit.restarts.filter(|restarts| *restarts > 0);
    let restarts = restarts.map(|restarts| format!(", after {restarts} restarts")).unwrap_or_default();
    let error = StageError::VerifyDied { seen: format!("{VERIFY_UNIT} {state}{restarts}") };
    document(&verify::verdict_of_error(error), stored.cluster.as_deref(), &stored.phases)
}
