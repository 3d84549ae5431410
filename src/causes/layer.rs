//! The layers in which something can break, in the order in which they are judged.

use serde::Serialize;

/// Where one must act. The first broken layer names the cause; what broke behind it is a consequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// The clock: a wrong one makes TLS, signatures and expiry all look broken.
    Clock,
    /// Settings of ours and `ecs.config`.
    Config,
    /// cloud-init and user data.
    CloudInit,
    /// The host itself: disk, memory, SELinux.
    Host,
    /// docker.
    Docker,
    /// systemd's units, and what the agent's own does before the agent runs.
    Units,
    /// The instance metadata service.
    Imds,
    /// The instance's role.
    Role,
    /// Names.
    Dns,
    /// Routes, proxies and TCP.
    Route,
    /// TLS.
    Tls,
    /// What the API answers: what the role may do, throttling, errors.
    Api,
    /// The cluster, and the region that it is looked for in.
    Cluster,
    /// The agent and its saved state.
    Agent,
    /// The agent's connection to the control plane (ACS).
    Acs,
    /// Nothing is wrong, the instance waits.
    Lifecycle,
    /// Nothing fits.
    Unknown,
}

impl Layer {
    /// Those that can break, in the order in which they are judged.
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

    /// One word, as in JSON.
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
            Layer::Lifecycle => "lifecycle",
            Layer::Unknown => "unknown",
        }
    }
}
