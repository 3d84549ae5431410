//! Finds out which daemons must run on this instance, for `hold`, and keeps what `hold` remembers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::future::join;
use tokio::time::Instant;

use crate::boundary::HostClients;
use crate::boundary::agent::Task;
use crate::boundary::aws::{Aws, AwsError, DescribedService, TaskRequirements};
use crate::boundary::kernel;
use crate::evidence::Evidence;
use crate::evidence::task_hold::{Daemon, DaemonFault, KnownTasks, TaskHold};
use crate::host::boot_id;
use crate::retry::Deadline;

/// The limit for all calls that find out which daemons must run here.
pub(super) const ALL_CALLS: Duration = Duration::from_secs(60);
/// Attributes that an older agent does not register, so that their absence says nothing.
const MAY_BE_ABSENT: [&str; 2] = ["ecs.cpu-architecture", "ecs.os-type"];

/// The requirements of task definitions, by ARN. A revision never changes.
pub(super) type Requirements = Arc<Mutex<BTreeMap<String, TaskRequirements>>>;

/// What the observer keeps about the wait for daemons.
#[derive(Default)]
pub(super) struct HoldState {
    /// Cluster and ARN of the container instance that an earlier boot has registered.
    pub(super) earlier_registration: Option<(String, String)>,
    /// Whether the attribute of an earlier boot was looked at, and set to `held`.
    pub(super) is_held: bool,
    /// When ECS said which daemons must run.
    pub(super) daemons_read: Option<Instant>,
    /// The tasks that ECS has described last, as the agent reported them then.
    pub(super) described: KnownTasks,
    /// Whether the agent has answered with its tasks.
    pub(super) has_known: bool,
    /// The last known attributes of the container instance.
    pub(super) attributes: Option<BTreeMap<String, String>>,
    /// The ARN of the container instance.
    pub(super) arn: Option<String>,
    pub(super) requirements: Requirements,
}

impl HoldState {
    /// `evidence` is that of the beginning: the agent then saves the registration of this boot.
    pub(super) fn new(evidence: &Evidence) -> HoldState {
        let own_id = evidence.expectation.as_ref().and_then(|expected| expected.instance_id.as_ref());
        let saved = evidence.saved.as_ref().and_then(|saved| saved.state.get()).and_then(Option::as_ref);
        let saved = saved.filter(|saved| own_id.is_some() && saved.ec2_instance_id.as_ref() == own_id);
        let earlier_registration =
            saved.and_then(|saved| saved.cluster.clone().zip(saved.container_instance_arn.clone()));
        HoldState { earlier_registration, ..HoldState::default() }
    }
}

/// When this boot began by the clock of AWS, in seconds since 1970; `None` if that is not known.
pub(super) fn booted_at(host_clients: &HostClients) -> Option<i64> {
    let disk = &host_clients.disk;
    let uptime = kernel::uptime(disk)?.saturating_sub(kernel::init_started(disk).unwrap_or_default() / 100);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let ahead = host_clients.opened_aws().and_then(|aws| aws.clock_ahead()).unwrap_or(0);
    Some(i64::try_from(now.saturating_sub(Duration::from_secs(uptime)).as_secs()).ok()? - ahead)
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
    let conditions = expected.waits_for_daemons()?;
    let question = Question {
        region: region.to_owned(),
        cluster: evidence.joined_as()?.0,
        instance_id: expected.instance_id.clone()?,
        named: conditions.named().map(<[String]>::to_vec),
        attributes: evidence.described().map(|one| one.attributes.clone()),
        requirements: Requirements::default(),
    };
    let (daemons, tasks) = join(question.daemons(host_clients, deadline), host_clients.agent.tasks(deadline)).await;
    let mut hold = TaskHold { boot_id: boot_id(&host_clients.disk), daemons: Some(daemons), ..TaskHold::default() };
    match tasks.and_then(|claim| claim.trusted(|_| None)) {
        Ok(tasks) => hold.known = by_arn(tasks),
        Err(error) => hold.unknown = Some(error),
    }
    let arns: Vec<String> = hold.known.keys().cloned().collect();
    if !arns.is_empty() {
        let placed = async { host_clients.aws(region).await?.placed_tasks(&question.cluster, &arns, deadline).await };
        match placed.await {
            Ok(placed) => hold.placed = placed,
            Err(error) => hold.placed_error = Some(error),
        }
    }
    hold.booted_at = booted_at(host_clients);
    Some(hold)
}

/// The tasks of the agent by ARN.
pub(super) fn by_arn(tasks: Vec<Task>) -> KnownTasks {
    tasks.into_iter().map(|task| (task.arn, task.known_status)).collect()
}

/// Which daemons must run on an instance.
pub(super) struct Question {
    pub(super) region: String,
    pub(super) cluster: String,
    pub(super) instance_id: String,
    /// The names of the services; `None` for all of the cluster.
    pub(super) named: Option<Vec<String>>,
    /// The attributes of the container instance, if they are known.
    pub(super) attributes: Option<BTreeMap<String, String>>,
    pub(super) requirements: Requirements,
}

impl Question {
    /// The named daemons, or all of the cluster. What was learnt before a call failed is kept in `requirements`.
    pub(super) async fn daemons(
        &self,
        host_clients: &HostClients,
        deadline: Deadline,
    ) -> Result<Vec<Daemon>, AwsError> {
        let aws = host_clients.aws(&self.region).await?;
        let names = match &self.named {
            Some(names) => names.clone(),
            None => aws.daemon_services(&self.cluster, deadline).await?,
        };
        let services = aws.services(&self.cluster, &names, deadline).await?;
        let mut daemons = Vec::new();
        for name in names {
            let service = services.iter().find(|service| service.name == name);
            let (fault, has_health_check) = self.examine(&aws, service, deadline).await?;
            let is_required = self.named.is_some() || fault.is_none();
            daemons.push(Daemon { name, is_required, fault, has_health_check });
        }
        Ok(daemons)
    }

    /// Why ECS places no task of the service here, and whether its task has a health check.
    async fn examine(
        &self,
        aws: &Aws,
        service: Option<&DescribedService>,
        deadline: Deadline,
    ) -> Result<(Option<DaemonFault>, bool), AwsError> {
        let is_elsewhere = |one: &DescribedService| matches!(one.launch_type.as_deref(), Some("FARGATE" | "EXTERNAL"));
        let service = match service {
            None => return Ok((Some(DaemonFault::NoService), false)),
            Some(service) if !service.is_active => return Ok((Some(DaemonFault::Inactive), false)),
            Some(service) if !service.is_daemon || is_elsewhere(service) => {
                return Ok((Some(DaemonFault::NotDaemon), false));
            }
            Some(service) => service,
        };
        let requirements = self.requirements_of(aws, &service.task_definition, deadline).await?;
        let mut fault = self.missing_attribute(&requirements).map(DaemonFault::LacksAttribute);
        let constraints: Vec<String> = service.constraints.iter().chain(&requirements.constraints).cloned().collect();
        if fault.is_none() && !constraints.is_empty() {
            let id = &self.instance_id;
            let is_match = aws.matches_constraints(&self.cluster, id, &constraints, deadline).await?;
            fault = (is_match == Some(false)).then_some(DaemonFault::Excluded);
        }
        Ok((fault, requirements.has_health_check))
    }

    async fn requirements_of(&self, aws: &Aws, arn: &str, deadline: Deadline) -> Result<TaskRequirements, AwsError> {
        let known = self.requirements.lock().unwrap_or_else(PoisonError::into_inner).get(arn).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let requirements = aws.task_requirements(arn, deadline).await?;
        let mut all = self.requirements.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(arn.to_owned(), requirements.clone());
        Ok(requirements)
    }

    fn missing_attribute(&self, requirements: &TaskRequirements) -> Option<String> {
        let own = self.attributes.as_ref()?;
        let is_missing = |(name, value): &&(String, Option<String>)| match (own.get(name), value) {
            (None, _) => !MAY_BE_ABSENT.contains(&name.as_str()),
            (Some(found), Some(value)) => found != value,
            (Some(_), None) => false,
        };
        requirements.attributes.iter().find(is_missing).map(|(name, _)| name.clone())
    }
}
