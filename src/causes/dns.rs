//! Causes in DNS.

use std::time::Duration;

use super::cause::{Cause, Class};
use super::layer::Layer;
use super::view::network_path::path_evidence;
use crate::boundary::aws::AwsErrorKind;
use crate::boundary::dns::DnsError;
use crate::boundary::net::NetError;
use crate::comparison::Specificity;
use crate::evidence::{EndpointConnection, Evidence};
use crate::exit::Exit;
use crate::redaction::error_chain;

/// The fields that the causes of this layer share.
const DEFAULTS: Cause = Cause {
    layer: Layer::Dns,
    class: Class::Retry,
    exit: Exit::Aws,
    exit_after_deadline: Exit::Network,
    ..Cause::DEFAULTS
};

pub(super) static NAME_UNKNOWN: Cause = Cause {
    id: "dns-name-unknown",
    title: "the DNS servers answer that the name of the AWS endpoint does not exist",
    symptoms: "`no such host` in the agent's log",
    proof: "NXDOMAIN for the name of the endpoint, from DNS servers that answer; if the servers answer no query at \
            all, the cause is `dns-timeout`",
    look_alikes: &["dns-timeout", "wrong-region"],
    class: Class::Lasting(Duration::from_secs(30)),
    remedy: "check whether the region exists, whether a private hosted zone hides the name, and whether a DNS \
             forwarder forwards it",
    source: "aws/amazon-ecs-cli#232",
    check: |evidence| {
        let mut seen = failed(evidence, |error| matches!(error, NetError::NoSuchName { .. }), true)?;
        seen.extend(evidence.network_path.dns.as_ref().map(|names| match &names.resolved {
            Ok(()) => format!("`{}` resolves", names.other),
            Err(error) => error_chain(error),
        }));
        seen.extend(evidence.agent_logged(&["no such host"]));
        Some(seen)
    },
    ..DEFAULTS
};

pub(super) static TIMEOUT: Cause = Cause {
    id: "dns-timeout",
    title: "no DNS server answers",
    symptoms: "`lookup ... i/o timeout` in the agent's log",
    proof: "neither the query for the name of the endpoint nor a second query gets an answer; if names resolve, the \
            cause is `egress-timeout`",
    look_alikes: &["egress-timeout", "dns-name-unknown", "dns-failed"],
    remedy: "enable DNS support for the VPC, and set DNS servers in its DHCP options that this host can reach: the \
             first server must answer",
    source: "aws/amazon-ecs-agent#218 #294 #270 #882",
    check: |evidence| {
        let mut seen = failed(evidence, is_silence, false)?;
        if let Some(names) = &evidence.network_path.dns {
            // A server that answers for another name is not silent.
            let error = names.resolved.as_ref().err().filter(|error| is_silence(error))?;
            seen.push(error_chain(error));
            let servers: Vec<String> = names.servers.iter().map(ToString::to_string).collect();
            seen.push(format!("the DNS servers are `{}`", servers.join("`, `")));
        }
        seen.extend(evidence.agent_logged(&["dial tcp: lookup"]));
        Some(seen)
    },
    ..DEFAULTS
};

/// SERVFAIL, REFUSED, or an unusable resolv.conf: the general cause of this layer.
pub(super) static FAILED: Cause = Cause {
    id: "dns-failed",
    specificity: Specificity::General,
    title: "the name of the AWS endpoint does not resolve",
    symptoms: "the agent's log shows that the lookup of ecs.REGION failed",
    proof: "the DNS servers answer with an error, or /etc/resolv.conf cannot be used; the cause is `dns-timeout` if no \
            server answers, and `dns-name-unknown` if the answer is NXDOMAIN",
    look_alikes: &["dns-timeout", "dns-name-unknown"],
    remedy: "check DNS support of the VPC, its DHCP options, and the DNS servers in /etc/resolv.conf",
    source: "aws/amazon-ecs-agent#218 #294; resolv.conf(5)",
    check: |evidence| {
        let is_lookup = |error: &NetError| {
            matches!(error, NetError::Dns { .. } | NetError::DnsTimeout { .. } | NetError::NoSuchName { .. })
        };
        let is_dns = |kind: &AwsErrorKind| matches!(kind, AwsErrorKind::Dns { .. });
        let of_probe = |probe: &EndpointConnection| {
            probe.connected.as_ref().err().filter(|error| is_lookup(error)).map(|error| error_chain(error))
        };
        path_evidence(evidence, of_probe, is_dns)
    },
    ..DEFAULTS
};

/// Whether no server answered.
fn is_silence(error: &NetError) -> bool {
    matches!(error, NetError::DnsTimeout { .. } | NetError::Dns { source: DnsError::NoAnswer { .. }, .. })
}

/// The failed lookup of the endpoint's name, by the probe or by an AWS call, if it failed in the way that `is` selects.
fn failed(evidence: &Evidence, is: fn(&NetError) -> bool, no_such_name: bool) -> Option<Vec<String>> {
    let of_probe = |error: &NetError| is(error).then(|| error_chain(error));
    path_evidence(
        evidence,
        |probe| probe.connected.as_ref().err().and_then(of_probe),
        // The error of a call only has a flag for NXDOMAIN. The lookup of a second name shows whether servers are
        // silent.
        |kind| match kind {
            AwsErrorKind::Dns { no_such_name: is_nxdomain } if no_such_name => *is_nxdomain,
            AwsErrorKind::Dns { no_such_name: is_nxdomain } => {
                let names = evidence.network_path.dns.as_ref().and_then(|names| names.resolved.as_ref().err());
                evidence.network.is_none() && !is_nxdomain && names.is_some_and(is_silence)
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
    use crate::evidence::StageError;
    use crate::evidence::network_path::{DnsProbe, NetworkPath};

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
        let network =
            Some(EndpointConnection { host: HOST.to_owned(), addresses: Vec::new(), connected: Err(connected) });
        Evidence { network, network_path: network_path(other), ..Evidence::default() }
    }

    #[test]
    fn a_second_lookup_distinguishes_silence_from_an_unknown_name() {
        assert_eq!(ids(&probed(unknown(HOST), Some(Ok(())))), ["dns-name-unknown"]);
        assert_eq!(ids(&probed(unknown(HOST), Some(Err(unknown("other.test"))))), ["dns-name-unknown"]);
        assert_eq!(ids(&probed(late(HOST), Some(Err(late("other.test"))))), ["dns-timeout"]);
        assert_eq!(ids(&probed(late(HOST), Some(Ok(())))), ["dns-failed"]);
        let source = hickory_resolver::net::NetError::Message("no usable line");
        let unusable = NetError::Dns { host: HOST.to_owned(), source: DnsError::Configuration { source } };
        assert_eq!(ids(&probed(unusable, None)), ["dns-failed"]);
        let seen = &super::super::diagnose(&probed(late(HOST), Some(Err(late("other.test"))))).found[0].seen;
        assert!(seen.iter().any(|line| line.contains("`10.0.0.2`")), "{seen:?}");
    }

    #[test]
    fn a_call_that_stopped_a_stage_is_classified_in_the_same_way() {
        let stopped = |no_such_name, other| {
            let kind = AwsErrorKind::Dns { no_such_name };
            let error = AwsError { operation: "ec2:DescribeTags", kind, elapsed: Duration::ZERO, source: None };
            ids(&Evidence { network_path: network_path(other), ..Evidence::of_stage_error(StageError::Aws(error)) })
        };
        assert_eq!(stopped(true, Some(Ok(()))), ["dns-name-unknown"]);
        assert_eq!(stopped(false, Some(Err(late("other.test")))), ["dns-timeout"]);
        assert_eq!(stopped(false, Some(Ok(()))), ["dns-failed"]);
        assert_eq!(stopped(false, None), ["dns-failed"]);
    }
}
