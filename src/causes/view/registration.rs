//! What the agent logs about a registration that fails.

use std::time::Duration;

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

/// The evidence line for an agent that ECS reports as disconnected. `since` is `Evidence::registered_for`.
pub(in crate::causes) fn disconnected_for(evidence: &Evidence, since: Duration) -> String {
    if let Some(time) = evidence.disconnected_since() {
        let time = humantime::format_rfc3339_seconds(time);
        let asked =
            evidence.described().map_or("", |_| "; ecs:DescribeContainerInstances returns agentConnected false");
        return format!("the agent is disconnected since {time}{asked}");
    }
    let since = since.as_secs();
    // A single observation does not show for how long.
    if evidence.examined_at.is_some() {
        format!("ecs:DescribeContainerInstances returns agentConnected false; the agent's unit started {since} s ago")
    } else {
        format!(
            "ecs:DescribeContainerInstances returns agentConnected false, {since} s after the registration was first seen"
        )
    }
}
