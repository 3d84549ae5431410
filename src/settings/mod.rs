//! The settings of ecs-bootstrap: reads them from text, checks them, and merges them by precedence.
//!
//! [`fragment`] turns the text of one source (TOML, environment, command line, tags) into checked entries. [`merge`]
//! applies the entries of all sources, the lowest rank first. Both read [`schema`], the only table of settings. Nothing
//! here reads a file or the environment.

mod document;
pub mod fragment;
pub mod merge;
pub mod precedence;
pub mod registry_auth;
mod remote;
pub mod schema;
mod secret;
mod source;
pub mod user_data;
pub mod warning;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use precedence::Rank;
pub use remote::RemoteValue;
pub use secret::Secret;
pub use source::{EARLIER, Source, Sourced};
pub use warning::Warning;

/// Whether ecs-bootstrap sets a variable of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Switch {
    /// It always turns the feature on.
    On,
    /// It does not set the variable.
    Off,
    /// It turns the feature on if the facts of the host call for it.
    Auto,
}

/// Whether `ec2:DescribeTags` may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TagsApi {
    /// If IMDS has no tags and no source of a higher rank names the cluster.
    Auto,
    /// Never.
    Never,
}

/// Which settings may come from tags. Anyone with `ec2:CreateTags` can write tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TagsSettings {
    /// None.
    None,
    /// Only the cluster.
    Cluster,
    /// The cluster, and the agent's variables in the allow-list of [`agent_variables::permitted_from_tags`].
    All,
}

/// Whether tags may choose the cluster. Anyone with `ec2:CreateTags` can write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TagsCluster {
    /// Yes, by their rank: they override `ecs.config` and the settings files.
    Any,
    /// Only if no other source names a cluster.
    Fallback,
    /// Never.
    Never,
}

/// The memory of the host that tasks cannot use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReservedMemory {
    /// ecs-bootstrap does not set it.
    Off,
    /// A share of the host's memory.
    Auto,
    /// This amount, in MiB.
    #[serde(rename = "mib")]
    Mib(u16),
}

/// The daemon services whose tasks must run on the instance before it takes other tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Daemons {
    /// ecs-bootstrap does not wait for tasks.
    None,
    /// All daemon services of the cluster that place a task on this instance.
    All,
    /// The services with these names.
    Named(Vec<String>),
}

/// The attributes that the container instance must have before it is ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyAttributes {
    /// Whether those that follow from the agent's configuration and from the host are among them, and its GPUs.
    pub auto: bool,
    /// The named ones. `None`: any value.
    pub named: BTreeMap<String, Option<String>>,
}

impl ReadyAttributes {
    /// Whether no attribute must be there.
    pub fn is_empty(&self) -> bool {
        !self.auto && self.named.is_empty()
    }
}

/// What happens if a condition of `ready.*` is not fulfilled at `ready.deadline`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AtDeadline {
    /// The verdict is a failure, and the instance takes no other tasks.
    Fail,
    /// The instance is ready and takes other tasks. A note names what is missing.
    Allow,
}

/// What must be true before the instance takes tasks, besides its registration.
#[derive(Clone, Debug, Serialize)]
pub struct ReadySettings {
    /// The daemon services whose tasks must run.
    pub daemons: Sourced<Daemons>,
    /// The attributes that the container instance must have.
    pub attributes: Sourced<ReadyAttributes>,
    /// The images that docker must have.
    pub images: Sourced<Vec<String>>,
    /// The services whose images docker must have.
    pub images_of_services: Sourced<Vec<String>>,
    /// Whether the start of the agent waits for the images.
    pub hold_registration: Sourced<bool>,
    /// How long to wait for them after the registration.
    pub deadline: Sourced<Duration>,
    /// What happens after that.
    pub at_deadline: Sourced<AtDeadline>,
}

/// What is observed after the verification.
#[derive(Clone, Debug, Serialize)]
pub struct WatchSettings {
    /// Whether `ecs-bootstrap-watch.timer` is started.
    pub enable: Sourced<bool>,
    /// How long a fault must last before it is reported.
    pub window: Sourced<Duration>,
    /// Whether an agent that is stuck is restarted, once in each boot.
    pub restart_agent: Sourced<bool>,
}

/// Why a container instance is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrainTrigger {
    /// EC2 recommends to replace the Spot instance, because an interruption is likely.
    Rebalance,
    /// EC2 has announced the interruption of the Spot instance.
    Spot,
    /// The Auto Scaling group terminates the instance.
    Termination,
}

impl DrainTrigger {
    /// Its name in settings and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            DrainTrigger::Rebalance => "rebalance",
            DrainTrigger::Spot => "spot",
            DrainTrigger::Termination => "termination",
        }
    }
}

/// What happens before the instance ends.
#[derive(Clone, Debug, Serialize)]
pub struct DrainSettings {
    /// Why the container instance is drained. Empty if it never is.
    pub on: Sourced<BTreeSet<DrainTrigger>>,
    /// How long to wait for the end of its tasks.
    pub deadline: Sourced<Duration>,
    /// The terminating hook to complete, if the group has several.
    pub hook: Sourced<Option<String>>,
}

/// Variables of the agent that are derived from facts of the instance, unless another source sets them.
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
    /// The keys of the instance tags that become attributes of the container instance.
    pub attributes: Sourced<Vec<String>>,
    /// Whether these attributes are changed when the tags change.
    pub attributes_follow: Sourced<bool>,
}

/// Where the verdict is sent outside of this host. By default it is not sent anywhere.
#[derive(Clone, Debug, Serialize)]
pub struct SignalSettings {
    /// Whether to call `SignalResource` for the stack that created this instance or its Auto Scaling group.
    pub cloudformation: Sourced<bool>,
    /// The stack, if it is not the one that the instance's tag names.
    pub stack: Sourced<Option<String>>,
    /// The logical id of the resource with the CreationPolicy, if it is not the one that the instance's tag names.
    pub resource: Sourced<Option<String>>,
    /// The presigned URL of a wait condition. It is a credential: anyone who has it can send a signal.
    #[serde(skip)]
    pub wait_url: Sourced<Option<Secret>>,
    /// Whether to send heartbeats to the launch hook of the Auto Scaling group, and to complete it.
    pub lifecycle: Sourced<bool>,
    /// The launch hook to complete, if the group has several.
    pub hook: Sourced<Option<String>>,
    /// Whether to tag the instance with the verdict and its cause.
    pub instance_tags: Sourced<bool>,
    /// Whether to call `SetInstanceHealth` for a fault of this host.
    pub unhealthy: Sourced<bool>,
    /// Whether to store the time from launch to ready as a metric in CloudWatch.
    pub cloudwatch: Sourced<bool>,
}

/// All settings after the merge, each with the source of its value.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// The cluster by name or ARN. `None` if no source names one.
    pub cluster: Option<Sourced<String>>,
    /// The tags of the cluster to join. Empty if the cluster is not chosen by tags.
    pub cluster_tags: Sourced<BTreeMap<String, String>>,
    /// How long requests to IMDS are repeated.
    pub imds_deadline: Sourced<Duration>,
    /// The prefix of the tags that ecs-bootstrap reads.
    pub tags_prefix: Sourced<String>,
    /// How long to wait for a tag that is not there yet (`ec2:DescribeTags` is eventually consistent).
    pub tags_wait: Sourced<Duration>,
    /// Whether `ec2:DescribeTags` may be called.
    pub tags_api: Sourced<TagsApi>,
    /// Which settings may come from tags.
    pub tags_settings: Sourced<TagsSettings>,
    /// Whether tags may choose the cluster.
    pub tags_cluster: Sourced<TagsCluster>,
    /// How long the stages gather, decide and apply may take together.
    pub run_deadline: Sourced<Duration>,
    /// How long the stage verify waits for the registration.
    pub verify_deadline: Sourced<Duration>,
    /// How long the agent must stay disconnected before that is a failure.
    pub verify_window: Sourced<Duration>,
    /// The unit that starts the agent: its name, `auto` or `none`.
    pub units_agent: Sourced<String>,
    /// Whether the units of docker and of the agent may be enabled.
    pub units_enable: Sourced<bool>,
    /// Whether the agent may start before user data has ended.
    pub units_early: Sourced<bool>,
    /// Variables of the agent that are derived from facts.
    pub derive: Derive,
    /// What must be true before the instance takes tasks.
    pub ready: ReadySettings,
    /// The secret or the parameter with the credentials of registries.
    pub registry_auth: Sourced<Option<RemoteValue>>,
    /// The object or the parameter with more settings.
    pub config_from: Sourced<Option<RemoteValue>>,
    /// The task definitions of which a task is started when the instance is ready.
    pub start_tasks: Sourced<Vec<String>>,
    /// What is observed after the verification.
    pub watch: WatchSettings,
    /// What happens before the instance ends.
    pub drain: DrainSettings,
    /// Where the verdict is sent outside of this host.
    pub signal: SignalSettings,
    /// Variables of the agent by name. Their values may be secret.
    #[serde(skip)]
    pub agent: BTreeMap<String, Sourced<Secret>>,
}

impl Default for Settings {
    fn default() -> Settings {
        fn default<T>(key: &'static str, value: T) -> Sourced<T> {
            Sourced::new(value, Source::default_of(key))
        }
        Settings {
            cluster: None,
            cluster_tags: default("cluster-tags", BTreeMap::new()),
            imds_deadline: default("imds.deadline", Duration::from_secs(120)),
            tags_prefix: default("tags.prefix", "ecs-bootstrap:".to_owned()),
            tags_wait: default("tags.wait", Duration::from_secs(30)),
            tags_api: default("tags.api", TagsApi::Auto),
            tags_settings: default("tags.settings", TagsSettings::All),
            tags_cluster: default("tags.cluster", TagsCluster::Any),
            run_deadline: default("run.deadline", Duration::from_secs(240)),
            // The agent reports an unreachable endpoint after two minutes at the earliest, and a healthy agent may be
            // throttled for four minutes.
            verify_deadline: default("verify.deadline", Duration::from_secs(600)),
            verify_window: default("verify.window", Duration::from_secs(30)),
            units_agent: default("units.agent", "auto".to_owned()),
            units_enable: default("units.enable", false),
            units_early: default("units.early", false),
            derive: Derive {
                spot: default("derive.spot", Switch::Auto),
                gpu: default("derive.gpu", Switch::Auto),
                neuron: default("derive.neuron", Switch::Auto),
                warm_pool: default("derive.warm-pool", Switch::Auto),
                reserved_memory: default("derive.reserved-memory", ReservedMemory::Off),
                propagate_tags: default("derive.propagate-tags", Switch::Off),
                attributes: default("derive.attributes", Vec::new()),
                attributes_follow: default("derive.attributes-follow", false),
            },
            registry_auth: default("registry.auth", None),
            config_from: default("config-from", None),
            ready: ReadySettings {
                daemons: default("ready.daemons", Daemons::None),
                attributes: default("ready.attributes", ReadyAttributes::default()),
                images: default("ready.images", Vec::new()),
                images_of_services: default("ready.images-of-services", Vec::new()),
                hold_registration: default("ready.hold-registration", false),
                deadline: default("ready.deadline", Duration::from_secs(300)),
                at_deadline: default("ready.at-deadline", AtDeadline::Fail),
            },
            start_tasks: default("start-tasks", Vec::new()),
            watch: WatchSettings {
                enable: default("watch.enable", false),
                window: default("watch.window", Duration::from_secs(300)),
                restart_agent: default("watch.restart-agent", false),
            },
            drain: DrainSettings {
                on: default("drain.on", BTreeSet::new()),
                // A task has 30 s after SIGTERM by default, and its load balancer up to an hour to deregister it.
                deadline: default("drain.deadline", Duration::from_secs(30 * 60)),
                hook: default("drain.hook", None),
            },
            signal: SignalSettings {
                cloudformation: default("signal.cloudformation", false),
                stack: default("signal.stack", None),
                resource: default("signal.resource", None),
                wait_url: default("signal.wait-url", None),
                lifecycle: default("signal.lifecycle", false),
                hook: default("signal.hook", None),
                instance_tags: default("signal.instance-tags", false),
                unhealthy: default("signal.unhealthy", false),
                cloudwatch: default("signal.cloudwatch", false),
            },
            agent: BTreeMap::new(),
        }
    }
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{what}, in {place}")]
pub struct SettingsError {
    /// Where it is: the file with line and column, the environment variable, the option or the tag.
    pub place: String,
    /// What is wrong, with values in backticks. It never holds a secret.
    pub what: String,
    /// The name or value that was probably meant.
    pub did_you_mean: Option<String>,
}
