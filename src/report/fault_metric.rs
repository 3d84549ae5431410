//! The metric `AgentFault` in CloudWatch: 1 for each fault that `watch` reports.
//!
//! Its dimensions are the cluster and the cause. The instance is not one, because each value of a dimension is a metric of its
//! own and costs as one (Amazon CloudWatch pricing, "Custom metrics"); its tags and its journal name the fault.

use super::client::{SendOutcome, SignalClient};
use super::launch_metric::{NAMESPACE, REMEDY};
use super::signals::signal;
use crate::boundary::aws::{MetricUnit, MetricValue};
use crate::plan::cluster_name;
use crate::redaction::error_chain;
use crate::render::{SignalOutcome, SignalStatus, SignalTarget};

const NAME: &str = "AgentFault";

impl SignalClient {
    /// Stores one fault.
    pub(super) async fn put_fault_metric(&self, cause: &str, cluster: Option<&str>) -> SignalStatus {
        let done = |outcome, detail: String| signal(SignalTarget::Cloudwatch, NAME, outcome, detail);
        let cluster = cluster.map_or("unknown", cluster_name);
        let dimensions = [("Cause", cause), ("ClusterName", cluster)];
        let value = MetricUnit::Count(1);
        let metric = MetricValue { namespace: NAMESPACE, name: NAME, dimensions: &dimensions, value };
        match self.send(async |deadline| self.aws().await?.put_metric(metric, deadline).await).await {
            SendOutcome::Failed(error) => done(SignalOutcome::Failed, format!("{}; {REMEDY}", error_chain(&error))),
            SendOutcome::Sent | SendOutcome::NotWaiting(_) => done(SignalOutcome::Sent, cause.to_owned()),
        }
    }
}
