//! What a registered instance waits for (`ready.*`), as text; and what `ready.attributes` needs besides the description of the
//! container instance. The wait for daemons is in `hold`.

use std::time::Duration;

use super::observe::Observer;
use super::requests::Probing;
use super::schedule::{Observation, Probe, Schedule};
use crate::boundary::HostClients;
use crate::boundary::aws::AwsError;
use crate::evidence::task_hold::{TaskHold, without_time};
use crate::evidence::{AttributeState, Evidence, ImageState};
use crate::host::{followed_tags_of_this_boot, gpu_devices, pulls};
use crate::images::PullState;
use crate::readiness::{has_attributes, has_images, registered, takes_tasks};
use crate::retry::Deadline;

/// The limit for one call, including its repetitions.
const CALL: Duration = Duration::from_secs(20);
/// The time until a denied call is repeated: the policy may be attached later.
const AFTER_DENIAL: Duration = Duration::from_secs(30);
/// The most attributes or images that a progress message names.
const MAX_NAMED: usize = 5;

/// What a registered instance still waits for, as text; `None` if nothing is missing or nothing is waited for.
pub(super) fn missing_conditions(evidence: &Evidence) -> Option<String> {
    registered(evidence)?;
    let attributes = evidence.attribute_state().filter(|_| !has_attributes(evidence)).map(|state| match state {
        AttributeState::Missing(missing) => {
            let names: Vec<&str> = missing.iter().map(|one| one.name.as_str()).collect();
            format!("the attributes {}", listed(&names))
        }
        AttributeState::Unknown(Some(error)) => format!("the attributes; so far: {}", without_time(error)),
        AttributeState::Unknown(None) | AttributeState::Complete => "the attributes".to_owned(),
    });
    let images = evidence.image_state().filter(|_| !has_images(evidence)).map(missing_images_text);
    let hold = evidence.task_hold.as_ref().filter(|_| !takes_tasks(evidence));
    // The call that allows tasks waits for the attributes and the images too.
    let is_last = attributes.is_none() && images.is_none();
    let hold = hold.filter(|hold| is_last || !hold.all_run()).map(TaskHold::waiting_for);
    let missing: Vec<String> = attributes.into_iter().chain(images).chain(hold).collect();
    (!missing.is_empty()).then(|| missing.join(", and for "))
}

/// The images that are missing, with the bytes so far.
fn missing_images_text(state: ImageState<'_>) -> String {
    let (ImageState::Pulling(pulls) | ImageState::Missing(pulls)) = state else { return "the images".to_owned() };
    let missing = pulls.images.iter().filter(|pull| pull.state != PullState::Present);
    let names: Vec<&str> = missing.map(|pull| pull.image.as_str()).collect();
    if names.is_empty() { "the images of the services".to_owned() } else { format!("the images {}", listed(&names)) }
}

/// The first names, and how many more there are.
fn listed(names: &[&str]) -> String {
    let first: Vec<String> = names.iter().take(MAX_NAMED).map(|name| format!("`{name}`")).collect();
    let more = names.len().saturating_sub(MAX_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    first.join(", ") + &more
}

impl<'a> Observer<'a> {
    /// Reads the state of the pulls, if images are waited for. Returns whether it has changed.
    pub(super) fn read_pulls(&mut self) -> bool {
        let waits = self.evidence.expectation.as_ref().is_some_and(|one| one.waits_for_images().is_some());
        if !waits {
            return std::mem::take(&mut self.evidence.pulls).is_some();
        }
        let pulls = pulls(&self.host_clients.disk);
        let is_new = pulls != self.evidence.pulls;
        self.evidence.pulls = pulls;
        is_new
    }

    /// Whether it must be known if trunking is on.
    pub(super) fn matters_for_attributes(&self) -> bool {
        let is_known = matches!(self.evidence.trunking, Some(Ok(_)));
        self.evidence.must_ask_for_trunking() && !is_known && !has_attributes(&self.evidence)
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

    /// Forgets what was found out for the expectation before.
    pub(super) fn forget_attributes(&mut self) {
        self.evidence.trunking = None;
        note_gpus(self.host_clients, &mut self.evidence);
    }

    /// Notes what else is compared with a new description of the container instance.
    pub(super) fn note_description(&mut self) {
        let denied = self.evidence.container_instance.as_ref().and_then(|answer| answer.as_ref().err()).cloned();
        self.wait_after_denial(Probe::Registration, denied.as_ref());
        note_gpus(self.host_clients, &mut self.evidence);
        self.evidence.followed = followed_tags_of_this_boot(&self.host_clients.disk);
    }

    pub(super) fn wait_after_denial(&mut self, probe: Probe, error: Option<&AwsError>) {
        if error.is_some_and(AwsError::is_denied) {
            self.schedule_of(probe).for_each(|entry: &mut Schedule| entry.put_off(AFTER_DENIAL));
        }
    }
}

/// Whether trunking is on, for doctor; `None` if that does not matter.
pub(super) async fn trunking_once(
    host_clients: &HostClients,
    evidence: &Evidence,
    region: &str,
    deadline: Deadline,
) -> Option<Result<bool, AwsError>> {
    if !evidence.must_ask_for_trunking() {
        return None;
    }
    Some(is_trunking_on(host_clients, region, deadline).await)
}

/// Counts the GPUs of the host, if they matter.
pub(super) fn note_gpus(host_clients: &HostClients, evidence: &mut Evidence) {
    let conditions = evidence.expectation.as_ref().and_then(|expected| expected.waits_for_attributes());
    if conditions.is_some_and(|conditions| conditions.min_gpus.is_some()) {
        evidence.gpu_devices = gpu_devices(&host_clients.disk);
    }
}

async fn is_trunking_on(host_clients: &HostClients, region: &str, deadline: Deadline) -> Result<bool, AwsError> {
    host_clients.aws(region).await?.is_trunking_on(deadline).await
}
