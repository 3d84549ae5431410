//! The stage `verify`: observes the instance until it is ready, a cause is final, or the deadline passes.
//!
//! In: an [`Expectation`], and the clients. Out: one verdict. It changes nothing on the host. With `ready.daemons` it sets an
//! attribute of the container instance (`hold`), and with `start-tasks` it starts tasks.

mod conditions;
mod daemons;
mod give_up;
mod hold;
mod logs;
mod notes;
mod observe;
mod once;
mod requests;
mod schedule;
mod start_tasks;
mod watched;

use std::time::{Duration, Instant};

use self::conditions::missing_conditions;
use self::give_up::{WaitState, interim, judge, with_notes};
pub use self::give_up::{verdict_now, verdict_of};
use self::observe::Observer;
pub use self::observe::QueuedJobs;
use self::start_tasks::{ALL_CALLS, start_tasks};
pub use self::watched::{Asked, answer, cluster_of, container_instance_arn, describe, examine_watched, seen};
use crate::boundary::HostClients;
use crate::boundary::systemd::{Systemd, SystemdError};
use crate::causes::FoundCause;
use crate::evidence::{Evidence, StageError};
use crate::plan::Expectation;
use crate::retry::Deadline;
use crate::verdict::Verdict;

/// The longest time between two diagnoses, if there is no new evidence: also time makes a cause final.
const DIAGNOSIS_INTERVAL: Duration = Duration::from_millis(500);

/// Callbacks that verify calls while it waits.
pub struct ProgressCallbacks<'l> {
    /// Called with what verify waits for, whenever that changes.
    pub on_waiting: &'l mut dyn FnMut(&str),
    /// Called with a preliminary verdict, if there is a fault while user data runs, which may never end.
    pub on_interim: &'l mut dyn FnMut(&Verdict),
    /// Returns a new expectation, if another run has stored one.
    pub new_expectation: &'l mut dyn FnMut() -> Option<Expectation>,
    /// Called at each step with the deadline of the verdict.
    pub on_deadline: &'l dyn Fn(Deadline),
}

/// Waits for the registration and returns the verdict.
pub async fn verdict(
    host_clients: &HostClients,
    systemd: &Result<Systemd, SystemdError>,
    expectation: Expectation,
    queued_jobs: QueuedJobs,
    age: Option<Duration>,
    callbacks: ProgressCallbacks<'_>,
) -> Verdict {
    let mut wait = WaitState::new(expectation.deadline, age);
    let mut observer = Observer::new(host_clients, systemd.as_ref().ok(), expectation, queued_jobs, age);
    observer.watch().await;
    if let Err(error) = systemd {
        observer.evidence.units = Some(Err(error.clone()));
    }
    let mut diagnosed: Option<Instant> = None;
    let mut reported_waiting = String::new();
    let mut reported_interim: Option<String> = None;
    loop {
        (callbacks.on_deadline)(wait.deadline());
        let is_new = observer.next(wait.deadline()).await;
        let is_recent = diagnosed.is_some_and(|at| at.elapsed() < DIAGNOSIS_INTERVAL);
        if !is_new && is_recent && !wait.deadline().passed() {
            continue;
        }
        diagnosed = Some(Instant::now());
        if let Some(expectation) = (callbacks.new_expectation)() {
            wait.restart(expectation.deadline);
            observer.expect(expectation);
        }
        wait.follow_conditions(&mut observer.evidence);
        let diagnosis = wait.diagnose(&mut observer.evidence);
        // Both are asked: the first one starts probes.
        if wait.holds_back_final() && !(observer.has_examined() & observer.are_units_settled()) {
            continue;
        }
        if let Some(verdict) = judge(&observer.evidence, &diagnosis) {
            if wait.holds_back_ready(&verdict) && !observer.has_examined() {
                continue;
            }
            let Verdict::Ready(ready) = verdict else { return verdict };
            if !observer.must_start_tasks() {
                return Verdict::Ready(ready);
            }
            // What fails is a note: the instance is ready.
            (callbacks.on_deadline)(Deadline::after(ALL_CALLS));
            start_tasks(host_clients, &mut observer.evidence).await;
            (callbacks.on_deadline)(Deadline::after(ALL_CALLS));
            if let Some(expectation) = (callbacks.new_expectation)() {
                wait.restart(expectation.deadline);
                observer.expect(expectation);
                continue;
            }
            return Verdict::Ready(with_notes(ready.registration, &observer.evidence));
        }
        let waiting = waiting_for(&observer.evidence, &diagnosis.found);
        if reported_waiting != waiting {
            (callbacks.on_waiting)(&waiting);
            reported_waiting = waiting;
        }
        let interim = interim(&observer.evidence, diagnosis.found, wait.limit());
        if let Some((id, verdict)) = interim.filter(|(id, _)| reported_interim.as_ref() != Some(id)) {
            (callbacks.on_interim)(&verdict);
            reported_interim = Some(id);
        }
    }
}

/// The verdict for the error that ended an earlier stage. No probe runs.
pub fn verdict_of_error(error: StageError) -> Verdict {
    verdict_of(&Evidence::of_stage_error(error))
}

/// The verdict for the error that ended an earlier stage, after probes of its possible reasons. Example: no source
/// names a cluster, because user data failed. `agent_unit` is the value of `units.agent`.
pub async fn explained(host_clients: &HostClients, error: StageError, agent_unit: &str) -> Verdict {
    verdict_of(&once::around(host_clients, error, agent_unit).await)
}

/// Runs all probes once, in parallel. `agent_unit` is the value of `units.agent`; `region` is that of the instance, if it is
/// known without an expectation.
pub async fn examine(
    host_clients: &HostClients,
    systemd: &Result<Systemd, SystemdError>,
    expectation: Option<Expectation>,
    (agent_unit, region): (&str, Option<&str>),
    error: Option<StageError>,
) -> Evidence {
    once::once(host_clients, systemd, expectation, (agent_unit, region), error).await
}

/// What verify waits for, as text for progress messages.
fn waiting_for(evidence: &Evidence, findings: &[FoundCause]) -> String {
    if evidence.container_instance_arn().is_some() {
        return missing_conditions(evidence).unwrap_or_else(|| "the agent's connection to ECS".to_owned());
    }
    if evidence.held_by_user_data() {
        return "the end of user data (cloud-final.service)".to_owned();
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
