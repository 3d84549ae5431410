//! Causes in the instance metadata service (IMDS).

use std::time::Duration;

use super::cause::{Cause, Class};
use super::layer::Layer;
use super::view::credentials::NO_CREDENTIALS;
use crate::boundary::aws::AwsErrorKind;
use crate::boundary::imds::{ImdsError, RoleStatus};
use crate::evidence::proxies::of_metadata;
use crate::evidence::{Evidence, StageError};
use crate::exit::Exit;
use crate::redaction::error_chain;

/// IMDS may become reachable a little after the network is up.
const LATE: Duration = Duration::from_secs(60);

/// The service itself answers so; waiting cannot help.
pub(super) static DISABLED: Cause = Cause {
    id: "imds-disabled",
    layer: Layer::Imds,
    title: "the instance metadata service (IMDS) is disabled",
    symptoms: "the agent does not register, and its log says that it cannot infer the region: `Missing required \
               fields: AWSRegion`",
    proof: "the token request is answered with 403, immediately and not by a proxy; if the answer has a Via header or \
            a proxy's Server header, the cause is `imds-proxied`",
    look_alikes: &["imds-proxied", "imds-unreachable", "imds-forbidden"],
    class: Class::Terminal,
    exit: Exit::Permission,
    exit_after_deadline: Exit::Permission,
    remedy: "enable it: `aws ec2 modify-instance-metadata-options --http-endpoint enabled --instance-id ID`, and set \
             HttpEndpoint in the launch template",
    source: "EC2 User Guide, \"Configure the instance metadata service options\"",
    check: |evidence| imds_error(evidence, |error| matches!(error, ImdsError::Disabled { .. }) && !is_by_proxy(error)),
    ..Cause::DEFAULTS
};

/// A request through a proxy reaches the metadata of the proxy's host, or none.
pub(super) static PROXIED: Cause = Cause {
    id: "imds-proxied",
    layer: Layer::Imds,
    title: "requests to the instance metadata service (IMDS) go through a proxy",
    symptoms: "NoCredentialProviders in the agent's log, although the instance has its role",
    proof: "ecs.config sets HTTP_PROXY, NO_PROXY does not include 169.254.169.254, and a direct request finds the \
            role; or a proxy answered instead of IMDS; if the direct answer is 404, the cause is `no-instance-role`",
    look_alikes: &["no-instance-role", "imds-disabled"],
    // Longer than the pause between the agent's attempts: its log may be from a time before the role was attached.
    class: Class::Lasting(Duration::from_secs(30)),
    exit: Exit::Permission,
    exit_after_deadline: Exit::Permission,
    remedy: "set NO_PROXY=169.254.169.254,169.254.170.2,/var/run/docker.sock at each place that sets a proxy: \
             ecs.config, and the drop-ins of docker.service and ecs.service",
    source: "aws/amazon-ecs-agent#605 #805 #23; Amazon ECS Developer Guide, \"HTTP proxy configuration\"",
    check: proxied,
    ..Cause::DEFAULTS
};

/// The host has only IPv6, and IMDS is asked over IPv4 by default.
pub(super) static IPV6_ONLY: Cause = Cause {
    id: "imds-ipv6-only",
    layer: Layer::Imds,
    title: "this host has only IPv6, and the instance metadata service (IMDS) does not answer over IPv6",
    symptoms: "in an IPv6-only subnet, every program that uses IMDS fails",
    proof: "there is no IPv4 route but a global IPv6 address, and IMDS answers at neither of its addresses; if there \
            is an IPv4 route, the cause is `imds-unreachable`",
    look_alikes: &["imds-unreachable"],
    class: Class::Lasting(LATE),
    exit: Exit::Imds,
    exit_after_deadline: Exit::Permission,
    remedy: "`aws ec2 modify-instance-metadata-options --http-protocol-ipv6 enabled --instance-id ID`, and set \
             HttpProtocolIpv6 in the launch template",
    source: "EC2 User Guide, \"Configure the instance metadata service options\"",
    check: |evidence| {
        let mut seen = unreachable(evidence)?;
        is_ipv6_only(evidence).then(|| {
            seen.push("the IPv4 routing table is empty, and there is a global IPv6 address".to_owned());
            seen
        })
    },
    ..Cause::DEFAULTS
};

/// The TCP connection works, but the answer to the token request exceeds the hop limit and is dropped.
pub(super) static TOKEN_LOST: Cause = Cause {
    id: "imds-token-hop-limit",
    layer: Layer::Imds,
    title: "the instance metadata service (IMDS) accepts connections, but its token never arrives",
    symptoms: "a program in a container times out on IMDS, and the same program works on the host",
    proof: "TCP connects, and the token request is never answered; if TCP does not connect, the cause is \
            `imds-unreachable`",
    look_alikes: &["imds-unreachable"],
    class: Class::Lasting(LATE),
    exit: Exit::Imds,
    exit_after_deadline: Exit::Permission,
    remedy: "run it in the network of the host, or raise the hop limit: `aws ec2 modify-instance-metadata-options \
             --http-put-response-hop-limit 2 --instance-id ID`",
    source: "buildkite/elastic-ci-stack-for-aws#857; EC2 User Guide, \"Configure the instance metadata service \
             options\"",
    check: |evidence| imds_error(evidence, |error| matches!(error, ImdsError::TokenLost { .. })),
    ..Cause::DEFAULTS
};

/// Too many clients on this host.
pub(super) static THROTTLED: Cause = Cause {
    id: "imds-throttled",
    layer: Layer::Imds,
    title: "the instance metadata service (IMDS) throttles the requests of this host",
    symptoms: "on a busy host, starts fail at random",
    proof: "IMDS answers with 429 or 503, also after retries; the cause is `imds-unreachable` if IMDS does not answer, \
            and `imds-garbled` if it answers with another status",
    look_alikes: &["imds-unreachable", "imds-garbled"],
    class: Class::Retry,
    exit: Exit::Imds,
    exit_after_deadline: Exit::Imds,
    remedy: "let fewer programs ask IMDS, and let them cache the answers; check user data for a loop that polls IMDS",
    source: "aws/amazon-ecs-agent#4847; EC2 User Guide, \"Use the Instance Metadata Service to access instance \
             metadata\"",
    check: |evidence| imds_error(evidence, |error| matches!(error, ImdsError::Status { status: 429 | 503, .. })),
    ..Cause::DEFAULTS
};

/// IMDS issued a token, but a path is forbidden.
pub(super) static FORBIDDEN: Cause = Cause {
    id: "imds-forbidden",
    layer: Layer::Imds,
    title: "the instance metadata service (IMDS) refuses a requested path",
    symptoms: "some paths of IMDS answer, others are forbidden",
    proof: "IMDS issues a token, and a path is answered with 403; if the token itself is refused, the cause is \
            `imds-disabled`",
    look_alikes: &["imds-disabled"],
    class: Class::Terminal,
    exit: Exit::Permission,
    exit_after_deadline: Exit::Permission,
    remedy: "check for a firewall or a proxy on this host that filters IMDS",
    source: "EC2 User Guide, \"Limit instance metadata service access\"",
    check: |evidence| imds_error(evidence, |error| matches!(error, ImdsError::Forbidden { .. })),
    ..Cause::DEFAULTS
};

pub(super) static UNREACHABLE: Cause = Cause {
    id: "imds-unreachable",
    layer: Layer::Imds,
    title: "the instance metadata service (IMDS) cannot be reached",
    symptoms: "the agent cannot infer its region, or restarts repeatedly; a reboot may help",
    proof: "no connection to IMDS, or a connection without an answer; if IMDS answers 403 immediately, the cause is \
            `imds-disabled`, and if ECS_EXTERNAL is true, it is `ecs-anywhere`",
    look_alikes: &["imds-disabled", "imds-token-hop-limit", "imds-ipv6-only", "ecs-anywhere"],
    class: Class::Lasting(LATE),
    exit: Exit::Imds,
    exit_after_deadline: Exit::Permission,
    remedy: "check the route to 169.254.169.254 (`ip route get 169.254.169.254`), the metric of a second network \
             interface, and the host's firewall",
    source: "aws/amazon-ecs-agent#121 #140 #1857",
    check: |evidence| unreachable(evidence).filter(|_| !is_ipv6_only(evidence)),
    excluded: |evidence| {
        let has_answered = matches!(evidence.role, Some(Ok(_))) || matches!(evidence.user_data, Some(Ok(_)));
        has_answered.then(|| "IMDS answers other requests".to_owned())
    },
    ..Cause::DEFAULTS
};

/// Another program answers, or IMDS itself has a fault: the general cause of this layer.
pub(super) static GARBLED: Cause = Cause {
    id: "imds-garbled",
    layer: Layer::Imds,
    title: "the instance metadata service (IMDS) answers with an error or with data that is not metadata",
    symptoms: "programs that use IMDS get errors or unusable answers",
    proof: "the answer is not metadata, or has a status that IMDS does not use; the cause is `imds-throttled` if the \
            status is 429 or 503, and `imds-proxied` if a proxy answers the token request with 403",
    look_alikes: &["imds-throttled", "imds-proxied"],
    class: Class::Lasting(LATE),
    exit: Exit::Imds,
    exit_after_deadline: Exit::Permission,
    remedy: "check for a proxy or another program that answers instead of IMDS; AWS_EC2_METADATA_SERVICE_ENDPOINT must \
             name an IMDSv2 endpoint",
    source: "EC2 User Guide, \"Use the Instance Metadata Service to access instance metadata\"",
    check: |evidence| match &evidence.stage_error {
        Some(error @ StageError::NotMetadata { .. }) => Some(vec![error_chain(error)]),
        _ => imds_error(evidence, |error| {
            matches!(error, ImdsError::Status { status, .. } if !matches!(status, 429 | 503))
                || matches!(error, ImdsError::InvalidResponse { .. })
        }),
    },
    ..Cause::DEFAULTS
};

fn unreachable(evidence: &Evidence) -> Option<Vec<String>> {
    imds_error(evidence, |error| matches!(error, ImdsError::Unreachable { .. } | ImdsError::NoAnswer { .. }))
}

fn is_ipv6_only(evidence: &Evidence) -> bool {
    evidence.network_path.routes.is_some_and(|routes| !routes.v4_any && routes.v6_address)
}

/// Names of proxies in the `Server` header. IMDS itself sends `EC2ws`.
const PROXIES: [&str; 8] = ["squid", "tinyproxy", "envoy", "haproxy", "zscaler", "bluecoat", "blue coat", "mitmproxy"];

/// Evidence that a proxy stands between the agent, or ecs-bootstrap, and IMDS.
fn proxied(evidence: &Evidence) -> Option<Vec<String>> {
    if let Some(seen) = imds_error(evidence, is_by_proxy) {
        return Some(seen);
    }
    let proxy = of_metadata(&evidence.config)?;
    if !matches!(evidence.role, Some(Ok(RoleStatus::Present { .. }))) || evidence.role_was_absent {
        return None;
    }
    let logged = evidence.agent_logged(&NO_CREDENTIALS).or_else(|| {
        evidence.agent_logged(&["Unable to access EC2 Metadata service", "infer region", "failed to get API token"])
    })?;
    let setting =
        format!("ecs.config has the proxy `{}`, and NO_PROXY does not include 169.254.169.254", proxy.shown());
    Some(vec![setting, "a direct request to IMDS returns the role".to_owned(), logged])
}

/// Whether a 403 to the token request came from a proxy.
fn is_by_proxy(error: &ImdsError) -> bool {
    let ImdsError::Disabled { via, server } = error else { return false };
    let server = server.as_deref().unwrap_or_default().to_ascii_lowercase();
    via.is_some() || PROXIES.iter().any(|proxy| server.contains(proxy))
}

/// The IMDS error that stopped a pipeline stage or occurred during verify, if `is` selects it.
fn imds_error(evidence: &Evidence, is: fn(&ImdsError) -> bool) -> Option<Vec<String>> {
    let stopped = match &evidence.stage_error {
        Some(StageError::Imds(error)) => Some(error),
        _ => None,
    };
    let role = evidence.role.as_ref().and_then(|role| role.as_ref().err());
    let credentials = evidence.aws_errors().find_map(|error| match &error.kind {
        AwsErrorKind::Imds(error) => Some(error),
        _ => None,
    });
    let error = stopped.or(role).or(credentials)?;
    is(error).then(|| vec![error_chain(error)])
}

#[cfg(test)]
mod tests {
    use super::super::tests::ids;
    use super::*;
    use crate::evidence::network_path::NetworkPath;
    use crate::evidence::routes::Routes;

    #[test]
    fn each_imds_error_has_its_cause() {
        let elapsed = Duration::from_secs(2);
        let status = |status| ImdsError::Status { path: "meta-data".to_owned(), status, attempts: 9, elapsed };
        let disabled = |via: Option<&str>, server: Option<&str>| {
            let text = |text: Option<&str>| text.map(str::to_owned);
            ImdsError::Disabled { via: text(via), server: text(server) }
        };
        for (error, id) in [
            (disabled(None, None), "imds-disabled"),
            (disabled(None, Some("EC2ws")), "imds-disabled"),
            (disabled(Some("1.1 proxy"), None), "imds-proxied"),
            (disabled(None, Some("Squid/6.1")), "imds-proxied"),
            (ImdsError::TokenLost { attempts: 2, elapsed }, "imds-token-hop-limit"),
            (ImdsError::Unreachable { attempts: 2, elapsed, source: None }, "imds-unreachable"),
            (ImdsError::Forbidden { path: "meta-data/tags".to_owned() }, "imds-forbidden"),
            (status(503), "imds-throttled"),
            (status(429), "imds-throttled"),
            (status(500), "imds-garbled"),
        ] {
            assert_eq!(ids(&Evidence::of_stage_error(StageError::Imds(error))), [id]);
        }
    }

    #[test]
    fn ipv6_only_is_decided_by_the_routing_tables() {
        let with = |routes| {
            let error = ImdsError::Unreachable { attempts: 2, elapsed: LATE, source: None };
            ids(&Evidence {
                network_path: NetworkPath { routes, ..NetworkPath::default() },
                ..Evidence::of_stage_error(StageError::Imds(error))
            })
        };
        let v6 = Routes { v6_address: true, v6_default: true, ..Routes::default() };
        assert_eq!(with(Some(v6)), ["imds-ipv6-only"]);
        assert_eq!(with(Some(Routes { v4_any: true, ..v6 })), ["imds-unreachable"]);
        assert_eq!(with(Some(Routes::default())), ["imds-unreachable"]);
        assert_eq!(with(None), ["imds-unreachable"]);
    }
}
