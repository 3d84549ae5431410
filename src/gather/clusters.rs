//! The clusters of the account and region, with their tags: one list and one describe per hundred.

use std::time::Duration;

use crate::boundary::aws::{Aws, AwsError, Cluster};
use crate::retry::Deadline;

const CALL: Duration = Duration::from_secs(30);

/// All clusters.
pub(super) async fn all(aws: &Aws, deadline: Deadline) -> Result<Vec<Cluster>, AwsError> {
    let arns = aws.list_clusters(Deadline::after(CALL).earliest(deadline)).await?;
    if arns.is_empty() {
        return Ok(Vec::new());
    }
    Ok(aws.describe_clusters(&arns, Deadline::after(CALL).earliest(deadline)).await?.clusters)
}
