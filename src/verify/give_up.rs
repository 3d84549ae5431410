//! When verify gives up, and with which verdict.
//!
//! Verify ends when one of these holds. They are tested in this order:
//!
//! 1. A cause is final ([`FoundCause::is_final`]): a *terminal* cause at once, a *settling* one when the instance is
//!    older than the window of the cause, a *lasting* one when it was supported without a break for its window,
//!    and some when a program exits repeatedly with the same error ([`Evidence::is_crash_loop_final`]).
//! 2. The instance is ready (`readiness.rs`).
//! 3. The instance is about to end ([`Cause::ends_instance`]).
//! 4. `verify.deadline` has passed. The time in which user data runs (cloud-final.service) does not count. For the wait for
//!    the conditions of `ready.*` after the registration it is `ready.deadline`.
//!
//! A verdict is held back for a few seconds if a probe that has not finished can still show a cause in an earlier layer
//! ([`EARLIER_LAYERS`]), user data that explains it ([`USER_DATA`]), or a note on a ready instance ([`NOTES`]).

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::conditions::missing_conditions;
use crate::causes::{Cause, Class, Diagnosis, FoundCause, Layer, asks_for_user_data, diagnose, notes, nothing_fits};
use crate::evidence::{Evidence, ImageState};
use crate::readiness::{Registration, has_attributes, has_images, registered};
use crate::retry::Deadline;
use crate::verdict::{Ready, Verdict};

/// User data is read within this time after the start of verify, or not at all.
const USER_DATA_WAIT: Duration = Duration::from_secs(3);
/// How long a final cause is held back until the probes of the host and the network have finished once.
const EARLIER_LAYERS_WAIT: Duration = Duration::from_secs(4);
/// How long after `ready.deadline` the call that allows tasks is repeated.
const ALLOW_TIME: Duration = Duration::from_secs(60);
/// How long after the start of verify a ready verdict is held back until the probe of the host has finished once.
const NOTES_WAIT: Duration = Duration::from_millis(500);

/// The time that verify has waited, and how long it may wait.
pub(super) struct WaitState {
    start: Instant,
    /// Age of the instance when verify began.
    age: Option<Duration>,
    limit: Duration,
    deadline: Deadline,
    /// Since when each cause has been supported without a break, by its id.
    supported_since: BTreeMap<&'static str, Instant>,
    /// Since when some cause has been final.
    final_since: Option<Instant>,
    waits_for_conditions: bool,
}

impl WaitState {
    pub(super) fn new(limit: Duration, age: Option<Duration>) -> WaitState {
        let (start, deadline) = (Instant::now(), Deadline::after(limit));
        WaitState {
            start,
            age,
            limit,
            deadline,
            supported_since: BTreeMap::new(),
            final_since: None,
            waits_for_conditions: false,
        }
    }

    /// Restarts the wait for the expectation of another run.
    pub(super) fn restart(&mut self, limit: Duration) {
        (self.limit, self.deadline) = (limit, Deadline::after(limit));
        self.waits_for_conditions = false;
    }

    /// Whether the instance is ready when the deadline passes, so that it is not the end.
    fn allows_at_deadline(&self, evidence: &Evidence) -> bool {
        let conditions = evidence.expectation.as_ref().and_then(|expected| expected.ready.as_ref());
        let allows = conditions.is_some_and(|ready| ready.allows_after_deadline());
        self.waits_for_conditions && allows && !evidence.is_ready_without
    }

    /// Begins the wait for the conditions of `ready.*`, or its last part.
    fn begin_conditions(&mut self, limit: Duration) {
        self.restart(limit);
        self.waits_for_conditions = true;
    }

    /// The wait for the conditions begins with the registration. After its limit, the instance is ready without them if the
    /// settings say so.
    pub(super) fn follow_conditions(&mut self, evidence: &mut Evidence) {
        let Some(conditions) = evidence.expectation.as_ref().and_then(|expected| expected.ready.as_ref()) else {
            return;
        };
        let (limit, allows) = (conditions.deadline, conditions.allows_after_deadline());
        if !self.waits_for_conditions {
            if registered(evidence).is_some() {
                self.begin_conditions(limit);
            }
        } else if has_lost_images(evidence) {
            self.deadline = Deadline::after(Duration::ZERO);
        } else if self.deadline().passed() && allows && !evidence.is_ready_without {
            evidence.is_ready_without = true;
            self.begin_conditions(ALLOW_TIME);
        }
    }

    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    pub(super) fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// The causes that the evidence supports now. The times in the evidence are set before and after.
    pub(super) fn diagnose(&mut self, evidence: &mut Evidence) -> Diagnosis {
        if evidence.held_by_user_data() || evidence.held_by_images().is_some() {
            self.deadline = Deadline::after(self.limit);
        }
        evidence.waited = self.start.elapsed();
        evidence.observed_at = Some(SystemTime::now());
        evidence.age = self.age.map(|age| age.saturating_add(evidence.waited));
        // If the instance is ready at the deadline in any case, it is not the end of the wait.
        evidence.timed_out = self.deadline.passed() && !self.allows_at_deadline(evidence);
        let diagnosis = diagnose(evidence);
        let now: Vec<&'static str> = diagnosis.found.iter().map(|finding| finding.cause.id).collect();
        self.supported_since.retain(|id, _| now.contains(id));
        evidence.lasted = now
            .into_iter()
            .map(|id| (id, self.supported_since.entry(id).or_insert_with(Instant::now).elapsed()))
            .collect();
        let is_final = !evidence.timed_out && diagnosis.found.iter().any(|found| found.is_final(evidence));
        self.final_since = is_final.then(|| self.final_since.unwrap_or_else(Instant::now));
        diagnosis
    }

    /// Whether a final cause is so new that a probe of an earlier layer may still explain it.
    pub(super) fn holds_back_final(&self) -> bool {
        self.final_since.is_some_and(|since| since.elapsed() < EARLIER_LAYERS_WAIT)
    }

    /// Whether the instance became ready before the probe of the host can have finished.
    pub(super) fn holds_back_ready(&self, verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Ready(_)) && self.start.elapsed() < NOTES_WAIT
    }
}

/// Whether the pulls of the images have ended without all images, so that waiting does not help.
fn has_lost_images(evidence: &Evidence) -> bool {
    matches!(evidence.image_state(), Some(ImageState::Missing(_))) && !has_images(evidence)
}

/// The verdict that the evidence allows, if any yet.
pub(super) fn judge(evidence: &Evidence, diagnosis: &Diagnosis) -> Option<Verdict> {
    if is_unexplained(evidence) && !evidence.timed_out {
        return None;
    }
    // A registered instance is not judged by what else is wrong, so the agent must have been asked.
    let has_open_question = evidence.must_describe_cluster() || evidence.must_fetch_certificate();
    let was_agent_asked = evidence.introspection.is_some() && !has_open_question;
    let is_final = diagnosis.found.iter().any(|found| found.is_final(evidence));
    if was_agent_asked && is_final && (evidence.timed_out || !evidence.user_data_may_repair()) {
        return Some(failed(evidence, diagnosis.found.clone()));
    }
    if let Some(ready) = &diagnosis.ready {
        return Some(Verdict::Ready(with_notes(ready.clone(), evidence)));
    }
    let is_ending = diagnosis.found.first().is_some_and(|first| first.cause.ends_instance);
    if !evidence.timed_out && !is_ending {
        return None;
    }
    match diagnosis.found.first() {
        Some(first) if first.cause.class == Class::Waiting => {
            Some(waiting(evidence, first.cause.title, Some(first.clone())))
        }
        _ => Some(failed(evidence, diagnosis.found.clone())),
    }
}

/// Whether user data may explain a fault and has not been read yet.
fn is_unexplained(evidence: &Evidence) -> bool {
    evidence.user_data.is_none() && evidence.waited < USER_DATA_WAIT && asks_for_user_data(evidence)
}

/// The first broken layer names the cause; other causes of the same layer are reported beside it. Before the deadline
/// only final causes are reported: the others may recover.
fn failed(evidence: &Evidence, mut findings: Vec<FoundCause>) -> Verdict {
    let first_final = findings.iter().find(|finding| finding.is_final(evidence)).map(|finding| finding.cause.layer);
    if let Some(layer) = first_final.filter(|_| !evidence.timed_out) {
        // A fault of the host in an earlier layer is not a consequence of the final cause, and it rarely disappears by
        // itself.
        let is_before = |cause: &Cause| {
            matches!(cause.class, Class::Lasting(_)) && cause.layer < layer && cause.layer <= Layer::Role
        };
        let is_kept = |cause: &Cause| is_before(cause) || cause.is_always_reported;
        findings.retain(|finding| finding.is_final(evidence) || is_kept(finding.cause));
    }
    first_broken(evidence, findings)
}

fn first_broken(evidence: &Evidence, mut findings: Vec<FoundCause>) -> Verdict {
    if findings.is_empty() {
        findings.push(nothing_fits(evidence));
    }
    let also = findings.split_off(1);
    let finding = findings.remove(0);
    let is_reported = |other: &FoundCause| other.cause.layer == finding.cause.layer || other.cause.is_always_reported;
    let also = also.into_iter().filter(is_reported).collect();
    let is_over = evidence.timed_out || finding.is_final(evidence);
    let exit = if is_over { finding.cause.exit_after_deadline } else { finding.cause.exit };
    let container_instance_arn = evidence.container_instance_arn().map(str::to_owned);
    Verdict::Failed { finding, also, exit, container_instance_arn }
}

/// The verdict of a single observation (doctor): what is still pending results in a waiting verdict, not in a failure.
/// `is_verifying` is whether the last verdict was not final.
pub fn verdict_now(evidence: &Evidence, diagnosis: &Diagnosis, is_verifying: bool) -> Verdict {
    let findings = diagnosis.found.clone();
    let missing = || missing_conditions(evidence).unwrap_or_else(|| "`ready.*`".to_owned());
    if findings.iter().any(|finding| finding.cause.class != Class::Waiting) {
        let is_about_conditions = findings.iter().all(|finding| finding.cause.layer == Layer::Tasks);
        if is_about_conditions && is_verifying {
            let text = format!("the instance is registered, and waits for {}", missing());
            return waiting(evidence, &text, findings.into_iter().next());
        }
        return first_broken(evidence, findings);
    }
    if let Some(ready) = &diagnosis.ready {
        return Verdict::Ready(with_notes(ready.clone(), evidence));
    }
    if let Some(finding) = findings.into_iter().next() {
        return waiting(evidence, finding.cause.title, Some(finding));
    }
    if evidence.container_instance_arn().is_some() {
        let text = match registered(evidence) {
            Some(_) if is_verifying => &*format!("the instance is registered, and waits for {}", missing()),
            Some(_) if !has_images(evidence) => {
                "docker does not have all images of `ready.images`; `systemctl start ecs-bootstrap-images` pulls them"
            }
            Some(_) if has_attributes(evidence) => {
                "the daemons run now; `systemctl restart ecs-bootstrap-verify --no-block` allows tasks on the instance"
            }
            Some(_) => &*format!("the instance is registered, and it is not known whether it has {}", missing()),
            None => "the instance is registered, but its agent is not connected",
        };
        return waiting(evidence, text, None);
    }
    let since = evidence.agent_runs_for();
    let deadline = evidence.expectation.as_ref().map_or(Duration::ZERO, |expected| expected.deadline);
    if evidence.user_data_runs() || since.is_some_and(|since| since < deadline) {
        return waiting(evidence, "the agent has not registered yet", None);
    }
    verdict_of(evidence)
}

fn waiting(evidence: &Evidence, text: &str, finding: Option<FoundCause>) -> Verdict {
    let container_instance_arn = evidence.container_instance_arn().map(str::to_owned);
    Verdict::Waiting { text: text.to_owned(), finding, container_instance_arn }
}

/// The failure that the evidence supports.
pub fn verdict_of(evidence: &Evidence) -> Verdict {
    failed(evidence, diagnose(evidence).found)
}

/// The preliminary verdict while user data runs or the instance waits for the conditions of `ready.*`, with an id that changes with the verdict.
/// User data may never end, so these are reported at once: a start that waits for itself, or cloud-init that hangs. Any other
/// fault is reported after `limit`.
pub(super) fn interim(
    evidence: &Evidence,
    mut findings: Vec<FoundCause>,
    limit: Duration,
) -> Option<(String, Verdict)> {
    if let Some(missing) = missing_conditions(evidence) {
        let text = format!("the instance is registered, and waits for {missing}");
        return Some((text.clone(), waiting(evidence, &text, None)));
    }
    if !evidence.held_by_user_data() {
        return None;
    }
    if let Some(at) = findings.iter().position(|finding| finding.cause.is_reported_during_user_data) {
        let finding = findings.swap_remove(at);
        return Some((finding.cause.id.to_owned(), failed(evidence, vec![finding])));
    }
    if evidence.waited < limit {
        return None;
    }
    let finding = (!findings.is_empty()).then(|| findings.swap_remove(0));
    let id = finding.as_ref().map_or("", |finding| finding.cause.id).to_owned();
    let text = "user data has not ended (cloud-final.service), and the agent starts after it".to_owned();
    Some((id, waiting(evidence, &text, finding)))
}

pub(super) fn with_notes(registration: Registration, evidence: &Evidence) -> Ready {
    Ready { registration, notes: notes(evidence) }
}
