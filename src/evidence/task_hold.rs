//! The daemons that must run before the instance takes other tasks (`ready.daemons`), and whether it takes them.
//!
//! The container instance has the attribute [`ATTRIBUTE`]. Tasks with the placement constraint
//! `attribute:ecs-bootstrap.tasks == allowed` are placed on it only after the daemons run. `DRAINING` cannot hold tasks back:
//! ECS places no daemons on such an instance either, and stops those that run (Amazon ECS Developer Guide, "Daemon").

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::boundary::agent::AgentError;
use crate::boundary::aws::{AwsError, ContainerInstance, PlacedTask};
use crate::redaction;

/// The attribute of the container instance that says whether it takes tasks.
pub const ATTRIBUTE: &str = "ecs-bootstrap.tasks";
/// The value after the daemons run.
pub const ALLOWED: &str = "allowed";
/// The value before that, if an earlier boot has set [`ALLOWED`]; otherwise the attribute is absent.
pub const HELD: &str = "held";
/// The attribute with the boot that has set [`ATTRIBUTE`]: the kernel's id of the boot, and when PID 1 started.
pub const BOOT_ATTRIBUTE: &str = "ecs-bootstrap.boot";

const RUNNING: &str = "RUNNING";
const STOPPED: &str = "STOPPED";
const HEALTHY: &str = "HEALTHY";

/// A daemon service of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Daemon {
    /// The name of the service.
    pub name: String,
    /// Whether its task must run here: it is named, or ECS places one.
    pub is_required: bool,
    /// Why ECS does not place a task of it here.
    pub fault: Option<DaemonFault>,
    /// Whether its task has a health check.
    pub has_health_check: bool,
}

/// The status of each task that the agent knows, by ARN. The agent lists them in an order that changes.
pub type KnownTasks = BTreeMap<String, String>;

/// Why ECS does not place a task of a service on this instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DaemonFault {
    /// The cluster has no service with this name.
    NoService,
    /// Its status is not `ACTIVE`.
    Inactive,
    /// Its scheduling strategy is not `DAEMON`, or its tasks run on Fargate or on ECS Anywhere.
    NotDaemon,
    /// Its placement constraints do not allow this instance.
    Excluded,
    /// Its tasks require an attribute that this instance does not have.
    LacksAttribute(String),
}

/// A daemon service, and whether its task runs on this instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonState {
    /// The name of the service.
    pub name: String,
    /// Whether its task runs, and is healthy if it has a health check.
    pub running: bool,
    /// The state of its task, as text.
    pub detail: String,
}

/// A task of `start-tasks`.
#[derive(Debug)]
pub struct TaskStart {
    /// The task definition.
    pub definition: String,
    /// Why no task of it was started; `None` if one runs here.
    pub failure: Option<StartFailure>,
}

/// Why a task was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartFailure {
    /// The agent did not say which tasks it runs.
    #[error("it is not known whether a task of it runs here")]
    Unknown(#[source] AgentError),
    /// The call failed.
    #[error(transparent)]
    Call(AwsError),
    /// The calls for the definitions before it took all the time.
    #[error("no time was left for it")]
    NoTime,
    /// ECS placed no task, for this reason.
    #[error("ecs:StartTask: {0}")]
    NotPlaced(String),
}

/// What was observed about the daemons.
#[derive(Debug, Default)]
pub struct TaskHold {
    /// Whether verify waits for them. Otherwise they were observed once, for doctor.
    pub waits: bool,
    /// The id of this boot.
    pub boot_id: Option<String>,
    /// When this boot began by the clock of AWS, in seconds since 1970. Tasks of an earlier boot do not count: ECS and the
    /// agent may still report them as running.
    pub booted_at: Option<i64>,
    /// The daemons of the cluster, or the named ones.
    pub daemons: Option<Result<Vec<Daemon>, AwsError>>,
    /// The status of each task that the agent knows, by ARN.
    pub known: KnownTasks,
    /// The tasks that the agent knew at its first answer, which tell nothing about this wait.
    pub known_before: BTreeSet<String>,
    /// Why they are not known.
    pub unknown: Option<AgentError>,
    /// The same tasks, as ECS described them last.
    pub placed: Vec<PlacedTask>,
    /// Why ECS has not described them now.
    pub placed_error: Option<AwsError>,
    /// Why [`HELD`] was not set in place of the value of an earlier boot.
    pub held_error: Option<AwsError>,
    /// The outcome of the call that allows tasks.
    pub allowed: Option<Result<(), AwsError>>,
}

impl TaskHold {
    /// Whether the call that allows tasks has succeeded.
    pub fn is_allowed(&self) -> bool {
        matches!(self.allowed, Some(Ok(())))
    }

    /// Whether the attribute of the container instance allows tasks, and this boot has set it.
    pub fn is_allowed_by(&self, instance: &ContainerInstance) -> bool {
        is_allowed_by(instance, self.boot_id.as_deref())
    }

    /// The state of each daemon that must run; `None` before ECS has answered.
    pub fn states(&self) -> Option<Vec<DaemonState>> {
        let daemons = self.daemons.as_ref()?.as_ref().ok()?;
        Some(daemons.iter().filter(|daemon| daemon.is_required).map(|daemon| self.state(daemon)).collect())
    }

    /// Whether all daemons run that must run.
    pub fn all_run(&self) -> bool {
        self.states().is_some_and(|daemons| daemons.iter().all(|daemon| daemon.running))
    }

    /// The call of ECS that failed last, if its answer is missing.
    pub fn failed_call(&self) -> Option<&AwsError> {
        let allowed = self.allowed.as_ref().and_then(|answer| answer.as_ref().err());
        let daemons = self.daemons.as_ref().and_then(|answer| answer.as_ref().err());
        allowed.or(daemons).or(self.placed_error.as_ref())
    }

    /// Whether a daemon has a task whose health ECS must be asked for.
    pub fn awaits_health(&self) -> bool {
        let daemons = self.daemons.iter().filter_map(|answer| answer.as_ref().ok()).flatten();
        let mut checked = daemons.filter(|daemon| daemon.is_required && daemon.has_health_check);
        checked.any(|daemon| self.tasks_of(daemon).any(|task| self.status(task) == RUNNING && task.health != HEALTHY))
    }

    /// The tasks of this boot that are not of a daemon and were placed here before tasks were allowed.
    pub fn placed_early(&self) -> Vec<String> {
        let Some(Ok(daemons)) = &self.daemons else { return Vec::new() };
        let is_daemon = |task: &&PlacedTask| daemons.iter().any(|daemon| task.service.as_ref() == Some(&daemon.name));
        let others = self.placed.iter().filter(|task| !self.known_before.contains(&task.arn) && !is_daemon(task));
        let others = others.filter(|task| self.status(task) != STOPPED && self.is_of_this_boot(task));
        let names = others.map(|task| match &task.service {
            Some(service) => format!("a task of the service `{}`", redaction::line(service)),
            None => format!("the task `{}`", redaction::line(&task.arn)),
        });
        let names: BTreeSet<String> = names.collect();
        names.into_iter().collect()
    }

    /// What the wait is for, as text.
    pub fn waiting_for(&self) -> String {
        let missing = self.states().unwrap_or_default().into_iter().filter(|daemon| !daemon.running);
        let missing: Vec<String> = missing.map(|daemon| format!("`{}` ({})", daemon.name, daemon.detail)).collect();
        match (self.failed_call(), missing.is_empty()) {
            (Some(error), _) => format!("the daemons; so far: {}", without_time(error)),
            (None, true) if self.daemons.is_none() => "the list of daemons".to_owned(),
            (None, true) => "ECS to allow tasks on the instance".to_owned(),
            (None, false) => format!("the daemons {}", missing.join(", ")),
        }
    }

    /// Whether the task can run in this boot: it started in it, or it has not started. A task that was placed while the instance
    /// was down starts later than it was placed.
    fn is_of_this_boot(&self, task: &PlacedTask) -> bool {
        task.started_at.zip(self.booted_at).is_none_or(|(started, booted)| started >= booted)
    }

    fn tasks_of(&self, daemon: &Daemon) -> impl Iterator<Item = &PlacedTask> {
        let name = daemon.name.clone();
        let of_service = self.placed.iter().filter(move |task| task.service.as_ref() == Some(&name));
        of_service.filter(|task| task.is_wanted && self.is_of_this_boot(task) && self.known_status(task).is_some())
    }

    /// The status that the agent reports; `None` if it does not know the task.
    fn known_status(&self, task: &PlacedTask) -> Option<&str> {
        self.known.get(&task.arn).map(String::as_str)
    }

    /// The status of a task. The agent reports its start and its end before ECS does.
    fn status<'t>(&'t self, task: &'t PlacedTask) -> &'t str {
        self.known_status(task).filter(|status| matches!(*status, RUNNING | STOPPED)).unwrap_or(&task.status)
    }

    fn state(&self, daemon: &Daemon) -> DaemonState {
        let is_healthy = |task: &PlacedTask| !daemon.has_health_check || task.health == HEALTHY;
        let mut tasks: Vec<&PlacedTask> = self.tasks_of(daemon).collect();
        // The task that is nearest to what is required.
        tasks.sort_by_key(|task| (self.status(task) == RUNNING, is_healthy(task), self.status(task) != STOPPED));
        let best = tasks.last().map(|task| (*task, self.status(task)));
        let running =
            daemon.fault.is_none() && best.is_some_and(|(task, status)| status == RUNNING && is_healthy(task));
        let detail = match (&daemon.fault, best) {
            (Some(fault), _) => fault.text(),
            (None, Some(_)) if running && daemon.has_health_check => "its task runs and is healthy".to_owned(),
            (None, Some(_)) if running => "its task runs".to_owned(),
            (None, Some((task, RUNNING))) => {
                format!("its task runs, and its health is {}", redaction::line(&task.health))
            }
            (None, Some((task, STOPPED))) if task.stopped_reason.is_empty() => "its task stopped".to_owned(),
            (None, Some((task, STOPPED))) => format!("its task stopped: {}", redaction::line(&task.stopped_reason)),
            (None, Some((_, status))) => format!("its task is {}", redaction::line(status)),
            (None, None) => self.without_task(),
        };
        DaemonState { name: redaction::line(&daemon.name), running, detail }
    }

    fn without_task(&self) -> String {
        match (&self.placed_error, &self.unknown) {
            (Some(error), _) => format!("its task is not known: {}", without_time(error)),
            (None, Some(error)) => format!("its task is not known: {}", redaction::error_chain(error)),
            (None, None) => "the agent has no task of it".to_owned(),
        }
    }
}

/// The same text for each repetition of a failed call.
pub fn without_time(error: &AwsError) -> String {
    redaction::line(&format!("{}: {}", error.operation, error.kind))
}

/// Whether the attribute of the container instance allows tasks, and the boot with this id has set it.
pub fn is_allowed_by(instance: &ContainerInstance, boot_id: Option<&str>) -> bool {
    let by = instance.attributes.get(BOOT_ATTRIBUTE).map(String::as_str);
    boot_id.is_some() && by == boot_id && allows_tasks(instance)
}

/// Whether the attribute of the container instance allows tasks, whichever boot has set it.
pub fn allows_tasks(instance: &ContainerInstance) -> bool {
    instance.attributes.get(ATTRIBUTE).is_some_and(|value| value == ALLOWED)
}

impl DaemonFault {
    fn text(&self) -> String {
        match self {
            DaemonFault::NoService => "the cluster has no service with this name".to_owned(),
            DaemonFault::Inactive => "the service is not ACTIVE".to_owned(),
            DaemonFault::NotDaemon => "the service is not a daemon service on EC2".to_owned(),
            DaemonFault::Excluded => "its placement constraints exclude this instance".to_owned(),
            DaemonFault::LacksAttribute(name) => {
                format!(
                    "its task requires the attribute `{}`, which this instance does not have",
                    redaction::line(name)
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(required: &[(&str, bool)], placed: &[(&str, &str, &str, &str)], known: &[(&str, &str)]) -> TaskHold {
        let daemons = required.iter().map(|(name, has_health_check)| Daemon {
            name: (*name).to_owned(),
            is_required: true,
            fault: None,
            has_health_check: *has_health_check,
        });
        let of_ecs: Vec<(String, String)> =
            placed.iter().map(|(arn, _, status, _)| ((*arn).to_owned(), (*status).to_owned())).collect();
        let known = known.iter().map(|(arn, status)| ((*arn).to_owned(), (*status).to_owned()));
        let known = of_ecs.into_iter().chain(known);
        let placed = placed.iter().map(|(arn, service, status, health)| PlacedTask {
            arn: (*arn).to_owned(),
            service: Some((*service).to_owned()),
            is_wanted: true,
            started_at: Some(1000),
            status: (*status).to_owned(),
            health: (*health).to_owned(),
            stopped_reason: String::new(),
        });
        TaskHold {
            daemons: Some(Ok(daemons.collect())),
            placed: placed.collect(),
            known: known.collect(),
            ..TaskHold::default()
        }
    }

    #[test]
    fn all_daemons_run_only_if_each_has_a_running_and_healthy_task() {
        let two = [("log", false), ("mesh", true)];
        for (placed, known, expected) in [
            (vec![], vec![], false),
            (vec![("1", "log", "RUNNING", "UNKNOWN")], vec![], false),
            (vec![("1", "log", "RUNNING", "UNKNOWN"), ("2", "mesh", "RUNNING", "UNKNOWN")], vec![], false),
            (vec![("1", "log", "RUNNING", "UNKNOWN"), ("2", "mesh", "RUNNING", "UNHEALTHY")], vec![], false),
            (vec![("1", "log", "RUNNING", "UNKNOWN"), ("2", "mesh", "RUNNING", "HEALTHY")], vec![], true),
            // The agent reports before ECS.
            (
                vec![("1", "log", "PENDING", "UNKNOWN"), ("2", "mesh", "RUNNING", "HEALTHY")],
                vec![("1", "RUNNING"), ("2", "RUNNING")],
                true,
            ),
            (
                vec![("1", "log", "RUNNING", "UNKNOWN"), ("2", "mesh", "RUNNING", "HEALTHY")],
                vec![("1", "STOPPED"), ("2", "RUNNING")],
                false,
            ),
            // A task that stopped, and the one that replaces it.
            (
                vec![
                    ("1", "log", "STOPPED", "UNKNOWN"),
                    ("3", "log", "RUNNING", "UNKNOWN"),
                    ("2", "mesh", "RUNNING", "HEALTHY"),
                ],
                vec![],
                true,
            ),
            (vec![("1", "web", "RUNNING", "UNKNOWN"), ("2", "mesh", "RUNNING", "HEALTHY")], vec![], false),
        ] {
            let hold = hold(&two, &placed, &known);
            assert_eq!(hold.all_run(), expected, "{placed:?} {known:?}");
        }
        assert!(hold(&[], &[], &[]).all_run(), "a cluster without daemons");
        assert!(!TaskHold::default().all_run(), "ECS has not answered");
    }

    #[test]
    fn tasks_of_an_earlier_boot_and_tasks_that_ecs_stops_do_not_count() {
        let mut hold = hold(&[("log", false)], &[("1", "log", "RUNNING", ""), ("2", "web", "RUNNING", "")], &[]);
        hold.booted_at = Some(1000);
        assert!(hold.all_run());
        assert_eq!(hold.placed_early(), ["a task of the service `web`"]);
        hold.booted_at = Some(1001);
        assert!(!hold.all_run());
        assert_eq!(hold.placed_early(), Vec::<String>::new());
        hold.booted_at = None;
        hold.placed[0].is_wanted = false;
        assert!(!hold.all_run());
    }

    #[test]
    fn tasks_of_other_services_are_named() {
        let hold = hold(&[("log", false)], &[("1", "log", "RUNNING", ""), ("2", "web", "PENDING", "")], &[]);
        assert_eq!(hold.placed_early(), ["a task of the service `web`"]);
    }
}
