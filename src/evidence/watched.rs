//! What the checks of `watch` have seen over time, and what follows from it.

use std::time::SystemTime;

use super::Evidence;

/// What the checks of `watch` have seen over time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// Since when the agent is disconnected, from its log or from answers of ECS.
    pub disconnected_since: Option<SystemTime>,
    /// Since when ECS has the container instance as INACTIVE or not at all.
    pub inactive_since: Option<SystemTime>,
    /// When the agent started, if it starts again and again.
    pub starts: Vec<SystemTime>,
    /// Whether the connection ends again and again.
    pub drops: bool,
}

impl Evidence {
    /// Since when the agent is disconnected, if that was observed for longer than a moment.
    pub fn disconnected_since(&self) -> Option<SystemTime> {
        self.watched.as_ref()?.disconnected_since
    }

    /// Whether the agent has logged a connection since it was disconnected; without a time of that, since its start.
    pub fn has_connected_since(&self) -> bool {
        match self.disconnected_since() {
            Some(lost) => self.connected_at().is_some_and(|connected| connected > lost),
            None => self.has_connected(),
        }
    }

    /// Whether ECS reports the agent as disconnected.
    pub fn is_described_as_disconnected(&self) -> bool {
        self.described().is_some_and(|described| !described.agent_connected)
    }

    /// Whether the agent has registered and is disconnected: ECS says so, or the checks of `watch` have seen it and ECS was not
    /// asked.
    pub fn is_disconnected(&self) -> bool {
        let is_watched = self.disconnected_since().is_some() && self.described().is_none();
        self.container_instance_arn().is_some() && (self.is_described_as_disconnected() || is_watched)
    }

    /// Whether ECS has the container instance with no status in which it runs tasks, and this was checked again.
    pub fn is_inactive(&self) -> bool {
        let was_inactive = self.watched.as_ref().is_some_and(|watched| watched.inactive_since.is_some());
        let is_inactive = match &self.container_instance {
            Some(Ok(Some(described))) => described.status == "INACTIVE",
            Some(Ok(None)) => true,
            Some(Err(_)) | None => was_inactive,
        };
        self.watched.is_some() && is_inactive
    }
}
