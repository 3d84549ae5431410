//! Attributes of the container instance follow the instance's tags (`derive.attributes-follow`): a part of each check of `watch`.
//!
//! In: the tags in instance metadata, the container instance that the agent reports, and what the checks before it know. Out:
//! `ecs:PutAttributes` and `ecs:DeleteAttributes` for what differs. Without a difference, no AWS API is called. A failed call
//! is repeated after five to six minutes.

use std::time::{Duration, SystemTime};

use super::CommandContext;
use crate::boundary::aws::{Aws, AwsError};
use crate::boundary::disk::Mode;
use crate::followed_tags::{Attributes, FollowRules, FollowedTags};
use crate::host::{FOLLOWED_TAGS, boot_id, followed_tags};
use crate::plan::Expectation;
use crate::redaction::{self, error_chain};
use crate::render::as_json;
use crate::retry::{Deadline, fraction};
use crate::watch::{BETWEEN_CALLS, SPREAD, seconds};
use crate::{gather, verify};

/// The limit for the requests to instance metadata.
const METADATA: Duration = Duration::from_secs(5);
/// The limit for the calls of ECS.
const CALLS: Duration = Duration::from_secs(20);
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
    /// Lets the attributes follow the tags, if the agent has registered.
    pub(super) async fn follow_tags(&self, expectation: &Expectation, rules: &FollowRules) {
        let disk = &self.host_clients.disk;
        let tags = gather::tags_by_key(&self.host_clients.imds, &rules.keys, Deadline::after(METADATA)).await;
        let tags = match tags {
            Ok(Some(tags)) => tags,
            Ok(None) => return tracing::debug!("instance metadata has no tags; the attributes stay as they are"),
            Err(error) => return tracing::debug!(%error, "tags not read; the attributes stay as they are"),
        };
        let Some(arn) = verify::container_instance_arn(&self.host_clients, expectation).await else { return };
        let (Some(region), Some(cluster)) = (&expectation.region, verify::cluster_of(expectation, &arn)) else {
            return;
        };
        let (wanted, now) = (rules.wanted(&tags), seconds(SystemTime::now()));
        let mut known = followed_tags(disk).unwrap_or_default().of(&arn, boot_id(disk));
        if !known.calls_now(&wanted, now, BETWEEN_CALLS + SPREAD) {
            return;
        }
        // Stored first, so that nothing leads to calls in each check.
        known.calls_at = now + BETWEEN_CALLS + (fraction() * SPREAD as f64) as u64;
        let earlier = known.error.take();
        if !self.store_followed(&known) {
            return;
        }
        let outcome = match self.host_clients.aws(region).await {
            Ok(aws) => {
                let deadline = Deadline::after(CALLS);
                let calls = Calls { aws: aws.with_one_attempt(), cluster, arn: &arn, deadline };
                calls.apply(rules, &wanted, &mut known).await
            }
            Err(error) => Err(error),
        };
        match outcome {
            // The next difference is not an attempt that is repeated.
            Ok(()) => known.calls_at = now,
            Err(error) => {
                let text = redaction::line(&format!("{}: {}", error.operation, error.kind));
                if earlier.as_ref() != Some(&text) {
                    let error = error_chain(&error);
                    tracing::warn!(error, "the attributes of the container instance do not follow the tags");
                }
                known.error = Some(text);
            }
        }
        self.store_followed(&known);
    }

    fn store_followed(&self, known: &FollowedTags) -> bool {
        let bytes = as_json(known).into_bytes();
        let stored = self.host_clients.disk.replace_without_sync(FOLLOWED_TAGS, &bytes, Mode::Exactly(0o600));
        stored
            .inspect_err(|error| tracing::warn!(error = error_chain(error), "attributes do not follow the tags"))
            .is_ok()
    }
}

impl Calls<'_> {
    /// Makes the attributes as wanted. What was changed is known also if a later call fails.
    async fn apply(&self, rules: &FollowRules, wanted: &Attributes, known: &mut FollowedTags) -> Result<(), AwsError> {
        let own = match known.attributes.take() {
            Some(own) => own,
            None => self.described(rules).await?,
        };
        let changes = rules.changes(wanted, &own);
        let own = known.attributes.insert(own);
        // Deleted first: a container instance has at most ten attributes of its own.
        let delete: Vec<&str> = changes.delete.iter().map(String::as_str).collect();
        for names in delete.chunks(MAX_ATTRIBUTES) {
            self.aws.delete_attributes(self.cluster, self.arn, names, self.deadline).await?;
            names.iter().for_each(|name| drop(own.remove(*name)));
        }
        let put: Vec<(&str, &str)> = changes.put.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        for pairs in put.chunks(MAX_ATTRIBUTES) {
            self.aws.put_attributes(self.cluster, self.arn, pairs, self.deadline).await?;
            own.extend(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        }
        if !changes.is_empty() {
            let set: Vec<String> = changes.put.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let (set, deleted) = (redaction::line(&set.join(", ")), redaction::line(&delete.join(", ")));
            tracing::info!(priority = 5, set, deleted, "the attributes of the container instance follow its tags");
        }
        Ok(())
    }

    /// The attributes with these keys, as ECS describes them.
    async fn described(&self, rules: &FollowRules) -> Result<Attributes, AwsError> {
        let described = self.aws.container_instance(self.cluster, self.arn, self.deadline).await?;
        let all = described.map(|one| one.attributes).unwrap_or_default();
        Ok(all.into_iter().filter(|(name, _)| rules.keys.contains(name)).collect())
    }
}
