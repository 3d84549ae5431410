//! The metric `LaunchToReady` in CloudWatch: the time from the launch of the instance until it was ready, in seconds.
//!
//! The first time that the instance is ready after a launch is measured, and no later time, even if the call failed. A
//! launch is identified by the `pendingTime` of the identity document. EC2 makes that document again when a stopped
//! instance starts (EC2 User Guide, "Instance identity documents"), so such a start is measured as a launch. A boot with
//! the same `pendingTime` is a reboot and sends nothing.

use std::time::{Duration, SystemTime};

use super::client::{SendOutcome, SignalClient};
use super::sent;
use super::signals::signal;
use crate::boundary::aws::{MetricUnit, MetricValue};
use crate::facts;
use crate::plan::cluster_name;
use crate::redaction::error_chain;
use crate::render::{SignalOutcome, SignalStatus, SignalTarget, VerdictDocument};

pub(super) const NAMESPACE: &str = "ecs-bootstrap";
/// The remedy if the metric is not stored.
pub(super) const REMEDY: &str = "allow the instance's role `cloudwatch:PutMetricData` for the namespace `ecs-bootstrap`, and \
                                 check the network path to the CloudWatch endpoint";
const NAME: &str = "LaunchToReady";
/// A longer time is not the duration of a boot: the instance was repaired, or the setting was switched on later.
const LONGEST: Duration = Duration::from_secs(60 * 60);

impl SignalClient {
    /// Stores the metric of an instance that is ready now.
    pub(super) async fn put_launch_metric(&self, document: &VerdictDocument) -> SignalStatus {
        let done = |outcome, detail: String| signal(SignalTarget::Cloudwatch, NAME, outcome, detail);
        let launch = &self.launch;
        let (Some(launched), Some(instance_type), Some(image_id), Some(cluster)) =
            (&launch.pending_time, &launch.instance_type, &launch.image_id, &document.cluster)
        else {
            let detail = "the identity document has no launch time, instance type or AMI";
            return done(SignalOutcome::Failed, detail.to_owned());
        };
        let detail = |text: &str| format!("launch at {launched}: {text}");
        if sent::last_sent(&self.host_clients.disk, &self.instance_id, NAME).as_ref() == Some(launched) {
            return done(SignalOutcome::Already, detail("measured when the instance was ready for the first time"));
        }
        sent::remember(&self.host_clients.disk, &self.instance_id, NAME, launched);
        let left = |why: &str| done(SignalOutcome::Left, detail(why));
        match launch.enters_warm_pool {
            Some(false) => {}
            Some(true) => return left("not sent, because the instance was in a warm pool"),
            None => return left("not sent, because the target lifecycle state, which shows a warm pool, was not read"),
        }
        let value = match facts::since(launched, SystemTime::now()) {
            Some(value) if value <= LONGEST => value,
            Some(_) => return left("not sent, because it is more than an hour ago"),
            None => return left("not sent, because the clock of this host is before it"),
        };
        let dimensions =
            [("ClusterName", cluster_name(cluster)), ("ImageId", image_id), ("InstanceType", instance_type)];
        let metric = MetricValue {
            namespace: NAMESPACE,
            name: NAME,
            dimensions: &dimensions,
            value: MetricUnit::Seconds(value),
        };
        let outcome = self.send(async |deadline| self.aws().await?.put_metric(metric, deadline).await).await;
        match outcome {
            SendOutcome::Failed(error) => {
                done(SignalOutcome::Failed, detail(&format!("{}; {REMEDY}", error_chain(&error))))
            }
            SendOutcome::Sent | SendOutcome::NotWaiting(_) => {
                done(SignalOutcome::Sent, detail(&format!("ready after {:.1} s", value.as_secs_f64())))
            }
        }
    }
}
