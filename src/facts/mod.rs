//! The facts about this instance, as gather reads them. An unknown fact is a value too, with the reason.

pub mod saved_state;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::{Deserialize, Serializer};

pub use self::saved_state::SavedState;
use crate::boundary::aws::Cluster;
use crate::boundary::systemd::UnitState;
use crate::settings::Rank;

/// A fact, or why it is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact<T> {
    /// The fact.
    Known(T),
    /// Why the fact is unknown.
    Unknown(String),
}

impl<T> Fact<T> {
    /// The fact; `None` if it is unknown.
    pub fn get(&self) -> Option<&T> {
        match self {
            Fact::Known(value) => Some(value),
            Fact::Unknown(_) => None,
        }
    }

    /// The value as a fact, or the error as the reason why it is unknown.
    pub fn from_result<E: std::fmt::Display>(result: Result<T, E>) -> Fact<T> {
        match result {
            Ok(value) => Fact::Known(value),
            Err(error) => Fact::Unknown(error.to_string()),
        }
    }
}

impl<T: Serialize> Serialize for Fact<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Fact::Known(value) => value.serialize(serializer),
            Fact::Unknown(why) => BTreeMap::from([("unknown", why)]).serialize(serializer),
        }
    }
}

/// The used fields of the instance identity document (EC2 User Guide, "Instance identity documents").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(deserialize = "camelCase"))]
pub struct Instance {
    /// `i-...`.
    pub instance_id: String,
    /// `eu-west-1`, ...
    pub region: String,
    /// The account that the instance runs in.
    #[serde(default)]
    pub account_id: Option<String>,
    /// `m7g.large`, ...
    #[serde(default)]
    pub instance_type: String,
    /// The AMI, `ami-...`.
    #[serde(default)]
    pub image_id: Option<String>,
    /// When the instance was launched (started, for a stopped one), RFC 3339.
    #[serde(default)]
    pub pending_time: Option<String>,
}

impl Instance {
    /// Parses an identity document; a value with an invalid form is an error.
    pub fn read(document: &[u8]) -> serde_json::Result<Instance> {
        use serde::de::Error;
        let instance: Instance = serde_json::from_slice(document)?;
        let is_word = |text: &str, longest: usize| {
            (1..=longest).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        };
        let is_account = |account: &String| account.len() <= 20 && account.bytes().all(|byte| byte.is_ascii_digit());
        let is_image = |image: &String| is_word(image, 64);
        let is_time = |time: &String| humantime::parse_rfc3339(time).is_ok();
        let is_valid = is_word(&instance.instance_id, 64)
            && is_word(&instance.region, 64)
            && (instance.instance_type.is_empty() || is_word(&instance.instance_type, 64))
            && instance.account_id.as_ref().is_none_or(is_account);
        if !is_valid {
            return Err(serde_json::Error::custom("a value with an invalid form"));
        }
        Ok(Instance {
            pending_time: instance.pending_time.filter(is_time),
            image_id: instance.image_id.filter(is_image),
            ..instance
        })
    }

    /// The time from the launch to `now`; `None` if the launch time is unknown or in the future.
    pub fn age(&self, now: SystemTime) -> Option<Duration> {
        self.pending_time.as_deref().and_then(|launched| since(launched, now))
    }
}

/// The time from a launch (RFC 3339) to `now`; `None` if the launch time is invalid or in the future.
pub fn since(launched: &str, now: SystemTime) -> Option<Duration> {
    now.duration_since(humantime::parse_rfc3339(launched).ok()?).ok()
}

/// The place of tags that instance metadata has.
pub const IMDS_TAGS: &str = "IMDS";

/// Tags of the instance, with the place they were read from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InstanceTags {
    /// [`IMDS_TAGS`] or `ec2:DescribeTags`.
    pub place: &'static str,
    /// Key and value; from IMDS only the tags that are needed.
    pub tags: BTreeMap<String, String>,
}

/// One of the two `ecs.config` files.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConfigFile {
    /// The content; `None` if there is no file.
    pub bytes: Option<Vec<u8>>,
    /// When it was last written.
    pub modified: Option<SystemTime>,
}

impl std::fmt::Debug for ConfigFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The bytes can contain secrets.
        f.debug_struct("ConfigFile").field("length", &self.bytes.as_ref().map(Vec::len)).finish_non_exhaustive()
    }
}

/// The record of what earlier runs wrote to `ecs.config`: each key with the SHA-256 of its value, in hex.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteRecord {
    /// The version of the record's format.
    pub version: u32,
    /// The instance that wrote the record. It is another instance if this disk was made from an image.
    pub instance_id: String,
    /// Each key and the hash of its value.
    pub keys: BTreeMap<String, String>,
    /// Keys and hashes of the write before, until the current write is known to be complete.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub before: BTreeMap<String, String>,
    /// The source of the cluster, if it was the command line or the environment of one run, which cannot be read again.
    /// It stays in effect for this instance until another source overrides it.
    #[serde(rename = "cluster_said", default, skip_serializing_if = "Option::is_none")]
    pub cluster_source: Option<EarlierSource>,
    /// The value of `ECS_INSTANCE_ATTRIBUTES` before ecs-bootstrap merged attributes into it. It is not a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<String>,
}

/// A source of an earlier run that cannot be read again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierSource {
    #[serde(rename = "kind")]
    pub(crate) rank: Rank,
    /// The command line option or environment variable.
    pub key: String,
}

/// The saved state of an agent that has run on this disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SavedAgent {
    /// The saved values; unknown if the file cannot be read, `None` if it contains no value.
    pub state: Fact<Option<SavedState>>,
    /// Whether the file could be read, and its content is not a valid state.
    #[serde(skip)]
    pub is_damaged: bool,
    /// When it was last written.
    #[serde(skip)]
    pub modified: Option<SystemTime>,
}

/// The names of the agent's unit; the second one is that on SUSE.
pub const AGENT_UNITS: [&str; 2] = ["ecs.service", "amazon-ecs.service"];
/// In place of the name of the agent's unit if no unit starts the agent (`units.agent`).
pub const NO_UNIT: &str = "none";

/// The states of the three units that a start of the agent depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Units {
    /// `docker.service`.
    pub docker: UnitState,
    /// The unit of `units.agent`: by default `ecs.service`, or `amazon-ecs.service` (SUSE) if only that one is installed; with
    /// `none`, [`NO_UNIT`], which is not installed.
    pub agent: UnitState,
    /// `cloud-final.service`.
    pub cloud_final: UnitState,
    /// [`USER_DATA_TARGET`]; `None` if the agent's unit is not ordered after it.
    pub user_data_target: Option<UnitState>,
    /// [`AFTER_USER_DATA_UNIT`], if the agent's unit is ordered after the target.
    pub after_user_data: Option<UnitState>,
}

/// With early start, the agent's unit is ordered after this target instead of after `cloud-final.service`. The target's
/// job waits for `cloud-final.service`, and `run` cancels it if the agent need not wait.
pub const USER_DATA_TARGET: &str = "ecs-bootstrap-user-data.target";

/// With early start, it applies what user data did after the start of the agent.
pub const AFTER_USER_DATA_UNIT: &str = "ecs-bootstrap-after-user-data.service";

/// The agent's unit of early start, in `/etc/systemd/system`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EarlyUnit {
    /// There is none.
    Absent,
    /// It was made from the current unit of the agent's package.
    Current,
    /// It was made from another version of the unit with this path.
    Stale(String),
    /// It was made from the unit with this path, which does not exist any more.
    WithoutSource(String),
    /// It is current, but nothing starts the target that it waits for.
    WithoutTarget,
}

impl Units {
    /// Whether the units have an ordering cycle: Debian's cloud-final is after multi-user.target, an enabled unit of
    /// the agent is part of multi-user.target, and Amazon Linux's unit of the agent is after cloud-final.
    pub fn are_a_cycle(&self) -> bool {
        (self.user_data_target.is_some() || is_after(&self.agent, "cloud-final.service"))
            && is_after(&self.cloud_final, "multi-user.target")
            && self.agent.unit_file_state.as_deref() == Some("enabled")
    }

    /// Whether a start of the agent's unit waits while cloud-final.service runs.
    pub fn agent_waits_for_user_data(&self) -> bool {
        let is_held = self.user_data_target.as_ref().is_some_and(|target| target.job.is_some());
        is_held || is_after(&self.agent, "cloud-final.service")
    }
}

/// Whether a unit is ordered after another one.
pub fn is_after(unit: &UnitState, other: &str) -> bool {
    unit.after.iter().flatten().any(|name| name == other)
}

/// The host itself.
#[derive(Clone, Debug, Serialize)]
pub struct Host {
    /// The total memory in MiB.
    pub memory_mib: Fact<u64>,
    /// The boot id from the kernel.
    pub boot_id: Fact<String>,
    /// `/etc/ecs/ecs.config`.
    #[serde(skip)]
    pub etc_config: ConfigFile,
    /// `/var/lib/ecs/ecs.config`, which the AMI writes and `/etc/ecs/ecs.config` overrides.
    #[serde(skip)]
    pub var_config: ConfigFile,
    /// The record of what earlier runs wrote.
    pub written: WriteRecord,
    /// The agent's saved state; `None` if there is none.
    pub saved: Option<SavedAgent>,
    /// Whether cloud-init runs, according to its own files.
    pub user_data_runs: Fact<bool>,
    pub(crate) units: Fact<Units>,
    /// The agent's unit of early start.
    pub early_unit: Fact<EarlyUnit>,
    /// Whether the host has an NVIDIA device.
    pub gpu: Fact<bool>,
    /// Whether the host has a Neuron device.
    pub neuron: Fact<bool>,
}

/// Everything that decide needs besides the settings.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// The identity of the instance.
    pub instance: Fact<Instance>,
    /// `on-demand`, `spot`, ...; `None` if IMDS has no value.
    pub life_cycle: Fact<Option<String>>,
    /// The target lifecycle state (`InService`, `Warmed:Stopped`, ...); `None` outside of an Auto Scaling group.
    pub target_state: Fact<Option<String>>,
    pub(crate) tags: Fact<InstanceTags>,
    /// Why a source that might have named the cluster could not be read.
    pub unread: Option<String>,
    /// Why the credentials that `registry.auth` names could not be read.
    pub registry_auth_error: Option<String>,
    /// Whether user data mentions the agent's configuration, so that it may write variables of the agent. Examined only
    /// with `units.early`.
    pub user_data_mentions_agent: bool,
    /// The clusters of this account and region; `None` if no setting needs them.
    pub clusters: Option<Vec<Cluster>>,
    pub(crate) host: Host,
}

/// Why a cluster does not match: missing tags, or its status. Empty if it matches.
pub fn mismatches(cluster: &Cluster, wanted: &BTreeMap<String, String>) -> Vec<String> {
    let missing = wanted.iter().filter(|(key, value)| cluster.tags.get(*key) != Some(value));
    let inactive = (cluster.status != "ACTIVE").then(|| format!("status {}", cluster.status));
    missing.map(|(key, value)| format!("no tag {key}={value}")).chain(inactive).collect()
}

/// Whether user data can still write `ecs.config`: cloud-final runs or is queued.
pub fn user_data_may_run(cloud_final: &UnitState) -> bool {
    match cloud_final.active_state.as_deref() {
        Some("activating" | "reloading") => true,
        Some("inactive") => cloud_final.job.is_some(),
        _ => false,
    }
}
