//! The verdict, its cause and the container instance as tags of the instance.

use std::time::Duration;

use super::client::{SendOutcome, SignalClient};
use super::sent;
use super::signals::signal;
use crate::boundary::aws::AwsError;
use crate::redaction::error_chain;
use crate::render::{SignalOutcome, SignalStatus, SignalTarget, VerdictDocument};
use crate::settings::fragment::{CAUSE_TAG, CLUSTER_ARN_TAG, CONTAINER_INSTANCE_TAG, VERDICT_TAG};

/// The longest value of a tag, in characters (Amazon EC2 User Guide, "Tag restrictions").
const MAX_VALUE_LENGTH: usize = 256;

/// The limit for the first call.
const CALL: Duration = Duration::from_secs(10);

/// Key and value of a tag.
type Tag = (String, String);

impl SignalClient {
    /// Writes the tags if they changed since ecs-bootstrap last wrote them. A role whose policy is older may allow only the
    /// first two.
    pub(super) async fn tag_instance(&self, prefix: &str, document: &VerdictDocument) -> SignalStatus {
        const TARGET: &str = "tags of this instance";
        let verdict = document.verdict.to_string();
        let verdict = verdict.as_str();
        let cause = document.cause.as_ref().map_or("none", |cause| cause.id.as_str());
        let done = |outcome, detail: String| signal(SignalTarget::InstanceTags, verdict, outcome, detail);
        let values = format!("{verdict}, {cause}");
        let identity = identity(prefix, document.container_instance_arn.as_deref());
        let all = identity.iter().fold(values.clone(), |all, (_, value)| format!("{all}, {value}"));
        if sent::last_sent(&self.host_clients.disk, &self.instance_id, TARGET).as_ref() == Some(&all) {
            return done(SignalOutcome::Already, values);
        }
        let tags = [(VERDICT_TAG, verdict), (CAUSE_TAG, cause)];
        let tags: Vec<Tag> = tags.iter().map(|(key, value)| (format!("{prefix}{key}"), (*value).to_owned())).collect();
        let with_identity = [tags.clone(), identity.clone()].concat();
        // A denied call is repeated for a while, because a policy may be attached late: this one is tried once.
        let (outcome, refused) = match self.write_once(&with_identity).await {
            Ok(()) => (SendOutcome::Sent, None),
            Err(error) if may_be_about_identity(&error) && !identity.is_empty() => {
                match self.write(&tags).await {
                    SendOutcome::Failed(error) => (SendOutcome::Failed(error), None),
                    // The policy may have been attached meanwhile.
                    outcome => (outcome, self.write_once(&with_identity).await.err()),
                }
            }
            Err(_) => (self.write(&with_identity).await, None),
        };
        match (outcome, refused) {
            (SendOutcome::Failed(error), _) => {
                let remedy = "allow the instance's role `ec2:CreateTags` on this instance";
                done(SignalOutcome::Failed, format!("{}; {remedy}", error_chain(&error)))
            }
            (SendOutcome::Sent | SendOutcome::NotWaiting(_), None) => {
                sent::remember(&self.host_clients.disk, &self.instance_id, TARGET, &all);
                done(SignalOutcome::Sent, values)
            }
            (SendOutcome::Sent | SendOutcome::NotWaiting(_), Some(error)) => {
                let keys = format!("`{prefix}{CONTAINER_INSTANCE_TAG}` and `{prefix}{CLUSTER_ARN_TAG}`");
                done(SignalOutcome::Sent, format!("{values}; without the tags {keys}: {}", error_chain(&error)))
            }
        }
    }

    async fn write_once(&self, tags: &[Tag]) -> Result<(), AwsError> {
        self.aws().await?.tag_instance(&self.instance_id, tags, self.by(CALL)).await
    }

    async fn write(&self, tags: &[Tag]) -> SendOutcome {
        self.send(async |deadline| self.aws().await?.tag_instance(&self.instance_id, tags, deadline).await).await
    }
}

/// The tags with the ARNs of the container instance and of its cluster. The short form of the first one, which has no cluster,
/// gives one tag, and an ARN that is too long for a tag gives none.
fn identity(prefix: &str, arn: Option<&str>) -> Vec<Tag> {
    let Some(arn) = arn else { return Vec::new() };
    let cluster = arn.split_once(":container-instance/").and_then(|(head, resource)| {
        let (cluster, _) = resource.split_once('/')?;
        Some(format!("{head}:cluster/{cluster}"))
    });
    let tags = [(CONTAINER_INSTANCE_TAG, Some(arn.to_owned())), (CLUSTER_ARN_TAG, cluster)];
    let tags = tags.into_iter().filter_map(|(key, value)| Some((format!("{prefix}{key}"), value?)));
    tags.filter(|(_, value)| value.chars().count() <= MAX_VALUE_LENGTH).collect()
}

/// Whether fewer tags may be accepted: a policy names the keys, and an instance has at most 50 tags.
fn may_be_about_identity(error: &AwsError) -> bool {
    error.is_denied() || !error.kind.is_retryable()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arn_of_the_cluster_follows_from_that_of_the_container_instance() {
        let tags = |arn| identity("p:", Some(arn)).into_iter().map(|(key, value)| format!("{key} {value}")).collect();
        let found: Vec<String> = tags("arn:aws-cn:ecs:cn-north-1:111122223333:container-instance/prod/0123");
        assert_eq!(
            found,
            [
                "p:container-instance-arn arn:aws-cn:ecs:cn-north-1:111122223333:container-instance/prod/0123",
                "p:cluster-arn arn:aws-cn:ecs:cn-north-1:111122223333:cluster/prod",
            ]
        );
        let short = "arn:aws:ecs:eu-west-1:111122223333:container-instance/0123";
        let found: Vec<String> = tags(short);
        assert_eq!(found, [format!("p:container-instance-arn {short}")]);
        let long = format!("arn:aws:ecs:eu-west-1:111122223333:container-instance/{}/0123", "c".repeat(200));
        assert_eq!(identity("p:", Some(&long)).len(), 1, "only the ARN of the cluster fits");
        assert_eq!(identity("p:", None), Vec::new());
    }
}
