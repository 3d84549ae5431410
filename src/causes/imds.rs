//! Causes that lie in the instance metadata service.

use std::time::Duration;

use super::{Cause, Class, Layer};
use crate::boundary::aws::AwsErrorKind;
use crate::boundary::imds::{ImdsError, RoleStatus};
use crate::evidence::proxies::of_metadata;
use crate::evidence::{Evidence, StageError};
use crate::exit::Exit;
use crate::redaction::error_chain;

/// What may come up with the network, a little late.
const LATE: Duration = Duration::from_secs(60);
/// What a proxy calls itself in `Server:`. The service's own is `EC2ws`.
const PROXIES: [&str; 8] = ["squid", "tinyproxy", "envoy", "haproxy", "zscaler", "bluecoat", "blue coat", "mitmproxy"];
/// An agent that gets no credentials, in the words of two versions of its SDK.
pub(super) const NO_CREDENTIALS: [&str; 4] = [
    "no EC2 IMDS role found",
    "no valid providers in chain",
    "NoCredentialProviders",
    "Error getting valid credentials",
];

/// The service's own answer; waiting cannot help.
pub(super) static DISABLED: Cause = Cause {
    id: "imds-disabled",
    layer: Layer::Imds,
    title: "instance metadata is switched off",
    symptoms: "no container instance; the agent's log cannot infer the region: `Missing required fields: AWSRegion`",
    proof: "the token request is answered 403, at once and by no proxy; imds-proxied has a Via header or a proxy's Server",
    look_alikes: &["imds-proxied", "imds-unreachable", "imds-forbidden"],
    class: Class::Terminal,
    exit: Exit::Permission,
    exit_after_deadline: Exit::Permission,
    remedy: "enable it: `aws ec2 modify-instance-metadata-options --http-endpoint enabled --instance-id ID`, and \
             HttpEndpoint in the launch template",
    source: "EC2 User Guide, \"Configure the instance metadata service options\"",
    check: |evidence| named(evidence, |error| matches!(error, ImdsError::Disabled { .. }) && !is_by_proxy(error)),
    ..Cause::PLAIN
};

/// Whoever asks through a proxy asks for the proxy's metadata.
pub(super) static PROXIED: Cause = Cause {
    id: "imds-proxied",
    layer: Layer::Imds,
    title: "instance metadata is asked through a proxy",
    symptoms: "NoCredentialProviders in the agent's log, though the instance has its role",
    proof: "HTTP_PROXY stands in ecs.config, NO_PROXY lacks 169.254.169.254, and asked directly the role is there; or a \
            proxy has answered in the service's place. With no-instance-role the direct answer is 404",
    look_alikes: &["no-instance-role", "imds-disabled"],
    // Longer than the agent pauses: its log may be of a time when the role had not come yet.
    class: Class::Lasting(Duration::from_secs(30)),
    exit: Exit::Permission,
    exit_after_deadline: Exit::Permission,
    remedy: "set NO_PROXY=169.254.169.254,169.254.170.2,/var/run/docker.sock wherever a proxy is set: ecs.config, the \
             drop-ins of docker and of ecs",
    source: "agent#605 #805 #23; Amazon ECS Developer Guide, \"HTTP proxy configuration\"",
    check: proxied,
    ..Cause::PLAIN
};

fn proxied(evidence: &Evidence) -> Option<Vec<String>> {
    if let Some(seen) = named(evidence, is_by_proxy) {
        return Some(seen);
    }
    let proxy = of_metadata(&evidence.config)?;
    if !matches!(evidence.role, Some(Ok(RoleStatus::Present { .. }))) || evidence.role_was_absent {
        return None;
    }
    let logged = evidence.agent_logged(&NO_CREDENTIALS).or_else(|| {
        evidence.agent_logged(&["Unable to access EC2 Metadata service", "infer region", "failed to get API token"])
    })?;
    let told = format!("ecs.config has the proxy `{}`, and NO_PROXY does not hold 169.254.169.254", proxy.shown());
    Some(vec![told, "asked directly, instance metadata has the role".to_owned(), logged])
}

/// Whether the agent's own proxy keeps it from instance metadata.
pub(super) fn is_proxied(evidence: &Evidence) -> bool {
    proxied(evidence).is_some()
}

/// Only IPv6 leads anywhere, and metadata is asked by IPv4.
pub(super) static IPV6_ONLY: Cause = Cause {
    id: "imds-ipv6-only",
    layer: Layer::Imds,
    title: "this host has only IPv6, and instance metadata does not answer by it",
    symptoms: "nothing that asks instance metadata works, in a subnet of IPv6 only",
    proof: "no route of IPv4, a global address of IPv6, and neither address of the service answers; imds-unreachable has \
            IPv4",
    look_alikes: &["imds-unreachable"],
    class: Class::Lasting(LATE),
    exit: Exit::Imds,
    exit_after_deadline: Exit::Permission,
    remedy: "`aws ec2 modify-instance-metadata-options --http-protocol-ipv6 enabled --instance-id ID`, and \
             HttpProtocolIpv6 in the launch template",
    source: "EC2 User Guide, \"Configure the instance metadata service options\"",
    check: |evidence| {
        let mut seen = unreachable(evidence)?;
        is_ipv6_only(evidence).then(|| {
            seen.push("the routing table of IPv4 is empty, and there is a global address of IPv6".to_owned());
            seen
        })
    },
    ..Cause::PLAIN
};

/// A connection, and no token: the answer's hop limit is used up on the way.
pub(super) static TOKEN_LOST: Cause = Cause {
    id: "imds-token-hop-limit",
    layer: Layer::Imds,
    title: "instance metadata takes connections, but its token never arrives",
    symptoms: "a program in a container times out on instance metadata, and the same on the host works",
    proof: "TCP connects and the token request is never answered; with imds-unreachable TCP does not connect",
    look_alikes: &["imds-unreachable"],
    class: Class::Lasting(LATE),
    exit: Exit::Imds,
    exit_after_deadline: Exit::Permission,
    remedy: "run on the host's network, or raise the hop limit: `aws ec2 modify-instance-metadata-options \
             --http-put-response-hop-limit 2 --instance-id ID`",
    source: "elastic-ci-stack#857; EC2 User Guide, \"Configure the instance metadata service options\"",
    check: |evidence| named(evidence, |error| matches!(error, ImdsError::TokenLost { .. })),
    ..Cause::PLAIN
};

/// Too many callers on this host.
pub(super) static THROTTLED: Cause = Cause {
    id: "imds-throttled",
    layer: Layer::Imds,
    title: "instance metadata is asked too often, and throttles",
    symptoms: "starts fail at random on a busy host",
    proof: "429 or 503 to requests that are asked again; imds-unreachable never answers, imds-garbled answers otherwise",
    look_alikes: &["imds-unreachable", "imds-garbled"],
    class: Class::Retry,
    exit: Exit::Imds,
    exit_after_deadline: Exit::Imds,
    remedy: "let fewer programs ask, and let them cache what they got; look at user data that polls in a loop",
    source: "agent CHANGELOG #4847; EC2 User Guide, \"Use the Instance Metadata Service to access instance metadata\"",
    check: |evidence| named(evidence, |error| matches!(error, ImdsError::Status { status: 429 | 503, .. })),
    ..Cause::PLAIN
};

/// A token was granted and a path is forbidden.
pub(super) static FORBIDDEN: Cause = Cause {
    id: "imds-forbidden",
    layer: Layer::Imds,
    title: "instance metadata forbids what is asked for",
    symptoms: "some of instance metadata answers, and some is forbidden",
    proof: "a token is granted and a path is answered 403; with imds-disabled the token itself is refused",
    look_alikes: &["imds-disabled"],
    class: Class::Terminal,
    exit: Exit::Permission,
    exit_after_deadline: Exit::Permission,
    remedy: "look for a firewall or proxy that filters instance metadata on this host",
    source: "EC2 User Guide, \"Limit instance metadata service access\"",
    check: |evidence| named(evidence, |error| matches!(error, ImdsError::Forbidden { .. })),
    ..Cause::PLAIN
};

/// No connection.
pub(super) static UNREACHABLE: Cause = Cause {
    id: "imds-unreachable",
    layer: Layer::Imds,
    title: "instance metadata cannot be reached",
    symptoms: "the agent cannot infer its region, or restarts for ever; a reboot may heal it",
    proof: "no connection to the service, or no answer on one; imds-disabled answers 403 at once",
    look_alikes: &["imds-disabled", "imds-token-hop-limit", "imds-ipv6-only"],
    class: Class::Lasting(LATE),
    exit: Exit::Imds,
    exit_after_deadline: Exit::Permission,
    remedy: "look at the route to 169.254.169.254 (`ip route get 169.254.169.254`), the metric of a second interface, and \
             the host's firewall",
    source: "agent#121 #140 #1857",
    check: |evidence| unreachable(evidence).filter(|_| !is_ipv6_only(evidence)),
    ..Cause::PLAIN
};

/// Something answers that is not the service, or the service is in trouble: the general one of its layer.
pub(super) static GARBLED: Cause = Cause {
    id: "imds-garbled",
    layer: Layer::Imds,
    title: "instance metadata answers with errors or with something else than metadata",
    symptoms: "whatever asks instance metadata gets nonsense",
    proof: "an answer that is no metadata, or a status that the service does not give; imds-throttled is 429 or 503",
    look_alikes: &["imds-throttled", "imds-proxied"],
    class: Class::Lasting(LATE),
    exit: Exit::Imds,
    exit_after_deadline: Exit::Permission,
    remedy: "look for a proxy or another program that answers in its place; AWS_EC2_METADATA_SERVICE_ENDPOINT must \
             name an IMDSv2 endpoint",
    source: "EC2 User Guide, \"Use the Instance Metadata Service to access instance metadata\"",
    check: |evidence| match &evidence.stop {
        Some(stop @ StageError::NotMetadata { .. }) => Some(vec![error_chain(stop)]),
        _ => named(evidence, |error| {
            matches!(error, ImdsError::Status { status, .. } if !matches!(status, 429 | 503))
                || matches!(error, ImdsError::Garbled { .. } | ImdsError::Setup { .. })
        }),
    },
    ..Cause::PLAIN
};

/// Whether a 403 to the token request came from a proxy.
fn is_by_proxy(error: &ImdsError) -> bool {
    let ImdsError::Disabled { via, server } = error else { return false };
    let server = server.as_deref().unwrap_or_default().to_ascii_lowercase();
    via.is_some() || PROXIES.iter().any(|proxy| server.contains(proxy))
}

fn unreachable(evidence: &Evidence) -> Option<Vec<String>> {
    named(evidence, |error| matches!(error, ImdsError::Unreachable { .. } | ImdsError::NoAnswer { .. }))
}

fn is_ipv6_only(evidence: &Evidence) -> bool {
    evidence.network_path.routes.is_some_and(|routes| !routes.v4_any && routes.v6_address)
}

/// The error of the metadata service that stopped a room, or that verify met, when it is of this kind.
fn named(evidence: &Evidence, is: fn(&ImdsError) -> bool) -> Option<Vec<String>> {
    let stopped = match &evidence.stop {
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
    fn off_lost_and_unreachable_are_told_apart() {
        let elapsed = Duration::from_secs(2);
        let status = |status| ImdsError::Status { path: "meta-data".to_owned(), status, attempts: 9, elapsed };
        let off = |via: Option<&str>, server: Option<&str>| {
            let text = |text: Option<&str>| text.map(str::to_owned);
            ImdsError::Disabled { via: text(via), server: text(server) }
        };
        for (error, id) in [
            (off(None, None), "imds-disabled"),
            (off(None, Some("EC2ws")), "imds-disabled"),
            (off(Some("1.1 proxy"), None), "imds-proxied"),
            (off(None, Some("Squid/6.1")), "imds-proxied"),
            (ImdsError::TokenLost { attempts: 2, elapsed }, "imds-token-hop-limit"),
            (ImdsError::Unreachable { attempts: 2, elapsed, source: None }, "imds-unreachable"),
            (ImdsError::Forbidden { path: "meta-data/tags".to_owned() }, "imds-forbidden"),
            (status(503), "imds-throttled"),
            (status(429), "imds-throttled"),
            (status(500), "imds-garbled"),
        ] {
            assert_eq!(ids(&Evidence::of_stop(StageError::Imds(error))), [id]);
        }
    }

    #[test]
    fn a_host_without_ipv4_is_told_only_where_its_tables_say_so() {
        let with = |routes| {
            let error = ImdsError::Unreachable { attempts: 2, elapsed: LATE, source: None };
            ids(&Evidence {
                network_path: NetworkPath { routes, ..NetworkPath::default() },
                ..Evidence::of_stop(StageError::Imds(error))
            })
        };
        let v6 = Routes { v6_address: true, v6_default: true, ..Routes::default() };
        assert_eq!(with(Some(v6)), ["imds-ipv6-only"]);
        assert_eq!(with(Some(Routes { v4_any: true, ..v6 })), ["imds-unreachable"]);
        assert_eq!(with(Some(Routes::default())), ["imds-unreachable"]);
        assert_eq!(with(None), ["imds-unreachable"]);
    }
}
