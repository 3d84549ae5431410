//! Decides from the evidence which questions the next probes must answer.

use std::time::Duration;

use super::Evidence;
use super::overrides::EndpointOverride;
use super::proxies::of_agent;
use crate::boundary::aws::{AwsError, AwsErrorKind, Endpoint};
use crate::boundary::imds::RoleStatus;
use crate::boundary::net::NetError;

/// If an agent has not connected this long after its registration, the network path to the control plane is probed.
const CONNECTS: Duration = Duration::from_secs(10);

/// The questions for the network probe. Each costs a request, so it is asked only if the evidence so far makes it
/// useful.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkQuestions {
    pub(crate) region: Option<String>,
    /// The agent's unit, whose drop-ins can set a proxy.
    pub agent_unit: Option<String>,
    /// Whether to resolve a second name, because the endpoint's name does not resolve.
    pub dns: bool,
    /// Whether to fetch the endpoint's certificate, because it was not accepted.
    pub certificate: bool,
    /// Whether to ask for the public address, because the endpoint does not answer.
    pub public_address: bool,
    /// Cluster and ARN of the container instance, to probe the control plane; `None` to skip it.
    pub control_plane: Option<(String, String)>,
    /// The endpoint of ACS, if it is known without a call.
    pub acs: Option<Endpoint>,
    /// Whether to probe the agent's proxy, because the agent has not registered.
    pub proxy: bool,
    /// Whether to ask ECS for the time without credentials, because there are none.
    pub clock: bool,
    /// The endpoint of ECS that the agent's configuration sets, if the agent has not registered.
    pub agent_endpoint: Option<Endpoint>,
}

impl NetworkQuestions {
    /// The questions that this evidence leaves open.
    pub fn of(evidence: &Evidence) -> NetworkQuestions {
        let failed = evidence.network.as_ref().and_then(|probe| probe.connected.as_ref().err());
        let call = |is: fn(&AwsErrorKind) -> bool| evidence.aws_errors().any(|error| is(&error.kind));
        let is_dns_error =
            matches!(failed, Some(NetError::Dns { .. } | NetError::DnsTimeout { .. } | NetError::NoSuchName { .. }));
        let is_denied = matches!(&evidence.network_path.control_plane, Some(Err(error))
            if error.is_denied());
        // An agent that registered a moment ago is about to connect.
        let window = evidence.expectation.as_ref().map_or(CONNECTS, |expected| expected.window.min(CONNECTS));
        let stays_disconnected =
            evidence.is_disconnected() && evidence.registered_for.is_some_and(|since| since >= window);
        NetworkQuestions {
            agent_unit: evidence.expectation.as_ref().map(|expected| expected.agent_unit.clone()),
            region: evidence.expectation.as_ref().and_then(|expected| expected.region.clone()),
            dns: is_dns_error || call(|kind| matches!(kind, AwsErrorKind::Dns { .. })),
            certificate: call(|kind| matches!(kind, AwsErrorKind::Tls { .. })),
            public_address: matches!(failed, Some(NetError::Timeout { .. }))
                || call(|kind| matches!(kind, AwsErrorKind::ConnectTimeout)),
            // The call is not repeated after a denial.
            control_plane: evidence.joined_as().filter(|_| stays_disconnected && !is_denied),
            acs: None,
            proxy: evidence.container_instance_arn().is_none(),
            clock: evidence.container_instance_arn().is_none()
                && (matches!(&evidence.role, Some(Ok(role)) if !matches!(role, RoleStatus::Present { .. }))
                    || call(|kind| matches!(kind, AwsErrorKind::NoCredentials | AwsErrorKind::Credentials { .. }))),
            agent_endpoint: evidence.agent_endpoint(),
        }
    }

    /// Whether the network probe runs at once instead of at its interval.
    pub fn is_pressing(&self) -> bool {
        self.dns || self.certificate || self.public_address || self.control_plane.is_some()
    }
}

impl Evidence {
    /// The endpoint that the agent's configuration sets, if the agent has not registered and uses no proxy for it.
    fn agent_endpoint(&self) -> Option<Endpoint> {
        let endpoint = EndpointOverride::of(&self.config)?.endpoint?;
        let is_direct = self.container_instance_arn().is_none() && of_agent(&self.config, &endpoint.host).is_none();
        is_direct.then_some(endpoint)
    }

    /// The cluster and the ARN of the container instance, as the agent reports them.
    pub fn joined_as(&self) -> Option<(String, String)> {
        let arn = self.container_instance_arn()?.to_owned();
        let Some(Ok(metadata)) = &self.introspection else { return None };
        Some((metadata.cluster.clone(), arn))
    }

    /// Whether DescribeClusters must be called before the agent's error `Cluster not found` is final: the agent logs
    /// the same error for an INACTIVE cluster.
    pub fn must_describe_cluster(&self) -> bool {
        let may_ask =
            self.expectation.as_ref().is_some_and(|wanted| wanted.cluster.is_some() && wanted.region.is_some());
        may_ask && self.cluster.is_none() && self.registration_refused(&["Cluster not found"]).is_some()
    }

    /// Whether a certificate that was not accepted still has to be fetched. Its issuer is part of the evidence.
    pub fn must_fetch_certificate(&self) -> bool {
        let is_tls = |error: &AwsError| matches!(error.kind, AwsErrorKind::Tls { .. });
        self.stage_error.is_none() && self.network_path.certificate.is_none() && self.aws_errors().any(is_tls)
    }
}
