//! Causes that lie on the way to AWS, and in the cluster.

use super::{Cause, Class, Layer, chain};
use crate::boundary::aws::AwsErrorKind;
use crate::boundary::net::{NetError, is_private};
use crate::evidence::{Evidence, NetworkProbe, Stop};
use crate::exit::Exit;
use crate::plan::{Refusal, cluster_name};

/// Which name servers answer decides what to do next; here only that none helped.
pub(super) static DNS: Cause = Cause {
    id: "dns-failed",
    layer: Layer::Dns,
    title: "the name of the AWS endpoint does not resolve",
    class: Class::Retry,
    exit: Exit::Aws,
    lapsed: Exit::Network,
    remedy: "look at the VPC's DNS support, its DHCP options, and the name servers in /etc/resolv.conf",
    source: "agent#218 #294; amazon-ecs-cli#232",
    check: |evidence| {
        let probe = |probe: &NetworkProbe| match &probe.connected {
            Err(error @ (NetError::Dns { .. } | NetError::DnsTimeout { .. } | NetError::NoSuchName { .. })) => {
                Some(chain(error))
            }
            _ => None,
        };
        from_way(evidence, probe, |kind| matches!(kind, AwsErrorKind::Dns { .. }))
    },
    ..Cause::PLAIN
};

/// SYNs to a public address without an answer. What drops them cannot be told from inside.
pub(super) static EGRESS_TIMEOUT: Cause = Cause {
    id: "egress-timeout",
    layer: Layer::Route,
    title: "there is no way out to the AWS endpoint: connections get no answer",
    class: Class::Retry,
    exit: Exit::Aws,
    lapsed: Exit::Network,
    remedy: "in this order: a NAT gateway or public address for the subnet, egress of the security group to port 443, \
             the network ACL and its return ports, private DNS of a VPC endpoint",
    source: "tf-ecs#11 #63; agent#294 #135 #2329",
    check: |evidence| {
        let probe = |probe: &NetworkProbe| match &probe.connected {
            Err(error @ (NetError::Timeout { .. } | NetError::Unreachable { .. })) if !is_endpoint_private(probe) => {
                Some(format!("{} (`{}`)", chain(error), probe.host))
            }
            _ => None,
        };
        let mut seen = from_way(evidence, probe, |kind| matches!(kind, AwsErrorKind::ConnectTimeout))?;
        if evidence.network.as_ref().is_some_and(is_endpoint_private) {
            return None;
        }
        seen.extend(evidence.agent_logged(&[
            "i/o timeout",
            "Client.Timeout exceeded",
            "request canceled while waiting for connection",
            "exceeded maximum number of attempts",
        ]));
        Some(seen)
    },
    ..Cause::PLAIN
};

/// The same to a private address: the endpoint is in this VPC.
pub(super) static ENDPOINT_BLOCKED: Cause = Cause {
    id: "endpoint-sg-blocks",
    layer: Layer::Route,
    title: "the VPC endpoint of ECS does not answer",
    class: Class::Retry,
    exit: Exit::Aws,
    lapsed: Exit::Network,
    remedy: "allow port 443 from the instances in the security group of the VPC endpoint",
    source: "Amazon ECS Developer Guide, \"Interface VPC endpoints\"",
    check: |evidence| {
        let probe = evidence.network.as_ref().filter(|probe| is_endpoint_private(probe))?;
        match &probe.connected {
            Err(error @ NetError::Timeout { .. }) if evidence.container_instance_arn().is_none() => {
                Some(vec![format!("{} (`{}`, a private address)", chain(error), probe.host)])
            }
            _ => None,
        }
    },
    ..Cause::PLAIN
};

/// A fast no.
pub(super) static CONNECTION_REFUSED: Cause = Cause {
    id: "connection-refused",
    layer: Layer::Route,
    title: "the AWS endpoint, or something on the way, refuses the connection",
    class: Class::Retry,
    exit: Exit::Aws,
    lapsed: Exit::Network,
    remedy: "look for a firewall or proxy that rejects, and at AWS_ENDPOINT_URL",
    source: "connect(2) ECONNREFUSED",
    check: |evidence| {
        let probe = |probe: &NetworkProbe| match &probe.connected {
            Err(error @ NetError::Refused { .. }) => Some(format!("{} (`{}`)", chain(error), probe.host)),
            _ => None,
        };
        from_way(evidence, probe, |kind| matches!(kind, AwsErrorKind::Refused | AwsErrorKind::Connect))
    },
    ..Cause::PLAIN
};

/// Something on the way opens the connection, or the host lacks a CA.
pub(super) static TLS_UNTRUSTED: Cause = Cause {
    id: "tls-untrusted",
    layer: Layer::Tls,
    title: "the certificate of the AWS endpoint is not accepted",
    class: Class::Terminal,
    exit: Exit::Network,
    lapsed: Exit::Network,
    remedy: "where a company proxy intercepts TLS, put its CA into the host's bundle or AWS_CA_BUNDLE; else look at the clock",
    source: "agent#1845 #4530",
    check: |evidence| from_way(evidence, |_| None, |kind| matches!(kind, AwsErrorKind::Tls { .. })),
    ..Cause::PLAIN
};

/// Waiting is all that helps.
pub(super) static THROTTLED: Cause = Cause {
    id: "throttled",
    layer: Layer::Api,
    title: "AWS throttles the calls of this account",
    class: Class::Retry,
    exit: Exit::Aws,
    lapsed: Exit::Aws,
    remedy: "wait, and launch fewer instances at once; the agent itself retries a throttled registration for an hour",
    source: "agent#135; Amazon ECS Developer Guide, \"Service quotas and API throttling limits\"",
    check: |evidence| {
        if evidence.container_instance_arn().is_some() {
            return None;
        }
        let call = evidence.stopping_call().filter(|error| matches!(error.kind, AwsErrorKind::Throttled { .. }));
        let logged = || {
            let retried =
                evidence.agent_logged(&["Received non-terminal error from RegisterContainerInstance call"])?;
            Some(vec![retried, evidence.agent_logged(&["ThrottlingException"])?])
        };
        call.map(|error| vec![chain(error)]).or_else(logged)
    },
    ..Cause::PLAIN
};

/// The service answers, with an error that is not ours to mend.
pub(super) static SERVICE_ERROR: Cause = Cause {
    id: "service-error",
    layer: Layer::Api,
    title: "an AWS API answers with an error, or not in time",
    class: Class::Retry,
    exit: Exit::Aws,
    lapsed: Exit::Aws,
    remedy: "look the error code up in the service's API Reference, and at the AWS Health Dashboard",
    source: "agent#2169 #108",
    check: |evidence| {
        let call = evidence.stopping_call()?;
        let is_explained = (super::permission::CREDENTIALS_REJECTED.check)(evidence).is_some();
        (!is_explained
            && matches!(
                call.kind,
                AwsErrorKind::Service { .. }
                    | AwsErrorKind::Timeout
                    | AwsErrorKind::Garbled
                    | AwsErrorKind::Setup { .. }
            ))
        .then(|| vec![chain(call)])
    },
    ..Cause::PLAIN
};

/// The agent exits 5 on it.
pub(super) static CLUSTER_NOT_FOUND: Cause = Cause {
    id: "cluster-not-found",
    layer: Layer::Cluster,
    title: "the cluster does not exist in this account and region",
    class: Class::Terminal,
    exit: Exit::Cluster,
    lapsed: Exit::Cluster,
    remedy: "create it (`aws ecs create-cluster --cluster-name NAME`), or correct the name and the region",
    source: "agent#826 #750 #2146; Amazon ECS API Reference, ClusterNotFoundException",
    check: |evidence| {
        if evidence.container_instance_arn().is_some() {
            return None;
        }
        let wanted = evidence.expectation.as_ref().and_then(|expected| expected.cluster.as_deref());
        let missing = match &evidence.cluster {
            Some(Ok(described)) if !described.missing.is_empty() => {
                Some(format!("ecs:DescribeClusters knows no cluster `{}`", wanted.unwrap_or_default()))
            }
            _ => None,
        };
        let logged = evidence.registration_refused(&["Cluster not found", "ClusterNotFoundException"]);
        let gave_up = evidence.agent_exited_with(5).then(|| "the agent exited with code 5".to_owned());
        // The agent makes `default` where it is missing.
        let missing = missing.filter(|_| wanted != Some("default") || gave_up.is_some());
        if missing.is_none() && (logged.is_none() || gave_up.is_none()) {
            return None;
        }
        let wanted = missing.is_none().then(|| wanted.map(|name| format!("the wanted cluster is `{name}`"))).flatten();
        Some([missing, wanted, logged, gave_up].into_iter().flatten().collect())
    },
    ..Cause::PLAIN
};

/// Chosen by tags, and none fits.
pub(super) static NO_CLUSTER_MATCHES: Cause = Cause {
    id: "no-cluster-matches",
    layer: Layer::Cluster,
    title: "no ACTIVE cluster carries all the wanted tags",
    class: Class::Terminal,
    exit: Exit::Cluster,
    lapsed: Exit::Cluster,
    remedy: "tag the cluster, correct `cluster-tags`, or name the cluster",
    source: "ecs-bootstrap's setting `cluster-tags`",
    check: |evidence| match &evidence.stop {
        Some(Stop::Refused(refusal @ Refusal::NoClusterMatches { candidates, .. })) => {
            Some([refusal.to_string()].into_iter().chain(candidates.iter().cloned()).collect())
        }
        _ => None,
    },
    ..Cause::PLAIN
};

/// Chosen by tags, and the choice is not one.
pub(super) static SEVERAL_CLUSTERS_MATCH: Cause = Cause {
    id: "several-clusters-match",
    layer: Layer::Cluster,
    title: "several ACTIVE clusters carry all the wanted tags",
    class: Class::Terminal,
    exit: Exit::Cluster,
    lapsed: Exit::Cluster,
    remedy: "add a tag to `cluster-tags` that only the wanted one carries, or name the cluster",
    source: "ecs-bootstrap's setting `cluster-tags`",
    check: |evidence| match &evidence.stop {
        Some(Stop::Refused(refusal @ Refusal::SeveralClustersMatch { names, .. })) => {
            Some(vec![refusal.to_string(), names.join(", ")])
        }
        _ => None,
    },
    ..Cause::PLAIN
};

/// The agent saw no cluster.
pub(super) static JOINED_DEFAULT: Cause = Cause {
    id: "joined-default",
    layer: Layer::Cluster,
    title: "the instance joined `default`, and another cluster was wanted",
    class: Class::Terminal,
    exit: Exit::Cluster,
    lapsed: Exit::Cluster,
    remedy: "the agent started before `ecs.config` named the cluster: `ecs-bootstrap reset-agent --yes`, and deregister \
             the instance from `default`",
    source: "ecs-refarch#23; tf#4202; agent#139",
    check: |evidence| joined_other(evidence).filter(|(actual, _)| *actual == "default").map(|(_, seen)| seen),
    when_registered: true,
    ..Cause::PLAIN
};

/// Another one, by an older file or saved state.
pub(super) static JOINED_OTHER: Cause = Cause {
    id: "cluster-other-than-wanted",
    layer: Layer::Cluster,
    title: "the instance joined another cluster than the wanted one",
    class: Class::Terminal,
    exit: Exit::Cluster,
    lapsed: Exit::Cluster,
    remedy: "`ecs-bootstrap reset-agent --yes`, and deregister the instance from the other cluster",
    source: "agent#887; ecs-refarch#23",
    check: |evidence| joined_other(evidence).filter(|(actual, _)| *actual != "default").map(|(_, seen)| seen),
    when_registered: true,
    ..Cause::PLAIN
};

/// The name of the joined cluster where it is not the wanted one. Names are compared, and ARNs where both are ARNs.
pub(crate) fn joined_other(evidence: &Evidence) -> Option<(&str, Vec<String>)> {
    let wanted = evidence.expectation.as_ref()?.cluster.as_deref()?;
    let arn = evidence.container_instance_arn()?;
    let Some(Ok(metadata)) = &evidence.introspection else { return None };
    let actual = metadata.cluster.as_str();
    let same = match (actual.starts_with("arn:"), wanted.starts_with("arn:")) {
        (true, true) => actual == wanted,
        _ => cluster_name(actual) == cluster_name(wanted),
    };
    // The agent names the cluster that it is configured with, its ARN the one that it is in: `...:container-instance/NAME/ID`.
    let registered = arn.split('/').nth(1).filter(|_| arn.split('/').count() == 3);
    if let Some(registered) = registered.filter(|name| same && *name != cluster_name(wanted)) {
        return Some((registered, vec![format!("the agent says that it is in `{actual}`, and is `{arn}`")]));
    }
    (!same).then(|| (cluster_name(actual), vec![format!("the agent is `{arn}` in `{actual}`; wanted is `{wanted}`")]))
}

fn is_endpoint_private(probe: &NetworkProbe) -> bool {
    !probe.addresses.is_empty() && probe.addresses.iter().all(|address| is_private(*address))
}

/// Evidence of the way to AWS: the probe's, else that of a call. None of it counts once the agent has registered.
fn from_way(
    evidence: &Evidence,
    probe: impl Fn(&NetworkProbe) -> Option<String>,
    call: impl Fn(&AwsErrorKind) -> bool,
) -> Option<Vec<String>> {
    // Once a call was answered there is a way, perhaps by a proxy that the probe does not take.
    if evidence.container_instance_arn().is_some() || matches!(evidence.cluster, Some(Ok(_))) {
        return None;
    }
    let probed = evidence.network.as_ref().and_then(probe);
    let called = evidence.aws_errors().find(|error| call(&error.kind)).map(|error| chain(error));
    let seen: Vec<String> = probed.into_iter().chain(called).collect();
    (!seen.is_empty()).then_some(seen)
}

#[cfg(test)]
mod tests {
    use super::super::tests::ids;
    use super::*;
    use crate::boundary::agent::Metadata;
    use crate::plan::Expectation;
    use std::net::IpAddr;

    fn expecting(cluster: &str) -> Expectation {
        Expectation {
            cluster: Some(cluster.to_owned()),
            agent_unit: "ecs.service".to_owned(),
            ..Expectation::default()
        }
    }

    fn joined(actual: &str, wanted: &str) -> Vec<&'static str> {
        registered(actual, actual, wanted)
    }

    /// `actual` is what the agent says, `in_arn` where it is.
    fn registered(actual: &str, in_arn: &str, wanted: &str) -> Vec<&'static str> {
        ids(&Evidence {
            expectation: Some(expecting(wanted)),
            introspection: Some(Ok(Metadata {
                cluster: actual.to_owned(),
                container_instance_arn: format!("arn:aws:ecs:eu-west-1:1:container-instance/{in_arn}/1"),
                version: String::new(),
            })),
            ..Evidence::default()
        })
    }

    #[test]
    fn a_name_and_the_arn_of_the_same_cluster_are_the_same() {
        assert_eq!(joined("prod", "arn:aws:ecs:eu-west-1:1:cluster/prod"), Vec::<&str>::new());
        assert_eq!(joined("default", "prod"), ["joined-default"]);
        assert_eq!(joined("default", "default"), Vec::<&str>::new());
        assert_eq!(joined("stage", "prod"), ["cluster-other-than-wanted"]);
        assert_eq!(registered("prod", "stage", "prod"), ["cluster-other-than-wanted"]);
        assert_eq!(registered("prod", "default", "prod"), ["joined-default"]);
    }

    #[test]
    fn a_silent_address_is_the_way_out_or_the_vpc_endpoint() {
        let with = |address: &str| {
            let address: IpAddr = address.parse().unwrap();
            let connected = Err(NetError::Timeout { address: (address, 443).into() });
            ids(&Evidence {
                network: Some(NetworkProbe {
                    host: "ecs.eu-west-1.amazonaws.com".to_owned(),
                    addresses: vec![address],
                    connected,
                }),
                ..Evidence::default()
            })
        };
        assert_eq!(with("203.0.113.7"), ["egress-timeout"]);
        assert_eq!(with("10.0.0.7"), ["endpoint-sg-blocks"]);
    }

    #[test]
    fn a_log_line_alone_does_not_say_that_the_cluster_is_missing() {
        let line = b"level=error msg=\"Unable to register as a container instance with ECS\" error=\"ClientException: Cluster not found.\"\n";
        let mut evidence = Evidence {
            agent_log: crate::evidence::agent_log::last_attempt(line),
            expectation: Some(expecting("prod")),
            ..Evidence::default()
        };
        assert_eq!(ids(&evidence), Vec::<&str>::new());
        let mut units = super::super::tests::healthy_units();
        units.agent.active_state = Some("failed".to_owned());
        units.agent.exec_main_status = Some(5);
        evidence.units = Some(Ok(units));
        assert_eq!(ids(&evidence)[0], "cluster-not-found");
    }
}
