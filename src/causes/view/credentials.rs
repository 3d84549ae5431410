//! Credentials of the agent and of ecs-bootstrap: which ones are used, and the errors that reject them.

use std::time::Duration;

use crate::boundary::aws::{AwsError, AwsErrorKind};
use crate::evidence::Evidence;
use crate::redaction::error_chain;

/// A role and its policy may be created or attached minutes after the launch.
pub(in crate::causes) const ROLE_MAY_BE_LATE: Duration = Duration::from_secs(300);

/// What the agent logs if it gets no credentials, with two versions of the AWS SDK.
pub(in crate::causes) const NO_CREDENTIALS: [&str; 4] = [
    "no EC2 IMDS role found",
    "no valid providers in chain",
    "NoCredentialProviders",
    "Error getting valid credentials",
];

/// Error codes with which AWS rejects the caller's credentials, not the requested action.
pub(in crate::causes) const REJECTED: [&str; 9] = [
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "AuthFailure",
    "ExpiredTokenException",
    "ExpiredToken",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
];

/// Variables that give the agent credentials other than the role (`ecs-agent/credentials/providers`): access keys, or a
/// profile or endpoint that provides them.
const CREDENTIAL_VARIABLES: [&str; 6] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "ECS_ALTERNATE_CREDENTIAL_PROFILE",
    "ECS_EXTERNAL",
];

/// The variable with which the agent is configured to use other credentials than the instance's role.
pub(in crate::causes) fn credential_variable(evidence: &Evidence) -> Option<&'static str> {
    let is_set = |value: &String| !value.trim().is_empty() && value != "false";
    CREDENTIAL_VARIABLES.into_iter().find(|key| evidence.config.get(*key).is_some_and(is_set))
}

/// Whether the agent is configured to use other credentials than the instance's role.
pub(in crate::causes) fn has_static_keys(evidence: &Evidence) -> bool {
    credential_variable(evidence).is_some()
}

/// The call of ecs-bootstrap in which AWS accepted the credentials of the role; also a denial accepts them.
pub(in crate::causes) fn accepted_call(evidence: &Evidence) -> Option<&'static str> {
    let is_accepted = |error: &AwsError| match &error.kind {
        AwsErrorKind::Denied { .. } | AwsErrorKind::Throttled { .. } => true,
        AwsErrorKind::Service { code: Some(code), status, .. } => *status < 500 && !REJECTED.contains(&code.as_str()),
        _ => false,
    };
    fn is_any<T>(answer: &Option<Result<T, AwsError>>, is_accepted: impl Fn(&AwsError) -> bool) -> bool {
        answer.as_ref().is_some_and(|answer| answer.as_ref().map_or_else(is_accepted, |_| true))
    }
    if is_any(&evidence.cluster, is_accepted) {
        Some("ecs:DescribeClusters")
    } else {
        is_any(&evidence.container_instance, is_accepted).then_some("ecs:DescribeContainerInstances")
    }
}

/// The AWS call that stopped a pipeline stage, if the service refused it with one of these codes.
pub(in crate::causes) fn called(evidence: &Evidence, codes: &[&str]) -> Option<String> {
    let call = evidence.failed_call()?;
    match &call.kind {
        AwsErrorKind::Service { code: Some(code), .. } if codes.contains(&code.as_str()) => Some(error_chain(call)),
        _ => None,
    }
}
