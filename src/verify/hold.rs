//! The wait for daemons (`ready.daemons`): observes their tasks, and sets the attribute that allows other tasks.
//!
//! The agent is asked for its tasks every second. ECS is asked which daemons must run here, and about a task when the agent
//! reports another state of it. This is the only part of verify that changes something outside of this process: the attribute
//! is set to `held` before the agent registers again after a reboot, and to `allowed` when the daemons run.

use std::time::Duration;

use tokio::time::Instant;

use super::daemons::{ALL_CALLS, required};
use super::give_up::WaitState;
use super::observe::Observer;
use super::requests::Probing;
use super::schedule::{Observation, Probe, Schedule};
use crate::boundary::agent::{AgentError, Claim, Task};
use crate::boundary::aws::AwsError;
use crate::evidence::Evidence;
use crate::evidence::task_hold::{ALLOWED, ATTRIBUTE, HELD, RequiredDaemon, TaskHold};
use crate::plan::ReadyConditions;
use crate::readiness::{registered, takes_tasks};
use crate::retry::Deadline;

/// The limit for one call, including the SDK's retries.
const CALL: Duration = Duration::from_secs(20);
/// How long the answer about the daemons is used: services can be created and deleted while verify waits.
const MAX_AGE: Duration = Duration::from_secs(60);
/// How long after `ready.deadline` the call that allows tasks is repeated.
const ALLOW_TIME: Duration = Duration::from_secs(60);

impl Evidence {
    /// The wait for daemons, if it is on.
    fn waits_for_daemons(&self) -> Option<(&ReadyConditions, &TaskHold)> {
        Some((self.expectation.as_ref()?.ready.as_ref()?, self.task_hold.as_ref()?))
    }
}

impl WaitState {
    /// The wait for daemons begins with the registration and has a limit of its own. After it, tasks are allowed if the
    /// settings say so.
    pub(super) fn follow_hold(&mut self, evidence: &mut Evidence) {
        let Some((conditions, _)) = evidence.waits_for_daemons() else { return };
        let (limit, allows) = (conditions.deadline, conditions.allows_after_deadline());
        if !self.waits_for_daemons() {
            if registered(evidence).is_some() {
                self.begin_daemons(limit);
            }
            return;
        }
        let hold = evidence.task_hold.as_mut().expect("the wait is on");
        if self.deadline().passed() && allows && !hold.is_over {
            hold.is_over = true;
            self.begin_daemons(ALLOW_TIME);
        }
    }
}

impl<'a> Observer<'a> {
    /// Whether the result of a probe of this file can change the verdict.
    pub(super) fn matters_for_hold(&self, probe: Probe) -> bool {
        let Some((_, hold)) = self.evidence.waits_for_daemons() else { return false };
        if probe == Probe::TaskAttribute {
            return self.wanted_attribute().is_some();
        }
        if self.evidence.container_instance_arn().is_none() || takes_tasks(&self.evidence) {
            return false;
        }
        let is_required_known = matches!(hold.required, Some(Ok(_)));
        match probe {
            Probe::RequiredDaemons => {
                let is_old = self.hold.required_at.is_none_or(|at| at.elapsed() > MAX_AGE);
                !hold.all_run() && (!is_required_known || is_old)
            }
            Probe::PlacedTasks => is_required_known && !hold.all_run() && !hold.known.is_empty(),
            _ => true,
        }
    }

    /// The value that the attribute must get, with the cluster and the ARN of the container instance.
    fn wanted_attribute(&self) -> Option<(&'static str, String, String)> {
        let evidence = &self.evidence;
        let (_, hold) = evidence.waits_for_daemons()?;
        let can_be_allowed =
            !takes_tasks(evidence) && (hold.all_run() || hold.is_over) && registered(evidence).is_some();
        if let Some((cluster, arn)) = evidence.joined_as().filter(|_| can_be_allowed) {
            return Some((ALLOWED, cluster, arn));
        }
        let (cluster, arn) = self.hold.earlier.clone().filter(|_| hold.began_unregistered && !self.hold.is_held)?;
        Some((HELD, cluster, arn))
    }

    /// The future of a probe of this file; `None` if a required value is unknown.
    pub(super) fn future_for_hold(&self, probe: Probe) -> Option<Probing<'a>> {
        let host_clients = self.host_clients;
        let (conditions, hold) = self.evidence.waits_for_daemons()?;
        let expected = self.evidence.expectation.as_ref()?;
        let region = expected.region.clone()?;
        if probe == Probe::TaskAttribute {
            let (value, cluster, arn) = self.wanted_attribute()?;
            return Some(Box::pin(async move {
                let call = async {
                    let aws = host_clients.aws(&region).await?;
                    aws.put_attribute(&cluster, &arn, (ATTRIBUTE, value), Deadline::after(CALL)).await
                };
                Observation::TaskAttribute(value, call.await)
            }));
        }
        let (cluster, _) = self.evidence.joined_as()?;
        Some(match probe {
            Probe::RequiredDaemons => {
                let all_calls = Deadline::after(ALL_CALLS);
                let (named, id) = (conditions.named().map(<[String]>::to_vec), expected.instance_id.clone()?);
                Box::pin(async move {
                    Observation::RequiredDaemons(required(host_clients, &region, &cluster, &id, named, all_calls).await)
                })
            }
            Probe::PlacedTasks => {
                let arns: Vec<String> = hold.known.iter().map(|task| task.arn.clone()).collect();
                Box::pin(async move {
                    let call = async {
                        host_clients.aws(&region).await?.placed_tasks(&cluster, &arns, Deadline::after(CALL)).await
                    };
                    Observation::PlacedTasks(call.await)
                })
            }
            _ => {
                let soon = Deadline::after(CALL);
                Box::pin(async move { Observation::AgentTasks(host_clients.agent.tasks(soon).await) })
            }
        })
    }

    /// Notes the first answer of the agent: one that has not registered shows that the attribute is of an earlier boot.
    pub(super) fn note_hold(&mut self) {
        if self.evidence.expectation.as_ref().is_none_or(|expected| expected.ready.is_none()) {
            self.evidence.task_hold = None;
            return;
        }
        let is_unregistered = self.evidence.introspection.is_some() && self.evidence.container_instance_arn().is_none();
        let hold = self.evidence.task_hold.get_or_insert_default();
        hold.waits = true;
        if is_unregistered {
            hold.began_unregistered = true;
            hold.allowed = None;
        }
    }

    /// Forgets which daemons must run, because another run may have left other settings.
    pub(super) fn forget_required(&mut self) {
        self.hold.required_at = None;
        if let Some(hold) = &mut self.evidence.task_hold {
            (hold.required, hold.is_over) = (None, false);
        }
    }

    pub(super) fn note_required(&mut self, answer: Result<Vec<RequiredDaemon>, AwsError>) {
        let Some(hold) = &mut self.evidence.task_hold else { return };
        if answer.is_ok() {
            self.hold.required_at = Some(Instant::now());
        }
        // A later failure keeps the answer before it.
        if answer.is_ok() || !matches!(hold.required, Some(Ok(_))) {
            hold.required = Some(answer);
        }
        self.schedule_of(Probe::PlacedTasks).for_each(Schedule::hasten);
    }

    /// Asks ECS at once about tasks that are new or have another state, until all daemons run.
    pub(super) fn note_agent_tasks(&mut self, answer: Result<Claim<Vec<Task>>, AgentError>) {
        let tasks = answer.and_then(|claim| claim.trusted(|_| None));
        let Ok(tasks) = tasks.inspect_err(|error| tracing::debug!(%error, "tasks of the agent not read")) else {
            return;
        };
        let Some(hold) = &mut self.evidence.task_hold else { return };
        if hold.known != tasks {
            hold.known = tasks;
            self.schedule_of(Probe::PlacedTasks).for_each(Schedule::hasten);
        }
    }

    pub(super) fn note_attribute(&mut self, value: &str, answer: Result<(), AwsError>) {
        if value == HELD {
            // If it fails, the call that allows tasks fails too, and is reported.
            self.hold.is_held = answer.is_ok();
            return;
        }
        if let Some(hold) = &mut self.evidence.task_hold {
            hold.allowed = Some(answer);
        }
    }
}
