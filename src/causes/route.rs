//! Causes on the network path to AWS: routes, proxies, TCP.

use std::time::Duration;

use super::cause::{Cause, Class};
use super::layer::Layer;
use super::view::network_path::{agent_proxy, path_evidence};
use crate::boundary::aws::AwsErrorKind;
use crate::boundary::net::{NetError, is_private};
use crate::boundary::proxy::ProxyError;
use crate::comparison::Specificity;
use crate::evidence::proxies::ProxySetting;
use crate::evidence::{EndpointConnection, Evidence};
use crate::exit::Exit;
use crate::redaction::error_chain;

/// The fields that the causes of this layer share.
const DEFAULTS: Cause = Cause {
    layer: Layer::Route,
    class: Class::Retry,
    exit: Exit::Aws,
    exit_after_deadline: Exit::Network,
    ..Cause::DEFAULTS
};
const MINUTE: Class = Class::Lasting(Duration::from_secs(60));
/// errno(3), on Linux.
const ENETUNREACH: i32 = 101;
/// What the agent logs if the network drops its packets.
const DROPPED: [&str; 4] = [
    "i/o timeout",
    "Client.Timeout exceeded",
    "request canceled while waiting for connection",
    "exceeded maximum number of attempts",
];

/// One program has a proxy, and another one that needs it does not.
pub(super) static PROXY_HALF: Cause = Cause {
    id: "proxy-half-configured",
    title: "a proxy is configured in one place but missing in another",
    symptoms: "Docker can pull images but the agent does not register, or the reverse",
    proof: "ecs.config has no proxy, Docker or the agent's unit has one, and the endpoint cannot be reached without \
            it; if no proxy is configured anywhere, the cause is `egress-timeout`",
    look_alikes: &["egress-timeout", "proxy-refuses"],
    class: MINUTE,
    remedy: "set HTTP_PROXY and NO_PROXY in ecs.config, and HTTP_PROXY, HTTPS_PROXY and NO_PROXY in drop-ins of \
             docker.service, ecs.service and the units of ecs-bootstrap",
    source: "aws/amazon-ecs-agent#824 #808 #240; Amazon ECS Developer Guide, \"HTTP proxy configuration\"",
    check: |evidence| {
        let agent = agent_proxy(evidence);
        let places = other_proxies(evidence);
        // A call of ecs-bootstrap failed, so it is ecs-bootstrap that has no proxy.
        let call = evidence.failed_call().filter(|call| matches!(call.kind, AwsErrorKind::ConnectTimeout));
        if let Some(call) = call {
            let agent = agent.map(|proxy| format!("ecs.config has the proxy `{}`", proxy.shown()));
            let proxies: Vec<String> = agent.into_iter().chain(places).collect();
            let is_half = evidence.network_path.own_proxy.is_none() && !proxies.is_empty();
            return is_half.then(|| proxies.into_iter().chain([error_chain(call)]).collect());
        }
        let own = evidence
            .network_path
            .own_proxy
            .as_ref()
            .map(|proxy| format!("ecs-bootstrap has the proxy `{}`", proxy.shown()));
        let proxies: Vec<String> = places.into_iter().chain(own).collect();
        let probe = evidence.network.as_ref().filter(|_| agent.is_none() && !proxies.is_empty())?;
        let Err(error @ NetError::Timeout { .. }) = &probe.connected else { return None };
        let without = format!("{} (`{}`), and ecs.config has no proxy", error_chain(error), probe.host);
        Some(proxies.into_iter().chain([without]).chain(evidence.agent_logged(&DROPPED)).collect())
    },
    note: |evidence| {
        let proxy = agent_proxy(evidence).filter(|_| evidence.container_instance_arn().is_some())?;
        evidence.network_path.docker_proxy.is_none().then(|| {
            vec![format!("ecs.config has the proxy `{}`, and no drop-in of docker.service has one", proxy.shown())]
        })
    },
    ..DEFAULTS
};

/// The proxy answers, but does not open the connection.
pub(super) static PROXY_REFUSES: Cause = Cause {
    id: "proxy-refuses",
    title: "the agent's proxy refuses to connect to AWS",
    symptoms: "403, 407 or `proxyconnect tcp` in the agent's log",
    proof: "the proxy answers CONNECT to the endpoint with an error; the cause is `proxy-unreachable` if the proxy \
            does not answer at all, and `proxy-half-configured` if ecs.config has no proxy, but Docker or the agent's \
            unit has one",
    look_alikes: &["proxy-unreachable", "proxy-half-configured"],
    class: Class::Lasting(Duration::from_secs(30)),
    remedy: "allow ecs.REGION, ecs-a-*.REGION and ecs-t-*.REGION on port 443 in the proxy; for status 407, put user \
             and password into the URL in HTTP_PROXY",
    source: "Amazon ECS Developer Guide, \"HTTP proxy configuration\"; RFC 9110, section 9.3.6",
    check: |evidence| proxied(evidence, |error| matches!(error, ProxyError::Refused { .. })),
    ..DEFAULTS
};

pub(super) static PROXY_UNREACHABLE: Cause = Cause {
    id: "proxy-unreachable",
    title: "the agent's proxy does not answer",
    symptoms: "`proxyconnect tcp` with a timeout or `connection refused` in the agent's log",
    proof: "no connection to the proxy in ecs.config, or no HTTP answer to CONNECT; the cause is `proxy-refuses` if \
            the proxy answers with an error, and `egress-timeout` if no proxy is configured and the endpoint itself \
            does not answer",
    look_alikes: &["proxy-refuses", "egress-timeout"],
    class: MINUTE,
    remedy: "correct HTTP_PROXY in ecs.config (host:port or http://host:port), and allow the port of the proxy from \
             this host",
    source: "Amazon ECS Developer Guide, \"HTTP proxy configuration\"",
    check: |evidence| proxied(evidence, |error| !matches!(error, ProxyError::Refused { .. })),
    ..DEFAULTS
};

/// The kernel itself has no route.
pub(super) static NO_DEFAULT_ROUTE: Cause = Cause {
    id: "no-default-route",
    title: "this host has no default route",
    symptoms: "every connection fails immediately: `network is unreachable`",
    proof: "ENETUNREACH, and no default route in the kernel's routing tables; if the connection fails only after \
            seconds, the cause is `egress-timeout`",
    look_alikes: &["egress-timeout", "endpoint-unreachable"],
    class: Class::Lasting(Duration::from_secs(30)),
    remedy: "check DHCP on the primary network interface (`networkctl status`, `ip route`), and whether a second \
             interface took over the route",
    source: "connect(2) ENETUNREACH; route(8)",
    check: |evidence| {
        let routes = evidence.network_path.routes.filter(|routes| !routes.v4_default && !routes.v6_default)?;
        let mut seen = path_evidence(evidence, |probe| unreachable(probe, |errno| errno == ENETUNREACH), |_| false)?;
        let v4 = if routes.v4_any { "only local routes" } else { "no route" };
        seen.push(format!("the routing tables have {v4} for IPv4, and no default route for IPv6"));
        Some(seen)
    },
    ..DEFAULTS
};

/// SYN packets to a private address without an answer: the endpoint is in this VPC.
pub(super) static ENDPOINT_BLOCKED: Cause = Cause {
    id: "endpoint-sg-blocks",
    title: "the VPC endpoint of ECS does not answer",
    symptoms: "timeouts for ecs.REGION in a subnet with VPC endpoints",
    proof: "the name resolves to a private address, and TCP port 443 does not answer; if the address is public, the \
            cause is `egress-timeout`",
    look_alikes: &["egress-timeout"],
    class: MINUTE,
    remedy: "allow port 443 from the instances in the security group of the VPC endpoint",
    source: "Amazon ECS Developer Guide, \"Interface VPC endpoints\"",
    check: |evidence| {
        let probe = |probe: &EndpointConnection| match &probe.connected {
            Err(error @ NetError::Timeout { .. }) if is_endpoint_private(probe) => {
                Some(format!("{} (`{}`, a private address)", error_chain(error), probe.host))
            }
            _ => None,
        };
        let mut seen = path_evidence(evidence, probe, |_| false)?;
        seen.extend(evidence.agent_logged(&DROPPED));
        Some(seen)
    },
    ..DEFAULTS
};

/// SYN packets to a public address without an answer. The host cannot find out what drops them.
pub(super) static EGRESS_TIMEOUT: Cause = Cause {
    id: "egress-timeout",
    yields_to: &["proxy-half-configured"],
    title: "there is no network path to the AWS endpoint: connections get no answer",
    symptoms: "`request canceled while waiting for connection` or `i/o timeout` for ecs.REGION in the agent's log",
    proof: "the name resolves to a public address, TCP port 443 does not answer, and no proxy is configured; if the \
            address is private, the cause is `endpoint-sg-blocks`",
    look_alikes: &["endpoint-sg-blocks", "no-public-ip", "no-default-route", "proxy-half-configured", "dns-timeout"],
    remedy: "check in this order: a NAT gateway or a public address for the subnet, port 443 in the outbound rules of \
             the security group, the network ACL and its return ports, private DNS of a VPC endpoint",
    source: "terraform-aws-modules/terraform-aws-ecs#11 #63; aws/amazon-ecs-agent#294 #135 #2329",
    check: egress,
    ..DEFAULTS
};

/// A hint for one of the reasons of [`EGRESS_TIMEOUT`], reported after it.
pub(super) static NO_PUBLIC_IP: Cause = Cause {
    id: "no-public-ip",
    yields_to: &["proxy-half-configured"],
    title: "the instance has no public address, which it needs in a subnet without NAT",
    symptoms: "as with `egress-timeout`, in a public subnet",
    proof: "the endpoint does not answer, as with `egress-timeout`, and IMDS has no public-ipv4; behind a NAT gateway \
            this is normal, so it is only a hint",
    look_alikes: &["egress-timeout"],
    remedy: "in a public subnet, launch with `--associate-public-ip-address`; in a private subnet, check the NAT \
             gateway",
    source: "aws/amazon-ecs-cli#319",
    check: |evidence| {
        egress(evidence).filter(|_| evidence.network_path.has_public_address == Some(false))?;
        Some(vec!["IMDS answers 404 for `meta-data/public-ipv4` (normal behind NAT)".to_owned()])
    },
    ..DEFAULTS
};

pub(super) static CONNECTION_REFUSED: Cause = Cause {
    id: "connection-refused",
    title: "the AWS endpoint, or a device on the network path, refuses the connection",
    symptoms: "`connection refused` or `connection reset` in the agent's log, immediately",
    proof: "ECONNREFUSED or a reset from the endpoint; the cause is `egress-timeout` if the connection fails only \
            after seconds, and `proxy-unreachable` if the proxy in ecs.config refuses the connection",
    look_alikes: &["egress-timeout", "proxy-unreachable"],
    class: MINUTE,
    remedy: "check for a firewall or a proxy that rejects connections, and check AWS_ENDPOINT_URL and ECS_BACKEND_HOST",
    source: "connect(2) ECONNREFUSED",
    check: |evidence| {
        let probe = |probe: &EndpointConnection| match &probe.connected {
            Err(error @ NetError::Refused { .. }) => Some(format!("{} (`{}`)", error_chain(error), probe.host)),
            _ => None,
        };
        path_evidence(evidence, probe, |kind| matches!(kind, AwsErrorKind::Refused))
    },
    ..DEFAULTS
};

/// Any other reason why there is no connection: the general cause of this layer.
pub(super) static UNREACHABLE: Cause = Cause {
    id: "endpoint-unreachable",
    specificity: Specificity::General,
    yields_to: &["no-default-route"],
    title: "the connection to the AWS endpoint fails",
    symptoms: "`no route to host` or another connection error in the agent's log",
    proof: "connect(2) fails with an error that is neither a timeout nor a refusal; the evidence quotes it",
    look_alikes: &["no-default-route", "egress-timeout", "connection-refused"],
    remedy: "check `ip route get ADDRESS` for the address in the evidence, and the host's firewall",
    source: "connect(2)",
    check: |evidence| {
        path_evidence(evidence, |probe| unreachable(probe, |_| true), |kind| matches!(kind, AwsErrorKind::Connect))
    },
    ..DEFAULTS
};

fn egress(evidence: &Evidence) -> Option<Vec<String>> {
    let probe = |probe: &EndpointConnection| match &probe.connected {
        Err(error @ NetError::Timeout { .. }) if !is_endpoint_private(probe) => {
            Some(format!("{} (`{}`)", error_chain(error), probe.host))
        }
        _ => None,
    };
    let is_blocked = |probe: &EndpointConnection| is_endpoint_private(probe) && probe.connected.is_err();
    if evidence.network.as_ref().is_some_and(is_blocked) {
        return None;
    }
    let mut seen = path_evidence(evidence, probe, |kind| matches!(kind, AwsErrorKind::ConnectTimeout))?;
    seen.extend(evidence.agent_logged(&DROPPED));
    Some(seen)
}

fn unreachable(probe: &EndpointConnection, is: fn(i32) -> bool) -> Option<String> {
    match &probe.connected {
        Err(error @ NetError::Unreachable { errno, .. }) if is(*errno) => {
            Some(format!("{} (`{}`)", error_chain(error), probe.host))
        }
        _ => None,
    }
}

fn is_endpoint_private(probe: &EndpointConnection) -> bool {
    !probe.addresses.is_empty() && probe.addresses.iter().all(|address| is_private(*address))
}

/// Evidence lines for the proxies of docker.service and of the agent's unit.
fn other_proxies(evidence: &Evidence) -> Vec<String> {
    let describe = |setting: &ProxySetting| format!("`{}` has the proxy `{}`", setting.place, setting.proxy.shown());
    let settings = [&evidence.network_path.docker_proxy, &evidence.network_path.unit_proxy];
    settings.into_iter().flatten().map(describe).collect()
}

/// The error of the agent's proxy, if `is` selects it.
fn proxied(evidence: &Evidence, is: fn(&ProxyError) -> bool) -> Option<Vec<String>> {
    let tried = evidence.network_path.proxy.as_ref()?;
    let error = tried.outcome.as_ref().err().filter(|error| is(error))?;
    let seen = format!("{} (`{}` of ecs.config, to `{}`)", error_chain(error), tried.proxy.shown(), tried.host);
    let logged = evidence.agent_logged(&["proxyconnect tcp", "Proxy Authentication Required"]);
    Some([seen].into_iter().chain(logged).collect())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::tests::ids;
    use super::*;
    use crate::boundary::aws::AwsError;
    use crate::boundary::proxy::Proxy;
    use crate::evidence::StageError;
    use crate::evidence::network_path::NetworkPath;
    use crate::evidence::routes::Routes;

    fn with(address: &str, connected: NetError) -> Evidence {
        let addresses: Vec<IpAddr> = vec![address.parse().unwrap()];
        let host = "ecs.eu-west-1.amazonaws.com".to_owned();
        Evidence {
            network: Some(EndpointConnection { host, addresses, connected: Err(connected) }),
            ..Evidence::default()
        }
    }

    fn silent(address: &str) -> Evidence {
        with(address, NetError::Timeout { address: (address.parse::<IpAddr>().unwrap(), 443).into() })
    }

    fn unreachable_with(errno: i32) -> Evidence {
        let source = std::io::Error::from_raw_os_error(errno);
        with("203.0.113.7", NetError::Unreachable { address: ([203, 0, 113, 7], 443).into(), errno, source })
    }

    fn proxy_of_docker() -> Option<ProxySetting> {
        Some(ProxySetting {
            place: "/etc/sysconfig/docker".to_owned(),
            proxy: Proxy::of("http://u:hunter2@p:3128").unwrap(),
        })
    }

    #[test]
    fn a_silent_address_is_the_egress_or_the_vpc_endpoint() {
        assert_eq!(ids(&silent("203.0.113.7")), ["egress-timeout"]);
        assert_eq!(ids(&silent("10.0.0.7")), ["endpoint-sg-blocks"]);
    }

    #[test]
    fn a_call_without_a_connection_is_classified_by_the_probe() {
        let stopped = |network: Option<EndpointConnection>| {
            let (operation, kind) = ("ec2:DescribeTags", AwsErrorKind::ConnectTimeout);
            let error = AwsError { operation, kind, elapsed: Duration::ZERO, source: None };
            ids(&Evidence { network, ..Evidence::of_stage_error(StageError::Aws(error)) })[0]
        };
        let (host, addresses) = ("ecs.test".to_owned(), vec!["10.0.0.7".parse().unwrap()]);
        let open = EndpointConnection { host: host.clone(), addresses, connected: Ok(()) };
        let unresolved = Err(NetError::DnsTimeout { host: host.clone() });
        assert_eq!(stopped(None), "egress-timeout");
        assert_eq!(stopped(Some(open)), "egress-timeout");
        assert_eq!(stopped(silent("10.0.0.7").network), "endpoint-sg-blocks");
        assert_eq!(
            stopped(Some(EndpointConnection { host, addresses: Vec::new(), connected: unresolved })),
            "dns-timeout"
        );
    }

    #[test]
    fn a_missing_public_address_is_an_additional_hint() {
        let mut evidence = silent("203.0.113.7");
        evidence.network_path.has_public_address = Some(true);
        assert_eq!(ids(&evidence), ["egress-timeout"]);
        evidence.network_path.has_public_address = Some(false);
        assert_eq!(ids(&evidence), ["egress-timeout", "no-public-ip"]);
        assert_eq!(ids(&Evidence { network_path: evidence.network_path, ..Evidence::default() }), Vec::<&str>::new());
    }

    #[test]
    fn the_routing_tables_show_why_there_is_no_network_path() {
        let with = |errno, routes| {
            let mut evidence = unreachable_with(errno);
            evidence.network_path.routes = routes;
            ids(&evidence)
        };
        let local = Routes { v4_any: true, ..Routes::default() };
        assert_eq!(with(101, Some(local)), ["no-default-route"]);
        assert_eq!(with(101, Some(Routes { v4_default: true, ..local })), ["endpoint-unreachable"]);
        assert_eq!(with(101, None), ["endpoint-unreachable"]);
        assert_eq!(with(113, Some(local)), ["endpoint-unreachable"]);
    }

    #[test]
    fn a_proxy_that_the_agent_does_not_have_is_a_cause() {
        let mut evidence = silent("203.0.113.7");
        evidence.network_path = NetworkPath { docker_proxy: proxy_of_docker(), ..NetworkPath::default() };
        assert_eq!(ids(&evidence), ["proxy-half-configured"]);
        let seen = &super::super::diagnose(&evidence).found[0].seen;
        assert!(seen[0].contains("`p:3128`") && !seen[0].contains("hunter2"), "{seen:?}");
        evidence.config.insert("HTTP_PROXY".to_owned(), "p:3128".to_owned());
        assert_eq!(ids(&evidence), Vec::<&str>::new());
        evidence.config.insert("NO_PROXY".to_owned(), ".amazonaws.com".to_owned());
        assert_eq!(ids(&evidence), ["proxy-half-configured"]);
        assert_eq!(ids(&Evidence { network_path: evidence.network_path, ..Evidence::default() }), Vec::<&str>::new());
    }
}
