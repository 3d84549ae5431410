//! Signals to CloudFormation: a resource with a CreationPolicy, and a wait condition.

use sha2::{Digest, Sha256};

use super::client::{LOGICAL_ID, STACK_ID, STACK_NAME, SendOutcome, SignalClient};
use super::sent;
use super::signals::{signal, success_or_failure};
use crate::redaction::error_chain;
use crate::render::{SignalOutcome, SignalStatus, SignalTarget, VerdictDocument};

/// CloudFormation keeps the first 4,096 bytes of a wait condition's data. A reason is read by people, so it is shorter.
const MAX_REASON_LENGTH: usize = 512;

impl SignalClient {
    pub(super) async fn signal_stack(&self, success: bool) -> SignalStatus {
        let status = success_or_failure(success);
        let done = |outcome, detail: String| signal(SignalTarget::Cloudformation, status, outcome, detail);
        let stack = match self.setting_or_tag(&self.signal.stack, STACK_NAME).await {
            Some(name) => Some(name),
            None => self.setting_or_tag(&None, STACK_ID).await,
        };
        let resource = self.setting_or_tag(&self.signal.resource, LOGICAL_ID).await;
        let (Some(stack), Some(resource)) = (stack, resource) else {
            let detail = format!(
                "the stack to signal is not known: the instance has no tags `{STACK_NAME}` and `{LOGICAL_ID}`; set \
                 `signal.stack` and `signal.resource`, or enable tags in instance metadata"
            );
            return done(SignalOutcome::Failed, detail);
        };
        let target = format!("resource `{resource}` of stack `{stack}`");
        if let Some(earlier) = sent::last_sent(&self.host_clients.disk, &self.instance_id, &target) {
            return done(SignalOutcome::Already, format!("{target} ({earlier})"));
        }
        let outcome = self
            .send(async |deadline| {
                let aws = self.aws().await?;
                aws.signal_resource(&stack, &resource, &self.instance_id, success, deadline).await
            })
            .await;
        match outcome {
            SendOutcome::Sent => {
                sent::remember(&self.host_clients.disk, &self.instance_id, &target, status);
                done(SignalOutcome::Sent, target)
            }
            SendOutcome::NotWaiting(message) => {
                sent::remember(&self.host_clients.disk, &self.instance_id, &target, "not waiting");
                done(SignalOutcome::NotWaiting, format!("{target}: {message}"))
            }
            SendOutcome::Failed(error) => {
                let remedy = "allow the instance's role `cloudformation:SignalResource` on the stack, and check the \
                              network path to the CloudFormation endpoint";
                done(SignalOutcome::Failed, format!("{target}: {}; {remedy}", error_chain(&error)))
            }
        }
    }

    pub(super) async fn signal_wait_condition(
        &self,
        url: &str,
        document: &VerdictDocument,
        success: bool,
    ) -> SignalStatus {
        let status = success_or_failure(success);
        let done = |outcome, detail: String| signal(SignalTarget::WaitCondition, status, outcome, detail);
        // The URL is a credential. Its hash is enough to recognise it.
        let hash = Sha256::digest(url.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>();
        let target = format!("wait condition {hash}");
        if let Some(earlier) = sent::last_sent(&self.host_clients.disk, &self.instance_id, &target) {
            return done(SignalOutcome::Already, format!("{target} ({earlier})"));
        }
        let body = serde_json::json!({
            "Status": status,
            "UniqueId": self.instance_id,
            "Data": document.container_instance_arn.as_deref().unwrap_or("none"),
            "Reason": reason(document),
        })
        .to_string();
        let outcome = self
            .send(async |deadline| {
                let aws = self.aws().await?;
                aws.put_wait_condition(url, &body, deadline).await
            })
            .await;
        match outcome {
            SendOutcome::Failed(error) => {
                let remedy = "check that the wait condition handle still exists, and the network path to S3; no \
                              permission is needed";
                done(SignalOutcome::Failed, format!("{target}: {}; {remedy}", error_chain(&error)))
            }
            SendOutcome::Sent | SendOutcome::NotWaiting(_) => {
                sent::remember(&self.host_clients.disk, &self.instance_id, &target, status);
                done(SignalOutcome::Sent, target)
            }
        }
    }
}

/// The cause with its first evidence, for people.
fn reason(document: &VerdictDocument) -> String {
    let mut text = match &document.cause {
        Some(cause) => {
            let seen = cause.evidence.first().map(|seen| format!(" ({seen})")).unwrap_or_default();
            format!("[{}] {}{seen}", cause.id, cause.title)
        }
        None => document.text.clone(),
    };
    let end = (0..=MAX_REASON_LENGTH.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    text.truncate(end);
    text
}
