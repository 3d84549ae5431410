//! The calls of ECS for `drain`: the status of a container instance, the number of its tasks, and its deregistration.
//!
//! In: names, and a deadline. Out: plain values. Nothing is cached.

use serde_json::{Value, json};

use super::daemons::ECS;
use super::{Aws, AwsError};
use crate::retry::Deadline;

impl Aws {
    /// Sets the status DRAINING: `ecs:UpdateContainerInstancesState`. The inner error is the reason why ECS did not, such as
    /// `MISSING`.
    pub async fn set_draining(
        &self,
        cluster: &str,
        arn: &str,
        deadline: Deadline,
    ) -> Result<Result<(), String>, AwsError> {
        let body = json!({"cluster": cluster, "containerInstances": [arn], "status": "DRAINING"});
        let operation = "ecs:UpdateContainerInstancesState";
        let answer = self.json(ECS, None, operation, &body, Some("containerInstances"), deadline).await?;
        Ok(first_failure(&answer).map_or(Ok(()), Err))
    }

    /// How many tasks are running and pending, as ECS counts them: `ecs:DescribeContainerInstances`. ECS does not count a task that
    /// it is stopping. 0 if ECS does not know the container instance.
    pub async fn count_tasks(&self, cluster: &str, arn: &str, deadline: Deadline) -> Result<u64, AwsError> {
        let body = json!({"cluster": cluster, "containerInstances": [arn]});
        let operation = "ecs:DescribeContainerInstances";
        let answer = self.json(ECS, None, operation, &body, Some("containerInstances"), deadline).await?;
        let count = |name: &str| answer["containerInstances"][0][name].as_u64().unwrap_or(0);
        Ok(count("runningTasksCount") + count("pendingTasksCount"))
    }

    /// Deregisters a container instance, also if tasks run on it: `ecs:DeregisterContainerInstance`.
    pub async fn deregister(&self, cluster: &str, arn: &str, deadline: Deadline) -> Result<(), AwsError> {
        let body = json!({"cluster": cluster, "containerInstance": arn, "force": true});
        let operation = "ecs:DeregisterContainerInstance";
        self.json(ECS, None, operation, &body, Some("containerInstance"), deadline).await.map(drop)
    }
}

fn first_failure(answer: &Value) -> Option<String> {
    let failure = answer["failures"].as_array()?.first()?;
    Some(failure["reason"].as_str().unwrap_or("ECS names no reason").to_owned())
}
