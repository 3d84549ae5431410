//! What is true of this instance, gathered and not judged; unknown is a value with a reason.

pub mod saved_state;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::{Deserialize, Serializer};

pub use self::saved_state::SavedState;
use crate::boundary::aws::Cluster;
use crate::boundary::systemd::UnitState;
use crate::settings::Rank;

/// A fact, or why it is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known<T> {
    /// The fact.
    Yes(T),
    /// Why there is none.
    Unknown(String),
}

impl<T> Known<T> {
    /// The fact, where it is known.
    pub fn get(&self) -> Option<&T> {
        match self {
            Known::Yes(value) => Some(value),
            Known::Unknown(_) => None,
        }
    }

    /// Known, or the error as the reason.
    pub fn from_result<E: std::fmt::Display>(result: Result<T, E>) -> Known<T> {
        match result {
            Ok(value) => Known::Yes(value),
            Err(error) => Known::Unknown(error.to_string()),
        }
    }
}

impl<T: Serialize> Serialize for Known<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Known::Yes(value) => value.serialize(serializer),
            Known::Unknown(why) => BTreeMap::from([("unknown", why)]).serialize(serializer),
        }
    }
}

/// The instance identity document (EC2 User Guide, "Instance identity documents"), as far as it is used.
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
    /// When the instance was launched (started, for a stopped one), RFC 3339.
    #[serde(default)]
    pub pending_time: Option<String>,
}

impl Instance {
    /// The instance of an identity document; an error also where a value cannot be what it is named after.
    pub fn read(document: &[u8]) -> serde_json::Result<Instance> {
        use serde::de::Error;
        let instance: Instance = serde_json::from_slice(document)?;
        let is_word = |text: &str, longest: usize| {
            (1..=longest).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        };
        let is_account = |account: &String| account.len() <= 20 && account.bytes().all(|byte| byte.is_ascii_digit());
        let is_time = |time: &String| humantime::parse_rfc3339(time).is_ok();
        let is_one = is_word(&instance.instance_id, 64)
            && is_word(&instance.region, 64)
            && (instance.instance_type.is_empty() || is_word(&instance.instance_type, 64))
            && instance.account_id.as_ref().is_none_or(is_account);
        match is_one {
            true => Ok(Instance { pending_time: instance.pending_time.filter(is_time), ..instance }),
            false => Err(serde_json::Error::custom("a value that cannot be one of this instance")),
        }
    }

    /// How long before `now` the instance was launched; `None` without a readable launch time or with a later one.
    pub fn age(&self, now: SystemTime) -> Option<Duration> {
        self.pending_time.as_deref().and_then(|launched| since(launched, now))
    }
}

/// The time from a launch (RFC 3339) to `now`.
pub fn since(launched: &str, now: SystemTime) -> Option<Duration> {
    now.duration_since(humantime::parse_rfc3339(launched).ok()?).ok()
}

/// Tags of the instance, with the place they were read from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InstanceTags {
    /// `IMDS` or `ec2:DescribeTags`.
    pub place: &'static str,
    /// Key and value; from IMDS only those that were asked for.
    pub tags: BTreeMap<String, String>,
}

/// One of the two `ecs.config` files.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConfigFile {
    /// Byte for byte; `None` when there is no file.
    pub bytes: Option<Vec<u8>>,
    /// When it was last written.
    pub modified: Option<SystemTime>,
}

impl std::fmt::Debug for ConfigFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The bytes may hold secrets.
        f.debug_struct("ConfigFile").field("length", &self.bytes.as_ref().map(Vec::len)).finish_non_exhaustive()
    }
}

/// What an earlier run wrote to `ecs.config`: key and SHA-256 of the value, in hex.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The version of this document.
    pub version: u32,
    /// The instance that wrote it; another one when an image was made of it.
    pub instance_id: String,
    /// Key and hash of its value.
    pub keys: BTreeMap<String, String>,
    /// The same of the write before, while it is not known that this one took place.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub before: BTreeMap<String, String>,
    /// Who said the cluster, where that cannot be asked again: the command line or the environment of one run. It counts
    /// for this instance until it is said otherwise.
    #[serde(rename = "cluster_said", default, skip_serializing_if = "Option::is_none")]
    pub cluster_source: Option<EarlierSource>,
    /// `ECS_INSTANCE_ATTRIBUTES` as somebody else had it where ours, which holds it too, stands now. It is no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<String>,
}

/// A source that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierSource {
    /// Its rank.
    #[serde(rename = "kind")]
    pub rank: Rank,
    /// The option or variable.
    pub key: String,
}

/// The saved state of an agent that has run on this disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SavedAgent {
    /// What it holds; unknown when it cannot be read.
    pub state: Known<Option<SavedState>>,
    /// When it was last written.
    #[serde(skip)]
    pub modified: Option<SystemTime>,
}

/// The units that matter. systemd out of reach makes the whole of it unknown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Units {
    /// `docker.service`.
    pub docker: UnitState,
    /// `ecs.service`, or `amazon-ecs.service` where that is the one installed.
    pub agent: UnitState,
    /// `cloud-final.service`.
    pub cloud_final: UnitState,
}

impl Units {
    /// Whether the order of the units has no solution: Debian's own cloud-final comes after multi-user.target, which an
    /// enabled unit of the agent belongs to, and Amazon Linux's unit of the agent comes after cloud-final.
    pub fn are_a_cycle(&self) -> bool {
        let is_after = |unit: &UnitState, other| unit.after.iter().flatten().any(|name| name == other);
        is_after(&self.agent, "cloud-final.service")
            && is_after(&self.cloud_final, "multi-user.target")
            && self.agent.unit_file_state.as_deref() == Some("enabled")
    }
}

/// The host itself.
#[derive(Clone, Debug, Serialize)]
pub struct Host {
    /// All memory, in MiB.
    pub memory_mib: Known<u64>,
    /// The kernel's id of this boot.
    pub boot_id: Known<String>,
    /// `/etc/ecs/ecs.config`.
    #[serde(skip)]
    pub etc_config: ConfigFile,
    /// `/var/lib/ecs/ecs.config`, which the AMI writes and the other one overrides.
    #[serde(skip)]
    pub var_config: ConfigFile,
    /// What we wrote before.
    pub written: Written,
    /// The agent's saved state; `None` when no agent has saved any.
    pub saved: Option<SavedAgent>,
    /// Whether cloud-init says that it is at work.
    pub user_data_runs: Known<bool>,
    /// docker's, the agent's and cloud-init's units.
    pub units: Known<Units>,
    /// Whether an NVIDIA device is there.
    pub gpu: Known<bool>,
    /// Whether a Neuron device is there.
    pub neuron: Known<bool>,
}

/// Everything that decide needs besides the settings.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// Who this instance is.
    pub instance: Known<Instance>,
    /// `on-demand`, `spot`, ...; `None` when IMDS has none.
    pub life_cycle: Known<Option<String>>,
    /// Where Auto Scaling wants the instance (`InService`, `Warmed:Stopped`, ...); `None` outside a group.
    pub target_state: Known<Option<String>>,
    /// Tags of the instance.
    pub tags: Known<InstanceTags>,
    /// Why a source could not be read that may have named the cluster.
    pub unread: Option<String>,
    /// The clusters of this account and region, where a setting asked for them.
    pub clusters: Option<Vec<Cluster>>,
    /// The host.
    pub host: Host,
}

/// What keeps a cluster from being the wanted one: tags that it does not carry, or its status. Empty for a match.
pub fn mismatches(cluster: &Cluster, wanted: &BTreeMap<String, String>) -> Vec<String> {
    let missing = wanted.iter().filter(|(key, value)| cluster.tags.get(*key) != Some(value));
    let inactive = (cluster.status != "ACTIVE").then(|| format!("it is {}", cluster.status));
    missing.map(|(key, value)| format!("{key}={value}")).chain(inactive).collect()
}

/// Whether user data may still write the agent's file: cloud-final is running or queued.
pub fn user_data_may_run(cloud_final: &UnitState) -> bool {
    match cloud_final.active_state.as_deref() {
        Some("activating" | "reloading") => true,
        Some("inactive") => cloud_final.job.is_some(),
        _ => false,
    }
}
