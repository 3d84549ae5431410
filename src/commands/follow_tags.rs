//! Attributes of the container instance follow the instance's tags (`derive.attributes-follow`): a part of each check of `watch`.
//!
//! In: the tags in instance metadata, the container instance that the agent reports, and what the checks before it know. Out:
//! `ecs:PutAttributes` and `ecs:DeleteAttributes` for what differs. Without a difference, no AWS API is called. A new
//! difference is changed up to a minute later, and a failed call is repeated after five to ten minutes, both at random.

use std::time::{Duration, SystemTime};

use super::CommandContext;
use crate::boundary::aws::{Aws, AwsError};
use crate::boundary::disk::Mode;
use crate::evidence::task_hold::without_time;
use crate::followed_tags::{Attributes, FollowRules, FollowedTags};
use crate::host::{FOLLOWED_TAGS, boot_id, followed_tags};
use crate::plan::Expectation;
use crate::redaction::{self, error_chain};
use crate::render::as_json;
use crate::retry::{Deadline, fraction};
use crate::watch::{BETWEEN_CALLS, seconds};
use crate::{gather, verify};

/// The limit for the requests to instance metadata.
const METADATA: Duration = Duration::from_secs(5);
/// The limit for the calls of ECS.
const CALLS: Duration = Duration::from_secs(20);
/// The longest delay of the first call for a new difference, in seconds.
const DELAY: u64 = 60;
/// The most attributes in a call (Amazon ECS API Reference, PutAttributes, DeleteAttributes).
const MAX_ATTRIBUTES: usize = 10;

/// The calls of one check.
struct Calls<'c> {
    aws: Aws,
    cluster: &'c str,
    arn: &'c str,
    deadline: Deadline,
}

impl CommandContext {
    /// Lets the attributes follow the tags, if the agent has registered. Returns the outcome as text.
    pub(super) async fn follow_tags(&self, expectation: &Expectation, rules: &FollowRules) -> &'static str {
        const DONE: &str = "the attributes are those of the tags";
        let disk = &self.host_clients.disk;
        let tags = gather::tags_by_key(&self.host_clients.imds, &rules.keys, Deadline::after(METADATA)).await;
        let Some(tags) = tags.inspect_err(|error| tracing::debug!(%error, "tags not read")).ok().flatten() else {
            return "the tags could not be read; the attributes stay as they are";
        };
        let Some(arn) = verify::container_instance_arn(&self.host_clients, expectation).await else {
            return "the agent has not registered";
        };
        let (Some(region), Some(cluster)) = (&expectation.region, verify::cluster_of(expectation, &arn)) else {
            return "the region or the cluster is not known";
        };
        let (wanted, now) = (rules.wanted(&tags), seconds(SystemTime::now()));
        let before = followed_tags(disk).unwrap_or_default();
        let mut known = before.clone().note(&arn, boot_id(disk), rules, &wanted, now, random(DELAY));
        let calls = known.calls_now(now, BETWEEN_CALLS * 2);
        if calls {
            known.calls_at = now + BETWEEN_CALLS + random(BETWEEN_CALLS);
        }
        // Stored first, so that nothing leads to calls in each check.
        let is_changed = known != FollowedTags { boot: known.boot.clone(), ..before };
        if (is_changed && !self.store_followed(&known)) || !calls {
            return if known.is_done() { DONE } else { "the attributes are changed by a later check" };
        }
        let deadline = Deadline::after(CALLS);
        let outcome = match self.host_clients.aws(region).await {
            Ok(aws) => {
                let calls = Calls { aws: aws.with_one_attempt(), cluster, arn: &arn, deadline };
                calls.apply(rules, &mut known, &refused(&tags, &wanted)).await
            }
            Err(error) => Err(error),
        };
        let earlier = known.error.take();
        known.error = outcome.as_ref().err().map(without_time);
        if known.is_done() {
            known.calls_at = now;
        }
        if let Err(error) = &outcome
            && earlier != known.error
        {
            tracing::warn!(
                error = error_chain(error),
                "the attributes of the container instance do not follow the tags"
            );
        }
        self.store_followed(&known);
        if outcome.is_ok() { DONE } else { "the attributes could not be changed" }
    }

    fn store_followed(&self, known: &FollowedTags) -> bool {
        let bytes = as_json(known).into_bytes();
        let stored = self.host_clients.disk.replace_without_sync(FOLLOWED_TAGS, &bytes, Mode::Exactly(0o600));
        stored
            .inspect_err(|error| tracing::debug!(error = error_chain(error), "state of attributes not stored"))
            .is_ok()
    }
}

impl Calls<'_> {
    /// Makes the attributes as wanted. They are known again only if all calls succeed: one that failed may have changed
    /// something.
    async fn apply(&self, rules: &FollowRules, known: &mut FollowedTags, refused: &str) -> Result<(), AwsError> {
        let own = match known.attributes.take() {
            Some(own) => own,
            None => match self.described(rules).await? {
                Some(own) => own,
                None => return Ok(()),
            },
        };
        let changes = rules.changes(&known.wanted, &own);
        // Deleted first: a container instance has at most ten attributes of its own.
        let delete: Vec<&str> = changes.delete.iter().map(String::as_str).collect();
        for names in delete.chunks(MAX_ATTRIBUTES) {
            self.aws.delete_attributes(self.cluster, self.arn, names, self.deadline).await?;
        }
        let put: Vec<(&str, &str)> = changes.put.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        for pairs in put.chunks(MAX_ATTRIBUTES) {
            self.aws.put_attributes(self.cluster, self.arn, pairs, self.deadline).await?;
        }
        known.attributes = Some(known.wanted.clone());
        if !changes.is_empty() {
            let set: Vec<String> = changes.put.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let (set, deleted) = (redaction::line(&set.join(", ")), redaction::line(&delete.join(", ")));
            let text = "the attributes of the container instance follow its tags";
            tracing::info!(priority = 5, set, deleted, refused, "{text}");
        }
        Ok(())
    }

    /// The attributes with these keys, as ECS describes them; `None` if it does not know the container instance, or not as one
    /// that runs tasks.
    async fn described(&self, rules: &FollowRules) -> Result<Option<Attributes>, AwsError> {
        let described = self.aws.container_instance(self.cluster, self.arn, self.deadline).await?;
        let described = described.filter(|one| matches!(one.status.as_str(), "ACTIVE" | "DRAINING"));
        let of_keys = |all: Attributes| all.into_iter().filter(|(name, _)| rules.keys.contains(name)).collect();
        Ok(described.map(|one| of_keys(one.attributes)))
    }
}

/// A random number of seconds up to `most`.
fn random(most: u64) -> u64 {
    (fraction() * most as f64) as u64
}

/// The keys of tags that cannot be attributes.
fn refused(tags: &Attributes, wanted: &Attributes) -> String {
    let refused: Vec<&str> = tags.keys().filter(|key| !wanted.contains_key(*key)).map(String::as_str).collect();
    redaction::line(&refused.join(", "))
}
