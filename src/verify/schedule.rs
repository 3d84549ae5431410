//! The probes of the observer: the result of each, and how often it runs.

use std::time::Duration;

use tokio::time::Instant;

use crate::boundary::agent::{AgentError, AgentMetadata, Claim};
use crate::boundary::aws::{AwsError, ContainerInstance, DescribedClusters};
use crate::boundary::docker::{Container, DockerError};
use crate::boundary::imds::{ImdsError, RoleStatus};
use crate::boundary::systemd::{JobResult, SystemdError};
use crate::evidence::host::HostState;
use crate::evidence::network_path::NetworkPath;
use crate::evidence::user_data::UserData;
use crate::evidence::{ContainerLog, EndpointConnection, OldestProcess};
use crate::facts::Units;
use crate::probe::Lifecycle;

/// The time between two steps of the observer. Local polls are at most 150 ms apart, so that a registration is reported
/// within 250 ms.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// What docker answered about itself and about the agent's container.
pub(super) struct DockerState {
    pub(super) ping: Result<(), DockerError>,
    pub(super) container: Result<Option<Container>, DockerError>,
    /// What the container printed, if it was asked for.
    pub(super) log: Option<ContainerLog>,
}

/// The result of a probe.
pub(super) enum Observation {
    Introspection(Result<Claim<AgentMetadata>, AgentError>),
    Units(Box<Result<Units, SystemdError>>),
    JobEnded(usize, Result<JobResult, SystemdError>),
    Role(Result<RoleStatus, ImdsError>),
    Lifecycle(Lifecycle),
    Docker(Box<DockerState>),
    Network(Option<EndpointConnection>),
    Cluster(Result<DescribedClusters, AwsError>),
    Registration(Result<Option<ContainerInstance>, AwsError>),
    BlockingStart(Option<(u32, String)>, Option<OldestProcess>),
    UserData(Result<UserData, ImdsError>),
    HostState(Box<HostState>),
    NetworkPath(Box<NetworkPath>),
}

impl Observation {
    /// The probe of this result; `None` for the end of a job, which is reported once.
    pub(super) fn probe(&self) -> Option<Probe> {
        match self {
            Observation::Introspection(_) => Some(Probe::Introspection),
            Observation::Units(_) => Some(Probe::Units),
            Observation::JobEnded(..) => None,
            Observation::Role(_) => Some(Probe::Role),
            Observation::Lifecycle(_) => Some(Probe::Lifecycle),
            Observation::Docker(_) => Some(Probe::Docker),
            Observation::Network(_) => Some(Probe::Network),
            Observation::Cluster(_) => Some(Probe::Cluster),
            Observation::Registration(_) => Some(Probe::Registration),
            Observation::BlockingStart(..) => Some(Probe::BlockingStart),
            Observation::UserData(_) => Some(Probe::UserData),
            Observation::HostState(_) => Some(Probe::HostState),
            Observation::NetworkPath(_) => Some(Probe::NetworkPath),
        }
    }
}

/// A probe that runs at intervals.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    Introspection,
    Units,
    Role,
    Lifecycle,
    Docker,
    Network,
    Cluster,
    Registration,
    BlockingStart,
    UserData,
    HostState,
    NetworkPath,
}

/// Each probe, the time until its first run, and the time between two runs.
pub(super) const PROBES: [(Probe, Duration, Duration); 12] = [
    (Probe::Introspection, Duration::ZERO, TICK),
    (Probe::Units, Duration::ZERO, Duration::from_secs(1)),
    (Probe::Role, Duration::ZERO, Duration::from_secs(10)),
    (Probe::Lifecycle, Duration::from_secs(1), Duration::from_secs(10)),
    (Probe::Docker, Duration::from_secs(1), Duration::from_secs(2)),
    (Probe::Network, Duration::from_secs(3), Duration::from_secs(15)),
    (Probe::Cluster, Duration::from_secs(2), Duration::from_secs(30)),
    (Probe::Registration, Duration::ZERO, Duration::from_secs(10)),
    (Probe::BlockingStart, Duration::from_secs(1), Duration::from_secs(3)),
    (Probe::UserData, Duration::from_secs(1), Duration::from_secs(60)),
    (Probe::HostState, Duration::from_secs(1), Duration::from_secs(3)),
    (Probe::NetworkPath, Duration::from_secs(2), Duration::from_secs(10)),
];

/// The schedule of a probe.
pub(super) struct Schedule {
    pub(super) probe: Probe,
    pub(super) due: Instant,
    pub(super) every: Duration,
    pub(super) running: bool,
}
