//! The time limit of a watch, and what is known of the stages that extend it.

use std::time::{Duration, Instant};

use ecs_bootstrap::retry::Deadline;

use crate::service_deployment::ServiceDeployment;
use crate::strategy::PlannedTimes;

/// The time limit of a watch.
pub(super) struct TimeLimit {
    pub(super) timeout: Duration,
    /// What the strategy of the deployment adds.
    added: Duration,
    deadline: Deadline,
    /// Since when the limit is stopped, because the deployment waits for a lifecycle hook, and the time that was left.
    stopped: Option<(Instant, Duration)>,
}

impl TimeLimit {
    pub(super) fn new(timeout: Duration) -> TimeLimit {
        TimeLimit { timeout, added: Duration::ZERO, deadline: Deadline::after(timeout), stopped: None }
    }

    /// Lets the limit pass at this time. Times that are added later move it.
    pub(super) fn end_at(&mut self, deadline: Deadline) {
        self.deadline = deadline;
    }

    pub(super) fn deadline(&self) -> Deadline {
        // A deadline that never passes, but a poll that fails ends the stop.
        self.stopped.map_or(self.deadline, |_| Deadline::after(Duration::MAX))
    }

    /// Stops the limit while the deployment waits for a lifecycle hook.
    pub(super) fn stop(&mut self) {
        self.stopped = self.stopped.or_else(|| Some((Instant::now(), self.deadline.remaining())));
    }

    /// Ends the stop.
    pub(super) fn go_on(&mut self) {
        if let Some((since, left)) = self.stopped.take() {
            self.added = self.added.saturating_add(since.elapsed());
            self.deadline = Deadline::after(left);
        }
    }

    /// The whole time that the rollout may take.
    pub(super) fn allowed(&self) -> Duration {
        self.timeout.saturating_add(self.added)
    }

    /// Adds what the strategy of the deployment needs.
    pub(super) fn add(&mut self, time: Duration) {
        self.added = self.added.saturating_add(time);
        self.deadline = self.deadline.plus(time);
    }

    /// Lets the limit count from now.
    pub(super) fn restart(&mut self) {
        self.stopped = None;
        self.deadline = Deadline::after(self.allowed());
    }
}

/// What is known of the stages.
#[derive(Default)]
pub(super) struct Stages {
    /// Read from the service at its first poll that shows the deployment.
    pub(super) times: Option<PlannedTimes>,
    /// The service deployment at the last poll.
    pub(super) last: Option<ServiceDeployment>,
    pub(super) shown: String,
    /// The caller may not read service deployments. The warning is shown once.
    pub(super) is_denied: bool,
}

impl Stages {
    /// Whether the service deployment was found.
    pub(super) fn is_known(&self) -> bool {
        self.last.is_some()
    }

    /// See [`ServiceDeployment::is_scaled_up`].
    pub(super) fn is_scaled_up(&self) -> bool {
        self.last.as_ref().is_some_and(ServiceDeployment::is_scaled_up)
    }

    /// The stage as shown to the user.
    pub(super) fn label(&self) -> Option<String> {
        self.last.as_ref().map(ServiceDeployment::label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_limit_does_not_pass_and_keeps_the_time_that_was_left() {
        let mut limit = TimeLimit::new(Duration::from_secs(50));
        limit.add(Duration::from_secs(50));
        limit.stop();
        assert!(limit.deadline().remaining() > Duration::from_secs(3600));
        limit.stop();
        limit.go_on();
        let left = limit.deadline().remaining();
        assert!(left > Duration::from_secs(60) && left <= Duration::from_secs(100), "{left:?}");
        assert!(limit.allowed() >= Duration::from_secs(100));
    }
}
