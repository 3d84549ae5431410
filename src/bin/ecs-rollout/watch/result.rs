//! How a rollout ended, and what was seen of it.

use serde_json::{Value, json};

use crate::cause::FoundCause;
use crate::causes;
use crate::evidence::Evidence;
use crate::service::{Deployment, Task, short};

/// How a rollout ended.
#[derive(Clone, Debug)]
pub(crate) enum RolloutEnd {
    Completed,
    /// ECS gave up on the deployment and leaves it as it is. Holds the reason that ECS gives.
    Failed(String),
    /// The tasks of the deployment fail again and again, and ECS has no circuit breaker. Holds the counts.
    CrashLoop(String),
    /// ECS gave up on the deployment and rolled it back. `completed` is false if that rollback failed, or did not
    /// complete before the deadline.
    RolledBack {
        to: Deployment,
        completed: bool,
    },
    /// A newer deployment replaced this one.
    Superseded(Deployment),
    /// The service was deleted.
    Deleted,
    /// The time limit passed first.
    TimeLimit,
    /// The service could no longer be polled; the rollout continues.
    WatchFailed(FoundCause),
}

/// How a rollout ended, and what was seen of it.
#[derive(Debug)]
pub(crate) struct WatchResult {
    pub(crate) end: RolloutEnd,
    pub(crate) evidence: Evidence,
    /// Tasks of this deployment that stopped.
    pub(crate) stopped: Vec<Task>,
    /// The deployment at the last poll that showed it.
    pub(crate) last: Option<Deployment>,
    /// The stage at the last poll, for a deployment that has stages.
    pub(crate) stage: Option<String>,
    /// The error of the last poll, if it failed.
    pub(crate) last_error: Option<FoundCause>,
    /// Whether tasks of the deployment have failed, see `failure.rs`.
    pub(crate) has_failed: bool,
}

impl RolloutEnd {
    /// Whether ECS goes on with the deployment.
    pub(crate) fn continues(&self) -> bool {
        matches!(self, RolloutEnd::TimeLimit | RolloutEnd::CrashLoop(_) | RolloutEnd::WatchFailed(_))
    }
}

impl WatchResult {
    /// The causes of a rollout that did not succeed, at least one.
    pub(crate) fn causes(&self) -> Vec<FoundCause> {
        let mut found = causes::diagnose(&self.evidence);
        if matches!(self.end, RolloutEnd::TimeLimit) && !self.has_failed {
            // What ECS reported before does not explain why the rollout is slow.
            found.retain(|finding| finding.cause.id != causes::ROLLOUT_UNKNOWN.id);
            found.insert(0, self.too_slow());
        }
        if let (RolloutEnd::Failed(reason) | RolloutEnd::CrashLoop(reason), Some(first)) =
            (&self.end, found.first_mut())
            && !reason.is_empty()
        {
            first.evidence.push(format!("deployment: {reason}"));
        }
        found
    }

    fn too_slow(&self) -> FoundCause {
        let counts = self.last.as_ref().map_or("ECS never showed the deployment".to_owned(), Deployment::counts);
        let mut finding = causes::TOO_SLOW.finding(counts);
        finding.evidence.extend(self.stage.clone());
        if let Some(error) = &self.last_error {
            finding = finding.and("the last poll failed").and(error.evidence.join("; "));
        }
        finding
    }

    /// `stopped_tasks` of the JSON document.
    pub(crate) fn stopped_tasks_json(&self) -> Vec<Value> {
        self.stopped.iter().map(|task| self.task_json(task)).collect()
    }

    fn task_json(&self, task: &Task) -> Value {
        let containers = task.containers.iter().map(|container| {
            let mut exits = self.evidence.exits.iter();
            let exit = exits.find(|exit| exit.task == task.id() && exit.container == container.name);
            json!({
                "name": container.name,
                "exit_code": container.exit_code,
                "reason": Some(&container.reason).filter(|reason| !reason.is_empty()),
                "log": exit.map(|exit| exit.log.clone()).unwrap_or_default(),
            })
        });
        json!({
            "task_arn": task.task_arn,
            "task_definition": short(&task.task_definition_arn),
            "stop_code": task.stop_code,
            "stopped_reason": task.stopped_reason,
            "containers": containers.collect::<Vec<_>>(),
        })
    }
}
