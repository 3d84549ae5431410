//! The layers in which something can break, in the order in which they are checked.

use serde::Serialize;

/// The part of the system that must be fixed. The first broken layer has the cause; faults in later layers are usually
/// its consequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// The clock: a wrong one makes TLS, signatures and expiry all look broken.
    Clock,
    /// The settings of ecs-bootstrap, and `ecs.config`.
    Config,
    /// cloud-init and user data.
    CloudInit,
    /// The host itself: disk, memory, SELinux.
    Host,
    /// The Docker daemon.
    Docker,
    /// systemd units, and what the agent's unit does before the agent runs.
    Units,
    /// The instance metadata service.
    Imds,
    /// The instance's role.
    Role,
    /// Name resolution.
    Dns,
    /// Routes, proxies and TCP.
    Route,
    /// TLS handshakes and certificates.
    Tls,
    /// The answers of AWS APIs: permissions, throttling, errors.
    Api,
    /// The cluster, and the region and account in which the agent looks for it.
    Cluster,
    /// The agent and its saved state.
    Agent,
    /// The agent's connection to the control plane (ACS).
    Acs,
    /// What a registered instance waits for before it takes tasks (`ready.*`).
    Tasks,
    /// Nothing is broken: the instance is waiting.
    Lifecycle,
    /// No cause fits.
    Unknown,
}

impl Layer {
    /// The layers that can break, in the order in which they are checked.
    pub const ALL: [Layer; 15] = [
        Layer::Clock,
        Layer::Config,
        Layer::CloudInit,
        Layer::Host,
        Layer::Docker,
        Layer::Units,
        Layer::Imds,
        Layer::Role,
        Layer::Dns,
        Layer::Route,
        Layer::Tls,
        Layer::Api,
        Layer::Cluster,
        Layer::Agent,
        Layer::Acs,
    ];

    /// The layers before this one, which can break.
    pub(super) const fn before(self) -> &'static [Layer] {
        const ALL: &[Layer] = &Layer::ALL;
        ALL.split_at(self as usize).0
    }

    /// The name of the layer, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Layer::Clock => "clock",
            Layer::Config => "config",
            Layer::CloudInit => "cloud-init",
            Layer::Host => "host",
            Layer::Docker => "docker",
            Layer::Units => "units",
            Layer::Imds => "imds",
            Layer::Role => "role",
            Layer::Dns => "dns",
            Layer::Route => "route",
            Layer::Tls => "tls",
            Layer::Api => "api",
            Layer::Cluster => "cluster",
            Layer::Agent => "agent",
            Layer::Acs => "acs",
            Layer::Tasks => "tasks",
            Layer::Lifecycle => "lifecycle",
            Layer::Unknown => "unknown",
        }
    }
}
