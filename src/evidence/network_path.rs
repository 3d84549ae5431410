//! What the probe of the network path to AWS observes: clock skew, DNS, routes, proxies, TLS, and the endpoints of the
//! control plane.
//!
//! Plain data. Of a proxy only host and port are shown, and of a certificate only subject and issuer.

use std::net::IpAddr;

use super::proxies::ProxySetting;
use super::routes::Routes;
use crate::boundary::aws::AwsError;
use crate::boundary::net::NetError;
use crate::boundary::proxy::{Proxy, ProxyError};
use crate::boundary::tls::Certificate;

/// What is known about the network path to AWS. What was not probed or could not be observed is `None`.
#[derive(Debug, Default)]
pub struct NetworkPath {
    /// The clock skew in seconds: this host's clock minus the `Date` of AWS's last answer.
    pub api_clock_skew: Option<i64>,
    /// The clock skew in seconds against instance metadata. `api_clock` is preferred: not every answer of metadata has
    /// a `Date`.
    pub imds_clock_skew: Option<i64>,
    /// Whether the root certificates of this host were tried too, because those of Amazon did not verify the certificate.
    pub tried_host_roots: bool,
    pub(crate) routes: Option<Routes>,
    /// The proxy that is set for docker's unit.
    pub docker_proxy: Option<ProxySetting>,
    /// The proxy that is set for the agent's unit. ecs-init uses it, the agent does not.
    pub unit_proxy: Option<ProxySetting>,
    /// The proxy that ecs-bootstrap itself uses.
    pub own_proxy: Option<Proxy>,
    /// The answer of the agent's proxy to CONNECT; `None` if the agent has no proxy.
    pub proxy: Option<ProxyProbe>,
    /// The lookup of a second name; probed if the endpoint's name did not resolve.
    pub dns: Option<DnsProbe>,
    /// The endpoint's certificate; fetched if it was not accepted.
    pub certificate: Option<PresentedCertificate>,
    /// Whether the instance has a public IPv4 address; asked if the endpoint does not answer.
    pub has_public_address: Option<bool>,
    /// The connection to the endpoint of ECS that the agent's configuration sets; `None` if it sets none.
    pub agent_endpoint: Option<EndpointConnection>,
    /// The connections to ECS, and to ACS and TCS, whose endpoints `ecs:DiscoverPollEndpoint` returns; probed if the agent
    /// is disconnected.
    pub control_plane: Option<Result<ControlPlane, AwsError>>,
    /// Whether ACS can be reached, through the agent's proxy if it has one.
    pub is_acs_reachable: Option<bool>,
}

/// The certificate that a host presented.
#[derive(Debug)]
pub struct PresentedCertificate {
    /// The host; empty if the endpoint is unknown.
    pub host: String,
    /// The certificate; `None` if the host presented none.
    pub certificate: Option<Certificate>,
}

/// A CONNECT request to a proxy.
#[derive(Debug)]
pub struct ProxyProbe {
    pub(crate) proxy: Proxy,
    /// The host to connect to.
    pub host: String,
    pub(crate) outcome: Result<(), ProxyError>,
}

/// The lookup of a name other than the endpoint's.
#[derive(Debug)]
pub struct DnsProbe {
    /// The name servers in `/etc/resolv.conf`.
    pub servers: Vec<IpAddr>,
    /// The name that was looked up.
    pub other: &'static str,
    pub(crate) resolved: Result<(), NetError>,
}

/// The connections to the endpoints of the control plane. `None` if an endpoint is unknown or cannot be probed.
#[derive(Debug)]
pub struct ControlPlane {
    /// The ECS API, for comparison with the other two.
    pub api: Option<EndpointProbe>,
    /// The agent communication service (ACS).
    pub acs: Option<EndpointProbe>,
    /// The telemetry service (TCS).
    pub tcs: Option<EndpointProbe>,
}

/// The attempt to connect to an endpoint.
#[derive(Debug)]
pub enum EndpointProbe {
    /// By TCP, without a proxy.
    Direct(EndpointConnection),
    /// Through the agent's proxy.
    ThroughProxy(ProxyProbe),
}

impl EndpointProbe {
    /// Whether the connection was established.
    pub fn is_open(&self) -> bool {
        match self {
            EndpointProbe::Direct(probe) => probe.connected.is_ok(),
            EndpointProbe::ThroughProxy(proxied) => proxied.outcome.is_ok(),
        }
    }

    /// The host and the error; `None` if the connection was established.
    pub fn fault(&self) -> Option<(&str, &dyn std::error::Error)> {
        match self {
            EndpointProbe::Direct(probe) => Some((&probe.host, probe.connected.as_ref().err()?)),
            EndpointProbe::ThroughProxy(proxied) => Some((&proxied.host, proxied.outcome.as_ref().err()?)),
        }
    }
}

/// Name resolution and TCP connection to an AWS endpoint.
#[derive(Debug)]
pub struct EndpointConnection {
    /// The endpoint's host name.
    pub host: String,
    /// The addresses of the host name; empty if it did not resolve.
    pub addresses: Vec<IpAddr>,
    /// The result of the TCP connection, or the error of the lookup.
    pub connected: Result<(), NetError>,
}
