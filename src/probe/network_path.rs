//! The network probe: DNS, routes, proxies, TLS, clock skew, and the endpoints of the control plane.
//!
//! In: the clients, and the questions that the evidence leaves open. Out: a [`NetworkPath`].

use std::time::Duration;

use futures_util::future::{join, join3, join5};

use crate::boundary::HostClients;
use crate::boundary::aws::{Aws, AwsError, Endpoint, PollEndpoint};
use crate::boundary::disk::Disk;
use crate::boundary::dns::Dns;
use crate::boundary::net;
use crate::boundary::proxy::{self, Proxy};
use crate::boundary::tls::certificate;
use crate::evidence::network_path::{
    ControlPlane, DnsProbe, EndpointProbe, NetworkPath, PresentedCertificate, ProxyProbe,
};
use crate::evidence::proxies::{ProxySetting, in_file, of_agent};
use crate::evidence::routes::{self, Routes};
use crate::evidence::{EndpointConnection, NetworkQuestions};
use crate::facts::{AGENT_UNITS, NO_UNIT};
use crate::host::{agent_config, read_or_log};
use crate::retry::Deadline;

/// The limit for each request over the network. A blocked egress shows in connect(2) within this time.
const QUESTION: Duration = Duration::from_secs(3);
/// The second name to look up. It resolves in every partition that resolves public names, and no private hosted zone
/// for ECS contains it.
const OTHER_NAME: &str = "s3.amazonaws.com";
const PUBLIC_ADDRESS: &str = "meta-data/public-ipv4";
/// The files and folders that set environment variables for docker's unit and for the agent's unit. `/usr` is left out,
/// because users do not edit it.
const DOCKER: [&str; 3] = ["/etc/systemd/system/docker.service.d", "/etc/sysconfig/docker", "/etc/default/docker"];

/// Runs the probe; ends at the deadline. Local files are always read, requests are sent only for the questions.
pub(crate) async fn network_path(host_clients: &HostClients, ask: NetworkQuestions, deadline: Deadline) -> NetworkPath {
    let deadline = deadline.earliest(Deadline::after(QUESTION));
    let units = AGENT_UNITS
        .into_iter()
        .chain(ask.agent_unit.as_deref().filter(|unit| *unit != NO_UNIT && !AGENT_UNITS.contains(unit)));
    let drop_ins: Vec<String> = units.map(|unit| format!("/etc/systemd/system/{unit}.d")).collect();
    let mut network_path = NetworkPath {
        routes: routes(&host_clients.disk),
        docker_proxy: configured_proxy(&host_clients.disk, &DOCKER).or_else(|| in_daemon_json(&host_clients.disk)),
        unit_proxy: configured_proxy(&host_clients.disk, &drop_ins),
        own_proxy: proxy::of_environment(),
        ..NetworkPath::default()
    };
    let aws = clients(host_clients, ask.region.as_deref()).await;
    if let Some(aws) = &aws {
        let endpoint = aws.ecs_endpoint().await;
        let through =
            endpoint.as_ref().and_then(|endpoint| of_agent(&agent_config(&host_clients.disk), &endpoint.host));
        let certificate_of = endpoint.as_ref().filter(|_| ask.certificate && network_path.own_proxy.is_none());
        let connect = endpoint.as_ref().zip(through.as_ref()).filter(|_| ask.proxy);
        let time = async {
            if ask.clock && aws.clock_ahead().is_none() {
                aws.ask_time(deadline).await;
            }
        };
        let of_api = join5(
            dns_probe(ask.dns && endpoint.as_ref().is_some_and(Endpoint::is_name), deadline),
            fetch_certificate(certificate_of, deadline),
            ask_proxy(connect, deadline),
            public_address(host_clients, ask.public_address, deadline),
            control_plane(aws, (ask.control_plane.as_ref(), ask.acs), endpoint.clone(), through.as_ref(), deadline),
        );
        let ((dns, certificate, proxied, public_address, control_plane), agent_endpoint, ()) =
            join3(of_api, connection(ask.agent_endpoint, deadline), time).await;
        network_path.agent_endpoint = agent_endpoint;
        (network_path.dns, network_path.certificate, network_path.proxy) = (dns, certificate, proxied);
        (network_path.has_public_address, network_path.control_plane) = (public_address, control_plane);
        network_path.api_clock_skew = aws.clock_ahead();
        network_path.tried_host_roots = aws.tried_host_roots();
    }
    if ask.certificate && network_path.certificate.is_none() {
        network_path.certificate = Some(PresentedCertificate { host: String::new(), certificate: None });
    }
    network_path.imds_clock_skew = host_clients.imds.clock_ahead();
    network_path.is_acs_reachable = match &network_path.control_plane {
        Some(Ok(plane)) => plane.acs.as_ref().map(EndpointProbe::is_open),
        _ => None,
    };
    network_path
}

/// Name resolution and TCP connection to the ECS endpoint; `None` if the endpoint is unknown.
pub(crate) async fn network(host_clients: &HostClients, region: Option<&str>) -> Option<EndpointConnection> {
    let endpoint = clients(host_clients, region).await?.ecs_endpoint().await;
    connection(endpoint, Deadline::after(QUESTION)).await
}

async fn connection(endpoint: Option<Endpoint>, deadline: Deadline) -> Option<EndpointConnection> {
    let endpoint = endpoint?;
    let (addresses, connected) = net::reach(&endpoint.host, endpoint.port, deadline).await;
    Some(EndpointConnection { host: endpoint.host, addresses, connected })
}

/// The AWS clients for this region, or if it is unknown the clients that the run has already created.
async fn clients(host_clients: &HostClients, region: Option<&str>) -> Option<Aws> {
    match region {
        Some(region) => host_clients.aws(region).await.ok(),
        None => host_clients.opened_aws().cloned(),
    }
}

fn routes(disk: &Disk) -> Option<Routes> {
    let read = |path: &str| read_or_log(disk, path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let v6 = |path| read(path).unwrap_or_default();
    routes::read(&read("/proc/net/route")?, &v6("/proc/net/ipv6_route"), &v6("/proc/net/if_inet6"))
}

/// The proxy that is set in these files, or in the `.conf` files of these folders. The last one takes effect.
fn configured_proxy(disk: &Disk, places: &[impl AsRef<str>]) -> Option<ProxySetting> {
    let in_folder = |folder: &str| {
        let names = disk.list(folder).unwrap_or_default();
        names.into_iter().filter(|name| name.ends_with(".conf")).map(|name| format!("{folder}/{name}")).collect()
    };
    let files = places
        .iter()
        .map(AsRef::as_ref)
        .flat_map(|place: &str| if place.ends_with(".d") { in_folder(place) } else { vec![place.to_owned()] });
    let read = |path: String| in_file(&String::from_utf8_lossy(&read_or_log(disk, &path)?), &path);
    files.filter_map(read).next_back()
}

/// The proxy in docker's own configuration file (dockerd, "Daemon proxy configuration").
fn in_daemon_json(disk: &Disk) -> Option<ProxySetting> {
    const PLACE: &str = "/etc/docker/daemon.json";
    let bytes = read_or_log(disk, PLACE)?;
    let settings: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    let proxies = settings.get("proxies")?;
    let proxy = proxies.get("https-proxy").or_else(|| proxies.get("http-proxy"))?;
    Some(ProxySetting { place: PLACE.to_owned(), proxy: Proxy::of(proxy.as_str()?)? })
}

async fn dns_probe(is_asked: bool, deadline: Deadline) -> Option<DnsProbe> {
    if !is_asked {
        return None;
    }
    let resolved = net::resolve(&Dns::default(), OTHER_NAME, deadline).await.map(drop);
    Some(DnsProbe { servers: Dns::servers(), other: OTHER_NAME, resolved })
}

async fn fetch_certificate(endpoint: Option<&Endpoint>, deadline: Deadline) -> Option<PresentedCertificate> {
    let endpoint = endpoint?;
    let certificate = certificate(&endpoint.host, endpoint.port, deadline).await;
    Some(PresentedCertificate { host: endpoint.host.clone(), certificate })
}

async fn ask_proxy(connect: Option<(&Endpoint, &Proxy)>, deadline: Deadline) -> Option<ProxyProbe> {
    let (endpoint, proxy) = connect.filter(|(_, proxy)| proxy.is_plain_http)?;
    Some(through(proxy, endpoint, deadline).await)
}

async fn through(proxy: &Proxy, endpoint: &Endpoint, deadline: Deadline) -> ProxyProbe {
    let outcome = proxy::connect(proxy, &endpoint.host, endpoint.port, deadline).await;
    ProxyProbe { proxy: proxy.clone(), host: endpoint.host.clone(), outcome }
}

async fn public_address(host_clients: &HostClients, is_asked: bool, deadline: Deadline) -> Option<bool> {
    if !is_asked {
        return None;
    }
    let answer = host_clients.imds.get(PUBLIC_ADDRESS, deadline).await;
    answer.inspect_err(|error| tracing::debug!(%error, "public address not read")).ok().map(|address| address.is_some())
}

/// Connects to both endpoints of the control plane in the same way as the agent. `known` is the endpoint
/// of ACS, otherwise ECS is asked about the container instance `asked`.
async fn control_plane(
    aws: &Aws,
    (asked, known): (Option<&(String, String)>, Option<Endpoint>),
    api: Option<Endpoint>,
    proxy: Option<&Proxy>,
    deadline: Deadline,
) -> Option<Result<ControlPlane, AwsError>> {
    if known.is_some() {
        let (api, acs) = join(reach(api, proxy, deadline), reach(known, proxy, deadline)).await;
        return Some(Ok(ControlPlane { api, acs, tcs: None }));
    }
    let (cluster, arn) = asked?;
    let PollEndpoint { endpoint, telemetry } = match aws.poll_endpoint(cluster, arn, deadline).await {
        Ok(endpoints) => endpoints,
        Err(error) => return Some(Err(error)),
    };
    let deadline = Deadline::after(QUESTION);
    let at = |url: Option<String>| url.as_deref().and_then(Endpoint::of_url);
    let (agent, telemetry) = (reach(at(endpoint), proxy, deadline), reach(at(telemetry), proxy, deadline));
    let (api, agent, telemetry) = join3(reach(api, proxy, deadline), agent, telemetry).await;
    Some(Ok(ControlPlane { api, acs: agent, tcs: telemetry }))
}

async fn reach(endpoint: Option<Endpoint>, proxy: Option<&Proxy>, deadline: Deadline) -> Option<EndpointProbe> {
    match proxy {
        None => connection(endpoint, deadline).await.map(EndpointProbe::Direct),
        Some(proxy) if proxy.is_plain_http => {
            Some(EndpointProbe::ThroughProxy(through(proxy, &endpoint?, deadline).await))
        }
        Some(_) => None,
    }
}
