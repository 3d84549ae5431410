//! The calls that `ecs-rollout` makes for a service: services and task definitions of ECS, scalable targets.
//! `ecs-bootstrap` makes none of them.
//!
//! In: names, and for calls that write the JSON of the API (Amazon ECS API Reference). Out: the JSON of the API, so
//! that a member that the SDK does not know is neither lost nor added.

use aws_sdk_applicationautoscaling::types::{ScalableDimension, ServiceNamespace};
use aws_sdk_ecs::types::{
    DesiredStatus, ServiceDeploymentStatus, ServiceField, SortOrder, StopServiceDeploymentStopType, Tag,
    TaskDefinitionField, TaskDefinitionStatus,
};
use serde_json::Value;

use super::raw_json::RawJson;
use super::{Aws, AwsError, AwsErrorKind};
use crate::retry::Deadline;

impl Aws {
    /// A service with its deployments, events and tags: `ecs:DescribeServices`. `None` if ECS does not know it. A
    /// deleted service is INACTIVE for a while.
    pub async fn describe_service(
        &self,
        cluster: &str,
        service: &str,
        deadline: Deadline,
    ) -> Result<Option<Value>, AwsError> {
        let raw_json = RawJson::default();
        self.call("ecs:DescribeServices", deadline, async |clients| {
            let request = clients.ecs().describe_services().cluster(cluster).services(service);
            request.include(ServiceField::Tags).customize().interceptor(raw_json.clone()).send().await
        })
        .await?;
        Ok(raw_json.answer().pointer("/services/0").cloned())
    }

    /// Creates a service and returns it: `ecs:CreateService`.
    pub async fn create_service(&self, body: &Value, deadline: Deadline) -> Result<Value, AwsError> {
        let raw_json = RawJson::sending(body);
        self.call("ecs:CreateService", deadline, async |clients| {
            clients.ecs().create_service().customize().interceptor(raw_json.clone()).send().await
        })
        .await?;
        Ok(raw_json.answer()["service"].take())
    }

    /// Updates a service and returns it: `ecs:UpdateService`.
    pub async fn update_service(&self, body: &Value, deadline: Deadline) -> Result<Value, AwsError> {
        let raw_json = RawJson::sending(body);
        self.call("ecs:UpdateService", deadline, async |clients| {
            clients.ecs().update_service().customize().interceptor(raw_json.clone()).send().await
        })
        .await?;
        Ok(raw_json.answer()["service"].take())
    }

    /// A task definition by family (its newest ACTIVE revision), `family:revision` or ARN, as the members
    /// `taskDefinition` and `tags`: `ecs:DescribeTaskDefinition`. `None` if it does not exist.
    pub async fn describe_task_definition(&self, name: &str, deadline: Deadline) -> Result<Option<Value>, AwsError> {
        let raw_json = RawJson::default();
        let outcome = self
            .call("ecs:DescribeTaskDefinition", deadline, async |clients| {
                let request = clients.ecs().describe_task_definition().task_definition(name);
                request.include(TaskDefinitionField::Tags).customize().interceptor(raw_json.clone()).send().await
            })
            .await;
        match outcome {
            Ok(_) => Ok(Some(raw_json.answer())),
            // The code is the same for all invalid requests; only the message differs.
            Err(AwsError { kind: AwsErrorKind::Service { code: Some(code), message, .. }, .. })
                if code == "ClientException" && message.starts_with("Unable to describe task definition") =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Registers a revision and returns it, as the members `taskDefinition` and `tags`: `ecs:RegisterTaskDefinition`.
    pub async fn register_task_definition(&self, body: &Value, deadline: Deadline) -> Result<Value, AwsError> {
        let raw_json = RawJson::sending(body);
        self.call("ecs:RegisterTaskDefinition", deadline, async |clients| {
            clients.ecs().register_task_definition().customize().interceptor(raw_json.clone()).send().await
        })
        .await?;
        Ok(raw_json.answer())
    }

    /// The ARNs of at most `most` ACTIVE revisions of a family, newest first: `ecs:ListTaskDefinitions`.
    pub async fn task_definitions(&self, family: &str, most: i32, deadline: Deadline) -> Result<Vec<String>, AwsError> {
        let answer = self
            .call("ecs:ListTaskDefinitions", deadline, async |clients| {
                let request = clients.ecs().list_task_definitions().family_prefix(family).max_results(most);
                request.status(TaskDefinitionStatus::Active).sort(SortOrder::Desc).send().await
            })
            .await?;
        let mut arns = answer.task_definition_arns.unwrap_or_default();
        // Some implementations of the API ignore `sort`.
        let number = |arn: &String| arn.rsplit(':').next().and_then(|number| number.parse::<u64>().ok());
        arns.sort_by_key(|arn| std::cmp::Reverse(number(arn)));
        Ok(arns)
    }

    /// Adds a tag to an ECS resource: `ecs:TagResource`.
    pub async fn tag(&self, arn: &str, key: &str, value: &str, deadline: Deadline) -> Result<(), AwsError> {
        self.call("ecs:TagResource", deadline, async |clients| {
            let tag = Tag::builder().key(key).value(value).build();
            clients.ecs().tag_resource().resource_arn(arn).tags(tag).send().await
        })
        .await?;
        Ok(())
    }

    /// Stopped tasks of a service, unsorted, at most a few hundred: `ecs:ListTasks`, `ecs:DescribeTasks`. ECS keeps
    /// stopped tasks for about an hour.
    pub async fn stopped_tasks(
        &self,
        cluster: &str,
        service: &str,
        deadline: Deadline,
    ) -> Result<Vec<Value>, AwsError> {
        self.tasks_of_service(cluster, service, DesiredStatus::Stopped, deadline).await
    }

    /// The newest service deployments of a service, newest first, at most `most`: `ecs:ListServiceDeployments`. `status`
    /// limits them to one state. ECS keeps them for 90 days.
    pub async fn service_deployments(
        &self,
        cluster: &str,
        service: &str,
        status: Option<&str>,
        most: i32,
        deadline: Deadline,
    ) -> Result<Vec<Value>, AwsError> {
        let raw_json = RawJson::default();
        self.call("ecs:ListServiceDeployments", deadline, async |clients| {
            let request = clients.ecs().list_service_deployments().cluster(cluster).service(service).max_results(most);
            let status = status.map(|status| vec![ServiceDeploymentStatus::from(status)]);
            request.set_status(status).customize().interceptor(raw_json.clone()).send().await
        })
        .await?;
        Ok(elements(raw_json.answer()["serviceDeployments"].take()))
    }

    /// A service deployment by its ARN: `ecs:DescribeServiceDeployments`. `None` if ECS does not know it.
    pub async fn service_deployment(&self, arn: &str, deadline: Deadline) -> Result<Option<Value>, AwsError> {
        let raw_json = RawJson::default();
        self.call("ecs:DescribeServiceDeployments", deadline, async |clients| {
            let request = clients.ecs().describe_service_deployments().service_deployment_arns(arn);
            request.customize().interceptor(raw_json.clone()).send().await
        })
        .await?;
        Ok(raw_json.answer().pointer("/serviceDeployments/0").cloned())
    }

    /// Stops a service deployment that is in progress, and lets ECS return to the service revision before it:
    /// `ecs:StopServiceDeployment`. It can be repeated.
    pub async fn roll_back_service_deployment(&self, arn: &str, deadline: Deadline) -> Result<(), AwsError> {
        self.call("ecs:StopServiceDeployment", deadline, async |clients| {
            let request = clients.ecs().stop_service_deployment().service_deployment_arn(arn);
            request.stop_type(StopServiceDeploymentStopType::Rollback).send().await
        })
        .await?;
        Ok(())
    }

    /// Service revisions by their ARNs, at most 20, in any order: `ecs:DescribeServiceRevisions`.
    pub async fn service_revisions(&self, arns: &[String], deadline: Deadline) -> Result<Vec<Value>, AwsError> {
        let raw_json = RawJson::default();
        self.call("ecs:DescribeServiceRevisions", deadline, async |clients| {
            let request = clients.ecs().describe_service_revisions().set_service_revision_arns(Some(arns.to_vec()));
            request.customize().interceptor(raw_json.clone()).send().await
        })
        .await?;
        Ok(elements(raw_json.answer()["serviceRevisions"].take()))
    }

    /// Whether Application Auto Scaling controls the number of tasks of the service:
    /// `application-autoscaling:DescribeScalableTargets`.
    pub async fn is_scaled(&self, cluster: &str, service: &str, deadline: Deadline) -> Result<bool, AwsError> {
        let answer = self
            .call("application-autoscaling:DescribeScalableTargets", deadline, async |clients| {
                let request = aws_sdk_applicationautoscaling::Client::new(&clients.config).describe_scalable_targets();
                let request = request.service_namespace(ServiceNamespace::Ecs);
                let request = request.scalable_dimension(ScalableDimension::EcsServiceDesiredCount);
                request.resource_ids(format!("service/{cluster}/{service}")).send().await
            })
            .await?;
        Ok(!answer.scalable_targets().is_empty())
    }
}

fn elements(list: Value) -> Vec<Value> {
    match list {
        Value::Array(elements) => elements,
        _ => Vec::new(),
    }
}
