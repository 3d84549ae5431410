//! Causes between a registered agent and the ECS control plane: ACS, which sends tasks, and TCS, which takes telemetry.

use std::time::Duration;

use super::cause::{Cause, Class};
use super::layer::Layer;
use super::view::credentials::{ROLE_MAY_BE_LATE, has_static_keys};
use crate::boundary::aws::AwsErrorKind;
use crate::boundary::net::is_private;
use crate::evidence::network_path::{ControlPlane, EndpointProbe};
use crate::evidence::{EndpointConnection, Evidence};
use crate::exit::Exit;
use crate::redaction::error_chain;

/// The fields that the causes of this layer share.
const DEFAULTS: Cause = Cause {
    layer: Layer::Acs,
    class: Class::Retry,
    exit: Exit::Aws,
    exit_after_deadline: Exit::Network,
    when_registered: true,
    ..Cause::DEFAULTS
};
const LOGGED: [&str; 4] = ["Failed to connect to ACS", "unable to dial", "ACS: Unable", "tcs: unable"];

/// A subnet without internet access that has only one of the three endpoints.
pub(super) static ENDPOINT_PARTIAL: Cause = Cause {
    id: "endpoint-partial",
    title: "the VPC has an endpoint for ECS, but no working endpoint for the ECS control plane",
    symptoms: "the instance is registered but never connected, in a subnet without internet access",
    proof: "the name of ECS resolves to a private address, and that of `ecs-a` to a public one that does not answer; \
            if both addresses are public, the cause is `acs-unreachable`",
    look_alikes: &["acs-unreachable", "agent-not-connected"],
    class: Class::Lasting(Duration::from_secs(60)),
    remedy: "create all three interface endpoints (`ecs`, `ecs-agent`, `ecs-telemetry`), each with private DNS enabled",
    source: "aws-samples/aws-secure-environment-accelerator#1052; aws/containers-roadmap#2821; Amazon ECS Developer \
             Guide, \"Interface VPC endpoints\"",
    check: partial,
    ..DEFAULTS
};

/// Typically a firewall or a proxy that does not allow the numbered host names.
pub(super) static UNREACHABLE: Cause = Cause {
    id: "acs-unreachable",
    yields_to: &["endpoint-partial"],
    title: "the instance is registered, but the ECS control plane cannot be reached",
    symptoms: "the container instance is ACTIVE with agentConnected false and no agent version; `unable to dial \
               ecs-a-N` in the agent's log",
    proof: "no connection to the endpoint that ecs:DiscoverPollEndpoint returns; if the endpoint accepts connections, \
            the cause is `agent-stuck` or `host-overloaded`",
    look_alikes: &["endpoint-partial", "agent-stuck", "host-overloaded", "agent-not-connected"],
    remedy: "allow `ecs-a-*.REGION.amazonaws.com` and `ecs-t-*.REGION.amazonaws.com` on port 443 in the firewall and \
             the proxy (the host names are numbered)",
    source: "aws/amazon-ecs-agent#1143 #240 #250 #270 #882",
    check: |evidence| {
        let plane = plane(evidence)?;
        if evidence.network_path.is_acs_reachable != Some(false) {
            return None;
        }
        let fault = plane.acs.as_ref()?.fault()?;
        Some([describe_fault(fault)].into_iter().chain(evidence.agent_logged(&LOGGED)).collect())
    },
    ..DEFAULTS
};

pub(super) static DENIED: Cause = Cause {
    id: "acs-denied",
    title: "the role is allowed to register the instance, but not to connect its agent",
    symptoms: "the container instance is ACTIVE with agentConnected false; AccessDenied for ecs:DiscoverPollEndpoint \
               or ecs:Poll in the agent's log",
    proof: "the AccessDenied message names one of these actions; if AWS does not answer at all, the cause is \
            `acs-unreachable`",
    look_alikes: &["acs-unreachable", "register-denied"],
    class: Class::Settling(ROLE_MAY_BE_LATE),
    exit: Exit::Permission,
    exit_after_deadline: Exit::Permission,
    remedy: "allow `ecs:DiscoverPollEndpoint`, `ecs:Poll` and `ecs:StartTelemetrySession` (policy \
             AmazonEC2ContainerServiceforEC2Role)",
    source: "ecs-agent/api/ecs/client/ecs_client.go; IAM User Guide, \"Troubleshoot access denied error messages\"",
    check: |evidence| {
        if !evidence.is_disconnected() {
            return None;
        }
        let called = match &evidence.network_path.control_plane {
            // An agent with its own access keys has another identity than ecs-bootstrap.
            Some(Err(error)) if matches!(error.kind, AwsErrorKind::Denied { .. }) && !has_static_keys(evidence) => {
                Some(error_chain(error))
            }
            _ => None,
        };
        let logged = evidence.agent_logged(&[
            "not authorized to perform: ecs:DiscoverPollEndpoint",
            "not authorized to perform: ecs:Poll",
        ]);
        let seen: Vec<String> = called.into_iter().chain(logged).collect();
        (!seen.is_empty()).then_some(seen)
    },
    ..DEFAULTS
};

/// The probed endpoints of the control plane, if the agent is disconnected.
fn plane(evidence: &Evidence) -> Option<&ControlPlane> {
    evidence.network_path.control_plane.as_ref()?.as_ref().ok().filter(|_| evidence.is_disconnected())
}

/// Evidence that ECS answers at a private address and ACS does not answer at a public one.
fn partial(evidence: &Evidence) -> Option<Vec<String>> {
    let plane = plane(evidence)?;
    let is_all = |probe: &EndpointConnection, private| {
        !probe.addresses.is_empty() && probe.addresses.iter().all(|address| is_private(*address) == private)
    };
    let Some(EndpointProbe::Direct(api)) = &plane.api else { return None };
    if api.connected.is_err() || !is_all(api, true) {
        return None;
    }
    let public = |reached: &Option<EndpointProbe>| match reached {
        Some(EndpointProbe::Direct(probe)) if is_all(probe, false) => {
            Some(describe_fault((&probe.host, probe.connected.as_ref().err()?)))
        }
        _ => None,
    };
    // ECS reports agentConnected true without a telemetry connection, so TCS alone is not a cause.
    let agent = public(&plane.acs)?;
    let api_open = format!("`{}` accepts connections at the private address {}", api.host, api.addresses[0]);
    Some([api_open, agent].into_iter().chain(public(&plane.tcs)).collect())
}

fn describe_fault((host, error): (&str, &dyn std::error::Error)) -> String {
    format!("{} (`{host}`)", error_chain(error))
}

#[cfg(test)]
mod tests {
    use super::super::tests::ids;
    use super::*;
    use crate::boundary::agent::AgentMetadata;
    use crate::boundary::aws::{AwsError, ContainerInstance};
    use crate::boundary::net::NetError;
    use crate::evidence::network_path::NetworkPath;

    const ARN: &str = "arn:aws:ecs:eu-west-1:1:container-instance/prod/1";

    fn at(host: &str, address: &str, is_open: bool) -> EndpointConnection {
        let address = address.parse().unwrap();
        let connected = if is_open { Ok(()) } else { Err(NetError::Timeout { address: (address, 443).into() }) };
        EndpointConnection { host: host.to_owned(), addresses: vec![address], connected }
    }

    fn registered(connected: bool, api: &str, acs: EndpointConnection, tcs: EndpointConnection) -> Evidence {
        let instance = ContainerInstance {
            arn: ARN.to_owned(),
            status: "ACTIVE".to_owned(),
            status_reason: None,
            agent_connected: connected,
            agent_version: None,
            attributes: Default::default(),
            ec2_instance_id: None,
        };
        let is_open = acs.connected.is_ok();
        let [api, agent, telemetry] =
            [at("ecs.test", api, true), acs, tcs].map(|probe| Some(EndpointProbe::Direct(probe)));
        let plane = ControlPlane { api, acs: agent, tcs: telemetry };
        let version = String::new();
        Evidence {
            introspection: Some(Ok(AgentMetadata {
                cluster: "prod".into(),
                container_instance_arn: ARN.into(),
                version,
            })),
            container_instance: Some(Ok(Some(instance))),
            network_path: NetworkPath {
                is_acs_reachable: Some(is_open),
                control_plane: Some(Ok(plane)),
                ..NetworkPath::default()
            },
            ..Evidence::default()
        }
    }

    #[test]
    fn a_missing_endpoint_is_distinguished_from_a_firewall() {
        let acs = |address, open| at("ecs-a-1.test", address, open);
        let tcs = |address, open| at("ecs-t-1.test", address, open);
        let seen = |api, acs, tcs| ids(&registered(false, api, acs, tcs));
        assert_eq!(seen("10.0.0.7", acs("203.0.113.7", false), tcs("10.0.0.9", true)), ["endpoint-partial"]);
        assert_eq!(seen("10.0.0.7", acs("10.0.0.8", true), tcs("203.0.113.9", false)), Vec::<&str>::new());
        assert_eq!(seen("203.0.113.6", acs("203.0.113.7", false), tcs("203.0.113.9", false)), ["acs-unreachable"]);
        assert_eq!(seen("10.0.0.7", acs("10.0.0.8", false), tcs("10.0.0.9", false)), ["acs-unreachable"]);
        assert_eq!(seen("203.0.113.6", acs("203.0.113.7", true), tcs("203.0.113.9", true)), Vec::<&str>::new());
        let connected = registered(true, "203.0.113.6", acs("203.0.113.7", false), tcs("203.0.113.9", false));
        assert_eq!(ids(&connected), Vec::<&str>::new());
    }

    #[test]
    fn a_denied_connection_is_not_a_denied_registration() {
        let mut evidence = registered(false, "203.0.113.6", at("a", "203.0.113.7", true), at("t", "203.0.113.9", true));
        let (code, message) = ("AccessDeniedException".to_owned(), String::new());
        let kind = AwsErrorKind::Denied { code, message: message.as_str().into() };
        let (operation, elapsed) = ("ecs:DiscoverPollEndpoint", Duration::ZERO);
        evidence.network_path = NetworkPath {
            control_plane: Some(Err(AwsError { operation, kind, elapsed, source: None })),
            ..NetworkPath::default()
        };
        assert_eq!(ids(&evidence), ["acs-denied"]);
    }
}
