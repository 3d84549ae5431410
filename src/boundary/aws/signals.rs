//! The calls by which an instance tells what became of it: CloudFormation and Auto Scaling, and a wait condition's URL.
//!
//! In: names. Out: whether the service took it, or an [`AwsError`]. Nothing is remembered, and nothing decided.

use std::time::Duration;

use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_cloudformation::types::ResourceSignalStatus;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::{Aws, AwsError, AwsErrorKind};
use crate::retry::Deadline;

/// A launch hook of an Auto Scaling group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchHook {
    /// Its name.
    pub name: String,
    /// How long it waits for a heartbeat.
    pub heartbeat_timeout: Duration,
    /// What happens when none comes: `CONTINUE` or `ABANDON`.
    pub default_result: String,
}

impl Aws {
    /// Signals a resource of a stack: `cloudformation:SignalResource`.
    pub async fn signal_resource(
        &self,
        stack: &str,
        resource: &str,
        unique_id: &str,
        success: bool,
        deadline: Deadline,
    ) -> Result<(), AwsError> {
        let status = if success { ResourceSignalStatus::Success } else { ResourceSignalStatus::Failure };
        self.call("cloudformation:SignalResource", deadline, async |clients| {
            let request = clients.cloudformation().signal_resource().stack_name(stack).logical_resource_id(resource);
            request.unique_id(unique_id).status(status.clone()).send().await
        })
        .await?;
        Ok(())
    }

    /// The launch hooks of a group: `autoscaling:DescribeLifecycleHooks`.
    pub async fn launch_hooks(&self, group: &str, deadline: Deadline) -> Result<Vec<LaunchHook>, AwsError> {
        let answer = self
            .call("autoscaling:DescribeLifecycleHooks", deadline, async |clients| {
                clients.autoscaling().describe_lifecycle_hooks().auto_scaling_group_name(group).send().await
            })
            .await?;
        let hooks = answer.lifecycle_hooks.unwrap_or_default().into_iter();
        let launching =
            hooks.filter(|hook| hook.lifecycle_transition.as_deref() == Some("autoscaling:EC2_INSTANCE_LAUNCHING"));
        Ok(launching
            .map(|hook| LaunchHook {
                name: hook.lifecycle_hook_name.unwrap_or_default(),
                heartbeat_timeout: seconds(hook.heartbeat_timeout),
                default_result: hook.default_result.unwrap_or_default(),
            })
            .collect())
    }

    /// How many other instances of a group are in service: `autoscaling:DescribeAutoScalingGroups`.
    pub async fn others_in_service(
        &self,
        group: &str,
        instance_id: &str,
        deadline: Deadline,
    ) -> Result<usize, AwsError> {
        let answer = self
            .call("autoscaling:DescribeAutoScalingGroups", deadline, async |clients| {
                clients.autoscaling().describe_auto_scaling_groups().auto_scaling_group_names(group).send().await
            })
            .await?;
        let groups = answer.auto_scaling_groups.unwrap_or_default().into_iter();
        let instances = groups.flat_map(|group| group.instances.unwrap_or_default());
        let others = instances.filter(|other| other.instance_id.as_deref() != Some(instance_id));
        let in_service = others.filter(|other| {
            other.lifecycle_state.as_ref().is_some_and(|state| state.as_str() == "InService")
                && other.health_status.as_deref() == Some("Healthy")
        });
        Ok(in_service.count())
    }

    /// Gives a hook its time again: `autoscaling:RecordLifecycleActionHeartbeat`.
    pub async fn heartbeat(
        &self,
        group: &str,
        hook: &str,
        instance_id: &str,
        deadline: Deadline,
    ) -> Result<(), AwsError> {
        self.call("autoscaling:RecordLifecycleActionHeartbeat", deadline, async |clients| {
            let request = clients.autoscaling().record_lifecycle_action_heartbeat().auto_scaling_group_name(group);
            request.lifecycle_hook_name(hook).instance_id(instance_id).send().await
        })
        .await?;
        Ok(())
    }

    /// Ends a hook: `autoscaling:CompleteLifecycleAction`.
    pub async fn complete(
        &self,
        group: &str,
        hook: &str,
        instance_id: &str,
        go_on: bool,
        deadline: Deadline,
    ) -> Result<(), AwsError> {
        let result = if go_on { "CONTINUE" } else { "ABANDON" };
        self.call("autoscaling:CompleteLifecycleAction", deadline, async |clients| {
            let request = clients.autoscaling().complete_lifecycle_action().auto_scaling_group_name(group);
            let request = request.lifecycle_hook_name(hook).instance_id(instance_id);
            request.lifecycle_action_result(result).send().await
        })
        .await?;
        Ok(())
    }

    /// PUTs a signal to the presigned URL of a wait condition (CloudFormation User Guide, "Create wait conditions in a
    /// CloudFormation template"). The URL was signed with an empty content type, and holds its own credentials.
    pub async fn put_wait_condition(&self, url: &str, body: &str, deadline: Deadline) -> Result<(), AwsError> {
        let setup = |what: &str| AwsError {
            operation: WAIT_CONDITION,
            kind: AwsErrorKind::Setup { what: what.to_owned() },
            elapsed: Duration::ZERO,
            source: None,
        };
        // Its query is part of the signature: to the letter.
        let scheme_end = url.find("://").map(|at| at + 3).ok_or_else(|| setup("the URL is not one"))?;
        let origin_end = url[scheme_end..].find('/').map_or(url.len(), |at| scheme_end + at);
        let (origin, path) = url.split_at(origin_end);
        let status = self
            .call(WAIT_CONDITION, deadline, async |clients| {
                let Some(http_client) = clients.config.http_client() else { unreachable!("`open` sets it") };
                let (path, length) = (path.to_owned(), body.len().to_string());
                let operation = Operation::builder()
                    .service_name("CloudFormation")
                    .operation_name("WaitCondition")
                    .http_client(http_client)
                    .endpoint_url(origin)
                    .no_auth()
                    .no_retry()
                    .timeout_config(TimeoutConfig::builder().connect_timeout(super::CONNECT).build())
                    .sleep_impl(TokioSleep::new())
                    .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
                    .serializer(move |body: String| {
                        let mut request = HttpRequest::new(SdkBody::from(body));
                        request.set_method("PUT")?;
                        request.set_uri(path.as_str())?;
                        request.headers_mut().insert("content-type", "");
                        request.headers_mut().insert("content-length", length.clone());
                        Ok(request)
                    })
                    .deserializer::<u16, Never>(|response| Ok(response.status().as_u16()))
                    .build();
                operation.invoke(body.to_owned()).await
            })
            .await?;
        match status {
            200..300 => Ok(()),
            status => {
                let kind = AwsErrorKind::Service { code: None, message: String::new(), status };
                Err(AwsError { operation: WAIT_CONDITION, kind, elapsed: Duration::ZERO, source: None })
            }
        }
    }
}

const WAIT_CONDITION: &str = "the wait condition's URL";

/// Every status is an answer.
#[derive(Debug)]
enum Never {}

impl std::fmt::Display for Never {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {}
    }
}

impl std::error::Error for Never {}

impl ProvideErrorMetadata for Never {
    fn meta(&self) -> &ErrorMetadata {
        match *self {}
    }
}

fn seconds(seconds: Option<i32>) -> Duration {
    Duration::from_secs(seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or_default())
}
