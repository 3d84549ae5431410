//! What the agent logs about a registration that fails.

use crate::evidence::Evidence;

/// The evidence line for exit code 5, with which the agent gives up for good.
pub(in crate::causes) const GAVE_UP_TEXT: &str = "the agent exited with code 5";

/// The agent logs this while it keeps running and retries the registration by itself, for an hour.
pub(in crate::causes) const RETRIES: &str = "Received non-terminal error from RegisterContainerInstance call";

/// A registration error with this code after which the agent retries without exiting.
pub(in crate::causes) fn retried(evidence: &Evidence, code: &str) -> Option<Vec<String>> {
    let line = evidence.agent_logged(&[RETRIES])?;
    Some(vec![line, evidence.agent_logged(&[code])?])
}
