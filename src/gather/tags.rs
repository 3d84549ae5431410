//! Reads the instance's tags from the EC2 API, which can return new tags some seconds late.

use std::time::{Duration, SystemTime};

use crate::boundary::aws::{Aws, AwsError, AwsErrorKind};
use crate::facts::{Instance, InstanceTags};
use crate::retry::{AttemptResult, Deadline, Policy, until};

/// DescribeTags is throttled per account: a fleet that boots together must not ask every second.
const POLICY: Policy = Policy { first: Duration::from_secs(1), longest: Duration::from_secs(5) };
/// The limit for one call, including the SDK's retries.
const CALL: Duration = Duration::from_secs(30);
/// A role that is still absent this long after the launch is not expected to appear.
const ROLE_SETTLES: Duration = Duration::from_secs(60);

/// Which tags to read, and how long to wait for them.
pub(super) struct TagsQuery<'a> {
    pub(super) instance: &'a Instance,
    /// The prefix of the tags that are settings of ecs-bootstrap.
    pub(super) prefix: &'a str,
    /// How long to wait for a tag that names the cluster; `None` to accept the first answer.
    pub(super) wait: Option<Duration>,
    /// Whether another source, such as user data, has named a cluster in the meantime. That ends the wait.
    pub(super) named_meanwhile: &'a dyn Fn() -> bool,
}

enum Missing {
    Tag(InstanceTags),
    Answer(AwsError),
}

/// Reads the instance's tags. The call is repeated for `wait` if it fails with a retryable error, or if the answer has
/// no tag that names the cluster. After that the last answer is the result.
pub(super) async fn from_api(aws: &Aws, query: TagsQuery<'_>, deadline: Deadline) -> Result<InstanceTags, AwsError> {
    let waiting = Deadline::after(query.wait.unwrap_or_default()).earliest(deadline);
    let is_young = query.instance.age(SystemTime::now()).is_none_or(|age| age < ROLE_SETTLES);
    let names_cluster =
        |key: &String| key.strip_prefix(query.prefix).is_some_and(|rest| rest == "cluster" || rest == "cluster-tags");
    // The error of an earlier call says more than a timeout at the deadline, so it takes its place.
    let mut before: Option<AwsError> = None;
    let answer = until(waiting, POLICY, async |_| {
        let call = Deadline::after(CALL).earliest(deadline);
        match aws.instance_tags(&query.instance.instance_id, call).await {
            Ok(tags) if tags.keys().any(names_cluster) => {
                AttemptResult::Done(InstanceTags { place: "ec2:DescribeTags", tags })
            }
            Ok(tags) if (query.named_meanwhile)() => {
                AttemptResult::Done(InstanceTags { place: "ec2:DescribeTags", tags })
            }
            Ok(tags) => AttemptResult::Retry(Missing::Tag(InstanceTags { place: "ec2:DescribeTags", tags })),
            Err(error) if matches!(error.kind, AwsErrorKind::NoCredentials) && !is_young => {
                AttemptResult::Stop(Missing::Answer(error))
            }
            Err(error) if matches!(error.kind, AwsErrorKind::Timeout) && before.is_some() => {
                AttemptResult::Retry(Missing::Answer(before.take().unwrap_or(error)))
            }
            Err(error) if error.kind.is_retryable() => {
                before = Some(error.clone());
                AttemptResult::Retry(Missing::Answer(error))
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
