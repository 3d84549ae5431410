//! After the verdict: whoever waits outside this host is told, and what came of that is added to what is stored.
//!
//! In: the document of a verdict. Out: the same with its signals. A run that stopped before there was anything to verify
//! tells only when nobody goes on who might still repair it: a failure cannot be taken back.

use super::{BUS, Boot};
use crate::boundary::systemd::Systemd;
use crate::facts::user_data_may_run;
use crate::gather::Gathered;
use crate::journal;
use crate::plan::{Expectation, Signal};
use crate::render::Document;
use crate::report::{self, SignalClient};
use crate::retry::Deadline;

/// The unit that runs user data.
const CLOUD_FINAL: &str = "cloud-final.service";
/// From here on trying again does not help (DESIGN, "Telling").
const FINAL: u8 = 20;

impl Boot {
    /// Tells it, where somebody waits.
    pub(super) async fn signal(&self, signal_client: Option<&SignalClient>, document: &mut Document) {
        let Some(signal_client) = signal_client else { return };
        journal::status(&format!("{}; telling whoever waits for this instance", document.text));
        document.signals = Box::pin(signal_client.send_verdict(document, self.signals_until())).await;
        if !document.signals.is_empty() {
            report::store_signals(&self.world.disk, document);
        }
        journal::status(&document.text);
    }

    /// Who waits for a run that comes to no plan is known, though not what for.
    pub(super) fn remember_stop(&self, gathered: &Gathered) {
        let instance = gathered.facts.instance.get();
        // A later attempt of the same run knows no more.
        let _ = self.stopped.set(Expectation {
            instance_id: instance.map(|instance| instance.instance_id.clone()),
            region: instance.map(|instance| instance.region.clone()),
            signal: Signal::of(&gathered.settings),
            ..Expectation::default()
        });
    }

    /// Who waits for a run that stopped, when this is its end.
    pub(super) async fn outside_of_stop(&self, document: &Document) -> Option<SignalClient> {
        let expectation = match self.stopped.get() {
            Some(expectation) => expectation.clone(),
            None => Expectation { signal: Signal::of(&self.early().ok()?), ..Expectation::default() },
        };
        if expectation.signal.is_off() || document.exit_code < FINAL || self.others_go_on().await {
            return None;
        }
        SignalClient::new(&self.world, &expectation, self.signals_until()).await
    }

    /// Whether user data may still run, and is not who runs us.
    async fn others_go_on(&self) -> bool {
        // Without a bus it is early in the boot (`bootcmd`), or nobody can say.
        let Ok(systemd) = Systemd::connect(Deadline::after(BUS)).await else { return true };
        let Ok(cloud_final) = systemd.unit(CLOUD_FINAL).await else { return false };
        user_data_may_run(&cloud_final) && systemd.unit_of_pid(0).await.is_ok_and(|ours| ours != CLOUD_FINAL)
    }
}
