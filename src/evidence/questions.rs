//! What the evidence leaves open: the questions that the next probes have to answer.

use std::time::Duration;

use super::Evidence;
use crate::boundary::aws::{AwsError, AwsErrorKind};
use crate::boundary::net::NetError;
use crate::redaction;

/// An agent that has not connected this long after it registered may be kept from it.
const CONNECTS: Duration = Duration::from_secs(10);

/// What is worth a question, by what was seen before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkQuestions {
    /// The instance's region.
    pub region: Option<String>,
    /// A second name, since the endpoint's does not resolve.
    pub dns: bool,
    /// The certificate, since it was not accepted.
    pub certificate: bool,
    /// Whether there is a public address, since the endpoint does not answer.
    pub public_address: bool,
    /// The control plane: the container instance's cluster and ARN.
    pub control_plane: Option<(String, String)>,
    /// The agent's proxy, since the agent has not registered.
    pub proxy: bool,
}

impl NetworkQuestions {
    /// What this evidence leaves open.
    pub fn of(evidence: &Evidence) -> NetworkQuestions {
        let failed = evidence.network.as_ref().and_then(|probe| probe.connected.as_ref().err());
        let call = |is: fn(&AwsErrorKind) -> bool| evidence.aws_errors().any(|error| is(&error.kind));
        let is_dns_error =
            matches!(failed, Some(NetError::Dns { .. } | NetError::DnsTimeout { .. } | NetError::NoSuchName { .. }));
        let is_denied = matches!(&evidence.network_path.control_plane, Some(Err(error)) if matches!(error.kind, AwsErrorKind::Denied { .. }));
        // An agent that has just registered is about to connect.
        let window = evidence.expectation.as_ref().map_or(CONNECTS, |expected| expected.window.min(CONNECTS));
        let is_left = evidence.is_disconnected() && evidence.disconnected_for.is_some_and(|since| since >= window);
        NetworkQuestions {
            region: evidence.expectation.as_ref().and_then(|expected| expected.region.clone()),
            dns: is_dns_error || call(|kind| matches!(kind, AwsErrorKind::Dns { .. })),
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
        self.dns || self.certificate || self.public_address || self.control_plane.is_some()
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
    pub fn must_describe_cluster(&self) -> bool {
        let may_ask =
            self.expectation.as_ref().is_some_and(|wanted| wanted.cluster.is_some() && wanted.region.is_some());
        may_ask && self.cluster.is_none() && self.registration_refused(&["Cluster not found"]).is_some()
    }

    /// Whether a look at a certificate that was not accepted is on its way: whose it is belongs to what is told.
    pub fn must_fetch_certificate(&self) -> bool {
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
