//! A cluster, its capacity providers and its container instances.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ecs::types::{ManagedScalingStatus, Resource};

use super::super::{Aws, AwsError};
use super::MAX_PAGES;
use crate::retry::Deadline;

/// The most container instances that are read.
pub const MAX_INSTANCES: usize = 200;
/// How many container instances one call reads. The answer has some 10 KB for each.
const PAGE: usize = 20;

/// A cluster in the answer of DescribeClusters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterState {
    /// The ARN.
    pub arn: String,
    /// `ACTIVE`, `PROVISIONING`, `DEPROVISIONING`, `FAILED` or `INACTIVE`.
    pub status: String,
    /// The names of the capacity providers that are associated with it.
    pub capacity_providers: Vec<String>,
    /// The names in its default capacity provider strategy.
    pub default_strategy: Vec<String>,
}

/// A capacity provider in the answer of DescribeCapacityProviders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapacityProvider {
    /// The name.
    pub name: String,
    /// The cluster that it belongs to, if it belongs to one (managed instances).
    pub cluster: Option<String>,
    /// Whether it is an Auto Scaling group.
    pub has_group: bool,
    /// Whether ECS starts instances for tasks that do not fit.
    pub scales: bool,
}

/// The container instances of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instances {
    /// The instances that were read.
    pub list: Vec<InstanceCapacity>,
    /// Whether these are all instances of the cluster.
    pub is_complete: bool,
}

/// What a container instance offers to tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstanceCapacity {
    /// The id in the cluster.
    pub id: String,
    /// `ACTIVE`, `DRAINING`, `REGISTERING`, ...
    pub status: String,
    /// Whether the agent is connected to ECS.
    pub agent_connected: bool,
    /// The capacity provider that it was started by, if there is one.
    pub capacity_provider: Option<String>,
    /// What an empty instance offers.
    pub registered: Resources,
    /// What is left now.
    pub remaining: Resources,
    /// Those attributes that the caller wants. An attribute without a value has an empty value.
    pub attributes: BTreeMap<String, String>,
    /// Whether the answer has attributes at all.
    pub has_attributes: bool,
    /// Whether the answer has attributes for the capabilities of the agent.
    pub has_capabilities: bool,
}

/// Whether an attribute is for a capability of the agent (the agent's source, `agent/app/agent_capability.go`).
pub fn is_capability(attribute: &str) -> bool {
    attribute.contains(".capability.")
}

/// Resources of a container instance. A resource that the answer does not have is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// In CPU units.
    pub cpu: Option<i64>,
    /// In MiB.
    pub memory: Option<i64>,
    /// The number of GPUs.
    pub gpus: usize,
    /// The host ports that are not free, for example `80/tcp`.
    pub used_ports: BTreeSet<String>,
}

impl Aws {
    /// A cluster: `ecs:DescribeClusters`.
    pub async fn cluster_state(&self, cluster: &str, deadline: Deadline) -> Result<Option<ClusterState>, AwsError> {
        let answer = self
            .call("ecs:DescribeClusters", deadline, async |clients| {
                clients.ecs().describe_clusters().clusters(cluster).send().await
            })
            .await?;
        Ok(answer.clusters.unwrap_or_default().into_iter().next().map(|found| ClusterState {
            arn: found.cluster_arn.unwrap_or_default(),
            status: found.status.unwrap_or_default(),
            capacity_providers: found.capacity_providers.unwrap_or_default(),
            default_strategy: found
                .default_capacity_provider_strategy
                .unwrap_or_default()
                .into_iter()
                .map(|item| item.capacity_provider)
                .collect(),
        }))
    }

    /// The capacity providers with these names: `ecs:DescribeCapacityProviders`.
    pub async fn capacity_providers(
        &self,
        names: &[String],
        deadline: Deadline,
    ) -> Result<Vec<CapacityProvider>, AwsError> {
        let answer = self
            .call("ecs:DescribeCapacityProviders", deadline, async |clients| {
                let request = clients.ecs().describe_capacity_providers();
                request.set_capacity_providers(Some(names.to_vec())).send().await
            })
            .await?;
        let found = answer.capacity_providers.unwrap_or_default().into_iter();
        Ok(found
            .map(|one| {
                let scaling = one.auto_scaling_group_provider.as_ref().and_then(|group| group.managed_scaling.as_ref());
                CapacityProvider {
                    name: one.name.unwrap_or_default(),
                    cluster: one.cluster.filter(|cluster| !cluster.is_empty()),
                    has_group: one.auto_scaling_group_provider.is_some(),
                    scales: scaling.is_some_and(|scaling| scaling.status == Some(ManagedScalingStatus::Enabled)),
                }
            })
            .collect())
    }

    /// The container instances of a cluster, at most [`MAX_INSTANCES`]: `ecs:ListContainerInstances`,
    /// `ecs:DescribeContainerInstances`. Only the attributes in `wanted` are kept.
    pub async fn instances(&self, cluster: &str, wanted: &[String], deadline: Deadline) -> Result<Instances, AwsError> {
        let (mut arns, mut next) = (Vec::new(), None);
        for _ in 0..MAX_PAGES {
            let answer = self
                .call("ecs:ListContainerInstances", deadline, async |clients| {
                    let request = clients.ecs().list_container_instances().cluster(cluster).max_results(100);
                    request.set_next_token(next.clone()).send().await
                })
                .await?;
            arns.extend(answer.container_instance_arns.unwrap_or_default());
            next = answer.next_token.filter(|token| !token.is_empty());
            if next.is_none() || arns.len() > MAX_INSTANCES {
                break;
            }
        }
        let is_complete = next.is_none() && arns.len() <= MAX_INSTANCES;
        arns.truncate(MAX_INSTANCES);
        let mut list = Vec::with_capacity(arns.len());
        for page in arns.chunks(PAGE) {
            let answer = self
                .call("ecs:DescribeContainerInstances", deadline, async |clients| {
                    let request = clients.ecs().describe_container_instances().cluster(cluster);
                    request.set_container_instances(Some(page.to_vec())).send().await
                })
                .await?;
            let instances = answer.container_instances.unwrap_or_default();
            list.extend(instances.into_iter().map(|one| capacity(one, wanted)));
        }
        Ok(Instances { list, is_complete })
    }
}

fn capacity(found: aws_sdk_ecs::types::ContainerInstance, wanted: &[String]) -> InstanceCapacity {
    let arn = found.container_instance_arn.unwrap_or_default();
    let attributes = found.attributes.unwrap_or_default();
    InstanceCapacity {
        id: arn.rsplit('/').next().unwrap_or_default().to_owned(),
        status: found.status.unwrap_or_default(),
        agent_connected: found.agent_connected,
        capacity_provider: found.capacity_provider_name.filter(|name| !name.is_empty()),
        registered: resources(found.registered_resources.unwrap_or_default()),
        remaining: resources(found.remaining_resources.unwrap_or_default()),
        has_attributes: !attributes.is_empty(),
        has_capabilities: attributes.iter().any(|one| is_capability(&one.name)),
        attributes: attributes
            .into_iter()
            .filter(|one| wanted.contains(&one.name))
            .map(|one| (one.name, one.value.unwrap_or_default()))
            .collect(),
    }
}

/// The names of resources are in the ECS API Reference, "Resource" and "RegisterContainerInstance".
fn resources(list: Vec<Resource>) -> Resources {
    let mut all = Resources::default();
    for resource in list {
        let set = resource.string_set_value.unwrap_or_default();
        match resource.name.as_deref().unwrap_or_default() {
            "CPU" => all.cpu = Some(i64::from(resource.integer_value)),
            "MEMORY" => all.memory = Some(i64::from(resource.integer_value)),
            "GPU" => all.gpus = set.len(),
            "PORTS" => all.used_ports.extend(set.into_iter().map(|port| format!("{port}/tcp"))),
            "PORTS_UDP" => all.used_ports.extend(set.into_iter().map(|port| format!("{port}/udp"))),
            _ => {}
        }
    }
    all
}
