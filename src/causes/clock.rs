//! Causes in the clock: a wrong clock makes TLS, signatures and expiry all look broken.

use std::time::Duration;

use super::cause::{Cause, Class};
use super::layer::Layer;
use super::view::credentials::REJECTED;
use super::view::denial::{denial, is_denial};
use crate::boundary::aws::{AwsErrorKind, TlsFault};
use crate::evidence::Evidence;
use crate::exit::Exit;

/// What the agent logs if the clock is wrong.
const LOGGED: [&str; 4] =
    ["InvalidSignatureException", "Signature not yet current", "Signature expired", "RequestTimeTooSkewed"];

/// Measured by the `Date` header of an AWS answer, which needs no credentials and is also part of a refusal.
pub(super) static SKEW: Cause = Cause {
    id: "clock-skew",
    layer: Layer::Clock,
    title: "the clock of this host is wrong, so AWS rejects its signatures and certificates look invalid",
    symptoms: "the agent restarts repeatedly, and its log has InvalidSignatureException, `Signature expired` or an \
               x509 certificate that is not yet valid",
    proof: "the clock differs by more than 5 min from the Date header of an AWS answer; if the clock is right, the \
            cause is `credentials-rejected`, `credentials-expired` or `tls-untrusted`",
    look_alikes: &["credentials-rejected", "credentials-expired", "tls-untrusted", "tls-failed"],
    class: Class::Lasting(Duration::from_secs(60)),
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "let chrony synchronize with 169.254.169.123, then run `chronyc -a makestep`; check whether the host was \
             suspended",
    source: "aws/amazon-ecs-agent#1513; convox/rack#235; IAM User Guide, \"Troubleshoot Signature Version 4 request \
             signing\"",
    when_registered: true,
    check: |evidence| {
        let seen = skew(evidence)?;
        Some([seen].into_iter().chain(evidence.agent_logged(&LOGGED)).collect())
    },
    excluded: |evidence| {
        let is_connected = evidence.container_instance_arn().is_some() && !evidence.is_disconnected();
        if is_connected {
            return Some(
                "the agent is connected, so AWS accepts the signatures that it makes with this clock".to_owned(),
            );
        }
        let is_denied = denial(evidence).is_some() || evidence.acs_error().is_some_and(|line| is_denial(line.text()));
        is_denied.then(|| "AWS denied an action, so it accepted the signature that was made with this clock".to_owned())
    },
    note: |evidence| {
        let is_joined = evidence.container_instance_arn().is_some() && !evidence.is_disconnected();
        is_joined.then(|| skew(evidence)).flatten().map(|seen| vec![seen])
    },
    ..Cause::DEFAULTS
};

/// AWS accepts a signature within five minutes of its own time. In seconds.
const TOLERANCE: u64 = 300;

/// How far the clock is off, as an evidence line, if that is known and more than [`TOLERANCE`]. The Date of IMDS is
/// used only if no AWS answer gave the time and there is an error that a wrong clock explains.
fn skew(evidence: &Evidence) -> Option<String> {
    let describe = |ahead: i64, reference: &str| {
        let side = if ahead > 0 { "ahead of" } else { "behind" };
        let off = humantime::format_duration(Duration::from_secs(ahead.unsigned_abs()));
        (ahead.unsigned_abs() > TOLERANCE).then(|| format!("this host's clock is {off} {side} {reference}"))
    };
    if let Some(ahead) = evidence.network_path.api_clock_skew {
        return describe(ahead, "the Date of the last AWS answer");
    }
    let explains = evidence.aws_errors().any(|error| match &error.kind {
        AwsErrorKind::Tls { fault } => matches!(fault, TlsFault::Expired | TlsFault::NotValidYet),
        AwsErrorKind::Service { code: Some(code), .. } => REJECTED.contains(&code.as_str()),
        _ => false,
    });
    let logged = || evidence.registration_refused(&["x509: certificate has expired or is not yet valid"]).is_some();
    let ahead = evidence.network_path.imds_clock_skew.filter(|_| explains || logged())?;
    describe(ahead, "the Date of IMDS")
}

#[cfg(test)]
mod tests {
    use super::super::tests::ids;
    use super::*;
    use crate::boundary::aws::{AwsError, AwsErrorKind, TlsFault};
    use crate::evidence::network_path::NetworkPath;
    use crate::evidence::{Evidence, StageError};

    fn with(api_clock: Option<i64>, imds_clock: Option<i64>, kind: AwsErrorKind) -> Vec<&'static str> {
        let error = AwsError { operation: "ec2:DescribeTags", kind, elapsed: Duration::ZERO, source: None };
        ids(&Evidence {
            network_path: NetworkPath {
                api_clock_skew: api_clock,
                imds_clock_skew: imds_clock,
                ..NetworkPath::default()
            },
            ..Evidence::of_stage_error(StageError::Aws(error))
        })
    }

    #[test]
    fn the_date_of_aws_decides_and_that_of_imds_only_if_it_explains_an_error() {
        let code = |code: &str| AwsErrorKind::Service { code: Some(code.into()), message: "".into(), status: 401 };
        let early = || AwsErrorKind::Tls { fault: TlsFault::NotValidYet };
        assert_eq!(with(Some(-7200), None, code("AuthFailure"))[0], "clock-skew");
        assert_eq!(with(Some(7200), Some(0), code("AuthFailure"))[0], "clock-skew");
        assert_eq!(with(Some(299), Some(7200), code("AuthFailure")), ["credentials-rejected"]);
        assert_eq!(with(None, Some(-7200), early()), ["clock-skew"]);
        assert_eq!(with(None, Some(2), early()), ["tls-failed"]);
        assert_eq!(with(None, Some(7200), AwsErrorKind::Refused), ["connection-refused"]);
    }
}
