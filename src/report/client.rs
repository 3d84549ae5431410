//! The client for signals: the instance, its enabled signals, their deadline, and the retries of one signal.
//!
//! The targets are in files of their own: [`super::cloudformation`], [`super::auto_scaling`], [`super::instance_tags`]
//! and [`super::launch_metric`].

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::boundary::HostClients;
use crate::boundary::aws::{Aws, AwsError, AwsErrorKind};
use crate::facts::Instance;
use crate::plan::{Expectation, SignalTargets};
use crate::retry::{AttemptResult, Deadline, Policy, until};

/// Time limit for finding out which instance this is.
const IDENTITY: Duration = Duration::from_secs(10);
/// Time limit for one call.
pub(super) const CALL: Duration = Duration::from_secs(20);
const POLICY: Policy = Policy { first: Duration::from_millis(500), longest: Duration::from_secs(8) };
/// Time limit for `ec2:DescribeTags`.
const DESCRIBE_TAGS: Duration = Duration::from_secs(30);
/// Time limit for one signal that is sent before there is a verdict (to the launch hook, before a warm pool).
const ONE_SIGNAL: Duration = Duration::from_secs(60);
const DOCUMENT: &str = "dynamic/instance-identity/document";
const TAGS: &str = "meta-data/tags/instance";
// Tags that AWS sets (CloudFormation User Guide, "Resource tags"). Those of a group are also set on its instances.
pub(super) const STACK_NAME: &str = "aws:cloudformation:stack-name";
pub(super) const STACK_ID: &str = "aws:cloudformation:stack-id";
pub(super) const LOGICAL_ID: &str = "aws:cloudformation:logical-id";
pub(super) const GROUP: &str = "aws:autoscaling:groupName";

/// Sends signals for one instance, as far as its settings enable them.
pub struct SignalClient {
    pub(super) host_clients: HostClients,
    pub(super) signal: SignalTargets,
    pub(super) instance_id: String,
    pub(super) launch: Launch,
    region: String,
    tags: OnceCell<BTreeMap<String, String>>,
    /// Why the tags were not read.
    pub(super) tags_error: RefCell<Option<AwsError>>,
    pub(super) launch_hook: OnceCell<GroupHook>,
    /// Until when the pulls of images may begin, before which the instance must not be stopped in a warm pool; `None` without
    /// images.
    pub(super) images_by: Option<Deadline>,
    /// Until when the signals of the verdict are retried; `None` before there is a verdict.
    pub(super) until: Cell<Option<Deadline>>,
}

/// The launch of the instance, for the metric.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    /// RFC 3339.
    pub(super) pending_time: Option<String>,
    pub(super) instance_type: Option<String>,
    pub(super) image_id: Option<String>,
    pub(super) enters_warm_pool: Option<bool>,
}

/// A lifecycle hook of this instance's Auto Scaling group.
#[derive(Clone, Debug)]
pub struct GroupHook {
    pub(super) group: String,
    pub(super) name: String,
    /// The pause between two heartbeats.
    pub(super) pause: Duration,
    pub(super) default_result: String,
    /// How long the hook waits for a heartbeat; `None` if that is not known.
    pub(super) heartbeat_timeout: Option<Duration>,
}

/// The result of one signal, after its retries.
pub(super) enum SendOutcome {
    Sent,
    /// The service does not wait for this signal, or no longer does; its message.
    NotWaiting(String),
    Failed(AwsError),
}

impl SignalClient {
    /// `None` if no signal is enabled. Instance metadata is requested only for what the expectation does not contain.
    pub async fn new(
        host_clients: &HostClients,
        expectation: &Expectation,
        deadline: Deadline,
    ) -> Option<SignalClient> {
        if expectation.signal.is_off() {
            return None;
        }
        Some(SignalClient::of(host_clients, expectation, deadline).await)
    }

    /// The client, also if no signal is enabled.
    pub(super) async fn of(host_clients: &HostClients, expectation: &Expectation, deadline: Deadline) -> SignalClient {
        let (mut instance_id, mut region) = (expectation.instance_id.clone(), expectation.region.clone());
        if instance_id.is_none() || region.is_none() {
            let deadline = deadline.earliest(Deadline::after(IDENTITY));
            match host_clients.imds.get(DOCUMENT, deadline).await {
                Ok(document) => {
                    if let Ok(instance) = Instance::read(&document.unwrap_or_default()) {
                        (instance_id, region) = (Some(instance.instance_id), Some(instance.region));
                    }
                }
                Err(error) => tracing::debug!(%error, "instance identity document not read; signals need it"),
            }
        }
        SignalClient {
            host_clients: host_clients.clone(),
            signal: expectation.signal.clone(),
            instance_id: instance_id.unwrap_or_default(),
            launch: Launch {
                pending_time: expectation.pending_time.clone(),
                instance_type: expectation.instance_type.clone(),
                image_id: expectation.image_id.clone(),
                enters_warm_pool: expectation.enters_warm_pool,
            },
            region: region.unwrap_or_default(),
            tags: OnceCell::new(),
            tags_error: RefCell::new(None),
            launch_hook: OnceCell::new(),
            images_by: expectation.waits_for_images().map(|ready| Deadline::after(ready.deadline)),
            until: Cell::new(None),
        }
    }

    /// The deadline of a call that may take `longest`, and no longer than the signals of the verdict.
    pub(super) fn by(&self, longest: Duration) -> Deadline {
        let own = Deadline::after(longest);
        self.until.get().map_or(own, |until| until.earliest(own))
    }

    /// Sends one signal. Errors that can disappear are retried until the time for signals is over.
    pub(super) async fn send(&self, call: impl AsyncFn(Deadline) -> Result<(), AwsError>) -> SendOutcome {
        let deadline = self.by(ONE_SIGNAL);
        let outcome = until(deadline, POLICY, async |_| match call(deadline).await {
            Ok(()) => AttemptResult::Done(()),
            Err(error) if error.kind.is_retryable() && not_waiting(&error).is_none() => AttemptResult::Retry(error),
            Err(error) => AttemptResult::Stop(error),
        });
        match outcome.await {
            Ok(()) => SendOutcome::Sent,
            Err(gave_up) => match not_waiting(&gave_up.last) {
                Some(message) => SendOutcome::NotWaiting(message),
                None => SendOutcome::Failed(gave_up.last),
            },
        }
    }

    /// The value of a setting; without one, of a tag that AWS sets.
    pub(super) async fn setting_or_tag(&self, setting: &Option<String>, tag: &str) -> Option<String> {
        match setting {
            Some(value) => Some(value.clone()),
            None => self.tags().await.get(tag).filter(|value| is_valid(tag, value)).cloned(),
        }
    }

    /// The tags that AWS set when it made this instance: from instance metadata, otherwise from `ec2:DescribeTags`.
    async fn tags(&self) -> &BTreeMap<String, String> {
        self.tags
            .get_or_init(async || {
                let mut tags = BTreeMap::new();
                let deadline = self.by(IDENTITY);
                let mut is_complete = true;
                for tag in [STACK_NAME, STACK_ID, LOGICAL_ID, GROUP] {
                    match self.host_clients.imds.get(&format!("{TAGS}/{tag}"), deadline).await {
                        Ok(Some(value)) => {
                            tags.insert(tag.to_owned(), String::from_utf8_lossy(&value).trim_end().to_owned());
                        }
                        Ok(None) => {}
                        Err(_) => is_complete = false,
                    }
                }
                if is_complete && !tags.is_empty() {
                    return tags;
                }
                let call = async {
                    let aws = self.aws().await?.waiting_for_throttled();
                    aws.instance_tags(&self.instance_id, self.by(DESCRIBE_TAGS)).await
                };
                call.await.unwrap_or_else(|error| {
                    tracing::warn!(
                        error = crate::redaction::error_chain(&error),
                        "instance tags not read; they name the stack and the group to signal"
                    );
                    self.tags_error.replace(Some(error));
                    tags
                })
            })
            .await
    }

    /// The clients of AWS in the region of this instance.
    pub async fn aws(&self) -> Result<Aws, AwsError> {
        self.host_clients.aws(&self.region).await
    }
}

/// Whether AWS can have set this value: a stack name or logical id (CloudFormation API Reference), an ARN, or a group
/// name (Amazon EC2 Auto Scaling API Reference: ASCII 33 to 126 without the colon).
fn is_valid(tag: &str, value: &str) -> bool {
    let is = |longest: usize, more: &str| {
        (1..=longest).contains(&value.len()) && value.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    match tag {
        STACK_ID => is(1024, ":/-_."),
        GROUP => (1..=255).contains(&value.len()) && value.chars().all(|c| c.is_ascii_graphic() && c != ':'),
        _ => is(255, "-"),
    }
}

/// The message of the service if it does not wait for the signal, or no longer does.
pub(super) fn not_waiting(error: &AwsError) -> Option<String> {
    let AwsErrorKind::Service { code: Some(code), message, .. } = &error.kind else { return None };
    let text = message.to_ascii_lowercase();
    let says = ["cannot be signaled", "can not be signaled", "no active lifecycle action found"];
    (code == "ValidationError" && says.iter().any(|words| text.contains(words))).then(|| message.to_string())
}
