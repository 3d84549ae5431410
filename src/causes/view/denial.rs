//! Messages of AWS that deny a call.

use crate::boundary::aws::AwsErrorKind;
use crate::evidence::Evidence;

/// Whether AWS denied the call, by the code or the words of this message.
pub(in crate::causes) fn is_denial(text: &str) -> bool {
    ["AccessDenied", "is not authorized to perform", "UnauthorizedOperation"].iter().any(|word| text.contains(word))
}

/// The message with which the agent's registration, or the call that stopped a pipeline stage, was denied.
pub(in crate::causes) fn denial(evidence: &Evidence) -> Option<String> {
    evidence.refusal().filter(|text| is_denial(text)).or_else(|| match &evidence.failed_call()?.kind {
        AwsErrorKind::Denied { message, .. } => Some(message.to_string()),
        _ => None,
    })
}

/// `assumed-role/NAME/SESSION` or `user/NAME` of the principal that a denial names.
pub(in crate::causes) fn principal(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("User: arn:")?;
    let arn = rest.split(' ').next()?;
    arn.rsplit_once(':').map(|(_, principal)| principal)
}
