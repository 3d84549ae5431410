//! The calls with which `ecs-rollout` finds and deregisters old revisions of a task definition.
//!
//! In: names. Out: ARNs of revisions. All pages of a list are read.

use aws_sdk_ecs::types::{SortOrder, TaskDefinitionStatus};

use super::{Aws, AwsError};
use crate::retry::Deadline;

/// The most tasks for DescribeTasks (ECS API Reference).
const TASKS: i32 = 100;
/// The most services for DescribeServices (ECS API Reference).
const SERVICES: usize = 10;

impl Aws {
    /// The ARNs of all ACTIVE revisions of a family, newest first: `ecs:ListTaskDefinitions`.
    pub async fn all_task_definitions(&self, family: &str, deadline: Deadline) -> Result<Vec<String>, AwsError> {
        let (mut arns, mut next) = (Vec::new(), None);
        loop {
            let page = self
                .call("ecs:ListTaskDefinitions", deadline, async |clients| {
                    let request = clients.ecs().list_task_definitions().family_prefix(family);
                    let request = request.status(TaskDefinitionStatus::Active).sort(SortOrder::Desc);
                    request.set_next_token(next.clone()).send().await
                })
                .await?;
            arns.extend(page.task_definition_arns.unwrap_or_default());
            next = page.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(arns);
            }
        }
    }

    /// The revisions of a family that running tasks of a cluster have: `ecs:ListTasks`, `ecs:DescribeTasks`.
    pub async fn revisions_of_tasks(
        &self,
        cluster: &str,
        family: &str,
        deadline: Deadline,
    ) -> Result<Vec<String>, AwsError> {
        let (mut revisions, mut next) = (Vec::new(), None);
        loop {
            let page = self
                .call("ecs:ListTasks", deadline, async |clients| {
                    let request = clients.ecs().list_tasks().cluster(cluster).family(family).max_results(TASKS);
                    request.set_next_token(next.clone()).send().await
                })
                .await?;
            let tasks = page.task_arns.unwrap_or_default();
            if !tasks.is_empty() {
                let described = self
                    .call("ecs:DescribeTasks", deadline, async |clients| {
                        clients.ecs().describe_tasks().cluster(cluster).set_tasks(Some(tasks.clone())).send().await
                    })
                    .await?;
                revisions.extend(described.tasks().iter().filter_map(|task| task.task_definition_arn.clone()));
            }
            next = page.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(revisions);
            }
        }
    }

    /// The revisions that the services of a cluster, their deployments and their task sets name: `ecs:ListServices`,
    /// `ecs:DescribeServices`.
    pub async fn revisions_of_services(&self, cluster: &str, deadline: Deadline) -> Result<Vec<String>, AwsError> {
        let (mut services, mut next) = (Vec::new(), None);
        loop {
            let page = self
                .call("ecs:ListServices", deadline, async |clients| {
                    let request = clients.ecs().list_services().cluster(cluster).max_results(100);
                    request.set_next_token(next.clone()).send().await
                })
                .await?;
            services.extend(page.service_arns.unwrap_or_default());
            next = page.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                break;
            }
        }
        let mut revisions = Vec::new();
        for some in services.chunks(SERVICES) {
            let described = self
                .call("ecs:DescribeServices", deadline, async |clients| {
                    let request = clients.ecs().describe_services().cluster(cluster);
                    request.set_services(Some(some.to_vec())).send().await
                })
                .await?;
            for service in described.services() {
                let deployments = service.deployments().iter().map(|deployment| &deployment.task_definition);
                let task_sets = service.task_sets().iter().map(|set| &set.task_definition);
                let all = [&service.task_definition].into_iter().chain(deployments).chain(task_sets);
                revisions.extend(all.flatten().cloned());
            }
        }
        Ok(revisions)
    }

    /// Deregisters a revision: `ecs:DeregisterTaskDefinition`. Tasks and services that run it continue.
    pub async fn deregister_task_definition(&self, arn: &str, deadline: Deadline) -> Result<(), AwsError> {
        self.call("ecs:DeregisterTaskDefinition", deadline, async |clients| {
            clients.ecs().deregister_task_definition().task_definition(arn).send().await
        })
        .await?;
        Ok(())
    }
}
