//! The network path to AWS.

use crate::boundary::aws::AwsErrorKind;
use crate::boundary::proxy::Proxy;
use crate::evidence::proxies::of_agent;
use crate::evidence::{EndpointConnection, Evidence};
use crate::redaction::error_chain;

/// The proxy that the agent uses for ECS.
pub(in crate::causes) fn agent_proxy(evidence: &Evidence) -> Option<Proxy> {
    let host = evidence.network.as_ref().map_or("ecs.amazonaws.com", |probe| probe.host.as_str());
    of_agent(&evidence.config, host)
}

/// Evidence of a fault on the network path to AWS: from the probe, and from the first AWS call with such an error. None
/// if the probe's result does not hold for the failing program.
pub(in crate::causes) fn path_evidence(
    evidence: &Evidence,
    probe: impl Fn(&EndpointConnection) -> Option<String>,
    call: impl Fn(&AwsErrorKind) -> bool,
) -> Option<Vec<String>> {
    // If a call was answered, the network path is open, perhaps through a proxy that the probe does not use. An agent
    // with its own proxy uses another network path than the probe and the calls of ecs-bootstrap.
    let agent_has_proxy = evidence.stage_error.is_none() && agent_proxy(evidence).is_some();
    if matches!(evidence.cluster, Some(Ok(_))) || agent_has_proxy {
        return None;
    }
    let probed = evidence.network.as_ref().and_then(probe);
    let called = evidence.aws_errors().find(|error| call(&error.kind)).map(|error| error_chain(error));
    let seen: Vec<String> = probed.into_iter().chain(called).collect();
    (!seen.is_empty()).then_some(seen)
}
