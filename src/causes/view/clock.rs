//! The clock of this host compared with that of AWS.

use std::time::Duration;

use super::credentials::REJECTED;
use crate::boundary::aws::{AwsErrorKind, TlsFault};
use crate::evidence::Evidence;

/// AWS accepts a signature within five minutes of its own time. In seconds.
const TOLERANCE: u64 = 300;

/// How far the clock is off, as an evidence line, if that is known and more than [`TOLERANCE`]. The Date of IMDS is
/// used only if no AWS answer gave the time and there is an error that a wrong clock explains.
pub(in crate::causes) fn skew(evidence: &Evidence) -> Option<String> {
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
