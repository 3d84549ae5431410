//! Runs the probes, each at its own interval, and stores their results as evidence.
//!
//! The local probes (introspection, units, logs) always run. Probes that put load on another service (IMDS, docker, the
//! ECS API, connections) run at longer intervals, in parallel, and only while their result can change the verdict.
//! systemd reports changes of a unit by D-Bus signals; the interval is the fallback.

use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::daemons::HoldState;
use super::logs::{ContainerRuns, docker, modified, read_logs};
use super::requests::{Probing, denied, describe_cluster, describe_container_instance, job_end, network_path};
use super::schedule::{Observation, PROBES, Pace, Probe, Schedule, next_due};
use crate::boundary::HostClients;
use crate::boundary::agent::AgentError;
use crate::boundary::systemd::{Job, Systemd, UnitChanges};
use crate::causes::asks_for_user_data;
use crate::effects::QueuedJob;
use crate::evidence::{Evidence, NetworkQuestions};
use crate::facts::NO_UNIT;
use crate::host::{AGENT_LOG, INIT_LOG, agent_config, blocking_start, drain, joined_cluster, saved_agent, units};
use crate::plan::{AGENT_JSON, ECS_CONFIG, Expectation, VENDOR_ECS_CONFIG};
use crate::probe;
use crate::readiness::joined_other_cluster;
use crate::retry::{Deadline, pause_for};

/// The limit for each probe.
const PROBE: Duration = Duration::from_secs(5);
/// The probes that must have finished once before a final cause is reported, because a cause in an earlier layer takes
/// precedence.
const BEFORE_FINAL: [Probe; 7] =
    [Probe::Units, Probe::HostState, Probe::Docker, Probe::Role, Probe::Lifecycle, Probe::Cluster, Probe::NetworkPath];

/// The systemd jobs that apply queued, for verify.
#[derive(Debug, Default)]
pub struct QueuedJobs {
    /// The queued jobs, for the report.
    pub queued: Vec<QueuedJob>,
    /// The same jobs, to wait for their end.
    pub jobs: Vec<Job>,
}

/// The scheduled probes and the evidence so far.
pub(super) struct Observer<'a> {
    pub(super) evidence: Evidence,
    pub(super) host_clients: &'a HostClients,
    systemd: Option<&'a Systemd>,
    changes: Option<UnitChanges>,
    /// The agent's unit whose changes these are.
    watched: Option<String>,
    schedule: Vec<Schedule>,
    probing: FuturesUnordered<Probing<'a>>,
    logs_read: Option<[Option<SystemTime>; 7]>,
    pub(super) registered_at: Option<Instant>,
    pub(super) was_unregistered: bool,
    pub(super) connected_line: bool,
    pub(super) blocking_start: Option<(u32, Instant)>,
    answered: Vec<Probe>,
    pub(super) containers: ContainerRuns,
    pub(super) hold: HoldState,
}

impl<'a> Observer<'a> {
    pub(super) fn new(
        host_clients: &'a HostClients,
        systemd: Option<&'a Systemd>,
        expectation: Expectation,
        queued_jobs: QueuedJobs,
        age: Option<Duration>,
    ) -> Observer<'a> {
        let limit = expectation.deadline;
        let deadline = Deadline::after(limit);
        let probing: FuturesUnordered<Probing<'a>> = FuturesUnordered::new();
        for (index, job) in queued_jobs.jobs.into_iter().enumerate() {
            probing.push(Box::pin(job_end(index, job, deadline)));
        }
        let config = agent_config(&host_clients.disk);
        let drain = expectation.drain.as_ref().and_then(|_| drain(&host_clients.disk));
        let evidence = Evidence {
            expectation: Some(expectation),
            age,
            drain,
            jobs: queued_jobs.queued,
            files: probe::files(&host_clients.disk, &config),
            config,
            saved: saved_agent(&host_clients.disk),
            ..Evidence::default()
        };
        let hold = HoldState::new(&evidence);
        let schedule = PROBES.map(|probe| Schedule::new(probe, limit));
        Observer {
            evidence,
            host_clients,
            systemd,
            changes: None,
            watched: None,
            schedule: schedule.into(),
            probing,
            logs_read: None,
            registered_at: None,
            was_unregistered: false,
            connected_line: false,
            blocking_start: None,
            answered: Vec::new(),
            containers: ContainerRuns::default(),
            hold,
        }
    }

    /// Subscribes to changes of the units. If that fails, the probe of the units runs at its interval only.
    pub(super) async fn watch(&mut self) {
        let Some(systemd) = self.systemd else { return };
        let agent = self.evidence.expectation.as_ref().map_or("ecs.service", |expected| expected.agent_unit.as_str());
        let agent = agent.to_owned();
        let watched: &[&str] = if agent == NO_UNIT { &["docker.service"] } else { &["docker.service", &agent] };
        let changes = systemd.changes(watched).await;
        self.changes = changes.inspect_err(|error| tracing::debug!(%error, "changes of units not subscribed")).ok();
        self.watched = self.changes.as_ref().map(|_| agent);
    }

    /// Replaces the expectation.
    pub(super) fn expect(&mut self, expectation: Expectation) {
        self.evidence.expectation = Some(expectation);
        self.evidence.cluster = None;
        self.logs_read = None;
        self.evidence.task_starts = None;
        self.forget_daemons();
        self.forget_attributes();
    }

    /// Starts the probes that are due, and returns after one result, a change of a unit, or a tick. Returns whether there is
    /// new evidence.
    pub(super) async fn next(&mut self, deadline: Deadline) -> bool {
        let pace = Pace::of(&self.evidence, self.watched.as_deref());
        self.start_due(pace);
        let mut is_new = false;
        let tick = next_due(&self.schedule, |probe| self.matters(probe), pace);
        let tick = pause_for(tick.min(deadline.remaining()));
        let changed = async {
            match &mut self.changes {
                Some(changes) => changes.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(observation) = self.probing.next(), if !self.probing.is_empty() => {
                is_new = !self.is_still_closed(&observation);
                self.store(observation);
            }
            change = changed => match change {
                Ok(()) => self.schedule_of(Probe::Units).for_each(Schedule::hasten_after_burst),
                Err(_) => (self.changes, self.watched) = (None, None),
            },
            () = tick => {}
        }
        self.note_registration();
        self.note_hold();
        let has_news = self.read_logs() | self.read_pulls();
        has_news || is_new
    }

    /// Whether the agent's port was closed before, and still is.
    fn is_still_closed(&self, observation: &Observation) -> bool {
        let is_closed = |error: &AgentError| matches!(error, AgentError::Refused { .. });
        matches!((observation, &self.evidence.introspection), (Observation::Introspection(Err(now)), Some(Err(before)))
            if is_closed(now) && is_closed(before))
    }

    /// Whether each probe of [`BEFORE_FINAL`] has finished once. Probes that have not run yet are started at once.
    pub(super) fn has_examined(&mut self) -> bool {
        let expected = self.evidence.expectation.as_ref();
        let has_cluster = expected.is_some_and(|expected| expected.region.is_some() && expected.cluster.is_some());
        let mut is_all = true;
        for probe in BEFORE_FINAL {
            let can_run = match probe {
                Probe::Units => self.systemd.is_some(),
                Probe::Cluster => has_cluster,
                _ => true,
            };
            if can_run && self.matters(probe) && !self.answered.contains(&probe) {
                is_all = false;
                self.run_soon(probe);
            }
        }
        let units = self.evidence.known_units();
        if units.is_some_and(|units| probe::wants_journal(units, &self.evidence.host)) {
            self.run_soon(Probe::HostState);
            return false;
        }
        is_all && !self.evidence.job_pending("docker.service")
    }

    /// Whether tasks must be started on the instance, which is ready.
    pub(super) fn must_start_tasks(&self) -> bool {
        let expected = self.evidence.expectation.as_ref();
        self.evidence.task_starts.is_none() && expected.is_some_and(|expected| !expected.start_tasks.is_empty())
    }

    /// Whether no unit has changed since it was read, and no start of the agent is pending: a unit that failed, or a start
    /// that fails, is a cause in an earlier layer.
    pub(super) fn are_units_settled(&mut self) -> bool {
        let has_changed = self.schedule_of(Probe::Units).any(|entry| entry.running || entry.is_asked_for);
        let is_starting = self.evidence.agent_unit().is_some_and(|unit| self.evidence.job_pending(&unit.name));
        !has_changed && !is_starting
    }

    fn note_answered(&mut self, probe: Option<Probe>) {
        let Some(probe) = probe.filter(|probe| !self.answered.contains(probe)) else { return };
        // The first answer of the API contains the time. The network probe then needs a second run for the clock skew.
        if probe == Probe::Cluster {
            self.answered.retain(|answered| *answered != Probe::NetworkPath);
        }
        self.answered.push(probe);
    }

    pub(super) fn schedule_of(&mut self, probe: Probe) -> impl Iterator<Item = &mut Schedule> {
        self.schedule.iter_mut().filter(move |entry| entry.probe == probe)
    }

    pub(super) fn run_soon(&mut self, probe: Probe) {
        self.schedule_of(probe).for_each(Schedule::hasten);
    }

    fn start_due(&mut self, pace: Pace) {
        let now = Instant::now();
        for index in 0..self.schedule.len() {
            let entry = &self.schedule[index];
            if entry.running || entry.due(pace) > now || !self.matters(entry.probe) {
                continue;
            }
            let future = self.future(entry.probe);
            self.schedule[index].begin(future.is_some(), pace);
            self.probing.extend(future);
        }
    }

    /// Whether the result of a probe can currently change the verdict.
    fn matters(&self, probe: Probe) -> bool {
        let evidence = &self.evidence;
        let registered = evidence.container_instance_arn().is_some();
        match probe {
            Probe::Introspection | Probe::Units => true,
            Probe::Role | Probe::Network => !registered,
            Probe::Docker => {
                let wants_log = || evidence.is_disconnected() && evidence.is_agent_log_empty();
                !registered || joined_other_cluster(evidence).is_some() || wants_log()
            }
            Probe::Lifecycle => !registered || evidence.is_disconnected(),
            Probe::Cluster => !registered && !denied(&evidence.cluster),
            Probe::Registration => {
                let waits = || evidence.expectation.as_ref().is_some_and(|one| one.waits_for_attributes().is_some());
                registered && (!denied(&evidence.container_instance) || waits())
            }
            Probe::AccountSetting => self.matters_for_attributes(),
            Probe::UserData => !registered || asks_for_user_data(evidence),
            Probe::HostState => {
                !registered || evidence.stays_disconnected() || joined_other_cluster(evidence).is_some()
            }
            Probe::NetworkPath => true,
            Probe::BlockingStart => evidence.held_by_user_data(),
            Probe::Daemons | Probe::AgentTasks | Probe::PlacedTasks | Probe::TaskAttribute => {
                self.matters_for_hold(probe)
            }
        }
    }

    /// The future that runs a probe; `None` if a required value, such as the region, is unknown.
    fn future(&self, probe: Probe) -> Option<Probing<'a>> {
        let host_clients = self.host_clients;
        let expected = self.evidence.expectation.as_ref()?;
        let soon = Deadline::after(PROBE);
        Some(match probe {
            Probe::Introspection => {
                Box::pin(async move { Observation::Introspection(host_clients.agent.metadata(soon).await) })
            }
            Probe::Units => {
                let (systemd, agent) = (self.systemd?, expected.agent_unit.clone());
                Box::pin(async move { Observation::Units(Box::new(units(systemd, &agent).await)) })
            }
            Probe::Role => {
                Box::pin(async move { Observation::Role(host_clients.imds.role_credentials_status(soon).await) })
            }
            Probe::Lifecycle => {
                Box::pin(async move { Observation::Lifecycle(probe::lifecycle(&host_clients.imds, soon).await) })
            }
            Probe::Docker => {
                let asks_for_log = self.evidence.wants_container_log();
                Box::pin(async move { Observation::Docker(Box::new(docker(host_clients, asks_for_log, soon).await)) })
            }
            Probe::Network => {
                let region = expected.region.clone()?;
                Box::pin(async move { Observation::Network(probe::network(host_clients, Some(&region)).await) })
            }
            Probe::AccountSetting => self.account_setting(expected.region.clone()?),
            Probe::Cluster => describe_cluster(host_clients, expected)?,
            Probe::Registration => describe_container_instance(host_clients, expected, self.evidence.joined_as()?)?,
            Probe::UserData => {
                Box::pin(async move { Observation::UserData(probe::user_data(host_clients, soon).await) })
            }
            Probe::HostState => {
                let units = self.evidence.known_units().cloned();
                let context = probe::HostContext { units, is_killed: self.evidence.killed().is_some() };
                Box::pin(
                    async move { Observation::HostState(Box::new(probe::host(host_clients, context, soon).await)) },
                )
            }
            Probe::NetworkPath => network_path(host_clients, NetworkQuestions::of(&self.evidence), soon),
            Probe::Daemons | Probe::AgentTasks | Probe::PlacedTasks | Probe::TaskAttribute => {
                self.future_for_hold(probe)?
            }
            Probe::BlockingStart => {
                let unit = expected.agent_unit.clone();
                Box::pin(async move {
                    Observation::BlockingStart(
                        blocking_start(&host_clients.disk, &unit),
                        probe::long_run(&host_clients.disk),
                    )
                })
            }
        })
    }

    fn store(&mut self, observation: Observation) {
        let evidence = &mut self.evidence;
        let probe = observation.probe();
        match observation {
            // While a restart is queued, the answer is from the old agent, which is about to end.
            Observation::Introspection(_) if evidence.restart_pending() => evidence.introspection = None,
            Observation::Introspection(answer) => evidence.introspection = Some(evidence.trusted(answer)),
            Observation::Units(answer) => {
                evidence.note_units(*answer);
                // The journal of a failed unit is part of the evidence, so it is read at once.
                if evidence.known_units().is_some_and(|units| probe::wants_journal(units, &evidence.host)) {
                    self.run_soon(Probe::HostState);
                }
            }
            Observation::JobEnded(index, Ok(result)) => {
                tracing::debug!(unit = evidence.jobs[index].unit, ?result, "job ended");
                evidence.jobs[index].result = Some(result);
            }
            Observation::JobEnded(_, Err(error)) => tracing::debug!(%error, "end of the job not observed"),
            Observation::Role(answer) => self.note_role(answer),
            Observation::Lifecycle(lifecycle) => lifecycle.store(evidence),
            Observation::Docker(docker) => self.note_docker(*docker),
            Observation::Network(probe) => evidence.network = probe,
            Observation::Cluster(answer) => evidence.cluster = Some(answer),
            Observation::Registration(answer) => {
                evidence.container_instance = Some(answer);
                let clock_skew = self.host_clients.opened_aws().and_then(|aws| aws.clock_ahead());
                evidence.network_path.api_clock_skew = clock_skew;
                self.note_description();
            }
            Observation::BlockingStart(found, long_run) => {
                evidence.oldest_process = long_run;
                self.note_blocking_start(found);
            }
            Observation::UserData(answer) => evidence.user_data = Some(answer),
            Observation::HostState(host) => evidence.host = *host,
            Observation::NetworkPath(network_path) => self.note_network_path(*network_path),
            Observation::AccountSetting(answer) => self.note_account_setting(answer),
            Observation::Daemons(answer) => self.note_daemons(answer),
            Observation::AgentTasks(answer) => self.note_agent_tasks(answer),
            Observation::PlacedTasks(asked, answer) => self.note_placed_tasks(asked, answer),
            Observation::TaskAttribute(value, answer) => self.note_attribute(value, answer),
        }
        self.probe_network_soon(probe);
        self.note_answered(probe);
        for entry in self.schedule.iter_mut().filter(|entry| Some(entry.probe) == probe) {
            entry.running = false;
        }
    }

    /// Reads the logs and the agent's configuration, if they have changed. When the agent logs its connection, ECS is
    /// asked again at once. Returns whether they have changed.
    fn read_logs(&mut self) -> bool {
        // Without the state of the agent's unit it is unknown which lines are from its last start.
        if self.systemd.is_some() && self.evidence.units.is_none() {
            return false;
        }
        let disk = &self.host_clients.disk;
        let stamp = [
            AGENT_LOG,
            INIT_LOG,
            ECS_CONFIG,
            VENDOR_ECS_CONFIG,
            AGENT_JSON,
            probe::CLOUD_INIT_STATUS,
            probe::CLOUD_INIT_RESULT,
        ]
        .map(|path| modified(disk, path));
        [self.evidence.agent_log_written, self.evidence.init_log_written, ..] = stamp;
        if self.logs_read == Some(stamp) {
            return false;
        }
        self.logs_read = Some(stamp);
        self.evidence.config = agent_config(disk);
        self.evidence.files = probe::files(disk, &self.evidence.config);
        // The agent replaces the state that it started with.
        if self.evidence.saved.as_ref().is_none_or(|saved| saved.state.get().is_none()) {
            self.evidence.saved = saved_agent(disk);
        }
        if let Some(expected) = self.evidence.expectation.as_mut().filter(|expected| expected.follows_file) {
            expected.cluster = joined_cluster(disk);
        }
        read_logs(disk, &mut self.evidence);
        if self.evidence.is_agent_log_empty() {
            self.evidence.agent_loop = self.containers.repeated_error();
        }
        if self.evidence.must_describe_cluster() {
            self.run_soon(Probe::Cluster);
        }
        let connected = self.evidence.has_connected();
        let is_described = self.evidence.described().is_some_and(|described| described.agent_connected);
        if connected && !std::mem::replace(&mut self.connected_line, connected) && !is_described {
            self.run_soon(Probe::Registration);
        }
        true
    }
}
