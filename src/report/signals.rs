//! Sends a verdict to every external target that the settings enable: CloudFormation, Auto Scaling,
//! instance tags, CloudWatch.
//!
//! In: the document of a verdict. Out: one [`SignalStatus`] for each target. Without an enabled signal, no request is made.

use std::pin::pin;

use futures_util::future::{Either, OptionFuture, join, join5, select};

use super::client::SignalClient;
use crate::redaction;
use crate::render::{SignalOutcome, SignalStatus, SignalTarget, VerdictDocument, VerdictState};
use crate::retry::Deadline;

impl SignalClient {
    /// Runs `work`, and sends heartbeats to the launch hook until it ends.
    async fn with_heartbeats<T>(&self, work: impl Future<Output = T>) -> T {
        match select(pin!(work), pin!(self.send_heartbeats())).await {
            Either::Left((done, _)) => done,
            Either::Right((never, _)) => match never {},
        }
    }

    /// Sends a final verdict to all targets at the same time, so that a service that cannot be reached does not delay
    /// the others. A verdict that still waits is not sent.
    pub async fn send_verdict(&self, document: &VerdictDocument, deadline: Deadline) -> Vec<SignalStatus> {
        let success = match document.verdict {
            VerdictState::Ready => true,
            VerdictState::Failed | VerdictState::Unknown => false,
            VerdictState::Waiting | VerdictState::None => return Vec::new(),
        };
        if self.instance_id.is_empty() {
            let detail =
                "the instance id is not known: instance metadata did not return an identity document".to_owned();
            return vec![signal(SignalTarget::All, success_or_failure(success), SignalOutcome::Failed, detail)];
        }
        self.until.set(Some(deadline));
        let stack = self.signal.cloudformation.then(|| self.signal_stack(success));
        let url = self.signal.wait_url.as_ref();
        let wait_condition = url.map(|url| self.signal_wait_condition(url, document, success));
        let prefix = self.signal.tags_prefix.as_ref();
        let tags = prefix.map(|prefix| self.tag_instance(prefix, document));
        let metric = (self.signal.cloudwatch && success).then(|| self.put_launch_metric(document));
        let group = self.signal_group(document, success);
        let (group, stack, wait_condition, tags, metric) = join5(
            group,
            OptionFuture::from(stack),
            OptionFuture::from(wait_condition),
            OptionFuture::from(tags),
            OptionFuture::from(metric),
        )
        .await;
        group.into_iter().chain(stack).chain(wait_condition).chain(tags).chain(metric).collect()
    }
}

impl SignalClient {
    /// Sends a verdict of `watch` to the tags of this instance, if `tags` is set, and stores the metric of the fault `cause`.
    pub async fn send_watched(
        &self,
        document: &VerdictDocument,
        tags: bool,
        cause: Option<&str>,
        deadline: Deadline,
    ) -> Vec<SignalStatus> {
        if self.instance_id.is_empty() {
            return Vec::new();
        }
        self.until.set(Some(deadline));
        let prefix = self.signal.tags_prefix.as_ref().filter(|_| tags);
        let tags = prefix.map(|prefix| self.tag_instance(prefix, document));
        let cause = cause.filter(|_| self.signal.cloudwatch);
        let metric = cause.map(|cause| self.put_fault_metric(cause, document.cluster.as_deref()));
        let (tags, metric) = join(OptionFuture::from(tags), OptionFuture::from(metric)).await;
        tags.into_iter().chain(metric).collect()
    }
}

/// Runs `work`, with heartbeats if signals are enabled.
pub async fn with_heartbeats<T>(client: Option<&SignalClient>, work: impl Future<Output = T>) -> T {
    match client {
        Some(client) => Box::pin(client.with_heartbeats(work)).await,
        None => work.await,
    }
}

/// The status that CloudFormation takes.
pub(super) fn success_or_failure(success: bool) -> &'static str {
    if success { "SUCCESS" } else { "FAILURE" }
}

/// The report of one signal.
pub(super) fn signal(target: SignalTarget, status: &str, outcome: SignalOutcome, detail: String) -> SignalStatus {
    SignalStatus { to: target, status: status.to_owned(), outcome, detail: redaction::line(&detail) }
}
