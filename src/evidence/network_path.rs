//! What stands between this host and AWS: the clock, names, routes, proxies, TLS, and the endpoints of the control plane.
//!
//! Plain data. A proxy is host and port, never its password; a certificate is whose it is and who says so.

use std::net::IpAddr;
use std::time::Duration;

use super::proxies::Told;
use super::routes::Routes;
use super::{Evidence, NetworkProbe};
use crate::boundary::aws::{AwsError, AwsErrorKind};
use crate::boundary::net::NetError;
use crate::boundary::proxy::{Proxy, ProxyError};
use crate::boundary::tls::Certificate;
use crate::redaction;

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
    pub docker_proxy: Option<Told>,
    /// The proxy of the agent's unit, which ecs-init uses and the agent does not.
    pub unit_proxy: Option<Told>,
    /// The proxy that this program goes through.
    pub our_proxy: Option<Proxy>,
    /// What the agent's proxy says to CONNECT; none where the agent has no proxy.
    pub proxy: Option<Proxied>,
    /// A second question, since the endpoint's name did not resolve.
    pub names: Option<Names>,
    /// What was shown in place of an acceptable certificate; asked when one was not accepted.
    pub certificate: Option<Shown>,
    /// Whether instance metadata knows a public IPv4 address; asked when the endpoint does not answer.
    pub public_address: Option<bool>,
    /// The endpoints that `ecs:DiscoverPollEndpoint` names, tried; asked when the agent is not connected.
    pub control_plane: Option<Result<ControlPlane, AwsError>>,
    /// Whether the way to the control plane (ACS) is open, through the agent's proxy where it has one.
    pub acs: Option<bool>,
}

/// A certificate that was looked at.
#[derive(Debug)]
pub struct Shown {
    /// The host that was asked.
    pub host: String,
    /// What it showed, if anything.
    pub certificate: Option<Certificate>,
}

/// A proxy that was tried.
#[derive(Debug)]
pub struct Proxied {
    /// The proxy.
    pub proxy: Proxy,
    /// The host that a way was asked to.
    pub host: String,
    /// What came of it.
    pub outcome: Result<(), ProxyError>,
}

/// The name servers.
#[derive(Debug)]
pub struct Names {
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
    pub api: Option<Reached>,
    /// ACS.
    pub agent: Option<Reached>,
    /// TCS.
    pub telemetry: Option<Reached>,
}

/// An endpoint that was tried.
#[derive(Debug)]
pub enum Reached {
    /// By TCP.
    Directly(NetworkProbe),
    /// Through the agent's proxy.
    Through(Proxied),
}

impl Reached {
    /// Whether it opened.
    pub fn is_open(&self) -> bool {
        match self {
            Reached::Directly(probe) => probe.connected.is_ok(),
            Reached::Through(proxied) => proxied.outcome.is_ok(),
        }
    }

    /// The host and why it did not open; none where it did.
    pub fn fault(&self) -> Option<(&str, &dyn std::error::Error)> {
        match self {
            Reached::Directly(probe) => Some((&probe.host, probe.connected.as_ref().err()?)),
            Reached::Through(proxied) => Some((&proxied.host, proxied.outcome.as_ref().err()?)),
        }
    }
}

/// An agent that has not connected this long after it registered may be kept from it.
const CONNECTS: Duration = Duration::from_secs(10);

/// What is worth a question, by what was seen before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// The instance's region.
    pub region: Option<String>,
    /// A second name, since the endpoint's does not resolve.
    pub names: bool,
    /// The certificate, since it was not accepted.
    pub certificate: bool,
    /// Whether there is a public address, since the endpoint does not answer.
    pub public_address: bool,
    /// The control plane: the container instance's cluster and ARN.
    pub control_plane: Option<(String, String)>,
    /// The agent's proxy, since the agent has not registered.
    pub proxy: bool,
}

impl Ask {
    /// What this evidence leaves open.
    pub fn of(evidence: &Evidence) -> Ask {
        let failed = evidence.network.as_ref().and_then(|probe| probe.connected.as_ref().err());
        let call = |is: fn(&AwsErrorKind) -> bool| evidence.aws_errors().any(|error| is(&error.kind));
        let dns =
            matches!(failed, Some(NetError::Dns { .. } | NetError::DnsTimeout { .. } | NetError::NoSuchName { .. }));
        let is_denied = matches!(&evidence.network_path.control_plane, Some(Err(error)) if matches!(error.kind, AwsErrorKind::Denied { .. }));
        // An agent that has just registered is about to connect.
        let window = evidence.expectation.as_ref().map_or(CONNECTS, |expected| expected.window.min(CONNECTS));
        let is_left = evidence.is_disconnected() && evidence.disconnected_for.is_some_and(|since| since >= window);
        Ask {
            region: evidence.expectation.as_ref().and_then(|expected| expected.region.clone()),
            names: dns || call(|kind| matches!(kind, AwsErrorKind::Dns { .. })),
            certificate: call(|kind| matches!(kind, AwsErrorKind::Tls { .. })),
            public_address: matches!(failed, Some(NetError::Timeout { .. }))
                || call(|kind| matches!(kind, AwsErrorKind::ConnectTimeout)),
            // A denial ends asking.
            control_plane: evidence.joined_as().filter(|_| is_left && !is_denied),
            proxy: evidence.container_instance_arn().is_none(),
        }
    }

    /// Whether a look at the way should not wait for its turn.
    pub fn is_pressing(&self) -> bool {
        self.names || self.certificate || self.public_address || self.control_plane.is_some()
    }
}

impl Evidence {
    /// The cluster that the agent says it is in, and its ARN there.
    pub fn joined_as(&self) -> Option<(String, String)> {
        let arn = self.container_instance_arn()?.to_owned();
        let Some(Ok(metadata)) = &self.introspection else { return None };
        Some((metadata.cluster.clone(), arn))
    }

    /// Whether ECS must be asked before the agent's word counts that there is no such cluster: it is as short about one
    /// that is not ACTIVE.
    pub fn must_ask_for_cluster(&self) -> bool {
        let may_ask =
            self.expectation.as_ref().is_some_and(|wanted| wanted.cluster.is_some() && wanted.region.is_some());
        may_ask && self.cluster.is_none() && self.registration_refused(&["Cluster not found"]).is_some()
    }

    /// Whether a look at a certificate that was not accepted is on its way: whose it is belongs to what is told.
    pub fn must_look_at_certificate(&self) -> bool {
        let is_tls = |error: &AwsError| matches!(error.kind, AwsErrorKind::Tls { .. });
        self.stop.is_none() && self.network_path.certificate.is_none() && self.aws_errors().any(is_tls)
    }

    /// Whether the agent has registered and ECS says that it is not connected.
    pub fn is_disconnected(&self) -> bool {
        self.container_instance_arn().is_some()
            && matches!(&self.registration, Some(Ok(Some(instance))) if !instance.agent_connected)
    }

    /// All of the last line of this start in which the agent says that it could not register: for reading, not to be
    /// shown whole.
    pub fn refusal(&self) -> Option<String> {
        if !self.is_of_this_start(self.agent_log_written) {
            return None;
        }
        let line =
            self.agent_log.iter().rfind(|line| line.holds("Unable to register as a container instance with ECS"));
        line.map(|line| redaction::line(&line.text()))
    }
}
