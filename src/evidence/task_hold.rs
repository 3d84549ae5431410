//! The daemons that must run before the instance takes other tasks (`ready.daemons`), and whether it takes them.
//!
//! The container instance has the attribute [`ATTRIBUTE`]. Tasks with the placement constraint
//! `attribute:ecs-bootstrap.tasks == allowed` are placed on it only after the daemons run. `DRAINING` cannot hold tasks back:
//! ECS places no daemons on such an instance either, and stops those that run (Amazon ECS Developer Guide, "Daemon").

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::boundary::agent::Task;
use crate::boundary::aws::{AwsError, PlacedTask};
use crate::redaction;

/// The attribute of the container instance that says whether it takes tasks.
pub const ATTRIBUTE: &str = "ecs-bootstrap.tasks";
/// The value after the daemons run.
pub const ALLOWED: &str = "allowed";
/// The value before that, if an earlier boot has set [`ALLOWED`]; otherwise the attribute is absent.
pub const HELD: &str = "held";

const RUNNING: &str = "RUNNING";
const STOPPED: &str = "STOPPED";

/// A daemon service whose task must run on this instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequiredDaemon {
    /// The name of the service.
    pub name: String,
    /// Why ECS will not place a task of it on this instance, as it is now.
    pub fault: Option<DaemonFault>,
    /// Whether its task has a health check.
    pub has_health_check: bool,
}

/// Why ECS does not place a task of a service on this instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DaemonFault {
    /// The cluster has no service with this name.
    NoService,
    /// The service is being deleted.
    Inactive,
    /// Its scheduling strategy is not `DAEMON`.
    NotDaemon,
    /// Its placement constraints do not allow this instance.
    Excluded,
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

/// What was observed about the daemons.
#[derive(Debug, Default)]
pub struct TaskHold {
    /// Whether verify waits for them. Otherwise they were observed once, for doctor.
    pub waits: bool,
    /// The daemons that must run here.
    pub required: Option<Result<Vec<RequiredDaemon>, AwsError>>,
    /// The tasks that the agent knows.
    pub known: Vec<Task>,
    /// The same tasks, as ECS describes them.
    pub placed: Option<Result<Vec<PlacedTask>, AwsError>>,
    /// Whether `ready.deadline` has passed, and tasks are allowed nevertheless.
    pub is_over: bool,
    /// Whether the agent was seen before it registered, so that an attribute with [`ALLOWED`] is of an earlier boot.
    pub began_unregistered: bool,
    /// The outcome of the call that allows tasks.
    pub allowed: Option<Result<(), AwsError>>,
}

impl TaskHold {
    /// Whether the call that allows tasks has succeeded.
    pub fn is_allowed(&self) -> bool {
        matches!(self.allowed, Some(Ok(())))
    }

    /// The state of each daemon that must run; `None` before ECS has answered.
    pub fn daemons(&self) -> Option<Vec<DaemonState>> {
        let required = self.required.as_ref()?.as_ref().ok()?;
        Some(required.iter().map(|daemon| self.state(daemon)).collect())
    }

    /// Whether all daemons run that must run.
    pub fn all_run(&self) -> bool {
        self.daemons().is_some_and(|daemons| daemons.iter().all(|daemon| daemon.running))
    }

    /// The call of ECS that failed last, if its answer is missing.
    pub fn failed_call(&self) -> Option<&AwsError> {
        let allowed = self.allowed.as_ref().and_then(|answer| answer.as_ref().err());
        let required = self.required.as_ref().and_then(|answer| answer.as_ref().err());
        allowed.or(required).or(self.placed.as_ref().and_then(|answer| answer.as_ref().err()))
    }

    /// The tasks of other services than the required ones that have been placed here before tasks were allowed.
    pub fn placed_early(&self) -> Vec<String> {
        let (Some(Ok(required)), Some(Ok(placed))) = (&self.required, &self.placed) else { return Vec::new() };
        let is_daemon = |task: &&PlacedTask| required.iter().any(|daemon| task.service.as_ref() == Some(&daemon.name));
        let others = placed.iter().filter(|task| task.status != STOPPED && !is_daemon(task));
        let names = others.map(|task| match &task.service {
            Some(service) => format!("a task of the service `{}`", redaction::line(service)),
            None => format!("the task `{}`", redaction::line(&task.arn)),
        });
        let names: std::collections::BTreeSet<String> = names.collect();
        names.into_iter().collect()
    }

    /// What the wait is for, as text.
    pub fn waiting_for(&self) -> String {
        let missing = self.daemons().unwrap_or_default().into_iter().filter(|daemon| !daemon.running);
        let missing: Vec<String> = missing.map(|daemon| format!("`{}` ({})", daemon.name, daemon.detail)).collect();
        match (self.failed_call(), missing.is_empty()) {
            (Some(error), _) => format!("the daemons; so far: {}", redaction::error_chain(error)),
            (None, true) => "ECS to allow tasks on the instance".to_owned(),
            (None, false) => format!("the daemons {}", missing.join(", ")),
        }
    }

    fn state(&self, daemon: &RequiredDaemon) -> DaemonState {
        let of_agent: BTreeMap<&str, &str> =
            self.known.iter().map(|task| (task.arn.as_str(), task.known_status.as_str())).collect();
        // The agent knows the end and the start of a task before ECS does.
        let status = |task: &PlacedTask| match of_agent.get(task.arn.as_str()) {
            Some(&(RUNNING | STOPPED)) => of_agent[task.arn.as_str()].to_owned(),
            _ => task.status.clone(),
        };
        let placed = self.placed.iter().filter_map(|answer| answer.as_ref().ok()).flatten();
        let tasks: Vec<(&PlacedTask, String)> = placed
            .filter(|task| task.service.as_ref() == Some(&daemon.name))
            .map(|task| (task, status(task)))
            .collect();
        let is_healthy = |task: &PlacedTask| !daemon.has_health_check || task.health == "HEALTHY";
        let find =
            |wanted: &dyn Fn(&PlacedTask, &str) -> bool| tasks.iter().find(|(task, status)| wanted(task, status));
        let running = find(&|task, status| status == RUNNING && is_healthy(task)).is_some();
        let detail = if running && daemon.has_health_check {
            "its task runs and is healthy".to_owned()
        } else if running {
            "its task runs".to_owned()
        } else if let Some((task, _)) = find(&|_, status| status == RUNNING) {
            format!("its task runs, and its health is {}", redaction::line(&task.health))
        } else if let Some((_, status)) = find(&|_, status| status != STOPPED) {
            format!("its task is {}", redaction::line(status))
        } else if let Some((task, _)) = tasks.last() {
            let reason = redaction::line(&task.stopped_reason);
            if reason.is_empty() { "its task stopped".to_owned() } else { format!("its task stopped: {reason}") }
        } else if let (None, Some(Err(error))) = (daemon.fault, &self.placed) {
            format!("its task is not known: {}", redaction::error_chain(error))
        } else {
            daemon.fault.map_or("ECS has placed no task of it", DaemonFault::text).to_owned()
        };
        DaemonState { name: redaction::line(&daemon.name), running, detail }
    }
}

impl DaemonFault {
    fn text(self) -> &'static str {
        match self {
            DaemonFault::NoService => "the cluster has no service with this name",
            DaemonFault::Inactive => "the service is not ACTIVE",
            DaemonFault::NotDaemon => "the service does not have the scheduling strategy DAEMON",
            DaemonFault::Excluded => "its placement constraints exclude this instance",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(required: &[(&str, bool)], placed: &[(&str, &str, &str, &str)], known: &[(&str, &str)]) -> TaskHold {
        let required = required.iter().map(|(name, has_health_check)| RequiredDaemon {
            name: (*name).to_owned(),
            fault: None,
            has_health_check: *has_health_check,
        });
        let placed = placed.iter().map(|(arn, service, status, health)| PlacedTask {
            arn: (*arn).to_owned(),
            service: Some((*service).to_owned()),
            status: (*status).to_owned(),
            health: (*health).to_owned(),
            stopped_reason: String::new(),
        });
        let known = known.iter().map(|(arn, status)| Task {
            arn: (*arn).to_owned(),
            family: String::new(),
            version: String::new(),
            known_status: (*status).to_owned(),
        });
        TaskHold {
            required: Some(Ok(required.collect())),
            placed: Some(Ok(placed.collect())),
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
            // The agent is ahead of ECS.
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
    fn tasks_of_other_services_are_named() {
        let hold = hold(&[("log", false)], &[("1", "log", "RUNNING", ""), ("2", "web", "PENDING", "")], &[]);
        assert_eq!(hold.placed_early(), ["a task of the service `web`"]);
    }
}
