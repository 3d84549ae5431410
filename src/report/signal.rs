//! Tells a verdict to whoever waits for this instance outside: its CloudFormation stack, a wait condition.
//!
//! In: the verdict's document and what the settings switch on. Out: whom it was told, and what came of it; nothing that
//! comes of it changes the verdict. Off, it asks nobody anything. The launch hook is `lifecycle.rs`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, join4, select};
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use super::launch_hook::Hook;
use super::sent;
use crate::boundary::World;
use crate::boundary::aws::{Aws, AwsError, AwsErrorKind};
use crate::facts::Instance;
use crate::plan::{Expectation, Signal};
use crate::redaction;
use crate::render::{Document, Signalled};
use crate::retry::{Deadline, Policy, Step, until};
use crate::settings::fragment::{CAUSE_TAG, VERDICT_TAG};

/// How long metadata and tags may take to say which instance this is, and who made it.
const IDENTITY: Duration = Duration::from_secs(10);
const POLICY: Policy = Policy { first: Duration::from_millis(500), longest: Duration::from_secs(8) };
/// How long DescribeTags may take.
const DESCRIBE_TAGS: Duration = Duration::from_secs(30);
/// How long one signal is tried, where the verdict sets no earlier end (before it: a warm pool's hook).
const ONE_SIGNAL: Duration = Duration::from_secs(60);
/// CloudFormation keeps the first 4,096 bytes of a wait condition's data; a reason is read by people.
const LONGEST_REASON: usize = 512;
const DOCUMENT: &str = "dynamic/instance-identity/document";
const TAGS: &str = "meta-data/tags/instance";
/// Tags that AWS sets (CloudFormation User Guide, "Resource tags"; a group's reach its instances).
const STACK_NAME: &str = "aws:cloudformation:stack-name";
const STACK_ID: &str = "aws:cloudformation:stack-id";
const LOGICAL_ID: &str = "aws:cloudformation:logical-id";
pub(super) const GROUP: &str = "aws:autoscaling:groupName";

/// Whoever waits outside.
pub struct SignalClient {
    pub(super) world: World,
    pub(super) signal: Signal,
    pub(super) instance_id: String,
    region: String,
    tags: OnceCell<BTreeMap<String, String>>,
    pub(super) hook: OnceCell<Hook>,
    /// Until when the signals of the verdict are tried; none before there is one.
    until: Cell<Option<Deadline>>,
}

/// What one signal came to.
pub(super) enum SendOutcome {
    Sent,
    NotWaiting(String),
    Failed(AwsError),
}

impl SignalClient {
    /// `None` where nobody is to be told. Metadata is asked who this is only where the expectation does not know it.
    pub async fn new(world: &World, expectation: &Expectation, deadline: Deadline) -> Option<SignalClient> {
        if expectation.signal.is_off() {
            return None;
        }
        let (mut instance_id, mut region) = (expectation.instance_id.clone(), expectation.region.clone());
        if instance_id.is_none() || region.is_none() {
            let deadline = deadline.earliest(Deadline::after(IDENTITY));
            let document = world.imds.get(DOCUMENT, deadline).await.ok().flatten().unwrap_or_default();
            if let Ok(instance) = Instance::read(&document) {
                (instance_id, region) = (Some(instance.instance_id), Some(instance.region));
            }
        }
        Some(SignalClient {
            world: world.clone(),
            signal: expectation.signal.clone(),
            instance_id: instance_id.unwrap_or_default(),
            region: region.unwrap_or_default(),
            tags: OnceCell::new(),
            hook: OnceCell::new(),
            until: Cell::new(None),
        })
    }

    /// Does the work, and keeps the launch hook waiting meanwhile.
    pub async fn hold<T>(&self, work: impl Future<Output = T>) -> T {
        match select(pin!(work), pin!(self.keep_hook())).await {
            Either::Left((done, _)) => done,
            Either::Right((never, _)) => match never {},
        }
    }

    /// Sends a final verdict to every target at the same time, so that a service that cannot be reached does not delay the
    /// others; a verdict that still waits is not sent.
    pub async fn tell(&self, document: &Document, deadline: Deadline) -> Vec<Signalled> {
        let success = match document.verdict.as_str() {
            "ready" => true,
            "failed" | "unknown" => false,
            _ => return Vec::new(),
        };
        if self.instance_id.is_empty() {
            let detail = "instance metadata does not say which instance this is".to_owned();
            return vec![signalled("all", if success { "SUCCESS" } else { "FAILURE" }, "failed", detail)];
        }
        self.until.set(Some(deadline));
        let stack = async {
            match self.signal.cloudformation {
                true => Some(self.tell_stack(success).await),
                false => None,
            }
        };
        let wait_condition = async {
            match &self.signal.wait_url {
                Some(url) => Some(self.tell_wait_condition(url, document, success).await),
                None => None,
            }
        };
        let tags = async {
            match &self.signal.tags_prefix {
                Some(prefix) => Some(self.tag(prefix, document).await),
                None => None,
            }
        };
        let (group, stack, wait_condition, tags) =
            join4(self.tell_group(document, success), stack, wait_condition, tags).await;
        group.into_iter().chain(stack).chain(wait_condition).chain(tags).collect()
    }

    /// The launch hook; the instance's health only where no hook was ended, which decides about the instance already.
    async fn tell_group(&self, document: &Document, success: bool) -> Vec<Signalled> {
        let hook = match self.signal.lifecycle {
            true => self.end_hook(document, success).await,
            false => None,
        };
        let is_ended = hook.as_ref().is_some_and(|hook| hook.outcome == "sent");
        let health = match self.signal.unhealthy && !success && !is_ended {
            true => self.set_unhealthy(document).await,
            false => None,
        };
        hook.into_iter().chain(health).collect()
    }

    async fn tell_stack(&self, success: bool) -> Signalled {
        let status = if success { "SUCCESS" } else { "FAILURE" };
        let done = |outcome: &str, detail: String| signalled("cloudformation", status, outcome, detail);
        let stack = match self.named(&self.signal.stack, STACK_NAME).await {
            Some(name) => Some(name),
            None => self.named(&None, STACK_ID).await,
        };
        let (Some(stack), Some(resource)) = (stack, self.named(&self.signal.resource, LOGICAL_ID).await) else {
            let detail = format!(
                "neither settings nor the tags `{STACK_NAME}` and `{LOGICAL_ID}` of this instance say whom; set \
                 `signal.stack` and `signal.resource`, or allow tags in instance metadata"
            );
            return done("failed", detail);
        };
        let whom = format!("resource `{resource}` of stack `{stack}`");
        if let Some(before) = sent::last_sent(&self.world.disk, &self.instance_id, &whom) {
            return done("already", format!("{whom} ({before})"));
        }
        let came = self
            .tried(async |deadline| {
                let aws = self.aws().await?;
                aws.signal_resource(&stack, &resource, &self.instance_id, success, deadline).await
            })
            .await;
        match came {
            SendOutcome::Sent => {
                sent::remember(&self.world.disk, &self.instance_id, &whom, status);
                done("sent", whom)
            }
            SendOutcome::NotWaiting(why) => {
                sent::remember(&self.world.disk, &self.instance_id, &whom, "not waiting");
                done("not-waiting", format!("{whom}: {why}"))
            }
            SendOutcome::Failed(error) => {
                let remedy = "allow `cloudformation:SignalResource` on the stack to the instance's role, and a way to \
                              CloudFormation's endpoint";
                done("failed", format!("{whom}: {}; {remedy}", crate::causes::chain(&error)))
            }
        }
    }

    async fn tell_wait_condition(&self, url: &str, document: &Document, success: bool) -> Signalled {
        let status = if success { "SUCCESS" } else { "FAILURE" };
        let done = |outcome: &str, detail: String| signalled("wait-condition", status, outcome, detail);
        // The URL is a credential: its hash is enough to know it again.
        let whom = Sha256::digest(url.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>();
        let whom = format!("wait condition {whom}");
        if let Some(before) = sent::last_sent(&self.world.disk, &self.instance_id, &whom) {
            return done("already", format!("{whom} ({before})"));
        }
        let body = serde_json::json!({
            "Status": status,
            "UniqueId": self.instance_id,
            "Data": document.container_instance_arn.as_deref().unwrap_or("none"),
            "Reason": reason(document),
        })
        .to_string();
        let came = self
            .tried(async |deadline| {
                let aws = self.aws().await?;
                aws.put_wait_condition(url, &body, deadline).await
            })
            .await;
        match came {
            SendOutcome::Failed(error) => {
                let remedy = "a URL lives as long as its handle; it needs a way to S3 and no permission";
                done("failed", format!("{whom}: {}; {remedy}", crate::causes::chain(&error)))
            }
            SendOutcome::Sent | SendOutcome::NotWaiting(_) => {
                sent::remember(&self.world.disk, &self.instance_id, &whom, status);
                done("sent", whom)
            }
        }
    }

    /// Verdict and cause as tags, where they are not what the tags say already.
    async fn tag(&self, prefix: &str, document: &Document) -> Signalled {
        const WHOM: &str = "tags of this instance";
        let verdict = document.verdict.as_str();
        let cause = document.cause.as_ref().map_or("none", |cause| cause.id.as_str());
        let done = |outcome: &str, detail: String| signalled("instance-tags", verdict, outcome, detail);
        let what = format!("{verdict}, {cause}");
        if sent::last_sent(&self.world.disk, &self.instance_id, WHOM).as_ref() == Some(&what) {
            return done("already", what);
        }
        let tags = [(VERDICT_TAG, verdict), (CAUSE_TAG, cause)];
        let tags = tags.map(|(key, value)| (format!("{prefix}{key}"), value.to_owned()));
        let came =
            self.tried(async |deadline| self.aws().await?.tag_instance(&self.instance_id, &tags, deadline).await);
        match came.await {
            SendOutcome::Failed(error) => {
                let remedy = "allow `ec2:CreateTags` on this instance to its role";
                done("failed", format!("{}; {remedy}", crate::causes::chain(&error)))
            }
            SendOutcome::Sent | SendOutcome::NotWaiting(_) => {
                sent::remember(&self.world.disk, &self.instance_id, WHOM, &what);
                done("sent", what)
            }
        }
    }

    /// The deadline of a call that may take `longest`, and no longer than the signals of the verdict.
    pub(super) fn by(&self, longest: Duration) -> Deadline {
        let own = Deadline::after(longest);
        self.until.get().map_or(own, |until| until.earliest(own))
    }

    /// Until it is taken, or cannot be, or the time for signals is over.
    pub(super) async fn tried(&self, send: impl AsyncFn(Deadline) -> Result<(), AwsError>) -> SendOutcome {
        let deadline = self.by(ONE_SIGNAL);
        let outcome = until(deadline, POLICY, async |_| match send(deadline).await {
            Ok(()) => Step::Done(()),
            Err(error) if error.kind.may_heal() && nobody_waits(&error).is_none() => Step::Again(error),
            Err(error) => Step::Stop(error),
        });
        match outcome.await {
            Ok(()) => SendOutcome::Sent,
            Err(gave_up) => match nobody_waits(&gave_up.last) {
                Some(why) => SendOutcome::NotWaiting(why),
                None => SendOutcome::Failed(gave_up.last),
            },
        }
    }

    /// What a setting says, else a tag.
    pub(super) async fn named(&self, said: &Option<String>, tag: &str) -> Option<String> {
        match said {
            Some(said) => Some(said.clone()),
            None => self.tags().await.get(tag).filter(|value| is_name(tag, value)).cloned(),
        }
    }

    /// The tags by which AWS says who made this instance: of metadata, else of DescribeTags.
    async fn tags(&self) -> &BTreeMap<String, String> {
        self.tags
            .get_or_init(async || {
                let mut tags = BTreeMap::new();
                let deadline = self.by(IDENTITY);
                for tag in [STACK_NAME, STACK_ID, LOGICAL_ID, GROUP] {
                    if let Ok(Some(value)) = self.world.imds.get(&format!("{TAGS}/{tag}"), deadline).await {
                        tags.insert(tag.to_owned(), String::from_utf8_lossy(&value).trim_end().to_owned());
                    }
                }
                if !tags.is_empty() {
                    return tags;
                }
                let asked = async { self.aws().await?.instance_tags(&self.instance_id, self.by(DESCRIBE_TAGS)).await };
                asked.await.unwrap_or_else(|error| {
                    tracing::warn!(
                        error = crate::causes::chain(&error),
                        "the tags that say whom to signal are not known"
                    );
                    BTreeMap::new()
                })
            })
            .await
    }

    pub(super) async fn aws(&self) -> Result<Aws, AwsError> {
        self.world.aws(&self.region).await
    }
}

/// Whether a tag can be what AWS sets there: the name of a stack or a resource (CloudFormation API Reference), an ARN, the
/// name of a group (Amazon EC2 Auto Scaling API Reference: ASCII 33 to 126 but the colon).
fn is_name(tag: &str, value: &str) -> bool {
    let is = |longest: usize, more: &str| {
        (1..=longest).contains(&value.len()) && value.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    match tag {
        STACK_ID => is(1024, ":/-_."),
        GROUP => (1..=255).contains(&value.len()) && value.chars().all(|c| c.is_ascii_graphic() && c != ':'),
        _ => is(255, "-"),
    }
}

/// One whom it was told.
pub(super) fn signalled(to: &str, status: &str, outcome: &str, detail: String) -> Signalled {
    Signalled {
        to: to.to_owned(),
        status: status.to_owned(),
        outcome: outcome.to_owned(),
        detail: redaction::line(&detail),
    }
}

/// The service's words where it says that nobody waits for the signal any more, or ever did.
pub(super) fn nobody_waits(error: &AwsError) -> Option<String> {
    let AwsErrorKind::Service { code: Some(code), message, .. } = &error.kind else { return None };
    let text = message.to_ascii_lowercase();
    let says = ["cannot be signaled", "can not be signaled", "no active lifecycle action found"];
    (code == "ValidationError" && says.iter().any(|words| text.contains(words))).then(|| message.to_string())
}

/// The cause with its first evidence, for people.
fn reason(document: &Document) -> String {
    let mut text = match &document.cause {
        Some(cause) => {
            let seen = cause.evidence.first().map(|seen| format!(" ({seen})")).unwrap_or_default();
            format!("[{}] {}{seen}", cause.id, cause.title)
        }
        None => document.text.clone(),
    };
    let end = (0..=LONGEST_REASON.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    text.truncate(end);
    text
}
