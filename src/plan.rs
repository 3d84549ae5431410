//! The desired state: the cluster, the content of `ecs.config`, the actions on the units, and what verify expects.
//!
//! Plain data, made by `decide`, printed by `render`, carried out by `apply`. [`EcsConfig::new`] and
//! [`PlannedKey::value`] can contain secrets. They are never serialized, and `render` redacts them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::agent_variables;
use crate::ecs_config::EditRefusal;
use crate::facts::{NO_UNIT, WriteRecord};
use crate::followed_tags::FollowRules;
use crate::images::WantedImages;
use crate::redaction;
use crate::settings::{
    AtDeadline, Daemons, DrainTrigger, Rank, ReadyAttributes, Settings, Source, Sourced, Switch, Warning,
};

/// The agent's configuration file, the only one that ecs-bootstrap writes.
pub const ECS_CONFIG: &str = "/etc/ecs/ecs.config";
/// The agent's other configuration file: the AMI writes it, `/etc/ecs/ecs.config` overrides it.
pub const VENDOR_ECS_CONFIG: &str = "/var/lib/ecs/ecs.config";

/// The agent's own configuration file, with the lowest precedence (`agent/config/config.go`).
pub const AGENT_JSON: &str = "/etc/ecs/ecs.config.json";
/// The record of what earlier runs wrote to `/etc/ecs/ecs.config`.
pub const WRITTEN: &str = "/var/lib/ecs-bootstrap/written.json";
/// The folder for files that hold for one boot. Only ecs-bootstrap writes in it.
pub const RUN_FOLDER: &str = "/run/ecs-bootstrap";

/// Everything that apply is allowed to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The cluster; `None` while user data can still name one.
    pub cluster: Option<Sourced<String>>,
    pub(crate) ecs_config: EcsConfig,
    /// The units in the order in which apply acts on them.
    pub units: Vec<UnitPlan>,
    /// Units to enable for the next boot.
    pub enable: Vec<String>,
    /// Whether the agent may start before user data has ended; `None` without early start.
    pub early: Option<EarlyStart>,
    pub(crate) expectation: Expectation,
    /// Settings and lines that are valid but probably not intended.
    pub warnings: Vec<Warning>,
}

/// The change to `/etc/ecs/ecs.config`.
#[derive(Clone)]
pub struct EcsConfig {
    /// The current content; `None` if there is no file.
    pub old: Option<Vec<u8>>,
    /// The content to write. It can contain secrets.
    pub new: Vec<u8>,
    /// The keys that the plan sets.
    pub keys: Vec<PlannedKey>,
    /// Keys that an earlier run wrote and that no setting asks for any more.
    pub removed: Vec<String>,
    /// The record of written keys to store with the file.
    pub written: WriteRecord,
}

impl std::fmt::Debug for EcsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys: Vec<_> = self.keys.iter().map(|key| &key.key).collect();
        f.debug_struct("EcsConfig").field("keys", &keys).field("removed", &self.removed).finish_non_exhaustive()
    }
}

impl EcsConfig {
    /// Whether the file must be written.
    pub fn changed(&self) -> bool {
        self.old.as_deref().unwrap_or_default() != self.new
    }
}

/// A key of `ecs.config` that the plan sets.
#[derive(Clone)]
pub struct PlannedKey {
    pub(crate) key: String,
    /// The value, which can be a secret.
    pub value: String,
    /// The setting or fact that the value comes from.
    pub source: Source,
}

/// The keys of a plan, stored so that guard can apply them again at every start of the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// In the order of the plan.
    pub keys: Vec<RecordedKey>,
}

/// One key of a recorded plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedKey {
    pub(crate) key: String,
    /// The value; `None` for a secret, which is stored in `ecs.config` only.
    pub value: Option<String>,
    /// SHA-256 of the value, in hex.
    pub hash: String,
    /// The rank of the source.
    #[serde(rename = "kind")]
    pub rank: Rank,
    /// The source as text, for messages.
    pub source: String,
}

/// What apply does with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Start the unit.
    Start,
    /// Restart the unit, because it runs with another configuration.
    Restart,
    /// Leave the unit as it is.
    Leave,
    /// Undecided: systemd could not be asked for the state of the unit.
    Unknown,
}

/// A unit and what apply does with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnitPlan {
    pub(crate) unit: String,
    pub(crate) action: Action,
    /// The reason for the action.
    pub why: String,
}

/// Whether the agent may start before user data has ended (`units.early`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EarlyStart {
    /// Whether it may.
    pub starts: bool,
    /// Whether apply must cancel the job of the target that the agent's unit waits for. It has no job if an earlier run
    /// canceled it, or if user data has ended.
    #[serde(skip)]
    pub release: bool,
    /// The reason.
    pub why: String,
}

/// What verify waits for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Expectation {
    /// The cluster by name or ARN; `None` while it is undecided.
    pub cluster: Option<String>,
    pub(crate) instance_id: Option<String>,
    pub(crate) region: Option<String>,
    #[serde(default)]
    pub(crate) account: Option<String>,
    /// When the instance was launched, RFC 3339.
    pub pending_time: Option<String>,
    /// The type of the instance, a dimension of the metric.
    #[serde(default)]
    pub(crate) instance_type: Option<String>,
    /// The AMI of the instance, a dimension of the metric.
    #[serde(default)]
    pub(crate) image_id: Option<String>,
    /// Whether the instance enters a warm pool before it goes into service; `None` if that is not known.
    #[serde(default)]
    pub(crate) enters_warm_pool: Option<bool>,
    /// The name of the agent's unit.
    pub agent_unit: String,
    /// The attributes that the container instance must have.
    pub attributes: BTreeMap<String, String>,
    /// How long verify waits for the registration (`verify.deadline`).
    pub deadline: Duration,
    /// How long a registered agent can be disconnected before that is a fault (`verify.window`).
    pub window: Duration,
    /// Whether a later line of `ecs.config` changes the expected cluster, because no source above the file names one.
    #[serde(default)]
    pub follows_file: bool,
    /// Why a source that might have named the cluster could not be read.
    #[serde(default)]
    pub unread: Option<String>,
    /// Why the credentials that `registry.auth` names could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry_auth_error: Option<String>,
    /// What must be true before the instance takes tasks; `None` if the registration is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<ReadyConditions>,
    /// The task definitions of which a task is started when the instance is ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub start_tasks: Vec<String>,
    /// The tags that attributes follow; `None` if that is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow: Option<FollowRules>,
    /// What `watch` observes after the verification; `None` if it is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<WatchRules>,
    /// When and how the container instance is drained; `None` if it never is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainRules>,
    /// The signal targets outside of this host.
    #[serde(default)]
    pub signal: SignalTargets,
}

/// When and how the container instance is drained (`drain.*`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainRules {
    /// Why it is drained. Not empty.
    pub on: BTreeSet<DrainTrigger>,
    /// How long to wait for the end of its tasks.
    pub deadline: Duration,
    /// The name of the terminating hook, if the group has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<String>,
}

impl DrainRules {
    /// The rules, if the settings name a trigger.
    pub fn of(settings: &Settings) -> Option<DrainRules> {
        let drain = &settings.drain;
        let (on, deadline, hook) = (drain.on.value.clone(), drain.deadline.value, drain.hook.value.clone());
        (!on.is_empty()).then_some(DrainRules { on, deadline, hook })
    }
}

/// How the agent is watched after the verification (`watch.*`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchRules {
    /// How long a fault must last before it is reported.
    pub window: Duration,
    /// Whether an agent that is stuck is restarted, once in each boot.
    pub restarts_agent: bool,
}

impl WatchRules {
    /// The rules, if the settings turn the watch on.
    pub fn of(settings: &Settings) -> Option<WatchRules> {
        let watch = &settings.watch;
        // Nothing can restart an agent without a unit.
        let restarts_agent = watch.restart_agent.value && settings.units_agent.value != NO_UNIT;
        watch.enable.value.then_some(WatchRules { window: watch.window.value, restarts_agent })
    }
}

impl Expectation {
    /// The conditions, if daemons are among them.
    pub fn waits_for_daemons(&self) -> Option<&ReadyConditions> {
        self.ready.as_ref().filter(|ready| ready.daemons != Daemons::None)
    }

    /// The conditions, if images are among them.
    pub fn waits_for_images(&self) -> Option<&ReadyConditions> {
        self.ready.as_ref().filter(|ready| !ready.images.is_empty())
    }

    /// The conditions, if attributes are among them.
    pub fn waits_for_attributes(&self) -> Option<&ReadyConditions> {
        self.ready.as_ref().filter(|ready| !ready.attributes.is_empty())
    }
}

/// What must be true before the instance takes tasks, besides its registration (`ready.*`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyConditions {
    /// The daemon services whose tasks must run.
    pub daemons: Daemons,
    /// The attributes that the container instance must have.
    #[serde(default, skip_serializing_if = "ReadyAttributes::is_empty")]
    pub attributes: ReadyAttributes,
    /// The images that docker must have.
    #[serde(default, skip_serializing_if = "WantedImages::is_empty")]
    pub images: WantedImages,
    /// How many GPUs must be registered at least, beside one for each device of the host (`attributes.auto`); `None` if GPUs
    /// are not expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_gpus: Option<usize>,
    /// How long to wait for them after the registration.
    pub deadline: Duration,
    /// What happens after that.
    pub at_deadline: AtDeadline,
}

impl ReadyConditions {
    /// The names of the daemon services; `None` for all that place a task on this instance.
    pub fn named(&self) -> Option<&[String]> {
        match &self.daemons {
            Daemons::Named(names) => Some(names),
            Daemons::All | Daemons::None => None,
        }
    }

    /// Whether the instance is ready after the deadline although a daemon does not run, or an attribute or an image is missing.
    pub fn allows_after_deadline(&self) -> bool {
        self.at_deadline == AtDeadline::Allow
    }

    /// The conditions that the settings `ready.*` turn on.
    pub fn of(settings: &Settings) -> Option<ReadyConditions> {
        let ready = &settings.ready;
        let images = WantedImages {
            named: ready.images.value.clone(),
            of_services: ready.images_of_services.value.clone(),
            holds_registration: ready.hold_registration.value,
        };
        let is_on = ready.daemons.value != Daemons::None || !ready.attributes.value.is_empty() || !images.is_empty();
        is_on.then(|| ReadyConditions {
            daemons: ready.daemons.value.clone(),
            attributes: ready.attributes.value.clone(),
            images,
            min_gpus: match settings.derive.gpu.value {
                Switch::Off => None,
                switch => ready.attributes.value.auto.then_some(usize::from(switch == Switch::On)),
            },
            deadline: ready.deadline.value,
            at_deadline: ready.at_deadline.value,
        })
    }
}

/// The signal targets: where the verdict is sent outside of this host.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalTargets {
    /// Whether to signal the CloudFormation stack that created this instance or its group.
    pub cloudformation: bool,
    /// The stack's name or id; overrides the instance's tag `aws:cloudformation:stack-name`.
    pub stack: Option<String>,
    /// The resource's logical id; overrides the instance's tag `aws:cloudformation:logical-id`.
    pub resource: Option<String>,
    /// The URL of a wait condition. Anyone with the URL can signal, so it is stored in a file that only root can read
    /// and appears in no output.
    pub wait_url: Option<String>,
    /// Whether to complete the launch hook of the Auto Scaling group.
    pub lifecycle: bool,
    /// The name of the launch hook, if the group has several.
    pub hook: Option<String>,
    /// The prefix of the instance tags that record the verdict; `None` if no tag is written.
    #[serde(default)]
    pub tags_prefix: Option<String>,
    /// Whether to report a failed instance to the group as unhealthy.
    #[serde(default)]
    pub unhealthy: bool,
    /// Whether to store the time from launch to ready as a metric.
    #[serde(default)]
    pub cloudwatch: bool,
}

impl SignalTargets {
    /// The targets that the settings `signal.*` turn on.
    pub fn of(settings: &Settings) -> SignalTargets {
        let signal = &settings.signal;
        SignalTargets {
            cloudformation: signal.cloudformation.value,
            stack: signal.stack.value.clone(),
            resource: signal.resource.value.clone(),
            wait_url: signal.wait_url.value.as_ref().map(|url| url.expose().to_owned()),
            lifecycle: signal.lifecycle.value,
            hook: signal.hook.value.clone(),
            tags_prefix: signal.instance_tags.value.then(|| settings.tags_prefix.value.clone()),
            unhealthy: signal.unhealthy.value,
            cloudwatch: signal.cloudwatch.value,
        }
    }

    /// Whether no target is turned on.
    pub fn is_off(&self) -> bool {
        let is_group_signaled = self.lifecycle || self.unhealthy;
        let is_stack_signaled = self.cloudformation || self.wait_url.is_some();
        !is_stack_signaled && !is_group_signaled && self.tags_prefix.is_none() && !self.cloudwatch
    }
}

impl std::fmt::Debug for SignalTargets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let wait_url = self.wait_url.as_ref().map(|_| "<redacted>");
        f.debug_struct("Signal")
            .field("cloudformation", &self.cloudformation)
            .field("lifecycle", &self.lifecycle)
            .field("wait_url", &wait_url)
            .finish_non_exhaustive()
    }
}

/// The name of a cluster, given by name or ARN.
pub fn cluster_name(cluster: &str) -> &str {
    if cluster.starts_with("arn:") { cluster.rsplit('/').next().unwrap_or(cluster) } else { cluster }
}

/// Region and account of an ARN.
pub(crate) fn region_and_account(arn: &str) -> Option<(&str, &str)> {
    let mut parts = arn.strip_prefix("arn:")?.split(':').skip(2);
    Some((parts.next()?, parts.next()?))
}

/// A note for an error message if the value contains a second setting, otherwise an empty string. The usual reason is a
/// script that appended to a file without a line break at its end.
pub(crate) fn glued_note(value: &str) -> &'static str {
    let has_variable =
        || agent_variables::ALL.iter().any(|known| value.contains(known.name) && known.name.contains('_'));
    if value.contains('=') || has_variable() { ": two settings are on one line" } else { "" }
}

/// Why decide makes no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No source names a cluster.
    #[error("no source names a cluster")]
    NoCluster {
        /// Each source that was read, and why it names no cluster.
        evidence_lines: Vec<String>,
    },
    /// A line of `ecs.config` that ecs-bootstrap did not write has a value that is not a valid cluster.
    #[error("`{}` is not a valid cluster name{}", redaction::cluster(.value), glued_note(.value))]
    ClusterInvalid {
        /// The invalid value.
        value: String,
        /// The source of the value.
        source_of: Source,
    },
    /// No ACTIVE cluster has all the wanted tags.
    #[error("no ACTIVE cluster has the tags {wanted}")]
    NoClusterMatches {
        /// The wanted tags, `k=v,k2=v2`.
        wanted: String,
        /// Each candidate and why it does not match.
        candidates: Vec<String>,
    },
    /// Several ACTIVE clusters have all the wanted tags.
    #[error("{} ACTIVE clusters have the tags {wanted}", .names.len())]
    SeveralClustersMatch {
        /// The wanted tags, `k=v,k2=v2`.
        wanted: String,
        /// The names of the matching clusters.
        names: Vec<String>,
    },
    /// The agent is that of an external instance: the host is not an EC2 instance, or its agent is configured so.
    #[error("the agent is set up for ECS Anywhere, which is out of scope")]
    External {
        /// Where `ECS_EXTERNAL` is set.
        seen: String,
    },
    /// No edit of `ecs.config` has the same effect for ecs-init and for systemd, which both read it.
    #[error("`/etc/ecs/ecs.config` cannot be edited safely: {0}")]
    Edit(EditRefusal),
}
