//! What a registered instance waits for (`ready.*`), as text; and what `ready.attributes` needs besides the description of the
//! container instance. The wait for daemons is in `hold`.

use std::time::Duration;

use super::observe::Observer;
use super::requests::Probing;
use super::schedule::{Observation, Probe, Schedule};
use crate::boundary::HostClients;
use crate::boundary::aws::{AwsError, AwsErrorKind};
use crate::evidence::task_hold::TaskHold;
use crate::evidence::{AttributeState, Evidence};
use crate::host::gpu_devices;
use crate::readiness::{has_attributes, registered, takes_tasks};
use crate::retry::Deadline;

/// The limit for one call, including the SDK's retries.
const CALL: Duration = Duration::from_secs(20);
/// The time until a denied call is repeated: the policy may be attached later.
const AFTER_DENIAL: Duration = Duration::from_secs(30);
/// The most attributes that a progress message names.
const MAX_NAMED: usize = 5;

/// What a registered instance still waits for, as text; `None` if nothing is missing or nothing is waited for.
pub(super) fn missing_conditions(evidence: &Evidence) -> Option<String> {
    registered(evidence)?;
    let attributes = evidence.attribute_state().filter(|_| !has_attributes(evidence)).map(|state| match state {
        AttributeState::Missing(missing) => {
            let names =
                missing.iter().take(MAX_NAMED).map(|line| line.split_once(": ").map_or(&**line, |(name, _)| name));
            format!("the attributes {}", names.collect::<Vec<_>>().join(", "))
        }
        AttributeState::Unknown(Some(error)) | AttributeState::Denied(error) => {
            format!("the attributes; so far: {error}")
        }
        AttributeState::Unknown(None) | AttributeState::Complete => "the attributes".to_owned(),
    });
    let hold = evidence.task_hold.as_ref().filter(|_| !takes_tasks(evidence));
    // The call that allows tasks waits for the attributes too.
    let hold = hold.filter(|hold| attributes.is_none() || !hold.all_run()).map(TaskHold::waiting_for);
    let missing: Vec<String> = attributes.into_iter().chain(hold).collect();
    (!missing.is_empty()).then(|| missing.join(", and for "))
}

impl<'a> Observer<'a> {
    /// Whether it must be known if trunking is on.
    pub(super) fn matters_for_attributes(&self) -> bool {
        self.evidence.must_ask_for_trunking() && !has_attributes(&self.evidence)
    }

    pub(super) fn account_setting(&self, region: String) -> Probing<'a> {
        let host_clients = self.host_clients;
        Box::pin(async move {
            Observation::AccountSetting(is_trunking_on(host_clients, &region, Deadline::after(CALL)).await)
        })
    }

    pub(super) fn note_account_setting(&mut self, answer: Result<bool, AwsError>) {
        self.wait_after_denial(Probe::AccountSetting, answer.as_ref().err());
        self.evidence.trunking = Some(answer);
    }

    /// Notes what else is compared with a new description of the container instance.
    pub(super) fn note_description(&mut self) {
        let denied = self.evidence.container_instance.as_ref().and_then(|answer| answer.as_ref().err()).cloned();
        self.wait_after_denial(Probe::Registration, denied.as_ref());
        note_gpus(self.host_clients, &mut self.evidence);
    }

    pub(super) fn wait_after_denial(&mut self, probe: Probe, error: Option<&AwsError>) {
        if error.is_some_and(|error| matches!(error.kind, AwsErrorKind::Denied { .. })) {
            self.schedule_of(probe).for_each(|entry: &mut Schedule| entry.put_off(AFTER_DENIAL));
        }
    }
}

/// Adds what `ready.attributes` needs to a single observation, for doctor.
pub(super) async fn observe_attributes(
    host_clients: &HostClients,
    evidence: &mut Evidence,
    region: &str,
    deadline: Deadline,
) {
    note_gpus(host_clients, evidence);
    if evidence.must_ask_for_trunking() {
        evidence.trunking = Some(is_trunking_on(host_clients, region, deadline).await);
    }
}

fn note_gpus(host_clients: &HostClients, evidence: &mut Evidence) {
    let conditions = evidence.expectation.as_ref().and_then(|expected| expected.waits_for_attributes());
    if conditions.is_some_and(|conditions| conditions.expects_gpus) {
        evidence.gpu_devices = gpu_devices(&host_clients.disk);
    }
}

async fn is_trunking_on(host_clients: &HostClients, region: &str, deadline: Deadline) -> Result<bool, AwsError> {
    host_clients.aws(region).await?.is_trunking_on(deadline).await
}
