//! What a check of `watch` observes: signs of a fault on this host, the answer of ECS, and the evidence for the cause.

use std::time::{Duration, SystemTime};

use super::logs::{CONTAINER, LOG_TAIL, modified};
use super::once::examine_host;
use crate::boundary::HostClients;
use crate::boundary::aws::{AwsError, ContainerInstance, Endpoint};
use crate::boundary::disk::Disk;
use crate::boundary::systemd::{Systemd, SystemdError};
use crate::evidence::agent_log::last_attempts;
use crate::evidence::files::Files;
use crate::evidence::{Evidence, NetworkQuestions, Watched, acs_endpoint};
use crate::host::{AGENT_LOG, agent_config, known_or_log};
use crate::plan::Expectation;
use crate::probe;
use crate::retry::Deadline;
use crate::watch::{Answer, Seen, seconds};

/// The limit for each request on this host.
const LOCAL: Duration = Duration::from_secs(3);
/// The limit for the call of ECS, and for the probes of the network.
const REMOTE: Duration = Duration::from_secs(5);

/// What one check sees on this host. It makes no call of an AWS API.
pub async fn seen(host_clients: &HostClients, expectation: &Expectation) -> Seen {
    let now = SystemTime::now();
    let tail = tail_over_files(&host_clients.disk);
    let mut evidence = ask_agent(host_clients, expectation).await;
    evidence.observed_at = Some(now);
    (_, evidence.agent_log) = last_attempts(&tail);
    let container = host_clients.docker.container(CONTAINER, Deadline::after(LOCAL)).await;
    let container = container.inspect_err(|error| tracing::debug!(%error, "start of the agent's container not read"));
    let started_at = container.ok().flatten().and_then(|found| humantime::parse_rfc3339(&found.started_at).ok());
    let acs = acs_endpoint(&tail);
    let lost = evidence.lost_connection();
    Seen {
        at: seconds(now),
        arn: evidence.container_instance_arn().map(str::to_owned),
        lost_since: lost.map(|lost| seconds(lost.since)),
        last_sign: lost.map(|lost| seconds(lost.last)),
        logs_connections: evidence.logs_connections(),
        acs: acs.map(|found| format!("https://{}:{}", found.host, found.port)),
        connected_at: evidence.connected_at().map(seconds),
        drops_since: evidence.dropped_connections().map(|dropped| seconds(dropped.since)),
        started_at: started_at.map(seconds).filter(|started| *started > 0),
    }
}

/// The end of the agent's log. If the file is short, because the agent has begun a new one, with the end of the file before.
fn tail_over_files(disk: &Disk) -> Vec<u8> {
    const SHORT: u64 = 64 * 1024;
    let tail = |path: &str| known_or_log(disk.tail(path, LOG_TAIL));
    let Some(now) = tail(AGENT_LOG) else { return Vec::new() };
    if now.size >= SHORT {
        return now.bytes;
    }
    // ecs-agent.log.2026-11-30-12, or a number behind the name.
    let (folder, name) = AGENT_LOG.rsplit_once('/').unwrap_or_default();
    let names = disk.list(folder).inspect_err(|error| tracing::debug!(%error, "folder of the log not read"));
    let is_older = |other: &String| other.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    let older = names.unwrap_or_default().into_iter().filter(is_older).map(|name| format!("{folder}/{name}"));
    let newest = older.filter_map(|path| Some((modified(disk, &path)?, path))).max();
    let before = newest.and_then(|(_, path)| tail(&path)).map(|before| before.bytes).unwrap_or_default();
    [before, now.bytes].concat()
}

/// The container instance as ECS describes it: one attempt of one call of `ecs:DescribeContainerInstances`.
pub async fn describe(
    host_clients: &HostClients,
    expectation: &Expectation,
    arn: &str,
) -> Option<Result<Option<ContainerInstance>, AwsError>> {
    let region = expectation.region.as_deref()?;
    let cluster = cluster_of(expectation, arn)?;
    Some(match host_clients.aws(region).await {
        Ok(aws) => aws.with_one_attempt().container_instance(cluster, arn, Deadline::after(REMOTE)).await,
        Err(error) => Err(error),
    })
}

/// The cluster of a container instance: `arn:PARTITION:ecs:REGION:ACCOUNT:container-instance/CLUSTER/ID`. The short form of the
/// ARN is without the cluster.
pub fn cluster_of<'a>(expectation: &'a Expectation, arn: &'a str) -> Option<&'a str> {
    let in_arn = arn.split('/').nth(1).filter(|_| arn.split('/').count() == 3);
    in_arn.or(expectation.cluster.as_deref())
}

/// The ARN of the container instance that the agent reports.
pub async fn container_instance_arn(host_clients: &HostClients, expectation: &Expectation) -> Option<String> {
    let evidence = ask_agent(host_clients, expectation).await;
    evidence.container_instance_arn().map(str::to_owned)
}

/// The answer of the agent, if it can be trusted.
async fn ask_agent(host_clients: &HostClients, expectation: &Expectation) -> Evidence {
    let mut evidence = Evidence {
        observed_at: Some(SystemTime::now()),
        // What `Evidence::trusted` needs of the files.
        files: Files { json_region: probe::agent_region(&host_clients.disk), ..Files::default() },
        config: agent_config(&host_clients.disk),
        expectation: Some(expectation.clone()),
        ..Evidence::default()
    };
    let agent = host_clients.agent.metadata(Deadline::after(LOCAL)).await;
    evidence.introspection = Some(evidence.trusted(agent));
    evidence
}

/// What an answer of ECS says.
pub fn answer(at: u64, described: Option<&ContainerInstance>) -> Answer {
    let is_active = described.is_some_and(|one| !matches!(one.status.as_str(), "INACTIVE" | "DEREGISTERING"));
    Answer { at, is_active, is_connected: described.is_some_and(|one| one.agent_connected) }
}

/// What the checks know about a fault.
pub struct Asked {
    /// The answer of ECS in this check, if ECS was asked.
    pub described: Option<Result<Option<ContainerInstance>, AwsError>>,
    /// The URL of ACS.
    pub acs: Option<String>,
    /// What was seen over time.
    pub watched: Watched,
}

/// The evidence for the cause of a fault. No AWS API is called.
pub async fn examine_watched(
    host_clients: &HostClients,
    systemd: &Result<Systemd, SystemdError>,
    expectation: Expectation,
    Asked { described, acs, watched }: Asked,
) -> Evidence {
    let now = SystemTime::now();
    let registered_for = watched.disconnected_since.and_then(|since| now.duration_since(since).ok());
    let agent_unit = expectation.agent_unit.clone();
    let mut evidence = Evidence {
        expectation: Some(expectation),
        container_instance: described,
        registered_for,
        watched: Some(watched),
        // The window has passed: what may still recover has not.
        timed_out: true,
        ..Evidence::default()
    };
    examine_host(host_clients, systemd, &agent_unit, &mut evidence).await;
    (_, evidence.agent_log) = last_attempts(&tail_over_files(&host_clients.disk));
    let context = probe::HostContext { units: evidence.known_units().cloned(), is_killed: true };
    evidence.host = probe::host(host_clients, context, Deadline::after(LOCAL)).await;
    let region = evidence.expectation.as_ref().and_then(|expected| expected.region.clone());
    evidence.network = probe::network(host_clients, region.as_deref()).await;
    let acs = acs.filter(|_| evidence.is_disconnected()).and_then(|url| Endpoint::of_url(&url));
    let asked = NetworkQuestions { control_plane: None, clock: false, acs, ..NetworkQuestions::of(&evidence) };
    evidence.network_path = probe::network_path(host_clients, asked, Deadline::after(REMOTE)).await;
    evidence
}
