//! Causes between a registered agent and the ECS control plane: ACS, which sends tasks, and TCS, which takes telemetry.

use std::net::IpAddr;
use std::time::Duration;

use super::cause::{Cause, Class};
use super::layer::Layer;
use super::view::credentials::{ROLE_MAY_BE_LATE, has_static_keys};
use super::view::denial::{is_denial, policy};
use crate::boundary::net::is_private;
use crate::evidence::network_path::{ControlPlane, EndpointProbe};
use crate::evidence::{DroppedConnections, EndpointConnection, Evidence};
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
    specific_remedy: Some(|evidence| {
        let acs = plane(evidence)?.acs.as_ref()?;
        let EndpointProbe::Direct(probe) = acs else { return None };
        evidence.network_path.routes.filter(|routes| !routes.v4_default && routes.v6_default)?;
        let is_v4_only = !probe.addresses.is_empty() && probe.addresses.iter().all(IpAddr::is_ipv4);
        is_v4_only.then(|| {
            format!(
                "this host has a default route for IPv6 only, and `{}` has only IPv4 addresses: give the subnet NAT64 and \
                 DNS64 or an IPv4 address, or set ECS_INSTANCE_IP_COMPATIBILITY=ipv6 in /etc/ecs/ecs.config, with which \
                 the agent uses dual-stack endpoints",
                probe.host
            )
        })
    }),
    source: "aws/amazon-ecs-agent#1143 #240 #250 #270 #882",
    check: |evidence| {
        let plane = plane(evidence)?;
        if evidence.network_path.is_acs_reachable != Some(false) {
            return None;
        }
        let fault = plane.acs.as_ref()?.fault()?;
        let logged = evidence.acs_error().map(|line| evidence.quoted(line));
        Some([describe_fault(fault)].into_iter().chain(logged).collect())
    },
    ..DEFAULTS
};

pub(super) static DENIED: Cause = Cause {
    id: "acs-denied",
    title: "the role is allowed to register the instance, but not to connect its agent",
    symptoms: "the container instance is ACTIVE with agentConnected false; AccessDenied for ecs:DiscoverPollEndpoint \
               or ecs:Poll in the agent's log",
    proof: "AccessDenied for the agent's connection or for ecs:DiscoverPollEndpoint; the cause is `acs-unreachable` if AWS \
            does not answer at all, and `acs-refused` if the connection is refused without such a code",
    look_alikes: &["acs-unreachable", "acs-refused", "register-denied"],
    class: Class::Settling(ROLE_MAY_BE_LATE),
    exit: Exit::Permission,
    exit_after_deadline: Exit::Permission,
    remedy: "allow `ecs:DiscoverPollEndpoint`, `ecs:Poll` and `ecs:StartTelemetrySession` (policy \
             AmazonEC2ContainerServiceforEC2Role)",
    specific_remedy: Some(|evidence| {
        let (found, _) = denied(evidence).iter().find_map(|line| policy(line))?;
        Some(found.remedy().to_owned())
    }),
    source: "ecs-agent/api/ecs/client/ecs_client.go; IAM User Guide, \"Troubleshoot access denied error messages\"",
    check: |evidence| Some(denied(evidence)).filter(|seen| !seen.is_empty()),
    ..DEFAULTS
};

/// The endpoint accepts connections, and the agent's connection fails.
pub(super) static REFUSED: Cause = Cause {
    id: "acs-refused",
    yields_to: &["acs-denied", "acs-unreachable", "endpoint-partial"],
    title: "the agent reaches the ECS control plane, but its connection is refused or closed",
    symptoms: "the container instance is ACTIVE with agentConnected false; `Failed to connect to ACS` again and again in the \
               agent's log",
    proof: "the agent's log has an error of its connection to ACS other than a time-out or a failed lookup, and no connection \
            since, and no probe finds the network path closed; the cause is `acs-denied` if the error is AccessDenied, and `agent-stuck` if the agent logs no \
            error",
    look_alikes: &["acs-denied", "acs-unreachable", "agent-stuck", "agent-not-connected"],
    class: Class::Lasting(Duration::from_secs(40)),
    exit_after_deadline: Exit::NotRegistered,
    remedy: "look for what stands between this host and `ecs-a-*` (a proxy, a firewall that inspects TLS, a VPC endpoint \
             policy): it must pass WebSocket connections (RFC 6455) on port 443, and the role needs `ecs:Poll`",
    specific_remedy: Some(|evidence| refused_remedy(evidence.acs_error()?.text())),
    source: "ecs-agent/acs/session; ecs-agent/wsclient; aws/amazon-ecs-agent#240 #1143",
    check: |evidence| {
        let line =
            evidence.acs_error().filter(|line| evidence.is_disconnected() && !is_of_network_path(line.text()))?;
        let open = (evidence.network_path.is_acs_reachable == Some(true))
            .then(|| "the control plane endpoint accepts connections from this host".to_owned());
        Some([evidence.quoted(line)].into_iter().chain(open).collect())
    },
    ..DEFAULTS
};

/// Something between the agent and ACS ends each connection.
pub(super) static DROPPED: Cause = Cause {
    id: "acs-connection-drops",
    yields_to: &["acs-denied", "acs-refused", "acs-unreachable"],
    title: "the agent's connection to the ECS control plane ends again and again after the same time",
    symptoms: "agentConnected changes between true and false, and tasks start late",
    proof: "the agent's log has at least three connections in a row that ended after about the same time, each within ten \
            minutes; the agent itself renews a connection only after 15 to 45 minutes. If the agent connects once and stays connected, there is no fault; if \
            it never connects, the cause is `acs-refused`",
    look_alikes: &["acs-refused", "agent-not-connected"],
    class: Class::Lasting(Duration::from_secs(60)),
    exit_after_deadline: Exit::Network,
    remedy: "raise the idle time-out of the proxy or firewall between this host and `ecs-a-*` above the interval that the \
             evidence names, or exclude these hosts from the proxy",
    source: "ecs-agent/acs/session: heartbeats and reconnection",
    check: |evidence| is_failure(evidence).then(|| dropped(evidence)).flatten(),
    note: |evidence| (!is_failure(evidence)).then(|| dropped(evidence)).flatten(),
    ..DEFAULTS
};

/// Evidence that the control plane denied the agent.
fn denied(evidence: &Evidence) -> Vec<String> {
    if !evidence.is_disconnected() {
        return Vec::new();
    }
    let called = match &evidence.network_path.control_plane {
        // An agent with its own access keys has another identity than ecs-bootstrap.
        Some(Err(error)) if error.is_denied() && !has_static_keys(evidence) => Some(error_chain(error)),
        _ => None,
    };
    let line = evidence.acs_error().filter(|line| is_denial(line.text()));
    called.into_iter().chain(line.map(|line| evidence.quoted(line))).collect()
}

/// Whether the drops are a failure and not a note: the agent is disconnected now, or `watch` has seen them for its window.
fn is_failure(evidence: &Evidence) -> bool {
    evidence.is_disconnected() || evidence.watched.as_ref().is_some_and(|watched| watched.drops)
}

fn dropped(evidence: &Evidence) -> Option<Vec<String>> {
    let DroppedConnections { count, interval, .. } = evidence.dropped_connections()?;
    let closed = evidence.agent_logged(&["ACS WebSocket connection closed"]);
    let seen = format!("the last {count} connections to ACS ended after {} s on average", interval.as_secs());
    Some([seen].into_iter().chain(closed).collect())
}

/// Whether the error is about the network path, which a probe judges, or about throttling.
fn is_of_network_path(error: &str) -> bool {
    ["i/o timeout", "dial tcp", "no such host", "Client.Timeout", "Throttl"].iter().any(|words| error.contains(words))
}

/// The remedy for what this error names.
fn refused_remedy(error: &str) -> Option<String> {
    let holds = |words: &[&str]| words.iter().any(|word| error.contains(word));
    // Ids and ports have such digits too.
    let is_status = |status: &str| error.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == status);
    let remedy = if holds(&["x509: ", "tls: "]) {
        "exclude `ecs-a-*` and `ecs-t-*` from TLS interception, or add its CA to the host's bundle (`update-ca-trust`, \
         `update-ca-certificates`), then `systemctl restart ecs --no-block`"
    } else if holds(&["Signature", "RequestTimeTooSkewed"]) {
        "let chrony synchronize with 169.254.169.123 (`chronyc -a makestep`): the agent signs its connection with the \
         clock of this host"
    } else if is_status("403") || is_status("401") || holds(&["Forbidden"]) {
        "allow `ecs:Poll` for the role on its container instance, also in the policy of the VPC endpoint `ecs-agent` and in \
         the organization's policies; if a proxy answers, allow `ecs-a-*` and WebSocket connections in it"
    } else if holds(&["EOF", "reset by peer", "broken pipe", "bad handshake"]) {
        "let WebSocket connections (RFC 6455) to `ecs-a-*` and `ecs-t-*` pass the proxy or firewall that closes them"
    } else {
        return None;
    };
    Some(remedy.to_owned())
}

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
    use crate::boundary::aws::AwsErrorKind;
    use crate::boundary::aws::{AwsError, ContainerInstance};
    use crate::boundary::net::NetError;
    use crate::evidence::agent_log::last_attempt;
    use crate::evidence::network_path::NetworkPath;
    use crate::plan::Expectation;

    const ARN: &str = "arn:aws:ecs:eu-west-1:1:container-instance/prod/1";

    fn at(host: &str, address: &str, is_open: bool) -> EndpointConnection {
        let address = address.parse().unwrap();
        let connected = if is_open { Ok(()) } else { Err(NetError::Timeout { address: (address, 443).into() }) };
        EndpointConnection { host: host.to_owned(), addresses: vec![address], connected }
    }

    fn registered(connected: bool, api: &str, acs: EndpointConnection, tcs: EndpointConnection) -> Evidence {
        let instance = ContainerInstance {
            gpus: 0,
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

    /// A registered agent that logs this error of its connection, while the endpoint accepts connections.
    fn refused(error: &str) -> Evidence {
        let mut evidence = registered(false, "203.0.113.6", at("a", "203.0.113.7", true), at("t", "203.0.113.9", true));
        let line = format!("level=error msg=\"Failed to connect to ACS\" error=\"{error}\"\n");
        let log = format!("level=info msg=\"Beginning Polling for updates\"\n{line}{line}");
        evidence.agent_log = last_attempt(log.as_bytes());
        evidence.expectation = Some(Expectation::default());
        evidence.registered_for = Some(Duration::from_secs(60));
        evidence
    }

    #[test]
    fn a_refused_connection_is_reported_with_the_line_and_a_remedy_for_it() {
        for (error, id, remedy) in [
            ("websocket: bad handshake, 403 Forbidden", "acs-refused", "allow `ecs:Poll`"),
            ("unable to dial ecs-a-1.test: unexpected EOF", "acs-refused", "WebSocket"),
            ("dial: read tcp 10.0.0.1:4711: read: connection reset by peer", "acs-refused", "WebSocket"),
            ("x509: certificate signed by unknown authority", "acs-refused", "TLS interception"),
            ("InvalidSignatureException: Signature expired", "acs-refused", "chrony"),
            ("something new of 1234403", "acs-refused", "look for what stands between"),
            (
                "AccessDeniedException: User: u is not authorized to perform: ecs:Poll on resource: x because no \
                 identity-based policy allows it",
                "acs-denied",
                "ecs:StartTelemetrySession",
            ),
            (
                "AccessDeniedException: User: u is not authorized to perform: ecs:Poll on resource: x with an explicit deny \
                 in a service control policy",
                "acs-denied",
                "service control policies",
            ),
        ] {
            let evidence = refused(error);
            let diagnosis = super::super::diagnose(&evidence);
            let ids: Vec<&str> = diagnosis.found.iter().map(|found| found.cause.id).collect();
            assert_eq!(ids, [id], "{error}");
            assert!(diagnosis.found[0].seen[0].contains(error), "{:?}", diagnosis.found[0].seen);
            assert!(diagnosis.found[0].remedy.contains(remedy), "{}", diagnosis.found[0].remedy);
        }
    }

    #[test]
    fn without_an_error_in_the_log_the_agent_is_stuck_or_only_not_connected() {
        let mut evidence = refused("x");
        evidence.agent_log = last_attempt(b"level=info msg=\"Beginning Polling for updates\"\n");
        assert_eq!(ids(&evidence)[0], "agent-stuck");
        // Below the level info, the absence of a line proves nothing.
        evidence.agent_log = last_attempt(b"level=warn msg=\"Unable to fetch user data\"\n");
        assert_eq!(ids(&evidence), ["agent-not-connected"]);
    }

    #[test]
    fn connections_that_end_at_equal_intervals_are_a_cause_or_a_note() {
        let connected = |minute: u32| {
            format!(
                "level=info time=2026-01-01T00:{minute:02}:00Z msg=\"Connected to ACS endpoint\"\n\
                     level=info time=2026-01-01T00:{minute:02}:55Z msg=\"ACS WebSocket connection closed\"\n"
            )
        };
        let log: String = (0..5).map(connected).collect();
        let mut evidence = refused("x");
        evidence.agent_log = last_attempt(log.as_bytes());
        evidence.observed_at = humantime::parse_rfc3339("2026-01-01T00:04:58Z").ok();
        assert_eq!(ids(&evidence), ["acs-connection-drops"]);
        let Some(Ok(Some(instance))) = &mut evidence.container_instance else { unreachable!() };
        instance.agent_connected = true;
        assert_eq!(ids(&evidence), Vec::<&str>::new());
        let notes: Vec<_> = super::super::notes(&evidence).iter().map(|note| note.cause.id).collect();
        assert_eq!(notes, ["acs-connection-drops"]);
    }

    #[test]
    fn a_host_with_ipv6_only_needs_another_endpoint_and_no_firewall_rule() {
        let mut evidence =
            registered(false, "203.0.113.6", at("a", "203.0.113.7", false), at("t", "203.0.113.9", false));
        let remedy = |evidence: &Evidence| super::super::diagnose(evidence).found[0].remedy.clone();
        assert!(remedy(&evidence).contains("firewall"));
        let routes = crate::evidence::routes::Routes { v4_default: false, v6_default: true, ..Default::default() };
        evidence.network_path.routes = Some(routes);
        assert!(remedy(&evidence).contains("ECS_INSTANCE_IP_COMPATIBILITY"), "{}", remedy(&evidence));
    }
}
