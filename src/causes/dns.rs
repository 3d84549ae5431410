//! Causes that lie in names.

use std::time::Duration;

use super::route::from_way;
use super::{Cause, Class, Layer};
use crate::boundary::aws::AwsErrorKind;
use crate::boundary::dns::DnsError;
use crate::boundary::net::NetError;
use crate::evidence::Evidence;
use crate::exit::Exit;
use crate::redaction::error_chain;

/// What the causes of this layer have in common.
const PLAIN: Cause = Cause {
    layer: Layer::Dns,
    class: Class::Retry,
    exit: Exit::Aws,
    exit_after_deadline: Exit::Network,
    ..Cause::PLAIN
};

/// Somebody answers that there is no such name.
pub(super) static NAME_UNKNOWN: Cause = Cause {
    id: "dns-name-unknown",
    title: "the name servers say that the AWS endpoint's name does not exist",
    symptoms: "`no such host` in the agent's log",
    proof: "NXDOMAIN for the endpoint's name while the name servers answer; with dns-timeout none answers any name",
    look_alikes: &["dns-timeout", "wrong-region"],
    class: Class::Lasting(Duration::from_secs(30)),
    remedy: "see whether the region exists, a private hosted zone hides the name, or a forwarder does not forward it",
    source: "amazon-ecs-cli#232",
    check: |evidence| {
        let mut seen = failed(evidence, |error| matches!(error, NetError::NoSuchName { .. }), true)?;
        seen.extend(evidence.network_path.dns.as_ref().map(|names| match &names.resolved {
            Ok(()) => format!("`{}` resolves", names.other),
            Err(error) => error_chain(error),
        }));
        seen.extend(evidence.agent_logged(&["no such host"]));
        Some(seen)
    },
    ..PLAIN
};

/// Nobody answers.
pub(super) static TIMEOUT: Cause = Cause {
    id: "dns-timeout",
    title: "no name server answers",
    symptoms: "`lookup ... i/o timeout` in the agent's log",
    proof: "neither the endpoint's name nor another one gets an answer; with egress-timeout names resolve",
    look_alikes: &["egress-timeout", "dns-name-unknown", "dns-failed"],
    remedy: "switch DNS support of the VPC on, and let its DHCP options name servers that can be reached from here: the \
             first one must answer",
    source: "agent#218 #294 #270 #882",
    check: |evidence| {
        let mut seen = failed(evidence, is_silence, false)?;
        if let Some(names) = &evidence.network_path.dns {
            // Somebody does answer, if not for the endpoint.
            let error = names.resolved.as_ref().err().filter(|error| is_silence(error))?;
            seen.push(error_chain(error));
            let servers: Vec<String> = names.servers.iter().map(ToString::to_string).collect();
            seen.push(format!("the name servers are `{}`", servers.join("`, `")));
        }
        seen.extend(evidence.agent_logged(&["dial tcp: lookup"]));
        Some(seen)
    },
    ..PLAIN
};

/// SERVFAIL, REFUSED, a resolv.conf that cannot be used: the general one of its layer.
pub(super) static FAILED: Cause = Cause {
    id: "dns-failed",
    title: "the name of the AWS endpoint does not resolve",
    symptoms: "the agent's log cannot look up ecs.REGION",
    proof: "the name servers answer with an error, or /etc/resolv.conf cannot be used; dns-timeout and dns-name-unknown \
            are the other two",
    look_alikes: &["dns-timeout", "dns-name-unknown"],
    remedy: "look at the VPC's DNS support, its DHCP options, and the name servers in /etc/resolv.conf",
    source: "agent#218 #294; resolv.conf(5)",
    check: |evidence| {
        let is_named = [&NAME_UNKNOWN, &TIMEOUT].iter().any(|cause| (cause.check)(evidence).is_some());
        let probe = |error: &NetError| {
            matches!(error, NetError::Dns { .. } | NetError::DnsTimeout { .. } | NetError::NoSuchName { .. })
        };
        let is_dns = |kind: &AwsErrorKind| matches!(kind, AwsErrorKind::Dns { .. });
        from_way(
            evidence,
            |network_path| {
                network_path.connected.as_ref().err().filter(|error| probe(error)).map(|error| error_chain(error))
            },
            is_dns,
        )
        .filter(|_| !is_named)
    },
    ..PLAIN
};

fn is_silence(error: &NetError) -> bool {
    matches!(error, NetError::DnsTimeout { .. } | NetError::Dns { source: DnsError::NoAnswer { .. }, .. })
}

/// The lookup of the endpoint's name that failed so, by the probe or by a call.
fn failed(evidence: &Evidence, is: fn(&NetError) -> bool, no_such_name: bool) -> Option<Vec<String>> {
    let of_probe = |error: &NetError| is(error).then(|| error_chain(error));
    from_way(
        evidence,
        |network_path| network_path.connected.as_ref().err().and_then(of_probe),
        // A call keeps only whether somebody said that there is no such name: the second question tells the rest.
        |kind| match kind {
            AwsErrorKind::Dns { no_such_name: said } if no_such_name => *said,
            AwsErrorKind::Dns { no_such_name: said } => {
                let names = evidence.network_path.dns.as_ref().and_then(|names| names.resolved.as_ref().err());
                evidence.network.is_none() && !said && names.is_some_and(is_silence)
            }
            _ => false,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::ids;
    use super::*;
    use crate::boundary::aws::AwsError;
    use crate::evidence::network_path::{DnsProbe, NetworkPath};
    use crate::evidence::{NetworkProbe, StageError};

    const HOST: &str = "ecs.eu-west-1.amazonaws.com";

    fn late(host: &str) -> NetError {
        NetError::DnsTimeout { host: host.to_owned() }
    }

    fn unknown(host: &str) -> NetError {
        NetError::NoSuchName { host: host.to_owned() }
    }

    fn network_path(resolved: Option<Result<(), NetError>>) -> NetworkPath {
        let servers = vec!["10.0.0.2".parse().unwrap()];
        NetworkPath {
            dns: resolved.map(|resolved| DnsProbe { servers, other: "other.test", resolved }),
            ..NetworkPath::default()
        }
    }

    fn probed(connected: NetError, other: Option<Result<(), NetError>>) -> Evidence {
        let network = Some(NetworkProbe { host: HOST.to_owned(), addresses: Vec::new(), connected: Err(connected) });
        Evidence { network, network_path: network_path(other), ..Evidence::default() }
    }

    #[test]
    fn the_second_question_tells_silence_from_a_name_that_is_not_there() {
        assert_eq!(ids(&probed(unknown(HOST), Some(Ok(())))), ["dns-name-unknown"]);
        assert_eq!(ids(&probed(unknown(HOST), Some(Err(unknown("other.test"))))), ["dns-name-unknown"]);
        assert_eq!(ids(&probed(late(HOST), Some(Err(late("other.test"))))), ["dns-timeout"]);
        assert_eq!(ids(&probed(late(HOST), Some(Ok(())))), ["dns-failed"]);
        let source = hickory_resolver::net::NetError::Message("no usable line");
        let unusable = NetError::Dns { host: HOST.to_owned(), source: DnsError::Configuration { source } };
        assert_eq!(ids(&probed(unusable, None)), ["dns-failed"]);
        let seen = &super::super::diagnose(&probed(late(HOST), Some(Err(late("other.test")))))[0].seen;
        assert!(seen.iter().any(|line| line.contains("`10.0.0.2`")), "{seen:?}");
    }

    #[test]
    fn a_call_that_stopped_a_room_is_told_the_same_way() {
        let stopped = |no_such_name, other| {
            let kind = AwsErrorKind::Dns { no_such_name };
            let error = AwsError { operation: "ec2:DescribeTags", kind, elapsed: Duration::ZERO, source: None };
            ids(&Evidence { network_path: network_path(other), ..Evidence::of_stop(StageError::Aws(error)) })
        };
        assert_eq!(stopped(true, Some(Ok(()))), ["dns-name-unknown"]);
        assert_eq!(stopped(false, Some(Err(late("other.test")))), ["dns-timeout"]);
        assert_eq!(stopped(false, Some(Ok(()))), ["dns-failed"]);
        assert_eq!(stopped(false, None), ["dns-failed"]);
    }
}
