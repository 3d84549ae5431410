//! The wait for daemons (`ready.daemons`): observes their tasks, and sets the attribute that allows other tasks.
//!
//! The agent is asked for its tasks every second. ECS is asked which daemons must run here, and about the tasks when the agent
//! reports another state of one. This is the only part of verify that changes something outside of this process: it sets the
//! attribute to `held` if an earlier boot has left `allowed`, and to `allowed` when the daemons run.

use std::time::Duration;

use tokio::time::Instant;

use super::daemons::{ALL_CALLS, Question, booted_at, by_arn};
use super::observe::Observer;
use super::requests::Probing;
use super::schedule::{Observation, Probe, Schedule};
use crate::boundary::agent::{AgentError, Claim, Task};
use crate::boundary::aws::{Aws, AwsError, ContainerInstance, PlacedTask};
use crate::evidence::Evidence;
use crate::evidence::task_hold::{
    ALLOWED, ATTRIBUTE, BOOT_ATTRIBUTE, Daemon, HELD, KnownTasks, TaskHold, allows_tasks, is_allowed_by,
};
use crate::host::boot_id;
use crate::plan::ReadyConditions;
use crate::readiness::{has_attributes, has_images, joined_other_cluster, registered, takes_tasks};
use crate::retry::Deadline;

/// The limit for one call, including its repetitions.
const CALL: Duration = Duration::from_secs(20);
/// The limit for the call that finds out whether an earlier boot has allowed tasks.
const DESCRIBE: Duration = Duration::from_secs(5);
/// How long the answer about the daemons is used: services can be created and deleted while verify waits.
const MAX_AGE: Duration = Duration::from_secs(60);

impl Evidence {
    /// The wait for daemons, if it is on.
    fn waits_for_daemons(&self) -> Option<(&ReadyConditions, &TaskHold)> {
        Some((self.expectation.as_ref()?.waits_for_daemons()?, self.task_hold.as_ref()?))
    }
}

/// An attribute to set, and the container instance.
struct Wanted {
    value: &'static str,
    cluster: String,
    arn: String,
}

impl<'a> Observer<'a> {
    /// Whether the result of a probe of this file can change the verdict.
    pub(super) fn matters_for_hold(&self, probe: Probe) -> bool {
        let Some((_, hold)) = self.evidence.waits_for_daemons() else { return false };
        if probe == Probe::TaskAttribute {
            return self.wanted_attribute().is_some();
        }
        let is_elsewhere = joined_other_cluster(&self.evidence).is_some();
        if self.evidence.container_instance_arn().is_none() || is_elsewhere || takes_tasks(&self.evidence) {
            return false;
        }
        let are_daemons_known = matches!(hold.daemons, Some(Ok(_)));
        match probe {
            // After the first description of the container instance, which has its attributes.
            Probe::Daemons if self.evidence.container_instance.is_none() => false,
            Probe::Daemons => {
                let is_old = self.hold.daemons_read.is_none_or(|at| at.elapsed() > MAX_AGE);
                !are_daemons_known || (is_old && !hold.all_run())
            }
            Probe::PlacedTasks => {
                // ECS forgets a task an hour after its end.
                let is_described = |(arn, status): (&String, &String)| {
                    status == "STOPPED" || hold.placed.iter().any(|task| task.arn == *arn)
                };
                let has_news = self.hold.described != hold.known || !hold.known.iter().all(is_described);
                are_daemons_known && !hold.known.is_empty() && (has_news || hold.awaits_health())
            }
            _ => true,
        }
    }

    /// The attribute to set now.
    fn wanted_attribute(&self) -> Option<Wanted> {
        let evidence = &self.evidence;
        let (_, hold) = evidence.waits_for_daemons()?;
        if joined_other_cluster(evidence).is_some() {
            return None;
        }
        let joined = evidence.joined_as();
        let is_done = (hold.all_run() && has_attributes(evidence) && has_images(evidence)) || evidence.is_ready_without;
        if let Some((cluster, arn)) = &joined
            && is_done
            && !takes_tasks(evidence)
            && registered(evidence).is_some()
        {
            return Some(Wanted { value: ALLOWED, cluster: cluster.clone(), arn: arn.clone() });
        }
        if self.hold.is_held || hold.is_allowed() {
            return None;
        }
        let of_earlier_boot = |one: &ContainerInstance| allows_tasks(one) && !hold.is_allowed_by(one);
        let is_allowed_by_earlier_boot = evidence.described().is_some_and(of_earlier_boot);
        let is_unregistered = match &evidence.introspection {
            Some(Ok(metadata)) => metadata.container_instance_arn.is_empty(),
            Some(Err(error)) => matches!(error, AgentError::Refused { .. }),
            None => false,
        };
        let earlier = self.hold.earlier_registration.clone().filter(|_| is_unregistered);
        let (cluster, arn) = joined.filter(|_| is_allowed_by_earlier_boot).or(earlier)?;
        Some(Wanted { value: HELD, cluster, arn })
    }

    /// The future of a probe of this file; `None` if a required value is unknown.
    pub(super) fn future_for_hold(&self, probe: Probe) -> Option<Probing<'a>> {
        let host_clients = self.host_clients;
        let (conditions, hold) = self.evidence.waits_for_daemons()?;
        let expected = self.evidence.expectation.as_ref()?;
        let region = expected.region.clone()?;
        if probe == Probe::TaskAttribute {
            let (wanted, boot_id) = (self.wanted_attribute()?, hold.boot_id.clone());
            return Some(Box::pin(async move {
                let call = async { set(&host_clients.aws(&region).await?, &wanted, boot_id.as_deref()).await };
                Observation::TaskAttribute(wanted.value, call.await)
            }));
        }
        let (cluster, _) = self.evidence.joined_as()?;
        Some(match probe {
            Probe::Daemons => {
                let question = Question {
                    region,
                    cluster,
                    instance_id: expected.instance_id.clone()?,
                    named: conditions.named().map(<[String]>::to_vec),
                    attributes: self.hold.attributes.clone(),
                    requirements: self.hold.requirements.clone(),
                };
                let deadline = Deadline::after(ALL_CALLS);
                Box::pin(async move { Observation::Daemons(question.daemons(host_clients, deadline).await) })
            }
            Probe::PlacedTasks => {
                let asked = hold.known.clone();
                Box::pin(async move {
                    let arns: Vec<String> = asked.keys().cloned().collect();
                    let call = async {
                        host_clients.aws(&region).await?.placed_tasks(&cluster, &arns, Deadline::after(CALL)).await
                    };
                    Observation::PlacedTasks(asked, call.await)
                })
            }
            _ => {
                let soon = Deadline::after(CALL);
                Box::pin(async move { Observation::AgentTasks(host_clients.agent.tasks(soon).await) })
            }
        })
    }

    /// Creates the evidence of the wait, and drops an error of the call that allows tasks if tasks are no longer allowed.
    pub(super) fn note_hold(&mut self) {
        if self.evidence.expectation.as_ref().is_none_or(|expected| expected.waits_for_daemons().is_none()) {
            self.evidence.task_hold = None;
            return;
        }
        if self.evidence.task_hold.is_none() {
            let boot_id = boot_id(&self.host_clients.disk);
            self.evidence.task_hold = Some(TaskHold { waits: true, boot_id, ..TaskHold::default() });
        }
        if let Some(described) = self.evidence.described() {
            self.hold.attributes = Some(described.attributes.clone());
        }
        // An agent that registers anew has another container instance, without attributes and tasks.
        let arn = self.evidence.container_instance_arn().map(str::to_owned);
        if arn.is_some() && arn != self.hold.arn && self.hold.arn.replace(arn.unwrap_or_default()).is_some() {
            let hold = self.evidence.task_hold.as_mut().expect("it was created");
            (hold.allowed, hold.known, hold.placed) = (None, KnownTasks::new(), Vec::new());
        }
        let is_wanted = self.wanted_attribute().is_some_and(|wanted| wanted.value == ALLOWED);
        if let Some(hold) = self.evidence.task_hold.as_mut().filter(|hold| !is_wanted && !hold.is_allowed()) {
            hold.allowed = None;
        }
    }

    /// Forgets which daemons must run, because another run may have left other settings.
    pub(super) fn forget_daemons(&mut self) {
        self.hold.daemons_read = None;
        self.evidence.is_ready_without = false;
        if let Some(hold) = &mut self.evidence.task_hold {
            hold.daemons = None;
        }
    }

    pub(super) fn note_daemons(&mut self, answer: Result<Vec<Daemon>, AwsError>) {
        self.wait_after_denial(Probe::Daemons, answer.as_ref().err());
        if answer.is_ok() {
            self.hold.daemons_read = Some(Instant::now());
            self.schedule_of(Probe::PlacedTasks).for_each(Schedule::hasten);
        }
        let Some(hold) = &mut self.evidence.task_hold else { return };
        // A later failure keeps the answer before it.
        if answer.is_ok() || !matches!(hold.daemons, Some(Ok(_))) {
            hold.daemons = Some(answer);
        }
    }

    /// Asks ECS at once about tasks that are new or have another state, unless its last answer was an error.
    pub(super) fn note_agent_tasks(&mut self, answer: Result<Claim<Vec<Task>>, AgentError>) {
        let Some(hold) = &mut self.evidence.task_hold else { return };
        match answer.and_then(|claim| claim.trusted(|_| None)) {
            Ok(tasks) => {
                let known = by_arn(tasks);
                if !std::mem::replace(&mut self.hold.has_known, true) {
                    hold.known_before = known.keys().cloned().collect();
                }
                let has_news = hold.known != known && hold.placed_error.is_none();
                (hold.known, hold.unknown) = (known, None);
                if has_news {
                    self.schedule_of(Probe::PlacedTasks).for_each(Schedule::hasten);
                }
            }
            Err(error) => hold.unknown = Some(error),
        }
    }

    pub(super) fn note_placed_tasks(&mut self, asked: KnownTasks, answer: Result<Vec<PlacedTask>, AwsError>) {
        self.wait_after_denial(Probe::PlacedTasks, answer.as_ref().err());
        let booted_at = booted_at(self.host_clients);
        let Some(hold) = &mut self.evidence.task_hold else { return };
        hold.booted_at = booted_at;
        match answer {
            Ok(placed) => {
                (hold.placed, hold.placed_error) = (placed, None);
                self.hold.described = asked;
                // The agent may have reported another state meanwhile.
                if hold.known != self.hold.described {
                    self.schedule_of(Probe::PlacedTasks).for_each(Schedule::hasten);
                }
            }
            // The last answer is kept.
            Err(error) => hold.placed_error = Some(error),
        }
    }

    pub(super) fn note_attribute(&mut self, value: &str, answer: Result<(), AwsError>) {
        self.wait_after_denial(Probe::TaskAttribute, answer.as_ref().err());
        let Some(hold) = &mut self.evidence.task_hold else { return };
        if value == HELD {
            self.hold.is_held = answer.is_ok();
            hold.held_error = answer.err();
        } else {
            hold.allowed = Some(answer);
        }
    }
}

/// Sets the attribute. `held` is set only if another boot has left `allowed`, or if that cannot be found out.
async fn set(aws: &Aws, wanted: &Wanted, boot_id: Option<&str>) -> Result<(), AwsError> {
    let Wanted { value, cluster, arn } = wanted;
    if *value == HELD
        && let Ok(described) = aws.container_instance(cluster, arn, Deadline::after(DESCRIBE)).await
    {
        let is_left = described.is_some_and(|one| allows_tasks(&one) && !is_allowed_by(&one, boot_id));
        if !is_left {
            return Ok(());
        }
    }
    let boot = boot_id.map(|boot_id| (BOOT_ATTRIBUTE, boot_id));
    let attributes: Vec<(&str, &str)> = [(ATTRIBUTE, *value)].into_iter().chain(boot).collect();
    aws.put_attributes(cluster, arn, &attributes, Deadline::after(CALL)).await
}
