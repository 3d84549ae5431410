//! The calls that `ecs-rollout` makes: services, task definitions and tasks of ECS, scalable targets, logs.
//! `ecs-bootstrap` makes none of them.
//!
//! In: names, and for calls that write the JSON of the API (Amazon ECS API Reference). Out: the JSON of the API, so
//! that a member that the SDK does not know is neither lost nor added.

use aws_sdk_applicationautoscaling::types::{ScalableDimension, ServiceNamespace};
use aws_sdk_ecs::types::{
    DesiredStatus, ServiceDeploymentStatus, ServiceField, SortOrder, Tag, TaskDefinitionField, TaskDefinitionStatus,
};
use serde_json::Value;

use super::raw_json::RawJson;
use super::{Aws, AwsError, AwsErrorKind};
use crate::retry::Deadline;

/// The most tasks for DescribeTasks, and the longest page of ListTasks (ECS API Reference).
const TASKS: i32 = 100;
/// The most pages of stopped tasks that are read. If hundreds of tasks fail the first ones show why.
const MAX_PAGES: usize = 5;

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
        Ok(answer.task_definition_arns.unwrap_or_default())
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
        let (mut tasks, mut next) = (Vec::new(), None);
        for _ in 0..MAX_PAGES {
            let listed = self
                .call("ecs:ListTasks", deadline, async |clients| {
                    let request = clients.ecs().list_tasks().cluster(cluster).service_name(service).max_results(TASKS);
                    request.desired_status(DesiredStatus::Stopped).set_next_token(next.clone()).send().await
                })
                .await?;
            let arns = listed.task_arns.unwrap_or_default();
            if !arns.is_empty() {
                let raw_json = RawJson::default();
                self.call("ecs:DescribeTasks", deadline, async |clients| {
                    let request = clients.ecs().describe_tasks().cluster(cluster).set_tasks(Some(arns.clone()));
                    request.customize().interceptor(raw_json.clone()).send().await
                })
                .await?;
                if let Value::Array(page) = raw_json.answer()["tasks"].take() {
                    tasks.extend(page);
                }
            }
            next = listed.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                break;
            }
        }
        Ok(tasks)
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

    /// The last lines of a log stream, oldest first, at most `most`: `logs:GetLogEvents`. Without `region`, in the
    /// region of the service.
    pub async fn log_tail(
        &self,
        group: &str,
        stream: &str,
        region: Option<&str>,
        most: i32,
        deadline: Deadline,
    ) -> Result<Vec<String>, AwsError> {
        let answer = self
            .call("logs:GetLogEvents", deadline, async |clients| {
                let mut config = aws_sdk_cloudwatchlogs::config::Builder::from(&clients.config);
                config.set_region(
                    region.map(|name| aws_config::Region::new(name.to_owned())).or(clients.config.region().cloned()),
                );
                let request = aws_sdk_cloudwatchlogs::Client::from_conf(config.build()).get_log_events();
                let request = request.log_group_name(group).log_stream_name(stream);
                request.limit(most).start_from_head(false).send().await
            })
            .await?;
        Ok(answer.events.unwrap_or_default().into_iter().filter_map(|event| event.message).collect())
    }
}

fn elements(list: Value) -> Vec<Value> {
    match list {
        Value::Array(elements) => elements,
        _ => Vec::new(),
    }
}
