//! Turns evidence into a verdict: observes until the instance is ready, a cause is final, or the deadline passes.
//!
//! In: what is expected, and the world. Out: one verdict. It changes nothing on the host.

mod observe;
mod once;
mod schedule;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

pub use self::observe::Handed;
use self::observe::Observer;
use crate::boundary::World;
use crate::boundary::systemd::{Systemd, SystemdError};
use crate::causes::{
    CLOUD_INIT_STUCK, Cause, Class, Finding, Layer, PORT_TAKEN, USER_DATA_DEADLOCK, asks_for_user_data, diagnose,
    notes, nothing_fits,
};
use crate::evidence::{Evidence, StageError};
use crate::plan::Expectation;
use crate::readiness::{self, Registration};
use crate::retry::Deadline;
use crate::verdict::{Ready, Verdict};

/// User data is read within this time of the start, or not at all.
const EXPLAINED: Duration = Duration::from_secs(3);

/// For so long a final cause waits for a look at the layers before its own.
const LOOKS: Duration = Duration::from_millis(2500);

/// A verdict of an instance that registers sooner waits for the first look at the host, for the notes of that.
const NOTES: Duration = Duration::from_millis(500);

/// Who listens while the verdict is not there yet.
pub struct Listener<'l> {
    /// Is told what is being waited for, whenever that changes.
    pub waiting: &'l mut dyn FnMut(&str),
    /// Is told what stands for now, where something is wrong that may go on without end.
    pub interim: &'l mut dyn FnMut(&Verdict),
    /// Says whether another run has come to expect something else.
    pub expected: &'l mut dyn FnMut() -> Option<Expectation>,
    /// Is told, at each look, how long the verdict may still take.
    pub may_take: &'l dyn Fn(Duration),
}

/// Waits for the registration.
pub async fn verdict(
    world: &World,
    systemd: &Result<Systemd, SystemdError>,
    expectation: Expectation,
    handed: Handed,
    age: Option<Duration>,
    listener: Listener<'_>,
) -> Verdict {
    let start = Instant::now();
    let limit = expectation.deadline;
    let mut deadline = Deadline::after(limit);
    let mut observer = Observer::new(world, systemd.as_ref().ok(), expectation, handed, age);
    observer.watch().await;
    if let Err(error) = systemd {
        observer.evidence.units = Some(Err(error.clone()));
    }
    let mut since = BTreeMap::new();
    let mut final_since: Option<Instant> = None;
    let mut told = String::new();
    let mut told_interim: Option<String> = None;
    loop {
        (listener.may_take)(deadline.remaining());
        observer.look(deadline).await;
        if let Some(expectation) = (listener.expected)() {
            deadline = Deadline::after(expectation.deadline);
            observer.expect(expectation);
        }
        let evidence = &mut observer.evidence;
        // The time that user data takes is its own.
        if evidence.held_by_user_data() {
            deadline = Deadline::after(limit);
        }
        evidence.waited = start.elapsed();
        evidence.age = age.map(|age| age.saturating_add(evidence.waited));
        evidence.timed_out = deadline.passed();
        let findings = diagnose(evidence);
        note_lasting(evidence, &findings, &mut since);
        let is_final = !evidence.timed_out && findings.iter().any(|finding| finding.is_final(evidence));
        final_since = is_final.then(|| final_since.unwrap_or_else(Instant::now));
        if final_since.is_some_and(|since| since.elapsed() < LOOKS) && !observer.has_examined() {
            continue;
        }
        let evidence = &mut observer.evidence;
        if let Some(verdict) = judge(evidence, &findings) {
            if matches!(verdict, Verdict::Ready(_)) && start.elapsed() < NOTES && !observer.has_examined() {
                continue;
            }
            return verdict;
        }
        let waiting = waiting_for(evidence, &findings);
        if told != waiting {
            (listener.waiting)(&waiting);
            told = waiting;
        }
        if let Some((id, verdict)) =
            interim(evidence, findings, limit).filter(|(id, _)| told_interim.as_ref() != Some(id))
        {
            (listener.interim)(&verdict);
            told_interim = Some(id);
        }
    }
}

/// For how long each cause has been supported: `since` keeps when that began.
fn note_lasting(evidence: &mut Evidence, findings: &[Finding], since: &mut BTreeMap<&'static str, Instant>) {
    let now: Vec<&'static str> = findings.iter().map(|finding| finding.cause.id).collect();
    since.retain(|id, _| now.contains(id));
    evidence.lasted = now.into_iter().map(|id| (id, since.entry(id).or_insert_with(Instant::now).elapsed())).collect();
}

/// What must be told while user data has not ended, which may be never: a start that waits for itself, and once it has
/// taken as long as a registration may, whatever looks wrong. With what tells it from another.
fn interim(evidence: &Evidence, mut findings: Vec<Finding>, limit: Duration) -> Option<(String, Verdict)> {
    if !evidence.held_by_user_data() {
        return None;
    }
    let is_endless =
        |cause| [&USER_DATA_DEADLOCK, &CLOUD_INIT_STUCK].into_iter().any(|known| std::ptr::eq(cause, known));
    if let Some(at) = findings.iter().position(|finding| is_endless(finding.cause)) {
        let finding = findings.swap_remove(at);
        return Some((finding.cause.id.to_owned(), failed(evidence, vec![finding])));
    }
    if evidence.waited < limit {
        return None;
    }
    let finding = (!findings.is_empty()).then(|| findings.swap_remove(0));
    let id = finding.as_ref().map_or("", |finding| finding.cause.id).to_owned();
    let text = "user data has not ended (cloud-final.service), and the agent starts after it".to_owned();
    Some((id, Verdict::Waiting { text, finding }))
}

/// The verdict that the evidence allows, if any yet.
fn judge(evidence: &Evidence, findings: &[Finding]) -> Option<Verdict> {
    if is_unexplained(evidence) && !evidence.timed_out {
        return None;
    }
    // A registered instance is not judged by what else is wrong, so the agent must have been asked.
    let is_open = evidence.must_ask_for_cluster() || evidence.must_look_at_certificate();
    let is_asked = evidence.introspection.is_some() && !is_open;
    if is_asked && findings.iter().any(|finding| finding.is_final(evidence)) {
        return Some(failed(evidence, findings.to_vec()));
    }
    if let Some(ready) = readiness::ready(evidence) {
        return Some(Verdict::Ready(with_notes(ready, evidence)));
    }
    if !evidence.timed_out {
        return None;
    }
    match findings.first() {
        Some(first) if first.cause.class == Class::Waiting => {
            Some(Verdict::Waiting { text: first.cause.title.to_owned(), finding: Some(first.clone()) })
        }
        _ => Some(failed(evidence, findings.to_vec())),
    }
}

/// Whether user data may be why something is wrong, and is about to be read.
fn is_unexplained(evidence: &Evidence) -> bool {
    evidence.user_data.is_none() && evidence.waited < EXPLAINED && asks_for_user_data(evidence)
}

/// The first broken layer is the cause; what fits as well in the same layer is named beside it. Before the deadline
/// only what is final counts: the rest may heal, and is not why the wait ends.
fn failed(evidence: &Evidence, mut findings: Vec<Finding>) -> Verdict {
    let first_final = findings.iter().find(|finding| finding.is_final(evidence)).map(|finding| finding.cause.layer);
    if let Some(layer) = first_final.filter(|_| !evidence.timed_out) {
        // What the host itself lacks before that layer is no consequence of it, and seldom passes.
        let is_before = |cause: &Cause| {
            matches!(cause.class, Class::Lasting(_)) && cause.layer < layer && cause.layer <= Layer::Role
        };
        let is_told = |cause: &Cause| is_before(cause) || std::ptr::eq(cause, &PORT_TAKEN);
        findings.retain(|finding| finding.is_final(evidence) || is_told(finding.cause));
    }
    first_broken(evidence, findings)
}

fn first_broken(evidence: &Evidence, mut findings: Vec<Finding>) -> Verdict {
    if findings.is_empty() {
        findings.push(nothing_fits(evidence));
    }
    let also = findings.split_off(1);
    let finding = findings.remove(0);
    // That the agent's port cannot be trusted is told whatever else is broken.
    let is_told = |other: &Finding| other.cause.layer == finding.cause.layer || std::ptr::eq(other.cause, &PORT_TAKEN);
    let also = also.into_iter().filter(is_told).collect();
    let exit = match evidence.timed_out || finding.is_final(evidence) {
        true => finding.cause.exit_after_deadline,
        false => finding.cause.exit,
    };
    let container_instance_arn = evidence.container_instance_arn().map(str::to_owned);
    Verdict::Failed { finding, also, exit, container_instance_arn }
}

/// The verdict of what stopped an earlier room, by itself: nothing is asked.
pub fn stopped(stop: StageError) -> Verdict {
    verdict_of(&Evidence::of_stop(stop))
}

/// The same, and what lies behind it is looked at once: no cluster is named, since user data has failed.
pub async fn explained(world: &World, stop: StageError) -> Verdict {
    verdict_of(&once::around(world, stop).await)
}

/// What one look at everything comes to: what has not come yet is waited for, and not judged.
pub fn verdict_now(evidence: &Evidence) -> Verdict {
    let findings = diagnose(evidence);
    if findings.iter().any(|finding| finding.cause.class != Class::Waiting) {
        return first_broken(evidence, findings);
    }
    if let Some(ready) = readiness::ready(evidence) {
        return Verdict::Ready(with_notes(ready, evidence));
    }
    let waiting = |text: &str, finding| Verdict::Waiting { text: text.to_owned(), finding };
    if let Some(finding) = findings.into_iter().next() {
        return waiting(finding.cause.title, Some(finding));
    }
    if evidence.container_instance_arn().is_some() {
        return waiting("the instance is registered; its agent is not seen to be connected", None);
    }
    let since = evidence.agent_runs_for();
    let patience = evidence.expectation.as_ref().map_or(Duration::ZERO, |expected| expected.deadline);
    match evidence.user_data_runs() || since.is_some_and(|since| since < patience) {
        true => waiting("the agent has not registered yet", None),
        false => verdict_of(evidence),
    }
}

fn verdict_of(evidence: &Evidence) -> Verdict {
    failed(evidence, diagnose(evidence))
}

/// All probes, once and side by side.
pub async fn examine(
    world: &World,
    systemd: &Result<Systemd, SystemdError>,
    expectation: Option<Expectation>,
    stop: Option<StageError>,
) -> Evidence {
    once::once(world, systemd, expectation, stop).await
}

fn with_notes(registration: Registration, evidence: &Evidence) -> Ready {
    Ready { registration, notes: notes(evidence) }
}

/// What is being waited for, in words.
fn waiting_for(evidence: &Evidence, findings: &[Finding]) -> String {
    if evidence.container_instance_arn().is_some() {
        return "the agent's connection to ECS".to_owned();
    }
    if evidence.held_by_user_data() {
        return "user data to end (cloud-final.service)".to_owned();
    }
    if let Some(first) = findings.first() {
        return format!("the registration; so far: [{}] {}", first.cause.id, first.cause.title);
    }
    match evidence.agent_unit().and_then(|unit| unit.active_state.as_deref()) {
        Some("active") => "the agent's registration".to_owned(),
        Some(state) => format!("the agent's unit, which is {state}"),
        None => "the agent".to_owned(),
    }
}
