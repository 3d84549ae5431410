//! Finds out which daemons must run on this instance, for `hold`, and keeps what `hold` remembers.

use std::time::Duration;

use futures_util::future::join;
use tokio::time::Instant;

use crate::boundary::HostClients;
use crate::boundary::aws::{Aws, AwsError, DescribedService};
use crate::evidence::Evidence;
use crate::evidence::task_hold::{DaemonFault, RequiredDaemon, TaskHold};
use crate::retry::Deadline;

/// The limit for all calls that find out which daemons must run here.
pub(super) const ALL_CALLS: Duration = Duration::from_secs(60);

/// What the observer keeps about the wait for daemons.
#[derive(Default)]
pub(super) struct HoldState {
    /// Cluster and ARN of the container instance that an earlier boot registered.
    pub(super) earlier: Option<(String, String)>,
    /// When ECS said which daemons must run.
    pub(super) required_at: Option<Instant>,
    /// Whether [`HELD`] was set.
    pub(super) is_held: bool,
}

impl HoldState {
    /// `evidence` is that of the beginning: the agent then saves the registration of this boot.
    pub(super) fn new(evidence: &Evidence) -> HoldState {
        let own_id = evidence.expectation.as_ref().and_then(|expected| expected.instance_id.as_ref());
        let saved = evidence.saved.as_ref().and_then(|saved| saved.state.get()).and_then(Option::as_ref);
        let saved = saved.filter(|saved| own_id.is_some() && saved.ec2_instance_id.as_ref() == own_id);
        let earlier = saved.and_then(|saved| saved.cluster.clone().zip(saved.container_instance_arn.clone()));
        HoldState { earlier, ..HoldState::default() }
    }
}

/// The daemons and their tasks as they are now, for doctor; `None` if nothing waits for daemons, or the agent has not
/// registered.
pub(super) async fn observe_once(
    host_clients: &HostClients,
    evidence: &Evidence,
    region: &str,
    deadline: Deadline,
) -> Option<TaskHold> {
    let expected = evidence.expectation.as_ref()?;
    let (conditions, id) = (expected.ready.as_ref()?, expected.instance_id.as_ref()?);
    let (cluster, _) = evidence.joined_as()?;
    let named = conditions.named().map(<[String]>::to_vec);
    let required = required(host_clients, region, &cluster, id, named, deadline);
    let (required, known) = join(required, host_clients.agent.tasks(deadline)).await;
    let known = known.and_then(|claim| claim.trusted(|_| None)).unwrap_or_default();
    let arns: Vec<String> = known.iter().map(|task| task.arn.clone()).collect();
    let placed = async { host_clients.aws(region).await?.placed_tasks(&cluster, &arns, deadline).await };
    let placed = if arns.is_empty() { None } else { Some(placed.await) };
    Some(TaskHold { required: Some(required), known, placed, ..TaskHold::default() })
}

/// The daemons that must run on this instance: the named ones, or all that ECS places here.
pub(super) async fn required(
    host_clients: &HostClients,
    region: &str,
    cluster: &str,
    instance_id: &str,
    named: Option<Vec<String>>,
    deadline: Deadline,
) -> Result<Vec<RequiredDaemon>, AwsError> {
    let aws = host_clients.aws(region).await?;
    let is_named = named.is_some();
    let names = match named {
        Some(names) => names,
        None => aws.daemon_services(cluster, deadline).await?,
    };
    let services = aws.services(cluster, &names, deadline).await?;
    let mut required = Vec::new();
    for name in names {
        let service = services.iter().find(|service| service.name == name);
        let daemon = required_daemon(&aws, cluster, instance_id, name, service, deadline).await?;
        let is_placed_elsewhere = daemon.fault.is_some()
            || service.is_some_and(|one| matches!(one.launch_type.as_deref(), Some("FARGATE" | "EXTERNAL")));
        if is_named || !is_placed_elsewhere {
            required.push(daemon);
        }
    }
    Ok(required)
}

async fn required_daemon(
    aws: &Aws,
    cluster: &str,
    instance_id: &str,
    name: String,
    service: Option<&DescribedService>,
    deadline: Deadline,
) -> Result<RequiredDaemon, AwsError> {
    let with_fault = |fault| RequiredDaemon { name: name.clone(), fault: Some(fault), has_health_check: false };
    let service = match service {
        None => return Ok(with_fault(DaemonFault::NoService)),
        Some(service) if !service.is_active => return Ok(with_fault(DaemonFault::Inactive)),
        Some(service) if !service.is_daemon => return Ok(with_fault(DaemonFault::NotDaemon)),
        Some(service) => service,
    };
    let requirements = aws.task_requirements(&service.task_definition, deadline).await?;
    let constraints: Vec<String> = service.constraints.iter().chain(&requirements.constraints).cloned().collect();
    let is_excluded =
        !constraints.is_empty() && !aws.matches_constraints(cluster, instance_id, &constraints, deadline).await?;
    let fault = is_excluded.then_some(DaemonFault::Excluded);
    Ok(RequiredDaemon { name, fault, has_health_check: requirements.has_health_check })
}
