//! The requests of the observer that take more than one call: each as a future with its observation.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::schedule::Observation;
use crate::boundary::HostClients;
use crate::boundary::aws::AwsError;
use crate::boundary::systemd::Job;
use crate::evidence::NetworkQuestions;
use crate::plan::Expectation;
use crate::probe;
use crate::retry::Deadline;

/// The limit for one API call, including its repetitions.
const CALL: Duration = Duration::from_secs(20);

/// A running probe.
pub(super) type Probing<'a> = Pin<Box<dyn Future<Output = Observation> + 'a>>;

/// Describes the expected cluster; `None` if it or its region is unknown.
pub(super) fn describe_cluster<'a>(host_clients: &'a HostClients, expected: &Expectation) -> Option<Probing<'a>> {
    let (region, cluster) = (expected.region.clone()?, expected.cluster.clone()?);
    Some(Box::pin(async move {
        Observation::Cluster(match host_clients.aws(&region).await {
            Ok(aws) => aws.describe_clusters(&[cluster], Deadline::after(CALL)).await,
            Err(error) => Err(error),
        })
    }))
}

/// Describes the container instance that the agent reports, `joined`: its cluster and its ARN.
pub(super) fn describe_container_instance<'a>(
    host_clients: &'a HostClients,
    expected: &Expectation,
    joined: (String, String),
) -> Option<Probing<'a>> {
    let (joined, arn) = joined;
    // If the plan names no cluster, user data did, and the agent reports it.
    let (region, cluster) = (expected.region.clone()?, expected.cluster.clone().unwrap_or(joined));
    Some(Box::pin(async move {
        let call = Deadline::after(CALL);
        Observation::Registration(match host_clients.aws(&region).await {
            Ok(aws) => aws.container_instance(&cluster, &arn, call).await,
            Err(error) => Err(error),
        })
    }))
}

/// Probes the network path to AWS.
pub(super) fn network_path<'a>(
    host_clients: &'a HostClients,
    ask: NetworkQuestions,
    deadline: Deadline,
) -> Probing<'a> {
    Box::pin(async move { Observation::NetworkPath(Box::new(probe::network_path(host_clients, ask, deadline).await)) })
}

/// Waits for the end of a job.
pub(super) async fn job_end(index: usize, job: Job, deadline: Deadline) -> Observation {
    Observation::JobEnded(index, job.ended(deadline).await)
}

/// Whether the call was denied. A denied call is not repeated.
pub(super) fn denied<T>(answer: &Option<Result<T, AwsError>>) -> bool {
    matches!(answer, Some(Err(error)) if error.is_denied())
}
