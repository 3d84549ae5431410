//! Causes that lie in TLS.

use std::time::Duration;

use super::route::from_way;
use super::{Cause, Class, Layer, clock};
use crate::boundary::aws::{AwsErrorKind, TlsFault};
use crate::evidence::Evidence;
use crate::evidence::network_path::PresentedCertificate;
use crate::exit::Exit;

/// Something on the way opens the connection, or the host lacks a CA.
pub(super) static UNTRUSTED: Cause = Cause {
    id: "tls-untrusted",
    layer: Layer::Tls,
    title: "nobody known has signed the certificate that is shown for the AWS endpoint",
    symptoms: "`x509: certificate signed by unknown authority` in the agent's log",
    proof: "the handshake ends in an unknown issuer, whose name is recorded; with clock-skew the certificate is not valid \
            at this hour, and the Date differs",
    look_alikes: &["clock-skew", "tls-failed"],
    class: Class::Terminal,
    exit: Exit::Network,
    exit_after_deadline: Exit::Network,
    remedy: "put the CA of whoever intercepts into the host's bundle (`update-ca-trust`, `update-ca-certificates`) or \
             AWS_CA_BUNDLE, or let nobody intercept AWS; the agent of the generic rpm does not see the host's bundle",
    source: "agent#1845; ecs-agent.md \"Causes in the log\"",
    check: |evidence| {
        let fault = |kind: &AwsErrorKind| matches!(kind, AwsErrorKind::Tls { fault: TlsFault::UnknownIssuer });
        let logged = || evidence.agent_logged(&["x509: certificate signed by unknown authority"]);
        if let Some(seen) = from_way(evidence, |_| None, fault) {
            return Some(seen.into_iter().chain(shown(evidence)).chain(logged()).collect());
        }
        // We have taken the host's roots, and the agent has not.
        let logged = evidence.network_path.host_roots.then(logged).flatten()?;
        Some(vec!["only this host's own roots make the certificate of AWS good, not Amazon's".to_owned(), logged])
    },
    ..Cause::PLAIN
};

/// Expired, for another name, no TLS at all: the general one of its layer.
pub(super) static FAILED: Cause = Cause {
    id: "tls-failed",
    layer: Layer::Tls,
    title: "no TLS connection to the AWS endpoint can be made",
    symptoms: "`x509:` or `tls:` errors in the agent's log",
    proof: "the handshake fails for another reason than the issuer, and the clock agrees; with clock-skew it does not",
    look_alikes: &["clock-skew", "tls-untrusted"],
    class: Class::Lasting(Duration::from_secs(60)),
    exit: Exit::Aws,
    exit_after_deadline: Exit::Network,
    remedy: "see whose certificate it is: a proxy or a private DNS name that leads elsewhere; wait where it is AWS's own",
    source: "agent#4530; RFC 8446, section 6",
    check: |evidence| {
        let fault =
            |kind: &AwsErrorKind| matches!(kind, AwsErrorKind::Tls { fault } if *fault != TlsFault::UnknownIssuer);
        let seen = from_way(evidence, |_| None, fault).filter(|_| clock::off(evidence).is_none())?;
        Some(seen.into_iter().chain(shown(evidence)).chain(evidence.agent_logged(&["x509: ", "tls: "])).collect())
    },
    ..Cause::PLAIN
};

/// Whose certificate it is.
fn shown(evidence: &Evidence) -> Option<String> {
    let PresentedCertificate { host, certificate } = evidence.network_path.certificate.as_ref()?;
    let certificate = certificate.as_ref()?;
    Some(format!("`{host}` shows a certificate of `{}`, issued by `{}`", certificate.subject, certificate.issuer))
}

#[cfg(test)]
mod tests {
    use super::super::tests::ids;
    use super::*;
    use crate::boundary::aws::AwsError;
    use crate::evidence::StageError;
    use crate::evidence::agent_log::last_attempt;

    #[test]
    fn an_unknown_issuer_is_told_from_the_rest() {
        let with = |fault| {
            let kind = AwsErrorKind::Tls { fault };
            let error = AwsError { operation: "ec2:DescribeTags", kind, elapsed: Duration::ZERO, source: None };
            ids(&Evidence::of_stop(StageError::Aws(error)))
        };
        assert_eq!(with(TlsFault::UnknownIssuer), ["tls-untrusted"]);
        for fault in [TlsFault::Expired, TlsFault::NotValidYet, TlsFault::WrongName, TlsFault::Other] {
            assert_eq!(with(fault), ["tls-failed"]);
        }
    }

    #[test]
    fn an_agent_that_lacks_the_hosts_roots_is_told_although_we_have_them() {
        let log = b"level=error msg=\"Unable to register as a container instance with ECS\" error=\"x509: certificate signed by unknown authority\"\n";
        let mut evidence = Evidence { agent_log: last_attempt(log), ..Evidence::default() };
        assert_eq!(ids(&evidence), ["register-refused"]);
        evidence.network_path.host_roots = true;
        assert_eq!(ids(&evidence), ["tls-untrusted"]);
    }
}
