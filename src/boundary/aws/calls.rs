//! The calls of EC2 and ECS that the instance makes.
//!
//! In: names, and a deadline. Out: plain values, with only the fields that are used. A paged call reads all pages.
//! Nothing is cached.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_ec2::types::Filter;
use aws_sdk_ecs::types::ClusterField;

use super::response_body::{BrokenAnswer, required};
use super::{Aws, AwsError, AwsErrorKind, Chain};
use crate::retry::Deadline;

/// The most names for DescribeClusters, and the longest page of ListClusters (ECS API Reference).
const MAX_PAGE_LENGTH: usize = 100;
/// The most clusters of an account in a region (Amazon ECS service quotas).
const MAX_CLUSTERS: usize = 10_000;
/// The most tags that are read. An instance has at most 50 (EC2 User Guide, "Tag restrictions").
const MAX_TAGS: usize = 200;
/// The most pages that are read. A service may return empty pages.
const MAX_PAGES: usize = 200;
/// The number of concurrent calls of DescribeClusters, because each answer may be long.
const MAX_CONCURRENT_CALLS: usize = 2;
/// The most bytes of the clusters' names and tags. Ten thousand clusters with ten long tags each have fewer.
const MAX_BYTES: usize = 24 * 1024 * 1024;

/// A cluster in the answer of DescribeClusters.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Cluster {
    /// The name of the cluster.
    pub name: String,
    /// The ARN of the cluster.
    pub arn: String,
    /// `ACTIVE`, `INACTIVE`, `PROVISIONING`, `DEPROVISIONING` or `FAILED`.
    pub status: String,
    /// The tags of the cluster.
    pub tags: BTreeMap<String, String>,
}

impl Cluster {
    /// The memory that its texts need, about.
    fn bytes(&self) -> usize {
        let tags: usize = self.tags.iter().map(|(key, value)| key.len() + value.len() + 64).sum();
        self.name.len() + self.arn.len() + self.status.len() + tags
    }
}

/// The answer of DescribeClusters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribedClusters {
    /// The clusters that exist, and those that were deleted a short time ago.
    pub clusters: Vec<Cluster>,
    /// The names or ARNs that ECS does not know.
    pub missing: Vec<String>,
}

/// A container instance in the answer of DescribeContainerInstances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerInstance {
    /// The ARN of the container instance.
    pub arn: String,
    /// `ACTIVE`, `DRAINING`, `REGISTERING`, `REGISTRATION_FAILED`, `DEREGISTERING` or `INACTIVE`.
    pub status: String,
    /// The reason for the status, if ECS has one.
    pub status_reason: Option<String>,
    /// Whether the agent is connected to ECS now.
    pub agent_connected: bool,
    /// The agent's version, if the agent has reported it.
    pub agent_version: Option<String>,
    /// The attributes. An attribute without a value has an empty value.
    pub attributes: BTreeMap<String, String>,
    /// The id of the EC2 instance.
    pub ec2_instance_id: Option<String>,
    /// How many GPUs the agent has registered.
    pub gpus: usize,
}

/// The URLs that the agent connects to, in the answer of DiscoverPollEndpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PollEndpoint {
    /// The URL of the control plane (ACS).
    pub endpoint: Option<String>,
    /// The URL of the telemetry service (TCS).
    pub telemetry: Option<String>,
}

impl Aws {
    /// The tags of one instance: `ec2:DescribeTags`, all pages. Eventually consistent: a tag set at launch may be
    /// missing for some seconds.
    pub async fn instance_tags(
        &self,
        instance_id: &str,
        deadline: Deadline,
    ) -> Result<BTreeMap<String, String>, AwsError> {
        const OPERATION: &str = "ec2:DescribeTags";
        let mut tags = BTreeMap::new();
        let mut next: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let answer = self
                .call(OPERATION, deadline, async |clients| {
                    let filter = |name, value| Filter::builder().name(name).values(value).build();
                    let request = clients.ec2().describe_tags();
                    let request = request.filters(filter("resource-id", instance_id));
                    let request = request.filters(filter("resource-type", "instance"));
                    required(request.set_next_token(next.clone()).send().await, "tagSet", |answer| {
                        answer.tags.is_some()
                    })
                })
                .await?;
            for tag in answer.tags.unwrap_or_default() {
                tags.extend(tag.key.map(|key| (key, tag.value.unwrap_or_default())));
            }
            if tags.len() > MAX_TAGS {
                return Err(endless(OPERATION, MAX_TAGS, "tags"));
            }
            next = answer.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(tags);
            }
        }
        Err(endless(OPERATION, MAX_PAGES, "pages"))
    }

    /// The ARNs of all clusters of the account in this region: `ecs:ListClusters`, all pages.
    pub async fn list_clusters(&self, deadline: Deadline) -> Result<Vec<String>, AwsError> {
        const OPERATION: &str = "ecs:ListClusters";
        let mut arns = Vec::new();
        let mut next: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let answer = self
                .call(OPERATION, deadline, async |clients| {
                    let request =
                        clients.ecs().list_clusters().set_next_token(next.clone()).max_results(MAX_PAGE_LENGTH as i32);
                    required(request.send().await, "clusterArns", |answer| answer.cluster_arns.is_some())
                })
                .await?;
            arns.extend(answer.cluster_arns.unwrap_or_default());
            if arns.len() > MAX_CLUSTERS {
                return Err(endless(OPERATION, MAX_CLUSTERS, "clusters"));
            }
            next = answer.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(arns);
            }
        }
        Err(endless(OPERATION, MAX_PAGES, "pages"))
    }

    /// Clusters by name or ARN, with their tags: `ecs:DescribeClusters`, one call for each hundred, two calls at a
    /// time.
    pub async fn describe_clusters(
        &self,
        clusters: &[String],
        deadline: Deadline,
    ) -> Result<DescribedClusters, AwsError> {
        const OPERATION: &str = "ecs:DescribeClusters";
        let mut described = DescribedClusters::default();
        let mut bytes = 0;
        for group in clusters.chunks(MAX_PAGE_LENGTH * MAX_CONCURRENT_CALLS) {
            let calls = group.chunks(MAX_PAGE_LENGTH).map(|some| {
                self.call(OPERATION, deadline, async move |clients| {
                    let request = clients.ecs().describe_clusters().include(ClusterField::Tags);
                    let answer = request.set_clusters(Some(some.to_vec())).send().await;
                    required(answer, "clusters", |answer| answer.clusters.is_some())
                })
            });
            for answer in futures_util::future::try_join_all(calls).await? {
                let known = answer.clusters.unwrap_or_default().into_iter().map(cluster);
                described.clusters.extend(known.inspect(|cluster| bytes += cluster.bytes()));
                let failures = answer.failures.unwrap_or_default().into_iter();
                described.missing.extend(failures.filter_map(|failure| failure.arn));
            }
            if described.clusters.len() > clusters.len() || described.missing.len() > clusters.len() {
                return Err(endless(OPERATION, clusters.len(), "clusters"));
            }
            if bytes > MAX_BYTES {
                return Err(endless(OPERATION, MAX_BYTES, "bytes of tags"));
            }
        }
        Ok(described)
    }

    /// One container instance: `ecs:DescribeContainerInstances`. `None` if the cluster does not have it.
    pub async fn container_instance(
        &self,
        cluster: &str,
        arn: &str,
        deadline: Deadline,
    ) -> Result<Option<ContainerInstance>, AwsError> {
        let answer = self
            .call("ecs:DescribeContainerInstances", deadline, async |clients| {
                let request = clients.ecs().describe_container_instances();
                let answer = request.cluster(cluster).container_instances(arn).send().await;
                required(answer, "containerInstances", |answer| answer.container_instances.is_some())
            })
            .await?;
        Ok(answer.container_instances.unwrap_or_default().into_iter().next().map(container_instance))
    }

    /// The URLs that the agent of this container instance connects to: `ecs:DiscoverPollEndpoint`.
    pub async fn poll_endpoint(&self, cluster: &str, arn: &str, deadline: Deadline) -> Result<PollEndpoint, AwsError> {
        let answer = self
            .call("ecs:DiscoverPollEndpoint", deadline, async |clients| {
                clients.ecs().discover_poll_endpoint().cluster(cluster).container_instance(arn).send().await
            })
            .await?;
        Ok(PollEndpoint { endpoint: answer.endpoint, telemetry: answer.telemetry_endpoint })
    }
}

/// The error for an answer without a value that it must have.
pub(super) fn without_member(operation: &'static str, member: &'static str) -> AwsError {
    let source = Chain::of(&BrokenAnswer::MissingMember { member });
    AwsError { operation, kind: AwsErrorKind::InvalidResponse, elapsed: Duration::ZERO, source: Some(source) }
}

/// The error for a list that does not end, or is longer than the service's limit.
pub(super) fn endless(operation: &'static str, most: usize, what: &'static str) -> AwsError {
    let source = Chain::of(&BrokenAnswer::TooManyPages { most, what });
    AwsError { operation, kind: AwsErrorKind::InvalidResponse, elapsed: Duration::ZERO, source: Some(source) }
}

fn cluster(cluster: aws_sdk_ecs::types::Cluster) -> Cluster {
    let tags = cluster.tags.unwrap_or_default().into_iter();
    Cluster {
        name: cluster.cluster_name.unwrap_or_default(),
        arn: cluster.cluster_arn.unwrap_or_default(),
        status: cluster.status.unwrap_or_default(),
        tags: tags.filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default()))).collect(),
    }
}

fn container_instance(instance: aws_sdk_ecs::types::ContainerInstance) -> ContainerInstance {
    let attributes = instance.attributes.unwrap_or_default().into_iter();
    let resources = instance.registered_resources.unwrap_or_default().into_iter();
    let gpus = resources.filter(|resource| resource.name.as_deref() == Some("GPU"));
    ContainerInstance {
        arn: instance.container_instance_arn.unwrap_or_default(),
        status: instance.status.unwrap_or_default(),
        status_reason: instance.status_reason.filter(|reason| !reason.is_empty()),
        agent_connected: instance.agent_connected,
        agent_version: instance.version_info.and_then(|version| version.agent_version),
        attributes: attributes.map(|attribute| (attribute.name, attribute.value.unwrap_or_default())).collect(),
        ec2_instance_id: instance.ec2_instance_id,
        gpus: gpus.map(|gpu| gpu.string_set_value.unwrap_or_default().len()).sum(),
    }
}
