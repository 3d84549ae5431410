//! Turns evidence into a verdict: observes until the instance is ready, a cause is final, or the deadline passes.
//!
//! In: what is expected, and the world. Out: one verdict. It changes nothing on the host.

mod give_up;
mod observe;
mod once;
mod schedule;

use std::time::Duration;

pub use self::give_up::verdict_now;
use self::give_up::{Wait, interim, judge, verdict_of};
use self::observe::Observer;
pub use self::observe::QueuedJobs;
use crate::boundary::World;
use crate::boundary::systemd::{Systemd, SystemdError};
use crate::causes::Finding;
use crate::evidence::{Evidence, StageError};
use crate::plan::Expectation;
use crate::verdict::Verdict;

/// Who listens while the verdict is not there yet.
pub struct ProgressCallbacks<'l> {
    /// Is told what is being waited for, whenever that changes.
    pub on_waiting: &'l mut dyn FnMut(&str),
    /// Is told what stands for now, where something is wrong that may go on without end.
    pub on_interim: &'l mut dyn FnMut(&Verdict),
    /// Says whether another run has come to expect something else.
    pub new_expectation: &'l mut dyn FnMut() -> Option<Expectation>,
    /// Is told, at each look, how long the verdict may still take.
    pub on_time_left: &'l dyn Fn(Duration),
}

/// Waits for the registration.
pub async fn verdict(
    world: &World,
    systemd: &Result<Systemd, SystemdError>,
    expectation: Expectation,
    queued_jobs: QueuedJobs,
    age: Option<Duration>,
    callbacks: ProgressCallbacks<'_>,
) -> Verdict {
    let mut wait = Wait::new(expectation.deadline, age);
    let mut observer = Observer::new(world, systemd.as_ref().ok(), expectation, queued_jobs, age);
    observer.watch().await;
    if let Err(error) = systemd {
        observer.evidence.units = Some(Err(error.clone()));
    }
    let mut reported_waiting = String::new();
    let mut reported_interim: Option<String> = None;
    loop {
        (callbacks.on_time_left)(wait.remaining());
        observer.look(wait.deadline()).await;
        if let Some(expectation) = (callbacks.new_expectation)() {
            wait.restart(expectation.deadline);
            observer.expect(expectation);
        }
        let findings = wait.diagnose(&mut observer.evidence);
        if wait.holds_back_final() && !observer.has_examined() {
            continue;
        }
        if let Some(verdict) = judge(&observer.evidence, &findings) {
            if wait.holds_back_ready(&verdict) && !observer.has_examined() {
                continue;
            }
            return verdict;
        }
        let waiting = waiting_for(&observer.evidence, &findings);
        if reported_waiting != waiting {
            (callbacks.on_waiting)(&waiting);
            reported_waiting = waiting;
        }
        let interim = interim(&observer.evidence, findings, wait.limit());
        if let Some((id, verdict)) = interim.filter(|(id, _)| reported_interim.as_ref() != Some(id)) {
            (callbacks.on_interim)(&verdict);
            reported_interim = Some(id);
        }
    }
}

/// The verdict of what stopped an earlier room, by itself: nothing is asked.
pub fn stopped(stop: StageError) -> Verdict {
    verdict_of(&Evidence::of_stop(stop))
}

/// The same, and what lies behind it is looked at once: no cluster is named, since user data has failed.
pub async fn explained(world: &World, stop: StageError) -> Verdict {
    verdict_of(&once::around(world, stop).await)
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
