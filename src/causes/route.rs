//! Causes that lie on the way to AWS: routes, proxies, TCP.

use std::time::Duration;

use super::{Cause, Class, Layer};
use crate::boundary::aws::AwsErrorKind;
use crate::boundary::net::{NetError, is_private};
use crate::boundary::proxy::ProxyError;
use crate::evidence::proxies::{ProxySetting, of_agent};
use crate::evidence::{Evidence, NetworkProbe};
use crate::exit::Exit;
use crate::redaction::error_chain;

/// What the causes of this layer have in common.
const PLAIN: Cause = Cause {
    layer: Layer::Route,
    class: Class::Retry,
    exit: Exit::Aws,
    exit_after_deadline: Exit::Network,
    ..Cause::PLAIN
};
const MINUTE: Class = Class::Lasting(Duration::from_secs(60));
/// errno(3), on Linux.
const ENETUNREACH: i32 = 101;
/// The agent's words for a network that drops.
const DROPPED: [&str; 4] = [
    "i/o timeout",
    "Client.Timeout exceeded",
    "request canceled while waiting for connection",
    "exceeded maximum number of attempts",
];

/// Somebody was told of the proxy, and whoever needs it was not.
pub(super) static PROXY_HALF: Cause = Cause {
    id: "proxy-half-configured",
    title: "a proxy is set in one place and missing in another",
    symptoms: "docker pulls work and the agent does not register, or the reverse",
    proof: "ecs.config has no proxy, docker or the agent's unit has one, and there is no way without; with egress-timeout \
            there is no proxy anywhere",
    look_alikes: &["egress-timeout", "proxy-refuses"],
    class: MINUTE,
    remedy: "set HTTP_PROXY and NO_PROXY in ecs.config and HTTP_PROXY, HTTPS_PROXY and NO_PROXY in drop-ins of docker.service \
             and ecs.service alike; ours: in a drop-in of ecs-bootstrap.service",
    source: "agent#824 #808 #240; Amazon ECS Developer Guide, \"HTTP proxy configuration\"",
    check: |evidence| {
        let agent = agent_proxy(evidence);
        let places = others(evidence);
        // A call of ours stopped the room: then it is this program that was not told.
        let call = evidence.stopping_call().filter(|call| matches!(call.kind, AwsErrorKind::ConnectTimeout));
        if let Some(call) = call {
            let agent = agent.map(|proxy| format!("ecs.config has the proxy `{}`", proxy.shown()));
            let told: Vec<String> = agent.into_iter().chain(places).collect();
            let is_half = evidence.network_path.own_proxy.is_none() && !told.is_empty();
            return is_half.then(|| told.into_iter().chain([error_chain(call)]).collect());
        }
        let ours = evidence
            .network_path
            .own_proxy
            .as_ref()
            .map(|proxy| format!("ecs-bootstrap has the proxy `{}`", proxy.shown()));
        let told: Vec<String> = places.into_iter().chain(ours).collect();
        let probe = evidence.network.as_ref().filter(|_| agent.is_none() && !told.is_empty())?;
        let Err(error @ NetError::Timeout { .. }) = &probe.connected else { return None };
        let without = format!("{} (`{}`), and ecs.config has no proxy", error_chain(error), probe.host);
        Some(told.into_iter().chain([without]).chain(evidence.agent_logged(&DROPPED)).collect())
    },
    note: |evidence| {
        let proxy = agent_proxy(evidence).filter(|_| evidence.container_instance_arn().is_some())?;
        let docker_lacks = evidence.network_path.docker_proxy.is_none();
        docker_lacks
            .then(|| vec![format!("ecs.config has the proxy `{}`, and no drop-in of docker has one", proxy.shown())])
    },
    ..PLAIN
};

/// It answers, and does not open the way.
pub(super) static PROXY_REFUSES: Cause = Cause {
    id: "proxy-refuses",
    title: "the agent's proxy refuses the way to AWS",
    symptoms: "403, 407 or `proxyconnect tcp` in the agent's log",
    proof: "CONNECT to the endpoint is answered with an error; with proxy-unreachable the proxy does not answer at all",
    look_alikes: &["proxy-unreachable", "proxy-half-configured"],
    class: Class::Lasting(Duration::from_secs(30)),
    remedy: "let the proxy allow ecs.REGION, ecs-a-*.REGION and ecs-t-*.REGION on port 443; 407: put user and password in \
             the URL of HTTP_PROXY",
    source: "Amazon ECS Developer Guide, \"HTTP proxy configuration\"; RFC 9110, section 9.3.6",
    check: |evidence| proxied(evidence, |error| matches!(error, ProxyError::Refused { .. })),
    ..PLAIN
};

/// The way ends at the proxy.
pub(super) static PROXY_UNREACHABLE: Cause = Cause {
    id: "proxy-unreachable",
    title: "the agent's proxy does not answer",
    symptoms: "`proxyconnect tcp` with a time-out or a refusal in the agent's log",
    proof: "no connection to the proxy of ecs.config, or no HTTP answer to CONNECT; with proxy-refuses it answers",
    look_alikes: &["proxy-refuses", "egress-timeout"],
    class: MINUTE,
    remedy: "correct HTTP_PROXY in ecs.config (host:port or http://host:port), and allow the proxy's port from here",
    source: "Amazon ECS Developer Guide, \"HTTP proxy configuration\"",
    check: |evidence| proxied(evidence, |error| !matches!(error, ProxyError::Refused { .. })),
    ..PLAIN
};

/// The kernel itself knows no way.
pub(super) static NO_DEFAULT_ROUTE: Cause = Cause {
    id: "no-default-route",
    title: "this host has no default route",
    symptoms: "every connection fails at once: `network is unreachable`",
    proof: "ENETUNREACH, and no default route in the kernel's tables; egress-timeout takes seconds",
    look_alikes: &["egress-timeout", "endpoint-unreachable"],
    class: Class::Lasting(Duration::from_secs(30)),
    remedy: "look at DHCP on the primary interface (`networkctl status`, `ip route`), and at a second interface that has \
             taken the route",
    source: "connect(2) ENETUNREACH; route(8)",
    check: |evidence| {
        let routes = evidence.network_path.routes.filter(|routes| !routes.v4_default && !routes.v6_default)?;
        let mut seen = from_way(evidence, |probe| unreachable(probe, |errno| errno == ENETUNREACH), |_| false)?;
        let v4 = if routes.v4_any { "only local routes" } else { "no route" };
        seen.push(format!("the routing tables have {v4} of IPv4, and no default route of IPv6"));
        Some(seen)
    },
    ..PLAIN
};

/// SYNs to a private address without an answer: the endpoint is in this VPC.
pub(super) static ENDPOINT_BLOCKED: Cause = Cause {
    id: "endpoint-sg-blocks",
    title: "the VPC endpoint of ECS does not answer",
    symptoms: "time-outs on ecs.REGION in a subnet with VPC endpoints",
    proof: "the name resolves to a private address, and TCP 443 gets no answer; with egress-timeout it is public",
    look_alikes: &["egress-timeout"],
    class: MINUTE,
    remedy: "allow port 443 from the instances in the security group of the VPC endpoint",
    source: "Amazon ECS Developer Guide, \"Interface VPC endpoints\"",
    check: |evidence| {
        let probe = |probe: &NetworkProbe| match &probe.connected {
            Err(error @ NetError::Timeout { .. }) if is_endpoint_private(probe) => {
                Some(format!("{} (`{}`, a private address)", error_chain(error), probe.host))
            }
            _ => None,
        };
        let mut seen = from_way(evidence, probe, |_| false)?;
        seen.extend(evidence.agent_logged(&DROPPED));
        Some(seen)
    },
    ..PLAIN
};

/// SYNs to a public address without an answer. What drops them cannot be told from inside.
pub(super) static EGRESS_TIMEOUT: Cause = Cause {
    id: "egress-timeout",
    title: "there is no way out to the AWS endpoint: connections get no answer",
    symptoms: "`request canceled while waiting for connection` or `i/o timeout` on ecs.REGION in the agent's log",
    proof: "the name resolves to a public address, TCP 443 gets no answer, and no proxy is set; with endpoint-sg-blocks the \
            address is private",
    look_alikes: &["endpoint-sg-blocks", "no-public-ip", "no-default-route", "proxy-half-configured", "dns-timeout"],
    remedy: "check in this order: a NAT gateway or public address for the subnet, egress of the security group to \
             port 443, \
             the network ACL and its return ports, private DNS of a VPC endpoint",
    source: "tf-ecs#11 #63; agent#294 #135 #2329",
    check: egress,
    ..PLAIN
};

/// What shifts the odds among the reasons of the former.
pub(super) static NO_PUBLIC_IP: Cause = Cause {
    id: "no-public-ip",
    title: "the instance has no public address, which it needs in a subnet without NAT",
    symptoms: "as egress-timeout, in a public subnet",
    proof: "instance metadata knows no public-ipv4; behind NAT the same is normal, so it is a hint and no more",
    look_alikes: &["egress-timeout"],
    remedy: "in a public subnet, launch with `--associate-public-ip-address`; in a private one, look at the NAT gateway",
    source: "amazon-ecs-cli#319",
    check: |evidence| {
        egress(evidence).filter(|_| evidence.network_path.public_address == Some(false))?;
        Some(vec!["instance metadata answers 404 to `meta-data/public-ipv4` (normal behind NAT)".to_owned()])
    },
    ..PLAIN
};

/// A fast no.
pub(super) static CONNECTION_REFUSED: Cause = Cause {
    id: "connection-refused",
    title: "the AWS endpoint, or something on the way, refuses the connection",
    symptoms: "`connection refused` or `connection reset` in the agent's log, at once",
    proof: "ECONNREFUSED or a reset; egress-timeout takes seconds",
    look_alikes: &["egress-timeout", "proxy-unreachable"],
    class: MINUTE,
    remedy: "look for a firewall or proxy that rejects, and at AWS_ENDPOINT_URL and ECS_BACKEND_HOST",
    source: "connect(2) ECONNREFUSED",
    check: |evidence| {
        let probe = |probe: &NetworkProbe| match &probe.connected {
            Err(error @ NetError::Refused { .. }) => Some(format!("{} (`{}`)", error_chain(error), probe.host)),
            _ => None,
        };
        from_way(evidence, probe, |kind| matches!(kind, AwsErrorKind::Refused))
    },
    ..PLAIN
};

/// No connection for any other reason: the general one of its layer.
pub(super) static UNREACHABLE: Cause = Cause {
    id: "endpoint-unreachable",
    title: "no connection to the AWS endpoint can be made",
    symptoms: "`no route to host` or another error of a connection in the agent's log",
    proof: "connect(2) fails, and neither with a time-out nor with a refusal: the error is quoted",
    look_alikes: &["no-default-route", "egress-timeout", "connection-refused"],
    remedy: "look at `ip route get ADDRESS` for the address that is named, and at the host's firewall",
    source: "connect(2)",
    check: |evidence| {
        let is_named = (NO_DEFAULT_ROUTE.check)(evidence).is_some();
        from_way(evidence, |probe| unreachable(probe, |_| true), |kind| matches!(kind, AwsErrorKind::Connect))
            .filter(|_| !is_named)
    },
    ..PLAIN
};

fn egress(evidence: &Evidence) -> Option<Vec<String>> {
    let probe = |probe: &NetworkProbe| match &probe.connected {
        Err(error @ NetError::Timeout { .. }) if !is_endpoint_private(probe) => {
            Some(format!("{} (`{}`)", error_chain(error), probe.host))
        }
        _ => None,
    };
    let is_half = (PROXY_HALF.check)(evidence).is_some();
    let is_blocked = |probe: &NetworkProbe| is_endpoint_private(probe) && probe.connected.is_err();
    if is_half || evidence.network.as_ref().is_some_and(is_blocked) {
        return None;
    }
    let mut seen = from_way(evidence, probe, |kind| matches!(kind, AwsErrorKind::ConnectTimeout))?;
    seen.extend(evidence.agent_logged(&DROPPED));
    Some(seen)
}

fn unreachable(probe: &NetworkProbe, is: fn(i32) -> bool) -> Option<String> {
    match &probe.connected {
        Err(error @ NetError::Unreachable { errno, .. }) if is(*errno) => {
            Some(format!("{} (`{}`)", error_chain(error), probe.host))
        }
        _ => None,
    }
}

fn is_endpoint_private(probe: &NetworkProbe) -> bool {
    !probe.addresses.is_empty() && probe.addresses.iter().all(|address| is_private(*address))
}

/// The proxy that the agent goes through to ECS.
fn agent_proxy(evidence: &Evidence) -> Option<crate::boundary::proxy::Proxy> {
    let host = evidence.network.as_ref().map_or("ecs.amazonaws.com", |probe| probe.host.as_str());
    of_agent(&evidence.config, host)
}

/// Who else on this host was told of a proxy, in words.
fn others(evidence: &Evidence) -> Vec<String> {
    let told = |told: &ProxySetting| format!("`{}` has the proxy `{}`", told.place, told.proxy.shown());
    [&evidence.network_path.docker_proxy, &evidence.network_path.unit_proxy].into_iter().flatten().map(told).collect()
}

/// What the agent's proxy said, where it is an error of this kind.
fn proxied(evidence: &Evidence, is: fn(&ProxyError) -> bool) -> Option<Vec<String>> {
    let tried = evidence.network_path.proxy.as_ref()?;
    let error = tried.outcome.as_ref().err().filter(|error| is(error))?;
    let seen = format!("{} (`{}` of ecs.config, to `{}`)", error_chain(error), tried.proxy.shown(), tried.host);
    let logged = evidence.agent_logged(&["proxyconnect tcp", "Proxy Authentication Required"]);
    Some([seen].into_iter().chain(logged).collect())
}

/// Evidence of the way to AWS: the probe's, else that of a call.
pub(super) fn from_way(
    evidence: &Evidence,
    probe: impl Fn(&NetworkProbe) -> Option<String>,
    call: impl Fn(&AwsErrorKind) -> bool,
) -> Option<Vec<String>> {
    // Once a call was answered there is a way, perhaps by a proxy that the probe does not take. An agent with a proxy of
    // its own takes another way than the probe, and than our calls.
    let takes_another = evidence.stop.is_none() && agent_proxy(evidence).is_some();
    if matches!(evidence.cluster, Some(Ok(_))) || takes_another {
        return None;
    }
    let probed = evidence.network.as_ref().and_then(probe);
    let called = evidence.aws_errors().find(|error| call(&error.kind)).map(|error| error_chain(error));
    let seen: Vec<String> = probed.into_iter().chain(called).collect();
    (!seen.is_empty()).then_some(seen)
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
        Evidence { network: Some(NetworkProbe { host, addresses, connected: Err(connected) }), ..Evidence::default() }
    }

    fn silent(address: &str) -> Evidence {
        with(address, NetError::Timeout { address: (address.parse::<IpAddr>().unwrap(), 443).into() })
    }

    fn without_way(errno: i32) -> Evidence {
        let source = std::io::Error::from_raw_os_error(errno);
        with("203.0.113.7", NetError::Unreachable { address: ([203, 0, 113, 7], 443).into(), errno, source })
    }

    fn told() -> Option<ProxySetting> {
        Some(ProxySetting {
            place: "/etc/sysconfig/docker".to_owned(),
            proxy: Proxy::of("http://u:hunter2@p:3128").unwrap(),
        })
    }

    #[test]
    fn a_silent_address_is_the_way_out_or_the_vpc_endpoint() {
        assert_eq!(ids(&silent("203.0.113.7")), ["egress-timeout"]);
        assert_eq!(ids(&silent("10.0.0.7")), ["endpoint-sg-blocks"]);
    }

    #[test]
    fn a_call_that_got_no_connection_is_told_by_the_layer_that_the_probe_shows() {
        let stopped = |network: Option<NetworkProbe>| {
            let (operation, kind) = ("ec2:DescribeTags", AwsErrorKind::ConnectTimeout);
            let error = AwsError { operation, kind, elapsed: Duration::ZERO, source: None };
            ids(&Evidence { network, ..Evidence::of_stop(StageError::Aws(error)) })[0]
        };
        let (host, addresses) = ("ecs.test".to_owned(), vec!["10.0.0.7".parse().unwrap()]);
        let open = NetworkProbe { host: host.clone(), addresses, connected: Ok(()) };
        let unresolved = Err(NetError::DnsTimeout { host: host.clone() });
        assert_eq!(stopped(None), "egress-timeout");
        assert_eq!(stopped(Some(open)), "egress-timeout");
        assert_eq!(stopped(silent("10.0.0.7").network), "endpoint-sg-blocks");
        assert_eq!(stopped(Some(NetworkProbe { host, addresses: Vec::new(), connected: unresolved })), "dns-timeout");
    }

    #[test]
    fn a_missing_public_address_is_a_hint_beside_it() {
        let mut evidence = silent("203.0.113.7");
        evidence.network_path.public_address = Some(true);
        assert_eq!(ids(&evidence), ["egress-timeout"]);
        evidence.network_path.public_address = Some(false);
        assert_eq!(ids(&evidence), ["egress-timeout", "no-public-ip"]);
        assert_eq!(ids(&Evidence { network_path: evidence.network_path, ..Evidence::default() }), Vec::<&str>::new());
    }

    #[test]
    fn the_kernels_tables_tell_why_there_is_no_way() {
        let with = |errno, routes| {
            let mut evidence = without_way(errno);
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
    fn a_proxy_that_the_agent_was_not_told_of_is_the_cause_and_one_that_it_was_is_its_way() {
        let mut evidence = silent("203.0.113.7");
        evidence.network_path = NetworkPath { docker_proxy: told(), ..NetworkPath::default() };
        assert_eq!(ids(&evidence), ["proxy-half-configured"]);
        let seen = &super::super::diagnose(&evidence)[0].seen;
        assert!(seen[0].contains("`p:3128`") && !seen[0].contains("hunter2"), "{seen:?}");
        evidence.config.insert("HTTP_PROXY".to_owned(), "p:3128".to_owned());
        assert_eq!(ids(&evidence), Vec::<&str>::new());
        evidence.config.insert("NO_PROXY".to_owned(), ".amazonaws.com".to_owned());
        assert_eq!(ids(&evidence), ["proxy-half-configured"]);
        assert_eq!(ids(&Evidence { network_path: evidence.network_path, ..Evidence::default() }), Vec::<&str>::new());
    }
}
