//! Reads the instance's tags from the EC2 API, which can return new tags some seconds late.

use std::time::{Duration, SystemTime};

use crate::boundary::aws::{Aws, AwsError, AwsErrorKind};
use crate::facts::{Instance, InstanceTags};
use crate::retry::{AttemptResult, Deadline, Policy, until};
use crate::settings::{Rank, Settings, TagsApi, TagsCluster, TagsSettings};

/// The pauses while the answer has no tag that names the cluster.
const POLICY: Policy = Policy { first: Duration::from_secs(1), longest: Duration::from_secs(5) };
/// The limit for one call, including its repetitions.
const CALL: Duration = Duration::from_secs(30);
/// A role that is still absent this long after the launch is not expected to appear.
const ROLE_SETTLES: Duration = Duration::from_secs(60);

/// Whether EC2 is asked for the tags if instance metadata has none: only if a tag can still decide the cluster. By the
/// settings that are known so far.
pub(super) fn may_be_described(settings: &Settings) -> bool {
    let is_named_above = match settings.tags_cluster.value {
        TagsCluster::Any => settings.cluster.as_ref().is_some_and(|named| named.source.rank > Rank::InstanceTag),
        TagsCluster::Fallback => settings.cluster.is_some() || !settings.cluster_tags.value.is_empty(),
        TagsCluster::Never => true,
    };
    settings.tags_settings.value != TagsSettings::None && settings.tags_api.value == TagsApi::Auto && !is_named_above
}

/// Which tags to read, and how long to wait for them.
pub(super) struct TagsQuery<'a> {
    pub(super) instance: &'a Instance,
    /// The prefix of the tags that are settings of ecs-bootstrap.
    pub(super) prefix: &'a str,
    /// Whether a tag must name the cluster, because nothing else does.
    pub(super) is_needed: bool,
    /// How long to wait for a tag that is needed.
    pub(super) wait: Duration,
    /// Until when a throttled call is repeated.
    pub(super) while_throttled: Deadline,
    /// Whether another source, such as user data, has named a cluster in the meantime. That ends the wait.
    pub(super) named_meanwhile: &'a dyn Fn() -> bool,
}

enum Missing {
    Tag(InstanceTags),
    Answer(AwsError),
}

/// Reads the instance's tags. If one is needed, the call is repeated for `wait` if it fails with a retryable error, or if
/// the answer has no tag that names the cluster. After that the last answer is the result.
///
/// Time in which the call is throttled does not count: many instances that start together exhaust the limit of the
/// account, and an instance that gave up would not join.
pub(super) async fn from_api(aws: &Aws, query: TagsQuery<'_>, deadline: Deadline) -> Result<InstanceTags, AwsError> {
    let wait = || Deadline::after(if query.is_needed { query.wait } else { Duration::ZERO });
    let mut waiting = Some(wait());
    let is_young = query.instance.age(SystemTime::now()).is_none_or(|age| age < ROLE_SETTLES);
    let names_cluster =
        |key: &String| key.strip_prefix(query.prefix).is_some_and(|rest| rest == "cluster" || rest == "cluster-tags");
    // The error of an earlier call says more than a timeout at the deadline, so it takes its place.
    let mut before: Option<AwsError> = None;
    let answer = until(query.while_throttled, POLICY, async |_| {
        let call = Deadline::after(CALL).earliest(deadline);
        match aws.instance_tags(&query.instance.instance_id, call).await {
            Ok(tags) if tags.keys().any(names_cluster) => {
                AttemptResult::Done(InstanceTags { place: "ec2:DescribeTags", tags })
            }
            Ok(tags) if (query.named_meanwhile)() => {
                AttemptResult::Done(InstanceTags { place: "ec2:DescribeTags", tags })
            }
            Ok(tags) => AttemptResult::RetryBefore(
                *waiting.get_or_insert_with(wait),
                Missing::Tag(InstanceTags { place: "ec2:DescribeTags", tags }),
            ),
            Err(error) if matches!(error.kind, AwsErrorKind::Throttled { .. }) && !(query.named_meanwhile)() => {
                waiting = None;
                AttemptResult::Throttled(Missing::Answer(error))
            }
            Err(error) if matches!(error.kind, AwsErrorKind::NoCredentials) && !is_young => {
                AttemptResult::Stop(Missing::Answer(error))
            }
            Err(error) if matches!(error.kind, AwsErrorKind::Timeout) && before.is_some() => {
                AttemptResult::RetryBefore(
                    *waiting.get_or_insert_with(wait),
                    Missing::Answer(before.take().unwrap_or(error)),
                )
            }
            Err(error) if error.kind.is_retryable() => {
                before = Some(error.clone());
                AttemptResult::RetryBefore(*waiting.get_or_insert_with(wait), Missing::Answer(error))
            }
            Err(error) => AttemptResult::Stop(Missing::Answer(error)),
        }
    })
    .await;
    match answer.map_err(|gave_up| gave_up.last) {
        Ok(tags) | Err(Missing::Tag(tags)) => Ok(tags),
        Err(Missing::Answer(error)) => Err(error),
    }
}
