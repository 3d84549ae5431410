//! Reads the tasks of a deployment that have stopped, and the logs of their containers.

use serde::Deserialize;

use super::Watch;
use crate::client::{call_deadline, is_transient};
use crate::evidence::{ContainerExit, Message};
use crate::revision::Revision;
use crate::service::Task;

/// How many tasks' logs are read.
const MAX_LOGS: usize = 3;
/// `stopCode` of a task that stopped because one of its containers exited.
const CONTAINER_EXITED: &str = "EssentialContainerExited";

impl Watch<'_> {
    /// Reads the tasks of this deployment that have stopped since the last poll.
    pub(super) async fn read_stopped_tasks(&mut self) {
        if self.is_without_tasks {
            return;
        }
        let answer = self.client.aws.stopped_tasks(&self.client.cluster, &self.client.service, call_deadline()).await;
        let tasks = match answer {
            Ok(tasks) => tasks,
            // The next poll reads them.
            Err(error) if is_transient(&error) => return,
            Err(error) => return self.continue_without_tasks(&error.verbatim()),
        };
        for task in &tasks {
            match Task::deserialize(task) {
                Ok(task) => self.see_stopped(task),
                Err(error) => {
                    return self
                        .continue_without_tasks(&format!("the answer of DescribeTasks cannot be parsed: {error}"));
                }
            }
        }
    }

    fn see_stopped(&mut self, task: Task) {
        let is_of_deployment = if task.started_by.is_empty() {
            task.task_definition_arn == self.deployment.task_definition
        } else {
            task.started_by == self.deployment.id
        };
        if !is_of_deployment || self.stopped.iter().any(|known| known.task_arn == task.task_arn) {
            return;
        }
        let id = task.id();
        let mut line = format!("task {id} stopped: {}", task.stopped_reason);
        self.evidence.messages.push(Message { from: format!("task {id}"), text: task.stopped_reason.clone() });
        for container in &task.containers {
            if let Some(code) = container.exit_code {
                line += &format!("; `{}` exited with code {code}", container.name);
                self.evidence.exits.push(ContainerExit {
                    container: container.name.clone(),
                    task: id.to_owned(),
                    code,
                    ended_the_task: task.stop_code == CONTAINER_EXITED,
                    log: Vec::new(),
                });
            }
            if !container.reason.is_empty() {
                line += &format!("; `{}`: {}", container.name, container.reason);
                let from = format!("container `{}` of task {id}", container.name);
                self.evidence.messages.push(Message { from, text: container.reason.clone() });
            }
        }
        self.progress.event(&line);
        self.stopped.push(task);
    }

    fn continue_without_tasks(&mut self, error: &str) {
        self.is_without_tasks = true;
        self.progress.event(&format!("warning: stopped tasks cannot be read: {error}"));
    }

    /// Reads the last log lines of some containers that exited, if they log to CloudWatch Logs.
    pub(super) async fn read_logs(&mut self, revision: &Revision) {
        let tasks = self.stopped.iter().filter(|task| task.stop_code == CONTAINER_EXITED).take(MAX_LOGS);
        for task in tasks {
            for container in task.containers.iter().filter(|container| container.exit_code.is_some()) {
                let Some(lines) = self.client.log_tail(container, task.id(), revision).await else { continue };
                let mut exits = self.evidence.exits.iter_mut();
                if let Some(exit) = exits.find(|exit| exit.task == task.id() && exit.container == container.name) {
                    exit.log = lines;
                }
            }
        }
    }
}
