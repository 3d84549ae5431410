//! What people asked for: fragments as written, merged by rank, validated.
//!
//! [`fragment`] turns text (TOML, environment, command line, tags) into entries, [`merge`] applies them low to high,
//! and [`schema`] is the one table of settings that both read. Nothing here reads a file or the environment.

mod document;
pub mod fragment;
pub mod merge;
pub mod precedence;
pub mod schema;
mod secret;
mod source;
pub mod user_data;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

pub use precedence::Rank;
pub use secret::Secret;
pub use source::{EARLIER, Source, Sourced};

/// On, off, or whatever the facts of the host suggest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Switch {
    /// Always.
    On,
    /// Never.
    Off,
    /// As the facts suggest.
    Auto,
}

/// Whether `ec2:DescribeTags` may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TagsApi {
    /// When IMDS has no tags and nothing of a higher rank names the cluster.
    Auto,
    /// Never.
    Never,
}

/// How far tags are trusted. Whoever has `ec2:CreateTags` can write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TagsSettings {
    /// Not at all.
    None,
    /// They may say which cluster, and nothing else.
    Cluster,
    /// They may say which cluster, and agent settings of the allow-list.
    All,
}

/// Whether tags may choose the cluster. Anyone with `ec2:CreateTags` can write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TagsCluster {
    /// By their rank: over `ecs.config` and the settings files.
    Any,
    /// Only where nothing else names one.
    Fallback,
    /// Never.
    Never,
}

/// Memory kept from tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReservedMemory {
    /// Nothing is reserved.
    Off,
    /// A share of the host's memory.
    Auto,
    /// This much, in MiB.
    #[serde(rename = "mib")]
    Mib(u16),
}

/// What is derived from facts where nobody says otherwise.
#[derive(Clone, Debug, Serialize)]
pub struct Derive {
    /// `ECS_ENABLE_SPOT_INSTANCE_DRAINING`.
    pub spot: Sourced<Switch>,
    /// `ECS_ENABLE_GPU_SUPPORT`.
    pub gpu: Sourced<Switch>,
    /// `ECS_ENABLE_INF_SUPPORT`.
    pub neuron: Sourced<Switch>,
    /// `ECS_WARM_POOLS_CHECK`.
    pub warm_pool: Sourced<Switch>,
    /// `ECS_RESERVED_MEMORY`.
    pub reserved_memory: Sourced<ReservedMemory>,
    /// `ECS_CONTAINER_INSTANCE_PROPAGATE_TAGS_FROM`.
    pub propagate_tags: Sourced<Switch>,
    /// Instance tags that become instance attributes.
    pub attributes: Sourced<Vec<String>>,
}

/// Whom a verdict is told outside this host; nobody unless somebody says so.
#[derive(Clone, Debug, Serialize)]
pub struct Signal {
    /// `SignalResource` for the stack that made this instance or its group.
    pub cloudformation: Sourced<bool>,
    /// The stack, where its tag shall not say it.
    pub stack: Sourced<Option<String>>,
    /// The logical id of the resource with the CreationPolicy, where its tag shall not say it.
    pub resource: Sourced<Option<String>>,
    /// The presigned URL of a wait condition. Whoever has it can signal.
    #[serde(skip)]
    pub wait_url: Sourced<Option<Secret>>,
    /// Heartbeats and the end of the group's launch hook.
    pub lifecycle: Sourced<bool>,
    /// The hook, where the group has several.
    pub hook: Sourced<Option<String>>,
    /// Tags on the instance with the verdict and its cause.
    pub instance_tags: Sourced<bool>,
    /// `SetInstanceHealth`, for a fault of this host.
    pub unhealthy: Sourced<bool>,
}

/// All settings, merged; every value knows its source.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// The cluster by name or ARN, where somebody names one.
    pub cluster: Option<Sourced<String>>,
    /// The tags that the wanted cluster carries; empty when nobody chooses by tags.
    pub cluster_tags: Sourced<BTreeMap<String, String>>,
    /// How long IMDS is asked.
    pub imds_deadline: Sourced<Duration>,
    /// What the keys of our tags begin with.
    pub tags_prefix: Sourced<String>,
    /// How long an absent tag is waited for (`ec2:DescribeTags` is eventually consistent).
    pub tags_wait: Sourced<Duration>,
    /// Whether `ec2:DescribeTags` may be called.
    pub tags_api: Sourced<TagsApi>,
    /// How far tags are trusted.
    pub tags_settings: Sourced<TagsSettings>,
    /// Whether they may choose the cluster.
    pub tags_cluster: Sourced<TagsCluster>,
    /// How long gather, decide and apply may take together.
    pub run_deadline: Sourced<Duration>,
    /// How long verify waits for the registration.
    pub verify_deadline: Sourced<Duration>,
    /// For how long the agent must stay disconnected to be called so.
    pub verify_window: Sourced<Duration>,
    /// Whether docker's and the agent's units may be enabled.
    pub units_enable: Sourced<bool>,
    /// What is derived from facts.
    pub derive: Derive,
    /// Whom a verdict is told outside this host.
    pub signal: Signal,
    /// Variables of the agent, by name. Their text may be secret.
    #[serde(skip)]
    pub agent: BTreeMap<String, Sourced<Secret>>,
}

impl Default for Settings {
    fn default() -> Settings {
        fn of<T>(key: &str, value: T) -> Sourced<T> {
            Sourced::new(value, Source::default_of(key))
        }
        Settings {
            cluster: None,
            cluster_tags: of("cluster-tags", BTreeMap::new()),
            imds_deadline: of("imds.deadline", Duration::from_secs(120)),
            tags_prefix: of("tags.prefix", "ecs-bootstrap:".to_owned()),
            tags_wait: of("tags.wait", Duration::from_secs(30)),
            tags_api: of("tags.api", TagsApi::Auto),
            tags_settings: of("tags.settings", TagsSettings::All),
            tags_cluster: of("tags.cluster", TagsCluster::Any),
            run_deadline: of("run.deadline", Duration::from_secs(240)),
            // The agent's first egress error takes two minutes, and throttling for four is healthy.
            verify_deadline: of("verify.deadline", Duration::from_secs(600)),
            verify_window: of("verify.window", Duration::from_secs(30)),
            units_enable: of("units.enable", false),
            derive: Derive {
                spot: of("derive.spot", Switch::Auto),
                gpu: of("derive.gpu", Switch::Auto),
                neuron: of("derive.neuron", Switch::Auto),
                warm_pool: of("derive.warm-pool", Switch::Auto),
                reserved_memory: of("derive.reserved-memory", ReservedMemory::Off),
                propagate_tags: of("derive.propagate-tags", Switch::Off),
                attributes: of("derive.attributes", Vec::new()),
            },
            signal: Signal {
                cloudformation: of("signal.cloudformation", false),
                stack: of("signal.stack", None),
                resource: of("signal.resource", None),
                wait_url: of("signal.wait-url", None),
                lifecycle: of("signal.lifecycle", false),
                hook: of("signal.hook", None),
                instance_tags: of("signal.instance-tags", false),
                unhealthy: of("signal.unhealthy", false),
            },
            agent: BTreeMap::new(),
        }
    }
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{what}, in {place}")]
pub struct SettingsError {
    /// The file with line and column, the variable, the option or the tag.
    pub place: String,
    /// What is wrong, values in backticks; never the text of a secret.
    pub what: String,
    /// A name that may have been meant.
    pub did_you_mean: Option<String>,
}

/// Something that works, but that its author may want to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// Stable, kebab-case.
    pub id: &'static str,
    /// What was seen and what became of it.
    pub text: String,
    /// Whose value it is about.
    pub source: Option<Source>,
}
