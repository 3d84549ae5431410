//! The stages of a blue/green, linear or canary rollout, and the time limit that depends on them.

use std::time::{Duration, Instant};

use ecs_bootstrap::retry::Deadline;

use super::Watch;
use crate::client::{call_deadline, is_transient};
use crate::service::Service;
use crate::service_deployment::ServiceDeployment;
use crate::strategy::PlannedTimes;

/// How many service deployments are searched for the one that is watched.
const MAX_LISTED: i32 = 20;

/// The time limit of a watch.
pub(super) struct TimeLimit {
    timeout: Duration,
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

    pub(super) fn deadline(&self) -> Deadline {
        // A deadline that never passes, but a poll that fails ends the stop.
        self.stopped.map_or(self.deadline, |_| Deadline::after(Duration::MAX))
    }

    fn stop(&mut self) {
        self.stopped = self.stopped.or_else(|| Some((Instant::now(), self.deadline.remaining())));
    }

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

    fn add(&mut self, time: Duration) {
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
    times: Option<PlannedTimes>,
    /// The service deployment at the last poll.
    last: Option<ServiceDeployment>,
    shown: String,
    /// The caller may not read service deployments. The warning is shown once.
    is_denied: bool,
}

impl Stages {
    /// Whether the service deployment was found.
    pub(super) fn is_known(&self) -> bool {
        self.last.is_some()
    }

    /// The stage as shown to the user.
    pub(super) fn label(&self) -> Option<String> {
        self.last.as_ref().map(ServiceDeployment::label)
    }
}

impl Watch<'_> {
    /// Adds the bake times, steps and hooks of the strategy to the time limit, once.
    pub(super) fn see_planned_times(&mut self, service: &Service) {
        if self.stages.times.is_some() {
            return;
        }
        // A change that started no deployment has no stages.
        let configuration = &service.raw["deploymentConfiguration"];
        let times = match self.expected_count {
            Some(_) => PlannedTimes::default(),
            None => PlannedTimes::of(configuration),
        };
        if !times.added.is_zero() || times.has_open_hook {
            self.limit.add(times.added);
            self.progress.change_limit(self.limit.allowed());
            let mut text = format!("the time limit is {}", humantime::format_duration(self.limit.allowed()));
            if !times.parts.is_empty() {
                let own = humantime::format_duration(self.limit.timeout);
                text += &format!(": {own} and {}", times.parts.join(" and "));
            }
            if times.has_open_hook {
                text += "; the time that lifecycle hooks take is added";
            }
            self.progress.event(&text);
        }
        self.stages.times = Some(times);
    }

    /// The service deployment of the deployment, if its strategy has stages and they can be read.
    pub(super) async fn read_stage(&mut self, service: &Service) -> Option<ServiceDeployment> {
        let times = self.stages.times.as_ref().filter(|times| times.is_staged)?;
        let adds_hooks = times.has_open_hook;
        if self.stages.is_denied {
            return None;
        }
        let answer = match &self.stages.last {
            Some(last) => self.client.aws.service_deployment(&last.service_deployment_arn, call_deadline()).await,
            None => self.find_service_deployment(service).await,
        };
        match answer.map(|raw| raw.as_ref().map(ServiceDeployment::read).transpose()) {
            Ok(Ok(Some(stage))) => self.see_stage(stage, adds_hooks),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => self.continue_without_stages(&error.to_string()),
            // The next poll reads it.
            Err(error) if is_transient(&error) => {}
            Err(error) => self.continue_without_stages(&error.verbatim()),
        }
        self.stages.last.clone()
    }

    async fn find_service_deployment(
        &self,
        service: &Service,
    ) -> Result<Option<serde_json::Value>, ecs_bootstrap::boundary::aws::AwsError> {
        let (client, arn) = (self.client, service.raw["serviceArn"].as_str());
        let name = arn.unwrap_or(&client.service);
        let listed = client.aws.service_deployments(&client.cluster, name, None, MAX_LISTED, call_deadline()).await?;
        let all = listed.iter().filter_map(|raw| ServiceDeployment::read(raw).ok()).collect();
        match ServiceDeployment::find(all, &self.deployment) {
            Some(found) => client.aws.service_deployment(&found.service_deployment_arn, call_deadline()).await,
            None => Ok(None),
        }
    }

    fn see_stage(&mut self, stage: ServiceDeployment, adds_hooks: bool) {
        let label = stage.label();
        if self.stages.shown != label {
            self.progress.event(&label);
            self.stages.shown = label;
        }
        if adds_hooks && stage.waits_for_hook() {
            self.limit.stop();
        } else {
            self.limit.go_on();
            self.progress.change_limit(self.limit.allowed());
        }
        self.stages.last = Some(stage);
    }

    fn continue_without_stages(&mut self, error: &str) {
        self.stages.is_denied = true;
        self.progress.event(&format!(
            "warning: the stages of the deployment cannot be read; only the answers of DescribeServices are followed: \
             {error}"
        ));
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
