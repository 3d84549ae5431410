//! Runs the probes once, in parallel: for doctor, and to explain an error that ended a stage.
//!
//! In: the clients. Out: [`Evidence`].

use std::time::{Duration, SystemTime};

use futures_util::future::{join, join3, join4};

use super::conditions::{note_gpus, trunking_once};
use super::daemons::observe_once;
use super::logs::{CONTAINER, container_log, read_logs};
use crate::boundary::HostClients;
use crate::boundary::aws::AwsErrorKind;
use crate::boundary::systemd::{Systemd, SystemdError};
use crate::evidence::NetworkQuestions;
use crate::evidence::{Evidence, StageError};
use crate::facts::{Units, since};
use crate::host::{agent_config, drain, followed_tags_of_this_boot, joined_cluster, pulls, saved_agent, units};
use crate::plan::{Expectation, Refusal};
use crate::probe;
use crate::retry::{Deadline, within};

/// The limit for each probe. At most three run in sequence.
const PROBE: Duration = Duration::from_secs(3);
/// The limit for the probes that explain an error. It is short, because the run has already failed.
const AROUND: Duration = Duration::from_secs(3);

/// The evidence around an error that ended a stage: the files always, other probes only if they can explain the error.
/// `agent_unit` is the value of `units.agent`.
pub(super) async fn around(host_clients: &HostClients, error: StageError, agent_unit: &str) -> Evidence {
    let mut evidence = Evidence { run_ended: true, ..Evidence::of_stage_error(error) };
    read_files(host_clients, &mut evidence);
    let soon = Deadline::after(AROUND);
    match &evidence.stage_error {
        Some(StageError::Refused(Refusal::NoCluster { .. } | Refusal::ClusterInvalid { .. })) => {
            // User data fails on a host without docker or the agent, so the units are part of the evidence.
            let container = host_clients.docker.container(CONTAINER, soon);
            let (user_data, units, container) =
                join3(probe::user_data(host_clients, soon), units_now(host_clients, agent_unit, soon), container).await;
            (evidence.user_data, evidence.units, evidence.container) = (Some(user_data), units, Some(container));
        }
        Some(StageError::Aws(_)) => {
            let role = host_clients.imds.role_credentials_status(soon);
            // The error of a call without a connection does not show whether DNS or the network path is at fault.
            let is_cut = matches!(&evidence.stage_error, Some(StageError::Aws(error))
                if matches!(error.kind, AwsErrorKind::Timeout | AwsErrorKind::ConnectTimeout | AwsErrorKind::Connect));
            let network = async { if is_cut { probe::network(host_clients, None).await } else { None } };
            let ask = NetworkQuestions::of(&evidence);
            let ask = NetworkQuestions { dns: ask.dns || is_cut, ..ask };
            let (role, network_path, network) =
                join3(role, probe::network_path(host_clients, ask, soon), network).await;
            (evidence.role, evidence.network_path, evidence.network) = (Some(role), network_path, network);
        }
        Some(StageError::Imds(_)) => {
            let network_path = probe::network_path(host_clients, NetworkQuestions::default(), soon);
            (evidence.host, evidence.network_path) =
                join(probe::host(host_clients, probe::HostContext::default(), soon), network_path).await;
        }
        _ => {}
    }
    evidence
}

/// The states of the units; `None` if no system has booted from this root.
async fn units_now(
    host_clients: &HostClients,
    agent_unit: &str,
    deadline: Deadline,
) -> Option<Result<Units, SystemdError>> {
    if !host_clients.disk.is_booted() {
        return None;
    }
    Some(match Systemd::connect(deadline).await {
        Ok(systemd) => within(deadline, units(&systemd, agent_unit)).await.unwrap_or_else(silent),
        Err(error) => Err(error),
    })
}

fn silent<T, E>(_late: E) -> Result<T, SystemdError> {
    Err(SystemdError::TimedOut { operation: "LoadUnit".to_owned(), waited: PROBE })
}

/// Everything that can be observed now. A failed probe does not affect the others.
pub(super) async fn once(
    host_clients: &HostClients,
    systemd: &Result<Systemd, SystemdError>,
    expectation: Option<Expectation>,
    (agent_unit, region): (&str, Option<&str>),
    error: Option<StageError>,
) -> Evidence {
    let mut evidence = Evidence { stage_error: error, expectation, ..Evidence::default() };
    examine_host(host_clients, systemd, agent_unit, &mut evidence).await;
    ask_aws(host_clients, &mut evidence, region).await;
    let asked = NetworkQuestions { control_plane: evidence.joined_as(), ..NetworkQuestions::of(&evidence) };
    evidence.network_path = probe::network_path(host_clients, asked, Deadline::after(PROBE)).await;
    evidence
}

/// Adds everything that can be observed without a call of an AWS API.
pub(super) async fn examine_host(
    host_clients: &HostClients,
    systemd: &Result<Systemd, SystemdError>,
    agent_unit: &str,
    evidence: &mut Evidence,
) {
    let soon = Deadline::after(PROBE);
    let now = SystemTime::now();
    (evidence.examined_at, evidence.observed_at) = (Some(now), Some(now));
    evidence.age = evidence.expectation.as_ref().and_then(|expected| since(expected.pending_time.as_deref()?, now));
    read_files(host_clients, evidence);
    let bus = async {
        match systemd {
            Ok(systemd) => Some(within(soon, units(systemd, agent_unit)).await.unwrap_or_else(silent)),
            Err(error) => Some(Err(error.clone())),
        }
    };
    let imds = join3(
        host_clients.imds.role_credentials_status(soon),
        probe::lifecycle(&host_clients.imds, soon),
        probe::user_data(host_clients, soon),
    );
    evidence.oldest_process = probe::long_run(&host_clients.disk);
    let docker = join(host_clients.docker.ping(soon), host_clients.docker.container(CONTAINER, soon));
    let (found, introspection, (role, lifecycle, user_data), (ping, container)) =
        join4(bus, host_clients.agent.metadata(soon), imds, docker).await;
    evidence.units = found;
    evidence.introspection = Some(evidence.trusted(introspection));
    evidence.role = Some(role);
    lifecycle.store(evidence);
    evidence.user_data = Some(user_data);
    (evidence.docker, evidence.container) = (Some(ping), Some(container));
    if evidence.wants_container_log() {
        let container = evidence.container.as_ref().expect("docker was asked");
        evidence.container_log = container_log(host_clients, container, soon).await.unwrap_or_default();
    }
}

/// Adds the answers of the ECS API and the host probe. Both depend on the evidence so far.
async fn ask_aws(host_clients: &HostClients, evidence: &mut Evidence, region: Option<&str>) {
    let soon = Deadline::after(PROBE);
    let context = probe::HostContext { units: evidence.known_units().cloned(), is_killed: true };
    let host = probe::host(host_clients, context, soon);
    let expected = evidence.expectation.clone().unwrap_or_default();
    let arn = evidence.container_instance_arn().map(str::to_owned);
    let api = async {
        let Some(region) = expected.region.as_deref().or(region) else {
            return Some((probe::network(host_clients, None).await, None, None));
        };
        let aws = match host_clients.aws(region).await {
            Ok(aws) => aws,
            Err(error) => return Some((None, Some(Err(error)), None)),
        };
        let cluster = expected.cluster.clone().unwrap_or_else(|| "default".to_owned());
        let known = async {
            match &arn {
                Some(arn) => Some(aws.container_instance(&cluster, arn, soon).await),
                None => None,
            }
        };
        let clusters = [cluster.clone()];
        let (probe, described, known) =
            join3(probe::network(host_clients, Some(region)), aws.describe_clusters(&clusters, soon), known).await;
        Some((probe, Some(described), known))
    };
    let (host, api) = join(host, api).await;
    evidence.host = host;
    if let Some((network, cluster, registration)) = api {
        (evidence.network, evidence.cluster, evidence.container_instance) = (network, cluster, registration);
    }
    if let Some(region) = expected.region.as_deref().or(region) {
        note_gpus(host_clients, evidence);
        let soon = Deadline::after(PROBE);
        let observed = evidence as &Evidence;
        (evidence.task_hold, evidence.trunking) = join(
            observe_once(host_clients, observed, region, soon),
            trunking_once(host_clients, observed, region, soon),
        )
        .await;
    }
    // An agent that was connected before may be between two connections; one that never connected is not.
    if evidence.is_described_as_disconnected() && evidence.logs_connections() && !evidence.has_connected() {
        evidence.registered_for = evidence.agent_runs_for();
    }
}

/// Adds the evidence from files.
fn read_files(host_clients: &HostClients, evidence: &mut Evidence) {
    let disk = &host_clients.disk;
    evidence.config = agent_config(disk);
    evidence.saved = saved_agent(disk);
    evidence.followed = followed_tags_of_this_boot(disk);
    if evidence.expectation.as_ref().is_some_and(|expected| expected.waits_for_images().is_some()) {
        evidence.pulls = pulls(disk);
    }
    if evidence.expectation.as_ref().is_some_and(|expected| expected.drain.is_some()) {
        evidence.drain = drain(disk);
    }
    evidence.files = probe::files(disk, &evidence.config);
    if let Some(expected) = evidence.expectation.as_mut().filter(|expected| expected.follows_file) {
        expected.cluster = joined_cluster(disk);
    }
    read_logs(disk, evidence);
}
