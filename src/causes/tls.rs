//! Causes in TLS.

use std::time::Duration;

use super::cause::{Cause, Class};
use super::layer::Layer;
use super::view::credentials::accepted_call;
use super::view::network_path::path_evidence;
use crate::boundary::aws::{AwsErrorKind, TlsFault};
use crate::evidence::Evidence;
use crate::evidence::network_path::PresentedCertificate;
use crate::exit::Exit;

/// A device on the network path intercepts TLS, or the host misses a CA certificate.
pub(super) static UNTRUSTED: Cause = Cause {
    id: "tls-untrusted",
    layer: Layer::Tls,
    title: "the certificate of the AWS endpoint is signed by an unknown CA",
    symptoms: "`x509: certificate signed by unknown authority` in the agent's log",
    proof: "the TLS handshake fails because of an unknown issuer, which the evidence names; if the certificate is not \
            valid at this time and the Date header differs, the cause is `clock-skew`",
    look_alikes: &["clock-skew", "tls-failed"],
    class: Class::Terminal,
    exit: Exit::Network,
    exit_after_deadline: Exit::Network,
    remedy: "add the CA of the intercepting proxy to the host's bundle (`update-ca-trust`, `update-ca-certificates`) \
             or to AWS_CA_BUNDLE, or exclude AWS from the interception; the agent reads the bundle of its container, and \
             on Amazon Linux that of the host",
    source: "aws/amazon-ecs-agent#1845",
    check: |evidence| {
        let fault = |kind: &AwsErrorKind| matches!(kind, AwsErrorKind::Tls { fault: TlsFault::UnknownIssuer });
        let logged = || evidence.agent_logged(&["x509: certificate signed by unknown authority"]);
        if let Some(seen) = path_evidence(evidence, |_| None, fault) {
            return Some(seen.into_iter().chain(presented(evidence)).chain(logged()).collect());
        }
        // The agent uses the CA certificates of its container.
        let logged = logged()?;
        let verified = if evidence.network_path.tried_host_roots {
            "the certificate is valid only with the CA certificates of this host, not with those of Amazon".to_owned()
        } else {
            let call = accepted_call(evidence)?;
            format!("ecs-bootstrap verified the certificate with the CA certificates of Amazon: AWS answers {call}")
        };
        Some(vec![verified, logged])
    },
    ..Cause::DEFAULTS
};

/// An expired certificate, another name, no TLS at all: the general cause of this layer.
pub(super) static FAILED: Cause = Cause {
    id: "tls-failed",
    yields_to: &["clock-skew"],
    layer: Layer::Tls,
    title: "the TLS connection to the AWS endpoint fails",
    symptoms: "`x509:` or `tls:` errors in the agent's log",
    proof: "the TLS handshake fails for a reason other than an unknown issuer, and the clock is right; the cause is \
            `tls-untrusted` if the issuer is unknown, and `clock-skew` if the clock is wrong",
    look_alikes: &["clock-skew", "tls-untrusted"],
    class: Class::Lasting(Duration::from_secs(60)),
    exit: Exit::Aws,
    exit_after_deadline: Exit::Network,
    remedy: "check whose certificate it is: a proxy, or a private DNS name that leads to another host; if it is the \
             certificate of AWS, wait",
    source: "aws/amazon-ecs-agent#4530; RFC 8446, section 6",
    check: |evidence| {
        let fault =
            |kind: &AwsErrorKind| matches!(kind, AwsErrorKind::Tls { fault } if *fault != TlsFault::UnknownIssuer);
        let seen = path_evidence(evidence, |_| None, fault)?;
        Some(seen.into_iter().chain(presented(evidence)).chain(evidence.agent_logged(&["x509: ", "tls: "])).collect())
    },
    ..Cause::DEFAULTS
};

/// The certificate that the endpoint presented, as an evidence line.
fn presented(evidence: &Evidence) -> Option<String> {
    let PresentedCertificate { host, certificate } = evidence.network_path.certificate.as_ref()?;
    let certificate = certificate.as_ref()?;
    Some(format!("`{host}` presents a certificate for `{}`, issued by `{}`", certificate.subject, certificate.issuer))
}

#[cfg(test)]
mod tests {
    use super::super::tests::ids;
    use super::*;
    use crate::boundary::aws::{AwsError, DescribedClusters};
    use crate::evidence::StageError;
    use crate::evidence::agent_log::last_attempt;

    #[test]
    fn an_unknown_issuer_is_distinguished_from_other_tls_faults() {
        let with = |fault| {
            let kind = AwsErrorKind::Tls { fault };
            let error = AwsError { operation: "ec2:DescribeTags", kind, elapsed: Duration::ZERO, source: None };
            ids(&Evidence::of_stage_error(StageError::Aws(error)))
        };
        assert_eq!(with(TlsFault::UnknownIssuer), ["tls-untrusted"]);
        for fault in [TlsFault::Expired, TlsFault::NotValidYet, TlsFault::WrongName, TlsFault::Other] {
            assert_eq!(with(fault), ["tls-failed"]);
        }
    }

    #[test]
    fn an_agent_without_the_ca_certificates_of_the_host_is_reported() {
        let log = b"level=error msg=\"Unable to register as a container instance with ECS\" \
                    error=\"x509: certificate signed by unknown authority\"\n";
        let mut evidence = Evidence { agent_log: last_attempt(log), ..Evidence::default() };
        assert_eq!(ids(&evidence), ["register-refused"]);
        evidence.network_path.tried_host_roots = true;
        assert_eq!(ids(&evidence), ["tls-untrusted"]);
        // The bundle of the agent's container lacks the CAs of Amazon.
        evidence.network_path.tried_host_roots = false;
        evidence.cluster = Some(Ok(DescribedClusters::default()));
        assert_eq!(ids(&evidence), ["tls-untrusted"]);
    }
}
