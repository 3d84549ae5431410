//! The probes of the observer: the result of each, and how often it runs.

use std::time::Duration;

use tokio::time::Instant;

use crate::boundary::agent::{AgentError, AgentMetadata, Claim, Task};
use crate::boundary::aws::{AwsError, ContainerInstance, DescribedClusters, PlacedTask};
use crate::boundary::docker::{Container, DockerError};
use crate::boundary::imds::{ImdsError, RoleStatus};
use crate::boundary::systemd::{JobResult, SystemdError, UnitState};
use crate::evidence::host::HostState;
use crate::evidence::network_path::NetworkPath;
use crate::evidence::task_hold::{Daemon, KnownTasks};
use crate::evidence::user_data::UserData;
use crate::evidence::{ContainerLog, EndpointConnection, Evidence, OldestProcess};
use crate::facts::Units;
use crate::probe::Lifecycle;
use crate::retry::jittered;

/// The time between two steps of the observer while the agent may register. Local polls are then at most 150 ms apart, so
/// that a registration is reported within 250 ms.
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
    /// Whether trunking is on.
    AccountSetting(Result<bool, AwsError>),
    BlockingStart(Option<(u32, String)>, Option<OldestProcess>),
    UserData(Result<UserData, ImdsError>),
    HostState(Box<HostState>),
    NetworkPath(Box<NetworkPath>),
    Daemons(Result<Vec<Daemon>, AwsError>),
    AgentTasks(Result<Claim<Vec<Task>>, AgentError>),
    /// The tasks that ECS was asked about.
    PlacedTasks(KnownTasks, Result<Vec<PlacedTask>, AwsError>),
    /// The value that was set.
    TaskAttribute(&'static str, Result<(), AwsError>),
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
            Observation::AccountSetting(_) => Some(Probe::AccountSetting),
            Observation::BlockingStart(..) => Some(Probe::BlockingStart),
            Observation::UserData(_) => Some(Probe::UserData),
            Observation::HostState(_) => Some(Probe::HostState),
            Observation::NetworkPath(_) => Some(Probe::NetworkPath),
            Observation::Daemons(_) => Some(Probe::Daemons),
            Observation::AgentTasks(_) => Some(Probe::AgentTasks),
            Observation::PlacedTasks(..) => Some(Probe::PlacedTasks),
            Observation::TaskAttribute(..) => Some(Probe::TaskAttribute),
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
    AccountSetting,
    BlockingStart,
    UserData,
    HostState,
    NetworkPath,
    // The wait for daemons, in `hold`.
    Daemons,
    AgentTasks,
    PlacedTasks,
    TaskAttribute,
}

/// The time from a registration that was observed to its first check, if the agent logs its connection: the line starts the
/// check at once.
pub(super) const CONNECTION_TIME: Duration = Duration::from_secs(2);

/// Each probe, the time until its first run, and the time between two runs.
///
/// `Cluster` and `Registration` call ECS, which limits the calls of the whole account. An instance without a fault
/// registers before the first run of `Cluster`; a fault that raises the question starts it at once.
pub(super) const PROBES: [(Probe, Duration, Duration); 17] = [
    (Probe::Introspection, Duration::ZERO, TICK),
    (Probe::Units, Duration::ZERO, Duration::from_secs(1)),
    (Probe::Role, Duration::ZERO, Duration::from_secs(10)),
    (Probe::Lifecycle, Duration::from_secs(1), Duration::from_secs(10)),
    (Probe::Docker, Duration::from_secs(1), Duration::from_secs(2)),
    (Probe::Network, Duration::from_secs(3), Duration::from_secs(15)),
    (Probe::Cluster, Duration::from_secs(10), Duration::from_secs(30)),
    (Probe::Registration, Duration::ZERO, Duration::from_secs(10)),
    (Probe::AccountSetting, Duration::ZERO, Duration::from_secs(10)),
    (Probe::BlockingStart, Duration::from_secs(1), Duration::from_secs(3)),
    (Probe::UserData, Duration::from_secs(1), Duration::from_secs(60)),
    (Probe::HostState, Duration::from_secs(1), Duration::from_secs(3)),
    (Probe::NetworkPath, Duration::from_secs(2), Duration::from_secs(10)),
    (Probe::Daemons, Duration::ZERO, Duration::from_secs(10)),
    (Probe::AgentTasks, Duration::ZERO, Duration::from_secs(1)),
    (Probe::PlacedTasks, Duration::ZERO, Duration::from_secs(10)),
    (Probe::TaskAttribute, Duration::ZERO, Duration::from_secs(5)),
];

/// The shortest time between two reads of the units because of changes: systemd sends a dozen changes within a second when
/// docker and the agent start.
const BURST: Duration = Duration::from_millis(250);

/// How often the agent is asked, and the logs are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// The start of the agent's unit is queued behind another job, and systemd reports when it begins.
    Queued,
    /// The agent may register at any moment.
    Starting,
    /// The agent has registered. Its answer changes only if it ends, and it logs each request at the level debug.
    Registered,
}

impl Pace {
    /// `watched` is the unit whose changes systemd reports.
    pub(super) fn of(evidence: &Evidence, watched: Option<&str>) -> Pace {
        let is_queued = |unit: &UnitState| {
            let is_inactive = unit.active_state.as_deref() == Some("inactive");
            is_inactive && unit.job.is_some() && watched == Some(unit.name.as_str())
        };
        match evidence.agent_unit() {
            _ if evidence.container_instance_arn().is_some() => Pace::Registered,
            Some(unit) if is_queued(unit) => Pace::Queued,
            _ => Pace::Starting,
        }
    }

    /// The longest time between two steps of the observer.
    pub(super) fn tick(self) -> Duration {
        if self == Pace::Queued { Duration::from_millis(500) } else { TICK }
    }

    fn introspection(self) -> Duration {
        if self == Pace::Registered { Duration::from_secs(2) } else { self.tick() }
    }
}

/// The schedule of a probe.
pub(super) struct Schedule {
    pub(super) probe: Probe,
    due: Instant,
    pub(super) every: Duration,
    pub(super) running: bool,
    began: Option<Instant>,
    /// Whether a run was asked for that has not begun.
    pub(super) is_asked_for: bool,
    /// The longest pause that saves a call of ECS: a short verification must still learn why the instance did not
    /// register.
    longest_pause: Duration,
}

impl Schedule {
    /// The schedule of a probe whose verification may take `limit`.
    pub(super) fn new((probe, first, every): (Probe, Duration, Duration), limit: Duration) -> Schedule {
        let longest_pause = limit / 4;
        let first = if probe == Probe::Cluster { first.min(longest_pause) } else { first };
        Schedule {
            probe,
            due: Instant::now() + first,
            every,
            running: false,
            began: None,
            is_asked_for: false,
            longest_pause,
        }
    }

    /// Notes that a run begins, and when the next one is due.
    pub(super) fn begin(&mut self, is_running: bool, pace: Pace) {
        let now = Instant::now();
        (self.running, self.is_asked_for) = (is_running, false);
        self.began = Some(now);
        self.due = now + self.interval(pace);
    }

    /// When the next run is due. The agent is asked at the current pace, also if the pace was slower at its last run.
    pub(super) fn due(&self, pace: Pace) -> Instant {
        match self.began.filter(|_| self.probe == Probe::Introspection) {
            Some(began) => self.due.min(began + pace.introspection()),
            None => self.due,
        }
    }

    /// Lets the next run begin at once.
    pub(super) fn hasten(&mut self) {
        self.due = self.due.min(Instant::now());
        self.is_asked_for = true;
    }

    /// As [`Schedule::hasten`], but at least [`BURST`] after the last run began.
    pub(super) fn hasten_after_burst(&mut self) {
        let soon = self.began.map_or_else(Instant::now, |began| Instant::now().max(began + BURST));
        self.due = self.due.min(soon);
        self.is_asked_for = true;
    }

    /// Lets the next run begin after `pause` or a quarter of the verification's limit, if it would begin earlier.
    pub(super) fn put_off(&mut self, pause: Duration) {
        self.due = self.due.max(Instant::now() + pause.min(self.longest_pause));
    }

    /// The time until the next run. Calls of ECS vary, so that instances that start together do not stay in step.
    fn interval(&self, pace: Pace) -> Duration {
        match self.probe {
            Probe::Introspection => pace.introspection(),
            Probe::Cluster
            | Probe::Registration
            | Probe::AccountSetting
            | Probe::Daemons
            | Probe::PlacedTasks
            | Probe::TaskAttribute => jittered(self.every * 2),
            _ => self.every,
        }
    }
}

/// The time until the next step: a tick, or until a probe that matters is due.
pub(super) fn next_due(schedule: &[Schedule], matters: impl Fn(Probe) -> bool, pace: Pace) -> Duration {
    let waiting = schedule.iter().filter(|entry| !entry.running && matters(entry.probe));
    let first = waiting.map(|entry| entry.due(pace).saturating_duration_since(Instant::now())).min();
    first.map_or(pace.tick(), |first| first.min(pace.tick()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units() -> Schedule {
        let every = Duration::from_secs(1);
        Schedule::new((Probe::Units, Duration::ZERO, every), Duration::from_secs(600))
    }

    #[test]
    fn changes_in_a_burst_are_one_run() {
        let mut schedule = units();
        let created = Instant::now();
        schedule.hasten_after_burst();
        assert!(schedule.due <= created, "the first run waits for nothing");
        schedule.begin(true, Pace::Starting);
        let began = schedule.began.unwrap();
        (0..12).for_each(|_| schedule.hasten_after_burst());
        assert_eq!(schedule.due, began + BURST);
        // After it, a change is read at once.
        schedule.due = began + schedule.every;
        schedule.began = began.checked_sub(BURST);
        schedule.hasten_after_burst();
        assert!(schedule.due <= Instant::now());
    }

    #[test]
    fn the_agent_is_asked_less_often_only_while_its_watched_unit_is_queued() {
        use crate::facts::Units;
        let pace = |state: &str, job, watched| {
            let agent = UnitState {
                name: "ecs.service".to_owned(),
                active_state: Some(state.to_owned()),
                job,
                ..UnitState::default()
            };
            let (docker, cloud_final) = (UnitState::default(), UnitState::default());
            let units = Units { docker, agent, cloud_final, user_data_target: None, after_user_data: None };
            Pace::of(&Evidence { units: Some(Ok(units)), ..Evidence::default() }, watched).tick()
        };
        assert!(pace("inactive", Some(7), Some("ecs.service")) > TICK);
        for (state, job, watched) in [
            ("inactive", None, Some("ecs.service")),
            ("inactive", Some(7), Some("amazon-ecs.service")),
            ("inactive", Some(7), None),
            ("activating", Some(7), Some("ecs.service")),
            ("active", None, Some("ecs.service")),
            ("failed", None, Some("ecs.service")),
        ] {
            assert_eq!(pace(state, job, watched), TICK, "{state} {job:?} {watched:?}");
        }
        assert_eq!(Pace::of(&Evidence::default(), Some("ecs.service")).tick(), TICK);
    }

    #[test]
    fn the_agent_is_asked_at_the_new_pace_when_its_unit_starts() {
        let every = Duration::from_millis(100);
        let mut schedule = Schedule::new((Probe::Introspection, Duration::ZERO, every), Duration::from_secs(600));
        schedule.begin(true, Pace::Queued);
        let began = schedule.began.unwrap();
        assert_eq!(schedule.due(Pace::Queued), began + Pace::Queued.tick());
        assert_eq!(schedule.due(Pace::Starting), began + TICK);
    }

    #[test]
    fn what_must_run_at_once_does_not_wait() {
        let mut schedule = units();
        schedule.begin(false, Pace::Starting);
        schedule.hasten();
        assert!(schedule.due <= Instant::now());
    }
}
