//! The timeline of one boot: when each part of it began and ended, what it waited for, and which parts are not known.
//!
//! Data only. `timeline --json` prints [`Timeline`] as JSON.
//!
//! # Times
//!
//! All times are microseconds since [`Origin`], which is the earliest moment of this boot that is known: the launch of
//! the instance, or the start of the kernel if the launch belongs to an earlier boot or is not known, or the start of
//! systemd in a container. Every time is measured with the monotonic clock of the kernel, so a step of the system clock
//! during the boot moves nothing. A time that only a log with wall clock time has is converted with pairs of both
//! clocks that systemd and the journal recorded next to it; if the clock was set in between, so that the conversion is
//! ambiguous, the event is missing.
//!
//! # Events
//!
//! An [`Event`] has a beginning and an end. A moment, such as the registration, ends when it begins. An event whose
//! `end_us` is `None` has begun and not ended: it still runs, or the program that would have noted its end died. What was
//! not observed is in [`Timeline::missing`] with the reason, and in no other place: nothing is estimated.

pub mod assemble;
mod clock;
pub mod record;
pub mod sources;

use serde::{Deserialize, Serialize};

/// The ids of the events that every timeline has, either as an [`Event`] or as a [`MissingEvent`].
pub mod id {
    /// EC2 launched the instance: `pendingTime` of the instance identity document.
    pub const LAUNCH: &str = "launch";
    /// The kernel, until the initrd or systemd starts.
    pub const KERNEL: &str = "kernel";
    /// The initial RAM disk, until systemd of the root file system starts.
    pub const INITRD: &str = "initrd";
    /// systemd of the root file system, until no job of the boot is left.
    pub const USERSPACE: &str = "userspace";
    /// The moment at which `network-online.target` is reached.
    pub const NETWORK_ONLINE: &str = "network-online";
    /// The stage of cloud-init that finds the instance metadata, before the network is configured.
    pub const CLOUD_INIT_LOCAL: &str = "cloud-init-local";
    /// The stage of cloud-init that reads user data and runs `bootcmd`.
    pub const CLOUD_INIT_NETWORK: &str = "cloud-init-network";
    /// The stage of cloud-init that applies most of a cloud-config.
    pub const CLOUD_CONFIG: &str = "cloud-config";
    /// The stage of cloud-init that installs packages and runs user data.
    pub const CLOUD_FINAL: &str = "cloud-final";
    /// The scripts of user data, and `runcmd`. Part of [`CLOUD_FINAL`].
    pub const USER_DATA: &str = "user-data";
    /// The start of `docker.service`.
    pub const DOCKER: &str = "docker";
    /// The command `run` of ecs-bootstrap. Its stages and requests have it as parent.
    pub const RUN: &str = "run";
    /// The start of `ecs.service`, with all of its `ExecStartPre=`.
    pub const ECS: &str = "ecs";
    /// The moment at which the container of the agent starts.
    pub const AGENT_STARTED: &str = "agent-started";
    /// The moment at which the agent has registered the container instance.
    pub const REGISTERED: &str = "registered";
    /// The moment at which the agent is connected to ECS.
    pub const CONNECTED: &str = "connected";
    /// The command `verify` of ecs-bootstrap, or the verification at the end of `run`.
    pub const VERIFY: &str = "verify";
    /// The moment at which ecs-bootstrap reported that the instance is ready.
    pub const REPORTED: &str = "reported";
    /// The moment at which the first container of a task starts.
    pub const FIRST_TASK: &str = "first-task";
}

/// What is known of an event before it happens.
#[derive(Clone, Copy, Debug)]
pub struct KnownEvent {
    /// One of [`id`].
    pub id: &'static str,
    /// What happens, for people.
    pub label: &'static str,
    /// The same in a sentence, as in `waited for ...`.
    pub phrase: &'static str,
    /// The part of the host.
    pub lane: Lane,
}

impl KnownEvent {
    const fn new(id: &'static str, label: &'static str, phrase: &'static str, lane: Lane) -> KnownEvent {
        KnownEvent { id, label, phrase, lane }
    }

    /// The known event with this id.
    pub fn find(id: &str) -> Option<&'static KnownEvent> {
        KNOWN_EVENTS.iter().find(|event| event.id == id)
    }
}

/// The events that every timeline has or misses, in the order in which they usually happen.
pub const KNOWN_EVENTS: [KnownEvent; 19] = [
    KnownEvent::new(id::LAUNCH, "EC2 launches the instance", "the launch", Lane::System),
    KnownEvent::new(id::KERNEL, "kernel", "the kernel", Lane::System),
    KnownEvent::new(id::INITRD, "initrd", "the initrd", Lane::System),
    KnownEvent::new(id::USERSPACE, "systemd starts the host", "systemd", Lane::System),
    KnownEvent::new(id::CLOUD_INIT_LOCAL, "cloud-init finds the metadata", "cloud-init's local stage", Lane::CloudInit),
    KnownEvent::new(id::NETWORK_ONLINE, "network online", "the network", Lane::Network),
    KnownEvent::new(
        id::CLOUD_INIT_NETWORK,
        "cloud-init reads user data",
        "cloud-init's network stage",
        Lane::CloudInit,
    ),
    KnownEvent::new(id::CLOUD_CONFIG, "cloud-init applies cloud-config", "cloud-init's config stage", Lane::CloudInit),
    KnownEvent::new(id::RUN, "ecs-bootstrap run", "ecs-bootstrap run", Lane::Bootstrap),
    KnownEvent::new(id::DOCKER, "docker starts", "docker", Lane::Docker),
    KnownEvent::new(id::CLOUD_FINAL, "cloud-init runs its last stage", "cloud-init's final stage", Lane::CloudInit),
    KnownEvent::new(id::USER_DATA, "user data runs", "user data", Lane::CloudInit),
    KnownEvent::new(id::ECS, "ecs.service starts", "the start of ecs.service", Lane::Agent),
    KnownEvent::new(id::AGENT_STARTED, "agent started", "the start of the agent", Lane::Agent),
    KnownEvent::new(id::REGISTERED, "registered", "the registration", Lane::Agent),
    KnownEvent::new(id::CONNECTED, "connected", "the connection to ECS", Lane::Agent),
    KnownEvent::new(id::VERIFY, "ecs-bootstrap verify", "ecs-bootstrap verify", Lane::Bootstrap),
    KnownEvent::new(id::REPORTED, "ready reported", "the report", Lane::Bootstrap),
    KnownEvent::new(id::FIRST_TASK, "first task runs", "the first task", Lane::Task),
];

/// The version of the JSON document.
pub const VERSION: u32 = 1;

/// The timeline of the present boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// The version of this document.
    pub version: u32,
    /// Where the times begin.
    pub origin: Origin,
    /// The instance, if instance metadata could be read.
    pub instance: Option<Instance>,
    /// The name of the cluster, if a plan or a verdict of this boot names it.
    #[serde(default)]
    pub cluster: Option<String>,
    /// What was observed, ordered by its beginning; a parent comes before its children.
    pub events: Vec<Event>,
    /// What was not observed, in the order in which it usually happens.
    pub missing: Vec<MissingEvent>,
    /// What the last milestone waited for: ids of [`Timeline::events`], the earliest first. Each entry is the
    /// [`Event::waited_for`] of the next one. The last milestone is the last of agent started, registered, connected,
    /// reported and first task that has happened.
    pub critical_path: Vec<String>,
}

/// The moment that is zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The event that happened then: [`id::LAUNCH`], [`id::KERNEL`] or [`id::USERSPACE`].
    pub event: String,
    /// The same moment as wall clock time: microseconds since 1970, by the system clock as it was set at the end of the
    /// boot.
    pub unix_us: u64,
}

/// The instance that booted, from its identity document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The id of the instance.
    pub instance_id: String,
    /// The instance type, for example `m7g.large`.
    pub instance_type: Option<String>,
    /// The id of the AMI.
    pub image_id: Option<String>,
}

/// A part of the boot, or a moment in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// One of [`id`], the name of a unit (`systemd-networkd-wait-online.service`), or the id of the parent, a dot, and a
    /// name (`run.gather`) or a number (`run.gather.1`). Unique.
    pub id: String,
    /// What happened, for people.
    pub label: String,
    /// The part of the host.
    pub lane: Lane,
    /// The event that this one is a part of.
    pub parent: Option<String>,
    /// When it began, in microseconds since the origin.
    pub start_us: u64,
    /// When it ended, in microseconds since the origin. Equal to `start_us` for a moment; `None` if it has not ended.
    pub end_us: Option<u64>,
    /// The times may be too early by up to this many microseconds, because the source is no more precise: a second for the
    /// identity document, and for the log of the agent. 0 for times in microseconds or better.
    pub resolution_us: u64,
    /// Where the times are from, for example `systemd: docker.service`.
    pub source: String,
    /// What ended last before this event began, of what had to end before it.
    pub waited_for: Option<Wait>,
}

/// What an event waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// The id of the event that ended last; it is in [`Timeline::events`].
    pub event: String,
    /// When it ended, in microseconds since the origin. Never later than the beginning of the event that waited, also if
    /// that beginning is known only to a second.
    pub until_us: u64,
}

/// An event that was not observed. Renderers say so and draw nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingEvent {
    /// One of [`id`].
    pub id: String,
    /// What should have happened, for people.
    pub label: String,
    /// The part of the host.
    pub lane: Lane,
    /// Why it is not known: it has not happened, its source is missing, or its time cannot be converted.
    pub reason: String,
}

/// The part of the host that an event belongs to, in the order from top to bottom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lane {
    /// EC2, the kernel, systemd, and units that belong to no other lane.
    System,
    /// The network.
    Network,
    /// cloud-init and user data.
    CloudInit,
    /// The docker daemon.
    Docker,
    /// ecs-bootstrap.
    Bootstrap,
    /// The ECS agent.
    Agent,
    /// The tasks.
    Task,
}

impl Lane {
    /// All lanes, from top to bottom.
    pub const ALL: [Lane; 7] =
        [Lane::System, Lane::Network, Lane::CloudInit, Lane::Docker, Lane::Bootstrap, Lane::Agent, Lane::Task];
}

impl Event {
    /// Whether it begins and ends at once.
    pub fn is_moment(&self) -> bool {
        self.end_us == Some(self.start_us)
    }

    /// How long it took, in microseconds; `None` if it has not ended.
    pub fn duration_us(&self) -> Option<u64> {
        self.end_us.map(|end| end.saturating_sub(self.start_us))
    }
}

impl Timeline {
    /// The event with this id.
    pub fn event(&self, id: &str) -> Option<&Event> {
        self.events.iter().find(|event| event.id == id)
    }

    /// The end of the last event that has ended or begun, in microseconds since the origin: where a plot ends.
    pub fn last_us(&self) -> u64 {
        self.events.iter().map(|event| event.end_us.unwrap_or(event.start_us)).max().unwrap_or(0)
    }
}
