//! The clusters of the account and region, with their tags: one list and one describe per hundred.

use std::time::Duration;

use crate::agent_variables::check;
use crate::boundary::aws::{Aws, AwsError, Cluster};
use crate::retry::Deadline;

const CALL: Duration = Duration::from_secs(30);

/// All clusters.
pub(super) async fn all(aws: &Aws, deadline: Deadline) -> Result<Vec<Cluster>, AwsError> {
    // What cannot name a cluster is not asked for, and not chosen.
    let is_cluster = |name: &String| check("ECS_CLUSTER", name).is_ok();
    let mut arns = aws.list_clusters(Deadline::after(CALL).earliest(deadline)).await?;
    arns.retain(is_cluster);
    if arns.is_empty() {
        return Ok(Vec::new());
    }
    let mut clusters = aws.describe_clusters(&arns, Deadline::after(CALL).earliest(deadline)).await?.clusters;
    clusters.retain(|cluster| is_cluster(&cluster.name));
    Ok(clusters)
}
