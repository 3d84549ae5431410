//! Whether a one-off task has ended, and whether it succeeded. This is the only place that decides it.
//!
//! A task has *succeeded* when one of its containers ended it and every container that decides exited with 0. An exit
//! code of 0 alone proves nothing: a program that handles SIGTERM exits with 0 when a user or a Spot interruption stops
//! its task. Containers that do not decide, such as sidecars, are stopped when the task ends; their codes are ignored.
//!
//! In: a task of DescribeTasks, and the names of the containers that decide. Out: the state. Pure.

use crate::service::{Container, Task};

/// `stopCode` of a task that ended because one of its containers exited (ECS API Reference, "Task").
pub(crate) const CONTAINER_EXITED: &str = "EssentialContainerExited";

/// The state of a one-off task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum TaskState {
    /// No container has started: ECS places the task, or the agent prepares it.
    NotStarted,
    Running,
    /// Every container that decides has ended, but the task runs on, because its essential containers run.
    Outlived {
        succeeded: bool,
    },
    Succeeded,
    Failed,
}

/// The state of a task. `deciding` are the names of the containers that decide.
pub(crate) fn judge(task: &Task, deciding: &[String]) -> TaskState {
    let codes = || deciding.iter().map(|name| container(task, name).and_then(|container| container.exit_code));
    let all_zero = codes().all(|code| code == Some(0));
    if task.last_status == "STOPPED" {
        // The stop code may be missing in older accounts.
        let ended_by_itself = ["", CONTAINER_EXITED].contains(&task.stop_code.as_str());
        return if ended_by_itself && all_zero { TaskState::Succeeded } else { TaskState::Failed };
    }
    // A task whose containers have all ended is being stopped, although `desiredStatus` may not show it yet.
    let is_stopping = ["DEACTIVATING", "STOPPING", "DEPROVISIONING"].contains(&task.last_status.as_str());
    let has_other = task.containers.iter().any(|one| one.exit_code.is_none() && one.last_status != "STOPPED");
    if task.desired_status == "RUNNING" && !is_stopping && has_other && codes().all(|code| code.is_some()) {
        return TaskState::Outlived { succeeded: all_zero };
    }
    let has_started = task.containers.iter().any(|one| ["RUNNING", "STOPPED"].contains(&one.last_status.as_str()));
    match task.last_status.as_str() {
        "" | "PROVISIONING" | "PENDING" if !has_started => TaskState::NotStarted,
        _ => TaskState::Running,
    }
}

/// The container of this name.
pub(crate) fn container<'a>(task: &'a Task, name: &str) -> Option<&'a Container> {
    task.containers.iter().find(|container| container.name == name)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    fn state(status: &str, stop_code: &str, containers: Value) -> TaskState {
        let desired = if status == "STOPPED" { "STOPPED" } else { "RUNNING" };
        let task = json!({
            "lastStatus": status, "desiredStatus": desired, "stopCode": stop_code, "containers": containers,
        });
        judge(&Task::deserialize(&task).unwrap(), &["web".to_owned()])
    }

    #[test]
    fn exit_codes_of_the_containers_that_decide_count_and_no_others() {
        let with = |web: Value, proxy: Value| {
            let containers = json!([{"name": "proxy", "exitCode": proxy}, {"name": "web", "exitCode": web}]);
            state("STOPPED", CONTAINER_EXITED, containers)
        };
        assert_eq!(with(json!(0), json!(143)), TaskState::Succeeded);
        assert_eq!(with(json!(0), Value::Null), TaskState::Succeeded);
        for web in [json!(1), json!(137), Value::Null] {
            assert_eq!(with(web.clone(), json!(0)), TaskState::Failed, "{web}");
        }
        assert_eq!(state("STOPPED", CONTAINER_EXITED, json!([])), TaskState::Failed, "without the container");
    }

    #[test]
    fn a_task_that_was_stopped_has_failed_even_with_exit_code_0() {
        let ended = json!([{"name": "web", "exitCode": 0}]);
        for code in ["UserInitiated", "SpotInterruption", "TerminationNotice", "TaskFailedToStart", "something new"] {
            assert_eq!(state("STOPPED", code, ended.clone()), TaskState::Failed, "{code}");
        }
    }

    #[test]
    fn a_task_has_started_when_a_container_has() {
        let container = |status: &str| json!([{"name": "web", "lastStatus": status}]);
        assert_eq!(state("PROVISIONING", "", json!([])), TaskState::NotStarted);
        assert_eq!(state("PENDING", "", container("PENDING")), TaskState::NotStarted);
        assert_eq!(state("PENDING", "", container("RUNNING")), TaskState::Running);
        assert_eq!(state("ACTIVATING", "", container("PENDING")), TaskState::Running);
        assert_eq!(state("RUNNING", "", container("RUNNING")), TaskState::Running);
        assert_eq!(state("DEPROVISIONING", "", container("STOPPED")), TaskState::Running);
    }

    #[test]
    fn a_task_may_outlive_the_container_that_decides() {
        let ended = |code: i64| json!([{"name": "web", "exitCode": code}, {"name": "proxy", "lastStatus": "RUNNING"}]);
        assert_eq!(state("RUNNING", "", ended(0)), TaskState::Outlived { succeeded: true });
        assert_eq!(state("RUNNING", "", ended(3)), TaskState::Outlived { succeeded: false });
    }

    #[test]
    fn a_task_without_a_running_container_or_that_is_stopping_has_not_outlived_anything() {
        let both = |proxy: Value| json!([{"name": "web", "exitCode": 0}, proxy]);
        for status in ["RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING"] {
            for containers in [
                json!([{"name": "web", "exitCode": 0, "lastStatus": "STOPPED"}]),
                json!([{"name": "web", "exitCode": 3, "lastStatus": "RUNNING"}]),
                both(json!({"name": "proxy", "exitCode": 143})),
                both(json!({"name": "proxy", "lastStatus": "STOPPED"})),
            ] {
                assert_eq!(state(status, "", containers.clone()), TaskState::Running, "{status} {containers}");
            }
            if status != "RUNNING" {
                let running = both(json!({"name": "proxy", "lastStatus": "RUNNING"}));
                assert_eq!(state(status, "", running), TaskState::Running, "{status}");
            }
        }
    }
}
