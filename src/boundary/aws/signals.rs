//! The calls that signal the verdict: CloudFormation, Auto Scaling, the URL of a wait condition, EC2 tags, and CloudWatch.
//!
//! In: names. Out: success, the values of the answer, or an [`AwsError`]. It keeps no state and decides nothing.

use std::time::Duration;

use aws_sdk_ec2::types::Tag;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::query::{Expected, QueryService};
use super::service::{EndpointName, Service, send_once};
use super::{Aws, AwsError, AwsErrorKind};
use crate::retry::Deadline;

const CLOUDFORMATION: QueryService = QueryService {
    service: Service {
        id: "CloudFormation",
        signing_name: "cloudformation",
        endpoint: EndpointName::RegionalFipsInGovCloud("cloudformation"),
    },
    version: "2010-05-15",
    texts: &[],
};
const AUTO_SCALING: QueryService = QueryService {
    service: Service {
        id: "Auto Scaling",
        signing_name: "autoscaling",
        endpoint: EndpointName::RegionalFipsInGovCloud("autoscaling"),
    },
    version: "2011-01-01",
    texts: &[
        "LifecycleHookName",
        "LifecycleTransition",
        "HeartbeatTimeout",
        "DefaultResult",
        "InstanceId",
        "LifecycleState",
        "HealthStatus",
    ],
};
const CLOUDWATCH: QueryService = QueryService {
    service: Service {
        id: "CloudWatch",
        signing_name: "monitoring",
        endpoint: EndpointName::RegionalFipsInGovCloud("monitoring"),
    },
    version: "2010-08-01",
    texts: &[],
};
const WAIT_CONDITION: &str = "the wait condition's URL";

/// When a lifecycle hook waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// Before an instance goes into service.
    Launching,
    /// Before an instance is terminated.
    Terminating,
}

impl Transition {
    /// Its name in the API (Amazon EC2 Auto Scaling API Reference, LifecycleHook).
    fn api_name(self) -> &'static str {
        match self {
            Transition::Launching => "autoscaling:EC2_INSTANCE_LAUNCHING",
            Transition::Terminating => "autoscaling:EC2_INSTANCE_TERMINATING",
        }
    }
}

/// A lifecycle hook of an Auto Scaling group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifecycleHook {
    /// The name of the hook.
    pub name: String,
    /// How long the hook waits for a heartbeat.
    pub heartbeat_timeout: Duration,
    /// The result without a heartbeat: `CONTINUE` or `ABANDON`.
    pub default_result: String,
}

/// One value of a metric (CloudWatch API Reference, MetricDatum). Its timestamp is the time when CloudWatch receives it.
#[derive(Clone, Copy, Debug)]
pub struct MetricValue<'a> {
    /// The namespace of the metric.
    pub namespace: &'a str,
    /// The name of the metric.
    pub name: &'a str,
    /// The name and value of each dimension; neither can be empty.
    pub dimensions: &'a [(&'a str, &'a str)],
    /// The value.
    pub value: MetricUnit,
}

/// The value of a metric, with its unit (CloudWatch API Reference, MetricDatum).
#[derive(Clone, Copy, Debug)]
pub enum MetricUnit {
    /// `Seconds`.
    Seconds(Duration),
    /// `Count`.
    Count(u32),
}

impl MetricUnit {
    /// The name of the unit, and the value.
    fn parts(self) -> (&'static str, String) {
        match self {
            MetricUnit::Seconds(time) => ("Seconds", format!("{:.3}", time.as_secs_f64())),
            MetricUnit::Count(count) => ("Count", count.to_string()),
        }
    }
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
        let status = if success { "SUCCESS" } else { "FAILURE" };
        let parameters =
            [("StackName", stack), ("LogicalResourceId", resource), ("UniqueId", unique_id), ("Status", status)];
        self.query(CLOUDFORMATION, "cloudformation:SignalResource", &parameters, Expected::Status, deadline)
            .await
            .map(drop)
    }

    /// The hooks of a group for a transition: `autoscaling:DescribeLifecycleHooks`.
    pub async fn lifecycle_hooks(
        &self,
        group: &str,
        transition: Transition,
        deadline: Deadline,
    ) -> Result<Vec<LifecycleHook>, AwsError> {
        let operation = "autoscaling:DescribeLifecycleHooks";
        let expected = Expected::Element(&["DescribeLifecycleHooksResult", "LifecycleHooks"]);
        let parameters = [("AutoScalingGroupName", group)];
        let answer = self.query(AUTO_SCALING, operation, &parameters, expected, deadline).await?;
        let hooks = answer.all(&["DescribeLifecycleHooksResult", "LifecycleHooks", "member"]);
        let of_transition = hooks.into_iter().filter(|hook| hook.text("LifecycleTransition") == transition.api_name());
        Ok(of_transition
            .map(|hook| LifecycleHook {
                name: hook.text("LifecycleHookName").to_owned(),
                heartbeat_timeout: heartbeat_timeout(hook.text("HeartbeatTimeout")),
                default_result: hook.text("DefaultResult").to_owned(),
            })
            .collect())
    }

    /// The number of other healthy instances in service in a group: `autoscaling:DescribeAutoScalingGroups`.
    pub async fn others_in_service(
        &self,
        group: &str,
        instance_id: &str,
        deadline: Deadline,
    ) -> Result<usize, AwsError> {
        let operation = "autoscaling:DescribeAutoScalingGroups";
        let parameters = [("AutoScalingGroupNames.member.1", group)];
        let expected = Expected::Element(&["DescribeAutoScalingGroupsResult", "AutoScalingGroups"]);
        let answer = self.query(AUTO_SCALING, operation, &parameters, expected, deadline).await?;
        let path = ["DescribeAutoScalingGroupsResult", "AutoScalingGroups", "member", "Instances", "member"];
        let others = answer.all(&path).into_iter().filter(|other| other.text("InstanceId") != instance_id);
        let in_service = others
            .filter(|other| other.text("LifecycleState") == "InService" && other.text("HealthStatus") == "Healthy");
        Ok(in_service.count())
    }

    /// Restarts the time-out of a hook: `autoscaling:RecordLifecycleActionHeartbeat`.
    pub async fn heartbeat(
        &self,
        group: &str,
        hook: &str,
        instance_id: &str,
        deadline: Deadline,
    ) -> Result<(), AwsError> {
        let operation = "autoscaling:RecordLifecycleActionHeartbeat";
        let parameters = hook_parameters(group, hook, instance_id);
        self.query(AUTO_SCALING, operation, &parameters, Expected::Status, deadline).await.map(drop)
    }

    /// Completes a hook, with `CONTINUE` or `ABANDON`: `autoscaling:CompleteLifecycleAction`.
    pub async fn complete(
        &self,
        group: &str,
        hook: &str,
        instance_id: &str,
        go_on: bool,
        deadline: Deadline,
    ) -> Result<(), AwsError> {
        let operation = "autoscaling:CompleteLifecycleAction";
        let result = [("LifecycleActionResult", if go_on { "CONTINUE" } else { "ABANDON" })];
        let parameters = [&hook_parameters(group, hook, instance_id)[..], &result].concat();
        self.query(AUTO_SCALING, operation, &parameters, Expected::Status, deadline).await.map(drop)
    }

    /// Marks the instance as unhealthy, except during its group's grace period: `autoscaling:SetInstanceHealth`.
    pub async fn set_unhealthy(&self, instance_id: &str, deadline: Deadline) -> Result<(), AwsError> {
        let parameters =
            [("InstanceId", instance_id), ("HealthStatus", "Unhealthy"), ("ShouldRespectGracePeriod", "true")];
        self.query(AUTO_SCALING, "autoscaling:SetInstanceHealth", &parameters, Expected::Status, deadline)
            .await
            .map(drop)
    }

    /// Stores one value of a metric: `cloudwatch:PutMetricData`.
    pub async fn put_metric(&self, metric: MetricValue<'_>, deadline: Deadline) -> Result<(), AwsError> {
        const DATUM: &str = "MetricData.member.1";
        let (unit, value) = metric.value.parts();
        let mut parameters = vec![
            ("Namespace".to_owned(), metric.namespace.to_owned()),
            (format!("{DATUM}.MetricName"), metric.name.to_owned()),
            (format!("{DATUM}.Unit"), unit.to_owned()),
            (format!("{DATUM}.Value"), value),
        ];
        for (number, (name, value)) in (1..).zip(metric.dimensions) {
            let dimension = format!("{DATUM}.Dimensions.member.{number}");
            parameters.push((format!("{dimension}.Name"), (*name).to_owned()));
            parameters.push((format!("{dimension}.Value"), (*value).to_owned()));
        }
        let parameters: Vec<_> = parameters.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        self.query(CLOUDWATCH, "cloudwatch:PutMetricData", &parameters, Expected::Status, deadline).await.map(drop)
    }

    /// Adds tags to the instance: `ec2:CreateTags`.
    pub async fn tag_instance(
        &self,
        instance_id: &str,
        tags: &[(String, String)],
        deadline: Deadline,
    ) -> Result<(), AwsError> {
        self.call("ec2:CreateTags", deadline, async |clients| {
            let tags = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
            clients.ec2().create_tags().resources(instance_id).set_tags(Some(tags)).send().await
        })
        .await?;
        Ok(())
    }

    /// Sends a signal with PUT to the presigned URL of a wait condition (CloudFormation User Guide, "Create wait
    /// conditions in a CloudFormation template"). The URL was signed with an empty content type, and contains its own
    /// credentials.
    pub async fn put_wait_condition(&self, url: &str, body: &str, deadline: Deadline) -> Result<(), AwsError> {
        let setup = |what: &str| AwsError {
            operation: WAIT_CONDITION,
            kind: AwsErrorKind::Setup { what: what.to_owned() },
            elapsed: Duration::ZERO,
            source: None,
        };
        // Not parsed as a URL: the query is part of the signature and must not change.
        let scheme_end = url.find("://").map(|at| at + 3).ok_or_else(|| setup("the value is not a URL"))?;
        let origin_end = url[scheme_end..].find('/').map_or(url.len(), |at| scheme_end + at);
        let (origin, path) = url.split_at(origin_end);
        let status = self
            .call(WAIT_CONDITION, deadline, async |clients| {
                let mut request = HttpRequest::new(SdkBody::from(body));
                request.set_uri(path).map_err(SdkError::construction_failure)?;
                request.headers_mut().insert("content-type", "");
                send_once(clients, "PUT", origin, request, |response| Ok(response.status().as_u16())).await
                    as Result<u16, SdkError<Never, HttpResponse>>
            })
            .await?;
        match status {
            200..300 => Ok(()),
            status => {
                let kind = AwsErrorKind::Service { code: None, message: super::Message::default(), status };
                Err(AwsError { operation: WAIT_CONDITION, kind, elapsed: Duration::ZERO, source: None })
            }
        }
    }
}

/// The error type of a call that treats every status as an answer.
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

/// Parses a number of seconds. The service allows at most two days (PutLifecycleHook).
fn heartbeat_timeout(seconds: &str) -> Duration {
    const MAX_SECONDS: u64 = 172_800;
    Duration::from_secs(seconds.parse().unwrap_or(0).min(MAX_SECONDS))
}

fn hook_parameters<'a>(group: &'a str, hook: &'a str, instance_id: &'a str) -> [(&'static str, &'a str); 3] {
    [("AutoScalingGroupName", group), ("LifecycleHookName", hook), ("InstanceId", instance_id)]
}
