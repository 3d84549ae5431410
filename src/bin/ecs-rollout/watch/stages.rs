//! Follows the stages of a blue/green, linear or canary rollout, and extends the time limit by them.

use super::Watch;
use crate::client::{call_deadline, is_transient};
use crate::service::Service;
use crate::service_deployment::ServiceDeployment;
use crate::strategy::PlannedTimes;

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
            None => self.client.find_service_deployment(service, &self.deployment, call_deadline()).await,
        };
        match answer.map(|raw| raw.as_ref().map(ServiceDeployment::read).transpose()) {
            Ok(Ok(Some(stage))) => self.see_stage(stage, adds_hooks),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => self.continue_without_stages(&error.to_string()),
            // The next poll reads it.
            Err(error) if is_transient(&error) => self.limit.go_on(),
            Err(error) => self.continue_without_stages(&error.verbatim()),
        }
        self.stages.last.clone()
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
