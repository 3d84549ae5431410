//! What shall be: the cluster, the text of `ecs.config`, what happens to the units, and what verify expects.
//!
//! Plain data, made by `decide`, printed by `report`, carried out by `apply`. It may hold secrets in
//! [`EcsConfig::new`] and [`PlannedKey::value`], which therefore are never serialized; `report` redacts them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ecs_config::EditRefusal;
use crate::facts::Written;
use crate::redaction;
use crate::settings::{Rank, Settings, Source, Sourced, Warning, agent_variables};

/// The agent's configuration file, the only one that we write.
pub const ECS_CONFIG: &str = "/etc/ecs/ecs.config";
/// The agent's other configuration file: the AMI writes it, `/etc/ecs/ecs.config` overrides it.
pub const VENDOR_ECS_CONFIG: &str = "/var/lib/ecs/ecs.config";

/// The agent's own configuration file, of the lowest rank (`agent/config/config.go`).
pub const AGENT_JSON: &str = "/etc/ecs/ecs.config.json";
/// What an earlier run wrote to the former.
pub const WRITTEN: &str = "/var/lib/ecs-bootstrap/written.json";

/// Everything that apply may do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The cluster; `None` while user data may still name one.
    pub cluster: Option<Sourced<String>>,
    /// The configuration file.
    pub ecs_config: EcsConfig,
    /// What happens to the units, in this order.
    pub units: Vec<UnitPlan>,
    /// Units that are enabled for the next boot.
    pub enable: Vec<String>,
    /// What verify waits for.
    pub expectation: Expectation,
    /// What works, but may not be meant.
    pub warnings: Vec<Warning>,
}

/// The new `/etc/ecs/ecs.config`.
#[derive(Clone)]
pub struct EcsConfig {
    /// What is there; `None` when there is no file.
    pub old: Option<Vec<u8>>,
    /// What shall be there.
    pub new: Vec<u8>,
    /// The keys that the plan decides.
    pub keys: Vec<PlannedKey>,
    /// Keys that an earlier run wrote and nobody asks for any more.
    pub removed: Vec<String>,
    /// What is remembered as ours once the file is written.
    pub written: Written,
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

/// A key of `ecs.config` that the plan decides.
#[derive(Clone)]
pub struct PlannedKey {
    /// Its name.
    pub key: String,
    /// Its value, which may be a secret.
    pub value: String,
    /// Who says so.
    pub source: Source,
}

/// The keys of a plan as guard applies them again, at every start of the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// In the order of the plan.
    pub keys: Vec<RecordedKey>,
}

/// One key of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedKey {
    /// Its name.
    pub key: String,
    /// Its value; `None` for a secret, whose text lies in `ecs.config` and nowhere else.
    pub value: Option<String>,
    /// The hash of its value.
    pub hash: String,
    /// The rank of who says so.
    #[serde(rename = "kind")]
    pub rank: Rank,
    /// Who that is, in words.
    pub source: String,
}

/// What happens to a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It is started.
    Start,
    /// It is restarted, since it runs with another configuration.
    Restart,
    /// Nothing.
    Leave,
    /// systemd could not be asked.
    Unknown,
}

/// A unit and what happens to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnitPlan {
    /// Its name.
    pub unit: String,
    /// What is done.
    pub action: Action,
    /// Why.
    pub why: String,
}

/// What verify waits for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Expectation {
    /// The cluster by name or ARN; `None` while it is undecided.
    pub cluster: Option<String>,
    /// This instance.
    pub instance_id: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// Its account.
    #[serde(default)]
    pub account: Option<String>,
    /// When it was launched, RFC 3339.
    pub pending_time: Option<String>,
    /// The agent's unit.
    pub agent_unit: String,
    /// The attributes that the container instance shall carry.
    pub attributes: BTreeMap<String, String>,
    /// How long the registration is waited for.
    pub deadline: Duration,
    /// For how long a registered agent may be disconnected before that counts.
    pub window: Duration,
    /// Whether the cluster is whatever `ecs.config` comes to name, since nothing above the file names one.
    #[serde(default)]
    pub follows_file: bool,
    /// Why a source could not be read that may have named the cluster.
    #[serde(default)]
    pub unread: Option<String>,
    /// Whom the verdict is told outside this host.
    #[serde(default)]
    pub signal: Signal,
}

/// Whom the verdict is told outside this host.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// The stack that made this instance or its group.
    pub cloudformation: bool,
    /// Its name or id, where its tag shall not say it.
    pub stack: Option<String>,
    /// The resource's logical id, where its tag shall not say it.
    pub resource: Option<String>,
    /// The URL of a wait condition. It stands in the file that only root reads, and in no output.
    pub wait_url: Option<String>,
    /// The launch hook of the group.
    pub lifecycle: bool,
    /// Its name, where the group has several.
    pub hook: Option<String>,
    /// The tags of the instance, by the prefix of ours.
    #[serde(default)]
    pub tags_prefix: Option<String>,
    /// The group, that this instance is not healthy.
    #[serde(default)]
    pub unhealthy: bool,
}

impl Signal {
    /// What the settings say.
    pub fn of(settings: &Settings) -> Signal {
        let signal = &settings.signal;
        Signal {
            cloudformation: signal.cloudformation.value,
            stack: signal.stack.value.clone(),
            resource: signal.resource.value.clone(),
            wait_url: signal.wait_url.value.as_ref().map(|url| url.expose().to_owned()),
            lifecycle: signal.lifecycle.value,
            hook: signal.hook.value.clone(),
            tags_prefix: signal.instance_tags.value.then(|| settings.tags_prefix.value.clone()),
            unhealthy: signal.unhealthy.value,
        }
    }

    /// Whether nobody is told.
    pub fn is_off(&self) -> bool {
        let of_group = self.lifecycle || self.unhealthy;
        !self.cloudformation && !of_group && self.wait_url.is_none() && self.tags_prefix.is_none()
    }
}

impl std::fmt::Debug for Signal {
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
    match cluster.starts_with("arn:") {
        true => cluster.rsplit('/').next().unwrap_or(cluster),
        false => cluster,
    }
}

/// What is said of the value of a setting that holds a second one: somebody has appended to a file without a line break
/// at its end.
pub(crate) fn glued_note(value: &str) -> &'static str {
    let has_variable =
        || agent_variables::ALL.iter().any(|known| value.contains(known.name) && known.name.contains('_'));
    match value.contains('=') || has_variable() {
        true => ": two settings stand on one line",
        false => "",
    }
}

/// What decide will not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No source names a cluster.
    #[error("nothing names a cluster")]
    NoCluster {
        /// Where one was looked for, and what was there.
        evidence_lines: Vec<String>,
    },
    /// A foreign `ecs.config` names what cannot be a cluster.
    #[error("`{}` cannot be the name of a cluster{}", redaction::cluster(.value), glued_note(.value))]
    ClusterInvalid {
        /// The value.
        value: String,
        /// Who says it.
        source_of: Source,
    },
    /// No ACTIVE cluster carries all the wanted tags.
    #[error("no ACTIVE cluster carries the tags {wanted}")]
    NoClusterMatches {
        /// The wanted tags, `k=v,k2=v2`.
        wanted: String,
        /// Each candidate and what it lacks.
        candidates: Vec<String>,
    },
    /// Several ACTIVE clusters carry all the wanted tags.
    #[error("{} ACTIVE clusters carry the tags {wanted}", .names.len())]
    SeveralClustersMatch {
        /// The wanted tags, `k=v,k2=v2`.
        wanted: String,
        /// Their names.
        names: Vec<String>,
    },
    /// `ecs.config` cannot be edited so that both its readers see the same.
    #[error("`/etc/ecs/ecs.config` cannot be edited safely: {0}")]
    Edit(EditRefusal),
}
