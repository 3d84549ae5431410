//! Simulates what waits for an instance: a stack with a CreationPolicy, a wait condition, an Auto Scaling group with
//! lifecycle hooks, and metrics (AWS CloudFormation, Amazon EC2 Auto Scaling and Amazon CloudWatch API References).
//!
//! In: the resources that wait. Out: answers, and the signals that they got.

use super::{ApiError, escape};
use std::collections::BTreeMap;

/// The resources that wait, and the signals that they got.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Resources by stack id and logical id, and whether they are still waiting.
    pub resources: BTreeMap<(String, String), bool>,
    /// Accepted signals: resource, unique id, status.
    pub signals: Vec<(String, String, String)>,
    /// Bodies of PUT requests to the wait condition's URL, with their content type.
    pub conditions: Vec<(String, Option<String>)>,
    /// Launch hooks of the group `fleet`: name and heartbeat timeout in seconds.
    pub hooks: Vec<(String, u32)>,
    /// Terminating hooks of the group `fleet`, in the same form.
    pub terminating: Vec<(String, u32)>,
    /// Whether a hook is still waiting for the instance.
    pub hook_waits: bool,
    /// Number of accepted heartbeats.
    pub heartbeats: usize,
    /// Results of completed hooks.
    pub completed: Vec<String>,
    /// The last `HealthStatus` and `ShouldRespectGracePeriod` that were set for the instance.
    pub health: Option<(String, String)>,
    /// The parameters of each accepted PutMetricData.
    pub metrics: Vec<Form>,
    /// Number of other instances of the group in service.
    pub others_in_service: usize,
}

pub type Form = BTreeMap<String, String>;

impl Default for Waiting {
    fn default() -> Waiting {
        Waiting {
            resources: BTreeMap::new(),
            signals: Vec::new(),
            conditions: Vec::new(),
            hooks: Vec::new(),
            terminating: vec![("drain".into(), 3600)],
            hook_waits: false,
            heartbeats: 0,
            completed: Vec::new(),
            health: None,
            metrics: Vec::new(),
            others_in_service: 0,
        }
    }
}

impl Waiting {
    pub(super) fn answer(&mut self, operation: &str, form: &Form) -> Result<String, ApiError> {
        let field = |name: &str| form.get(name).cloned().unwrap_or_default();
        let invalid = |message: String| Err((400, "ValidationError".to_owned(), message));
        match operation {
            "SignalResource" => self.signal_resource(form),
            "DescribeLifecycleHooks" => {
                let hook = |(name, seconds): &(String, u32), transition: &str| {
                    format!(
                        "<member><LifecycleHookName>{}</LifecycleHookName>\
                         <AutoScalingGroupName>fleet</AutoScalingGroupName>\
                         <LifecycleTransition>autoscaling:EC2_INSTANCE_{transition}</LifecycleTransition>\
                         <HeartbeatTimeout>{seconds}</HeartbeatTimeout><DefaultResult>ABANDON</DefaultResult></member>",
                        escape(name)
                    )
                };
                let launching = self.hooks.iter().map(|one| hook(one, "LAUNCHING"));
                let terminating = self.terminating.iter().map(|one| hook(one, "TERMINATING"));
                let hooks = launching.chain(terminating).collect::<String>();
                Ok(wrapped(operation, &format!("<LifecycleHooks>{hooks}</LifecycleHooks>")))
            }
            "DescribeAutoScalingGroups" => {
                let one = |number: usize| {
                    format!(
                        "<member><InstanceId>i-{number:017}</InstanceId><LifecycleState>InService</LifecycleState>\
                         <HealthStatus>Healthy</HealthStatus></member>"
                    )
                };
                let own = "<member><InstanceId>i-0123456789abcdef0</InstanceId>\
                           <LifecycleState>Pending:Wait</LifecycleState><HealthStatus>Healthy</HealthStatus></member>";
                let all = own.to_owned() + &(0..self.others_in_service).map(one).collect::<String>();
                let group = format!(
                    "<member><AutoScalingGroupName>fleet</AutoScalingGroupName><Instances>{all}</Instances></member>"
                );
                Ok(wrapped(operation, &format!("<AutoScalingGroups>{group}</AutoScalingGroups>")))
            }
            "SetInstanceHealth" => {
                self.health = Some((field("HealthStatus"), field("ShouldRespectGracePeriod")));
                Ok(wrapped(operation, ""))
            }
            "PutMetricData" => {
                let is_launch = field("MetricData.member.1.MetricName") == "LaunchToReady";
                let (unit, count) = if is_launch { ("Seconds", 3) } else { ("Count", 2) };
                let mut dimensions =
                    (1..=count).map(|number| field(&format!("MetricData.member.1.Dimensions.member.{number}.Value")));
                let value = field("MetricData.member.1.Value").parse::<f64>();
                let has_unit = field("MetricData.member.1.Unit") == unit;
                let has_dimensions = dimensions.all(|text| !text.is_empty());
                if field("Namespace").is_empty() || value.is_err() || !has_unit || !has_dimensions {
                    return invalid("a parameter of the metric is missing".to_owned());
                }
                self.metrics.push(form.clone());
                Ok(wrapped(operation, ""))
            }
            "RecordLifecycleActionHeartbeat" | "CompleteLifecycleAction" => {
                let knows_hook =
                    self.hooks.iter().chain(&self.terminating).any(|(name, _)| *name == field("LifecycleHookName"));
                if !self.hook_waits || !knows_hook || field("AutoScalingGroupName") != "fleet" {
                    let id = field("InstanceId");
                    return invalid(format!("No active Lifecycle Action found with instance ID {id}"));
                }
                if operation == "CompleteLifecycleAction" {
                    self.hook_waits = false;
                    self.completed.push(field("LifecycleActionResult"));
                } else {
                    self.heartbeats += 1;
                }
                Ok(wrapped(operation, ""))
            }
            other => Err((400, "InvalidAction".to_owned(), other.to_owned())),
        }
    }

    fn signal_resource(&mut self, form: &Form) -> Result<String, ApiError> {
        let field = |name: &str| form.get(name).cloned().unwrap_or_default();
        let invalid = |message: String| Err((400, "ValidationError".to_owned(), message));
        let (stack, resource) = (field("StackName"), field("LogicalResourceId"));
        match self.resources.get_mut(&(stack.clone(), resource.clone())) {
            None => invalid(format!("Stack {stack} does not exist")),
            Some(false) => invalid(format!("Resource {resource} is in CREATE_COMPLETE state and cannot be signaled")),
            Some(waits) => {
                *waits = field("Status") == "SUCCESS";
                self.signals.push((resource, field("UniqueId"), field("Status")));
                Ok(wrapped("SignalResource", ""))
            }
        }
    }
}

fn wrapped(operation: &str, result: &str) -> String {
    format!(
        "<{operation}Response xmlns=\"http://simulated.amazonaws.com/doc/\">\
         <{operation}Result>{result}</{operation}Result>\
         <ResponseMetadata><RequestId>simulated</RequestId></ResponseMetadata></{operation}Response>"
    )
}

/// The XML of an error in the query protocol.
pub(super) fn refusal((_, code, message): &ApiError) -> String {
    format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{}</Message></Error>\
         <RequestId>simulated</RequestId></ErrorResponse>",
        escape(message)
    )
}
