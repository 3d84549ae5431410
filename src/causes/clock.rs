//! Causes that lie in the clock: a wrong one makes TLS, signatures and expiry all look broken.

use std::time::Duration;

use super::{Cause, Class, Layer};
use crate::boundary::aws::{AwsErrorKind, TlsFault};
use crate::evidence::Evidence;
use crate::exit::Exit;

/// AWS takes a signature within five minutes of its own time.
const TOLERANCE: u64 = 300;
/// How the agent's log words it.
const LOGGED: [&str; 4] =
    ["InvalidSignatureException", "Signature not yet current", "Signature expired", "RequestTimeTooSkewed"];

/// Told by the `Date` of an answer, which needs no credentials and comes with a refusal too.
pub(super) static SKEW: Cause = Cause {
    id: "clock-skew",
    layer: Layer::Clock,
    title: "this host's clock is wrong, so AWS refuses its signatures and certificates look invalid",
    symptoms: "the agent restarts for ever, its log says InvalidSignatureException, `Signature expired` or x509 not yet valid",
    proof: "the clock is more than 5 min off the Date header of AWS's own answer; with a clock that agrees it is \
            credentials-rejected, credentials-expired or tls-untrusted",
    look_alikes: &["credentials-rejected", "credentials-expired", "tls-untrusted", "tls-failed"],
    class: Class::Lasting(Duration::from_secs(60)),
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "let chrony follow 169.254.169.123, then `chronyc -a makestep`; see whether the host was suspended",
    source: "agent#1513; convox/rack#235; IAM User Guide, \"Troubleshoot Signature Version 4 request signing\"",
    when_registered: true,
    check: |evidence| {
        // Who is connected signs well enough.
        if evidence.container_instance_arn().is_some() && !evidence.is_disconnected() {
            return None;
        }
        let seen = off(evidence)?;
        Some([seen].into_iter().chain(evidence.agent_logged(&LOGGED)).collect())
    },
    note: |evidence| {
        let is_joined = evidence.container_instance_arn().is_some() && !evidence.is_disconnected();
        is_joined.then(|| off(evidence)).flatten().map(|seen| vec![seen])
    },
};

/// How far the clock is off, in words, where that is known and too far. Instance metadata's word counts only where AWS
/// did not tell the time and something is wrong that a clock explains.
pub(super) fn off(evidence: &Evidence) -> Option<String> {
    let words = |ahead: i64, whose: &str| {
        let side = if ahead > 0 { "ahead of" } else { "behind" };
        let off = humantime::format_duration(Duration::from_secs(ahead.unsigned_abs()));
        (ahead.unsigned_abs() > TOLERANCE).then(|| format!("this host's clock is {off} {side} {whose}"))
    };
    if let Some(ahead) = evidence.network_path.api_clock {
        return words(ahead, "the Date of AWS's last answer");
    }
    let explains = evidence.aws_errors().any(|error| match &error.kind {
        AwsErrorKind::Tls { fault } => matches!(fault, TlsFault::Expired | TlsFault::NotValidYet),
        AwsErrorKind::Service { code: Some(code), .. } => super::api::REJECTED.contains(&code.as_str()),
        _ => false,
    });
    let logged = || evidence.registration_refused(&["x509: certificate has expired or is not yet valid"]).is_some();
    let ahead = evidence.network_path.imds_clock.filter(|_| explains || logged())?;
    words(ahead, "the Date of instance metadata")
}

#[cfg(test)]
mod tests {
    use super::super::tests::ids;
    use super::*;
    use crate::boundary::aws::AwsError;
    use crate::evidence::StageError;
    use crate::evidence::network_path::NetworkPath;

    fn with(api_clock: Option<i64>, imds_clock: Option<i64>, kind: AwsErrorKind) -> Vec<&'static str> {
        let error = AwsError { operation: "ec2:DescribeTags", kind, elapsed: Duration::ZERO, source: None };
        ids(&Evidence {
            network_path: NetworkPath { api_clock, imds_clock, ..NetworkPath::default() },
            ..Evidence::of_stop(StageError::Aws(error))
        })
    }

    #[test]
    fn the_date_of_aws_decides_and_metadatas_only_where_it_explains() {
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
