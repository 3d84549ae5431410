//! Signals after a verdict: sends them, and adds their outcomes to the stored document.
//!
//! A run that ended with an error before there was anything to verify sends FAILURE only if nothing can still fix it,
//! because a signal cannot be revoked.

use super::{BUS_TIMEOUT, CommandContext};
use crate::boundary::systemd::Systemd;
use crate::facts::user_data_may_run;
use crate::gather::Gathered;
use crate::journal;
use crate::plan::{Expectation, SignalTargets};
use crate::redaction::error_chain;
use crate::render::VerdictDocument;
use crate::report::{self, SignalClient};
use crate::retry::Deadline;

/// The unit that runs user data.
const CLOUD_FINAL: &str = "cloud-final.service";
/// From this exit code on, another attempt does not help (see `exit.rs`).
const FIRST_FINAL_EXIT_CODE: u8 = 20;

impl CommandContext {
    /// Sends the verdict to every enabled target.
    pub(super) async fn signal(&self, signal_client: Option<&SignalClient>, document: &mut VerdictDocument) {
        let Some(signal_client) = signal_client else { return };
        journal::status(&format!("{}; sending signals", document.text));
        document.signals = Box::pin(signal_client.send_verdict(document, self.signal_deadline())).await;
        if !document.signals.is_empty() {
            report::store_signals(&self.host_clients.disk, document);
        }
        journal::status(&document.text);
    }

    /// Keeps what signals need, for the case that a run ends without a plan.
    pub(super) fn keep_expectation_for_signals(&self, gathered: &Gathered) {
        let instance = gathered.facts.instance.get();
        // An error means that an earlier attempt of this run has set it. A later attempt knows nothing more.
        let _ = self.expectation_without_plan.set(Expectation {
            instance_id: instance.map(|instance| instance.instance_id.clone()),
            region: instance.map(|instance| instance.region.clone()),
            signal: SignalTargets::of(&gathered.settings),
            ..Expectation::default()
        });
    }

    /// The client for the failure of a command that ended before there was anything to verify; `None` if nothing is to
    /// be sent.
    pub(super) async fn signal_client_after_error(&self, document: &VerdictDocument) -> Option<SignalClient> {
        let expectation = match self.expectation_without_plan.get() {
            Some(expectation) => expectation.clone(),
            None => self.expectation_of_settings()?,
        };
        let may_still_succeed = document.exit_code < FIRST_FINAL_EXIT_CODE;
        if expectation.signal.is_off() || may_still_succeed || self.user_data_may_fix_it().await {
            return None;
        }
        SignalClient::new(&self.host_clients, &expectation, self.signal_deadline()).await
    }

    /// An expectation with nothing but the signals of the early settings; `None` if a setting is invalid.
    pub(super) fn expectation_of_settings(&self) -> Option<Expectation> {
        let settings = self
            .early_settings()
            .inspect_err(|error| tracing::debug!(error = error_chain(error), "signal settings not read"))
            .ok()?;
        Some(Expectation { signal: SignalTargets::of(&settings), ..Expectation::default() })
    }

    /// Whether user data may still run, outside of this process.
    async fn user_data_may_fix_it(&self) -> bool {
        // Without systemd it is early in the boot (`bootcmd`), or it is not known.
        let Ok(systemd) = Systemd::connect(Deadline::after(BUS_TIMEOUT)).await else { return true };
        let Ok(cloud_final) = systemd.unit(CLOUD_FINAL).await else { return false };
        user_data_may_run(&cloud_final) && systemd.unit_of_pid(0).await.is_ok_and(|own_unit| own_unit != CLOUD_FINAL)
    }
}
