//! What stands between this host and AWS: the clock, names, routes, proxies, TLS, and the endpoints of the control
//! plane.
//!
//! Plain data. A proxy is host and port, never its password; a certificate is whose it is and who says so.

use std::net::IpAddr;

use super::proxies::ProxySetting;
use super::routes::Routes;
use crate::boundary::aws::AwsError;
use crate::boundary::net::NetError;
use crate::boundary::proxy::{Proxy, ProxyError};
use crate::boundary::tls::Certificate;

/// All of it. What has not been asked, or cannot be seen, is `None`.
#[derive(Debug, Default)]
pub struct NetworkPath {
    /// This host's clock minus the `Date` of AWS's last answer, in seconds.
    pub api_clock: Option<i64>,
    /// The same against instance metadata, which counts less: not every answer of it has a `Date`.
    pub imds_clock: Option<i64>,
    /// Whether AWS's certificate was good only by this host's own roots, not by Amazon's.
    pub host_roots: bool,
    /// The routing tables.
    pub routes: Option<Routes>,
    /// The proxy of docker's unit.
    pub docker_proxy: Option<ProxySetting>,
    /// The proxy of the agent's unit, which ecs-init uses and the agent does not.
    pub unit_proxy: Option<ProxySetting>,
    /// The proxy that this program goes through.
    pub own_proxy: Option<Proxy>,
    /// What the agent's proxy says to CONNECT; none where the agent has no proxy.
    pub proxy: Option<ProxyProbe>,
    /// A second question, since the endpoint's name did not resolve.
    pub dns: Option<DnsProbe>,
    /// What was shown in place of an acceptable certificate; asked when one was not accepted.
    pub certificate: Option<PresentedCertificate>,
    /// Whether instance metadata knows a public IPv4 address; asked when the endpoint does not answer.
    pub public_address: Option<bool>,
    /// The endpoints that `ecs:DiscoverPollEndpoint` names, tried; asked when the agent is not connected.
    pub control_plane: Option<Result<ControlPlane, AwsError>>,
    /// Whether the way to the control plane (ACS) is open, through the agent's proxy where it has one.
    pub acs: Option<bool>,
}

/// A certificate that was looked at.
#[derive(Debug)]
pub struct PresentedCertificate {
    /// The host that was asked.
    pub host: String,
    /// What it showed, if anything.
    pub certificate: Option<Certificate>,
}

/// A proxy that was tried.
#[derive(Debug)]
pub struct ProxyProbe {
    /// The proxy.
    pub proxy: Proxy,
    /// The host that a way was asked to.
    pub host: String,
    /// What came of it.
    pub outcome: Result<(), ProxyError>,
}

/// The name servers.
#[derive(Debug)]
pub struct DnsProbe {
    /// Those of /etc/resolv.conf.
    pub servers: Vec<IpAddr>,
    /// The other name that was asked for.
    pub other: &'static str,
    /// Whether it resolved.
    pub resolved: Result<(), NetError>,
}

/// The way to the control plane.
#[derive(Debug)]
pub struct ControlPlane {
    /// The API itself, which the others are compared with.
    pub api: Option<EndpointProbe>,
    /// ACS.
    pub agent: Option<EndpointProbe>,
    /// TCS.
    pub telemetry: Option<EndpointProbe>,
}

/// An endpoint that was tried.
#[derive(Debug)]
pub enum EndpointProbe {
    /// By TCP.
    Direct(NetworkProbe),
    /// Through the agent's proxy.
    ThroughProxy(ProxyProbe),
}

impl EndpointProbe {
    /// Whether it opened.
    pub fn is_open(&self) -> bool {
        match self {
            EndpointProbe::Direct(probe) => probe.connected.is_ok(),
            EndpointProbe::ThroughProxy(proxied) => proxied.outcome.is_ok(),
        }
    }

    /// The host and why it did not open; none where it did.
    pub fn fault(&self) -> Option<(&str, &dyn std::error::Error)> {
        match self {
            EndpointProbe::Direct(probe) => Some((&probe.host, probe.connected.as_ref().err()?)),
            EndpointProbe::ThroughProxy(proxied) => Some((&proxied.host, proxied.outcome.as_ref().err()?)),
        }
    }
}

/// A probe of the way to an AWS endpoint.
#[derive(Debug)]
pub struct NetworkProbe {
    /// The endpoint's name.
    pub host: String,
    /// What it resolved to.
    pub addresses: Vec<IpAddr>,
    /// What a TCP connection came to.
    pub connected: Result<(), NetError>,
}
