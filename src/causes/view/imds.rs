//! Errors of the metadata service, and a proxy in front of it.

use super::credentials::NO_CREDENTIALS;
use crate::boundary::aws::AwsErrorKind;
use crate::boundary::imds::{ImdsError, RoleStatus};
use crate::evidence::proxies::of_metadata;
use crate::evidence::{Evidence, StageError};
use crate::redaction::error_chain;

/// Names of proxies in the `Server` header. IMDS itself sends `EC2ws`.
const PROXIES: [&str; 8] = ["squid", "tinyproxy", "envoy", "haproxy", "zscaler", "bluecoat", "blue coat", "mitmproxy"];

/// Evidence that a proxy stands between the agent, or ecs-bootstrap, and IMDS.
pub(in crate::causes) fn proxied_imds(evidence: &Evidence) -> Option<Vec<String>> {
    if let Some(seen) = imds_error(evidence, is_by_proxy) {
        return Some(seen);
    }
    let proxy = of_metadata(&evidence.config)?;
    if !matches!(evidence.role, Some(Ok(RoleStatus::Present { .. }))) || evidence.role_was_absent {
        return None;
    }
    let logged = evidence.agent_logged(&NO_CREDENTIALS).or_else(|| {
        evidence.agent_logged(&["Unable to access EC2 Metadata service", "infer region", "failed to get API token"])
    })?;
    let setting =
        format!("ecs.config has the proxy `{}`, and NO_PROXY does not include 169.254.169.254", proxy.shown());
    Some(vec![setting, "a direct request to IMDS returns the role".to_owned(), logged])
}

/// Whether a 403 to the token request came from a proxy.
pub(in crate::causes) fn is_by_proxy(error: &ImdsError) -> bool {
    let ImdsError::Disabled { via, server } = error else { return false };
    let server = server.as_deref().unwrap_or_default().to_ascii_lowercase();
    via.is_some() || PROXIES.iter().any(|proxy| server.contains(proxy))
}

/// The IMDS error that stopped a pipeline stage or occurred during verify, if `is` selects it.
pub(in crate::causes) fn imds_error(evidence: &Evidence, is: fn(&ImdsError) -> bool) -> Option<Vec<String>> {
    let stopped = match &evidence.stage_error {
        Some(StageError::Imds(error)) => Some(error),
        _ => None,
    };
    let role = evidence.role.as_ref().and_then(|role| role.as_ref().err());
    let credentials = evidence.aws_errors().find_map(|error| match &error.kind {
        AwsErrorKind::Imds(error) => Some(error),
        _ => None,
    });
    let error = stopped.or(role).or(credentials)?;
    is(error).then(|| vec![error_chain(error)])
}
