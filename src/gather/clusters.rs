//! Reads the clusters of the account and region with their tags: one ListClusters and one DescribeClusters call per 100
//! clusters.

use crate::agent_variables::check;
use crate::boundary::aws::{Aws, AwsError, Cluster};
use crate::retry::Deadline;
use crate::settings::Settings;

/// Whether the settings that are known so far choose the cluster by its tags.
pub(super) fn are_searched(settings: &Settings) -> bool {
    settings.cluster.is_none() && !settings.cluster_tags.value.is_empty()
}

/// All clusters with a valid name. Many instances that start together exhaust the limit of both calls, so throttled calls
/// are repeated until the deadline.
pub(super) async fn all(aws: &Aws, deadline: Deadline) -> Result<Vec<Cluster>, AwsError> {
    // An invalid name cannot be described or joined.
    let is_cluster = |name: &String| check("ECS_CLUSTER", name).is_ok();
    let aws = aws.waiting_for_throttled();
    let mut arns = aws.list_clusters(deadline).await?;
    arns.retain(is_cluster);
    if arns.is_empty() {
        return Ok(Vec::new());
    }
    let mut clusters = aws.describe_clusters(&arns, deadline).await?.clusters;
    clusters.retain(|cluster| is_cluster(&cluster.name));
    Ok(clusters)
}
