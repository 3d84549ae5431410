//! Tags of the instance from EC2, which may show them some seconds late.

use std::time::{Duration, SystemTime};

use crate::boundary::aws::{Aws, AwsError, AwsErrorKind};
use crate::facts::{Instance, InstanceTags};
use crate::retry::{Deadline, Policy, Step, until};

/// DescribeTags is throttled per account: a fleet that boots together must not ask every second.
const POLICY: Policy = Policy { first: Duration::from_secs(1), longest: Duration::from_secs(5) };
/// One call, with the SDK's own retries.
const CALL: Duration = Duration::from_secs(30);
/// A role that is absent this long after the launch is not on its way.
const ROLE_SETTLES: Duration = Duration::from_secs(60);

/// What is asked.
pub(super) struct TagsQuery<'a> {
    /// Whose tags.
    pub(super) instance: &'a Instance,
    /// What the keys of ours begin with.
    pub(super) prefix: &'a str,
    /// For how long an absent tag of ours is waited for; `None` to take what is there.
    pub(super) wait: Option<Duration>,
    /// Whether somebody, user data for one, has named a cluster meanwhile: then a tag is not waited for.
    pub(super) named_meanwhile: &'a dyn Fn() -> bool,
}

enum Missing {
    Tag(InstanceTags),
    Answer(AwsError),
}

/// The instance's tags. An error that may heal is asked again, and so is an answer without a tag of ours, for as long
/// as `wait` says; then the answer stands as it is.
pub(super) async fn from_api(aws: &Aws, query: TagsQuery<'_>, deadline: Deadline) -> Result<InstanceTags, AwsError> {
    let waiting = Deadline::after(query.wait.unwrap_or_default()).earliest(deadline);
    let is_young = query.instance.age(SystemTime::now()).is_none_or(|age| age < ROLE_SETTLES);
    let names_cluster =
        |key: &String| key.strip_prefix(query.prefix).is_some_and(|rest| rest == "cluster" || rest == "cluster-tags");
    // An answer that the deadline cut off says less than the one before it.
    let mut before: Option<AwsError> = None;
    let answer = until(waiting, POLICY, async |_| {
        let call = Deadline::after(CALL).earliest(deadline);
        match aws.instance_tags(&query.instance.instance_id, call).await {
            Ok(tags) if tags.keys().any(names_cluster) => Step::Done(InstanceTags { place: "ec2:DescribeTags", tags }),
            Ok(tags) if (query.named_meanwhile)() => Step::Done(InstanceTags { place: "ec2:DescribeTags", tags }),
            Ok(tags) => Step::Again(Missing::Tag(InstanceTags { place: "ec2:DescribeTags", tags })),
            Err(error) if matches!(error.kind, AwsErrorKind::NoCredentials) && !is_young => {
                Step::Stop(Missing::Answer(error))
            }
            Err(error) if matches!(error.kind, AwsErrorKind::Timeout) && before.is_some() => {
                Step::Again(Missing::Answer(before.take().unwrap_or(error)))
            }
            Err(error) if error.kind.is_retryable() => {
                before = Some(error.clone());
                Step::Again(Missing::Answer(error))
            }
            Err(error) => Step::Stop(Missing::Answer(error)),
        }
    })
    .await;
    match answer.map_err(|gave_up| gave_up.last) {
        Ok(tags) | Err(Missing::Tag(tags)) => Ok(tags),
        Err(Missing::Answer(error)) => Err(error),
    }
}
