//! The verdict and its cause as tags of the instance.

use super::client::{SendOutcome, SignalClient};
use super::sent;
use super::signals::signal;
use crate::redaction::error_chain;
use crate::render::{SignalOutcome, SignalStatus, SignalTarget, VerdictDocument};
use crate::settings::fragment::{CAUSE_TAG, VERDICT_TAG};

impl SignalClient {
    /// Writes the tags if they changed since ecs-bootstrap last wrote them.
    pub(super) async fn tag_instance(&self, prefix: &str, document: &VerdictDocument) -> SignalStatus {
        const TARGET: &str = "tags of this instance";
        let verdict = document.verdict.to_string();
        let verdict = verdict.as_str();
        let cause = document.cause.as_ref().map_or("none", |cause| cause.id.as_str());
        let done = |outcome, detail: String| signal(SignalTarget::InstanceTags, verdict, outcome, detail);
        let values = format!("{verdict}, {cause}");
        if sent::last_sent(&self.host_clients.disk, &self.instance_id, TARGET).as_ref() == Some(&values) {
            return done(SignalOutcome::Already, values);
        }
        let tags = [(VERDICT_TAG, verdict), (CAUSE_TAG, cause)];
        let tags = tags.map(|(key, value)| (format!("{prefix}{key}"), value.to_owned()));
        let outcome =
            self.send(async |deadline| self.aws().await?.tag_instance(&self.instance_id, &tags, deadline).await);
        match outcome.await {
            SendOutcome::Failed(error) => {
                let remedy = "allow the instance's role `ec2:CreateTags` on this instance";
                done(SignalOutcome::Failed, format!("{}; {remedy}", error_chain(&error)))
            }
            SendOutcome::Sent | SendOutcome::NotWaiting(_) => {
                sent::remember(&self.host_clients.disk, &self.instance_id, TARGET, &values);
                done(SignalOutcome::Sent, values)
            }
        }
    }
}
