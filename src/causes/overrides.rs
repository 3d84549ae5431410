//! Causes in the agent's configuration that replace what the agent otherwise gets from AWS: its endpoint, and the
//! credentials of the instance's role.

use std::time::Duration;

use super::cause::{Cause, Class};
use super::layer::Layer;
use super::view::credentials::{REJECTED, accepted_call, credential_variable};
use crate::evidence::Evidence;
use crate::evidence::overrides::EndpointOverride;
use crate::evidence::proxies::of_agent;
use crate::exit::Exit;
use crate::redaction::{self, error_chain};

/// Error codes with which ECS answers a request that it understands. The endpoint that returns them is right.
const ANSWERS_OF_ECS: [&str; 8] = [
    "AccessDeniedException",
    "AccessDenied",
    "ClientException",
    "ClusterNotFoundException",
    "InvalidParameterException",
    "LimitExceededException",
    "ServerException",
    "ThrottlingException",
];
/// Errors of a connection that is not established.
const NO_CONNECTION: [&str; 4] = ["no such host", "connection refused", "i/o timeout", "no route to host"];
/// Errors that need a working network path.
const NETWORK_WORKS: [&str; 4] = ["x509: ", "tls: ", "StatusCode: ", "no such host"];
/// What the agent's SDK logs if it cannot use a configured profile.
const PROFILE: [&str; 3] = ["shared config profile", "shared credentials file", "process provider error"];

/// The endpoint of the region works, and the agent uses another one.
pub(super) static ENDPOINT: Cause = Cause {
    id: "endpoint-override",
    layer: Layer::Config,
    title: "the agent's configuration sets an endpoint for ECS that does not work",
    symptoms: "the agent restarts repeatedly with connection, certificate or signature errors, although this host \
               reaches ECS",
    proof: "ECS_BACKEND_HOST, AWS_ENDPOINT_URL_ECS or AWS_ENDPOINT_URL is set for the agent; a connection to it fails, \
            or the agent's registration fails with an error that ECS does not return for a valid request; and the \
            endpoint of the region works. If the endpoint of the region fails as well, the cause is in the network path, \
            for example `connection-refused`",
    look_alikes: &["credentials-rejected", "connection-refused", "egress-timeout", "dns-name-unknown", "tls-failed"],
    class: Class::Lasting(Duration::from_secs(20)),
    exit: Exit::Settings,
    exit_after_deadline: Exit::Settings,
    remedy: "remove the variable that the evidence names from `ecs.config` (below /etc/ecs or /var/lib/ecs), so that the \
             agent uses the endpoint of its region, or correct it; then `systemctl restart ecs --no-block`",
    source: "agent/config/config.go, APIEndpoint; AWS SDKs and Tools Reference Guide, \"Service-specific endpoints\"",
    check: |evidence| {
        let found = EndpointOverride::of(&evidence.config)?;
        let home = evidence.expectation.as_ref().and_then(|expected| expected.region.as_deref());
        let host = found.endpoint.as_ref().map_or("", |endpoint| endpoint.host.as_str());
        if of_agent(&evidence.config, host).is_some() {
            return None;
        }
        // With credentials of its own, or at an endpoint of the region, the agent's credentials are at fault.
        let is_about_credentials =
            credential_variable(evidence).is_some() || (home.is_some() && found.region() == home);
        let is_of_credentials = |text: &String| REJECTED.iter().any(|code| text.contains(code)) && is_about_credentials;
        let logged = evidence.refusal().filter(|text| !is_answer_of_ecs(evidence, text) && !is_of_credentials(text));
        let probe = evidence.network_path.agent_endpoint.as_ref();
        let shown =
            |error: String, host: &str| if error.contains(host) { error } else { format!("{error} (`{host}`)") };
        let probed = probe.and_then(|probe| Some(shown(error_chain(probe.connected.as_ref().err()?), &probe.host)));
        let default = default_answers(evidence);
        let works = |text: &String| NETWORK_WORKS.iter().chain(&REJECTED).any(|word| text.contains(word));
        if (logged.is_none() && probed.is_none()) || (default.is_none() && !logged.as_ref().is_some_and(works)) {
            return None;
        }
        let value = evidence.config.get(found.name).map_or("", String::as_str);
        let set = format!("{} of the agent is `{}`", found.name, redaction::variable(found.name, value));
        let other = found.region().zip(home).filter(|(region, home)| region != home);
        let other =
            other.map(|(region, home)| format!("it is the endpoint of `{region}`, the instance runs in `{home}`"));
        let logged = logged.map(|text| format!("{}: `{text}`", evidence.agent_log_name()));
        Some([Some(set), other, logged, probed, default].into_iter().flatten().collect())
    },
    excluded: |evidence| {
        let probe = evidence.network_path.agent_endpoint.as_ref().filter(|probe| probe.connected.is_ok())?;
        let is_path = evidence.refusal().is_some_and(|text| NO_CONNECTION.iter().any(|words| text.contains(words)));
        is_path.then(|| format!("`{}` accepts connections", probe.host))
    },
    ..Cause::DEFAULTS
};

/// Access keys, a profile or a credentials endpoint in ecs.config have precedence over the role.
pub(super) static CREDENTIALS: Cause = Cause {
    id: "credentials-override",
    layer: Layer::Role,
    title: "the agent's configuration sets credentials that AWS rejects, and they replace the instance's role",
    symptoms: "UnrecognizedClientException, SignatureDoesNotMatch or ExpiredToken in the agent's log, although the role \
               works",
    proof: "ecs.config sets access keys, a profile or another source of credentials, and AWS rejects the agent's \
            credentials; the cause is `credentials-rejected` if ecs.config sets none, and `wrong-role` if AWS accepts \
            them and denies the action",
    look_alikes: &["credentials-rejected", "credentials-expired", "wrong-role"],
    exit: Exit::Permission,
    exit_after_deadline: Exit::Permission,
    remedy: "remove AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE and the other variable that \
             the evidence names from `ecs.config` (below /etc/ecs or /var/lib/ecs), so that the agent uses the role; then `systemctl restart ecs \
             --no-block`",
    source: "AWS SDKs and Tools Reference Guide, \"Standardized credential providers\"; ecs-agent/credentials/providers",
    check: |evidence| {
        let name = credential_variable(evidence)?;
        let logged = evidence.registration_refused(&REJECTED).or_else(|| evidence.agent_failed_with(&PROFILE))?;
        let works = accepted_call(evidence);
        let works = works.map(|call| format!("AWS accepts the credentials of the role: it answers {call}"));
        Some([format!("ecs.config sets {name}"), logged].into_iter().chain(works).collect())
    },
    ..Cause::DEFAULTS
};

/// Whether this error of a registration is an answer of ECS to a valid request. `Cluster not found` is not, if ECS
/// describes the cluster at the endpoint of the region.
fn is_answer_of_ecs(evidence: &Evidence, refusal: &str) -> bool {
    let is_found = matches!(&evidence.cluster, Some(Ok(described)) if described.missing.is_empty());
    let is_contradicted =
        is_found && ["Cluster not found", "ClusterNotFound"].iter().any(|text| refusal.contains(text));
    let mut words = refusal.split(|c: char| !c.is_ascii_alphanumeric());
    let is_busy = ["StatusCode: 5", "StatusCode: 429"].iter().any(|status| refusal.contains(status));
    !is_contradicted && (is_busy || words.any(|word| ANSWERS_OF_ECS.contains(&word)))
}

/// How it is known that the endpoint of the region works.
fn default_answers(evidence: &Evidence) -> Option<String> {
    if let Some(call) = accepted_call(evidence) {
        return Some(format!("the endpoint of the region answers {call}"));
    }
    let probe = evidence.network.as_ref().filter(|probe| probe.connected.is_ok())?;
    Some(format!("`{}`, the endpoint of the region, accepts connections", probe.host))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ids, seen_of};
    use super::*;
    use crate::boundary::aws::DescribedClusters;
    use crate::boundary::net::NetError;
    use crate::evidence::EndpointConnection;
    use crate::evidence::agent_log::last_attempt;

    const PREFIX: &str = "operation error ECS: RegisterContainerInstance, ";

    fn refused(variable: (&str, &str), error: &str) -> Evidence {
        let message = "Unable to register as a container instance with ECS";
        let line = format!("level=critical msg=\"{message}\" error=\"{PREFIX}{error}\"\n");
        Evidence {
            agent_log: last_attempt(line.as_bytes()),
            config: [(variable.0.to_owned(), variable.1.to_owned())].into(),
            cluster: Some(Ok(DescribedClusters::default())),
            ..Evidence::default()
        }
    }

    fn first(evidence: &Evidence) -> &'static str {
        ids(evidence).first().copied().unwrap_or("nothing")
    }

    #[test]
    fn an_endpoint_that_does_not_work_is_named_for_each_error() {
        for error in [
            "https response error StatusCode: 0, RequestID: , request send failed, Post \"https://ecs.test/\": dial tcp \
             10.0.0.1:443: connect: connection refused",
            "https response error StatusCode: 0, RequestID: , request send failed, Post \"https://ecs.test/\": dial tcp: \
             lookup ecs.test on 10.0.0.2:53: no such host",
            "exceeded maximum number of attempts, 3, request send failed, Post \"https://ecs.test/\": dial tcp \
             10.0.0.1:443: i/o timeout",
            "request send failed, tls: failed to verify certificate: x509: certificate is valid for other.test, not \
             ecs.test",
            "https response error StatusCode: 400, RequestID: 1, InvalidSignatureException: Credential should be scoped \
             to a valid region.",
            "https response error StatusCode: 403, RequestID: 1, UnrecognizedClientException: The security token is \
             invalid.",
            "https response error StatusCode: 404, RequestID: , deserialization failed, invalid character '<'",
            "https response error StatusCode: 400, RequestID: 1, ClientException: Cluster not found.",
        ] {
            for name in ["ECS_BACKEND_HOST", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_ECS"] {
                let evidence = refused((name, "ecs.test"), error);
                assert_eq!(first(&evidence), "endpoint-override", "{error}");
                assert!(seen_of(&evidence).contains(name));
            }
            assert_ne!(first(&refused(("ECS_CLUSTER", "prod"), error)), "endpoint-override", "{error}");
        }
    }

    #[test]
    fn an_answer_of_ecs_does_not_blame_the_endpoint() {
        for error in [
            "AccessDeniedException: User: arn:aws:sts::1:assumed-role/r/i-1 is not authorized to perform: \
             ecs:RegisterContainerInstance",
            "ThrottlingException: Rate exceeded",
            "InvalidParameterException: tags",
        ] {
            assert_ne!(first(&refused(("ECS_BACKEND_HOST", "ecs.test"), error)), "endpoint-override", "{error}");
        }
        // Without a network path, the endpoint of the region fails too.
        let mut evidence = refused(("ECS_BACKEND_HOST", "ecs.test"), "request send failed, dial tcp: i/o timeout");
        evidence.cluster = None;
        assert_ne!(first(&evidence), "endpoint-override");
    }

    #[test]
    fn a_connection_that_fails_is_evidence_without_a_log() {
        let mut evidence = refused(("ECS_BACKEND_HOST", "ecs.us-east-1.amazonaws.com"), "");
        evidence.agent_log = Default::default();
        let connected = Err(NetError::Timeout { address: ([203, 0, 113, 1], 443).into() });
        let host = "ecs.us-east-1.amazonaws.com".to_owned();
        evidence.network_path.agent_endpoint = Some(EndpointConnection { host, addresses: Vec::new(), connected });
        assert_eq!(first(&evidence), "endpoint-override");
        evidence.cluster = None;
        assert_eq!(first(&evidence), "nothing");
    }

    #[test]
    fn credentials_in_the_file_are_named_and_not_the_role() {
        for code in REJECTED {
            for name in ["AWS_ACCESS_KEY_ID", "AWS_PROFILE"] {
                let evidence = refused((name, "x"), &format!("{code}: rejected"));
                assert_eq!(ids(&evidence), ["credentials-override"], "{code}");
                let seen = seen_of(&evidence);
                assert!(seen.contains(name) && seen.contains("ecs:DescribeClusters"), "{seen}");
            }
        }
        assert_eq!(
            first(&refused(("AWS_PROFILE", "x"), "failed to get shared config profile, x")),
            "credentials-override"
        );
        assert_eq!(first(&refused(("ECS_CLUSTER", "x"), "InvalidClientTokenId: rejected")), "credentials-rejected");
    }
}
