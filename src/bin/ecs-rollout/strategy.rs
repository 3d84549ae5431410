//! How long a deployment takes by design: the bake times, traffic steps and lifecycle hooks of its strategy.
//!
//! In: `deploymentConfiguration` of a service. Out: the time that is added to the time limit, and a text that says why.
//! Source of the members and their defaults: ECS API Reference, "DeploymentConfiguration", "LinearConfiguration",
//! "CanaryConfiguration", "DeploymentLifecycleHook" and "DeploymentLifecycleHookTimeoutConfiguration".

use std::time::Duration;

use serde_json::Value;

/// `canaryBakeTimeInMinutes`, if it is not set.
const CANARY_MINUTES: f64 = 10.0;
/// `stepPercent`, if it is not set.
const STEP_PERCENT: f64 = 10.0;
/// `stepBakeTimeInMinutes`, if it is not set.
const STEP_MINUTES: f64 = 6.0;
/// The longest time that one member can add: a pause hook can last 20160 minutes.
const MAX_MINUTES: f64 = 20_160.0;
/// The hook stages that linear and canary deployments pass once for each shift of traffic.
const STAGES_OF_EACH_STEP: [&str; 2] = ["PRE_PRODUCTION_TRAFFIC_SHIFT", "PRODUCTION_TRAFFIC_SHIFT"];

/// The times that a deployment needs beside the start and stop of its tasks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PlannedTimes {
    /// What is added to the time limit.
    pub(crate) added: Duration,
    /// The parts of `added`, for example `10m bake time`.
    pub(crate) parts: Vec<String>,
    /// Whether a lifecycle hook has no time limit of its own. The time that it takes is added while it runs.
    pub(crate) has_open_hook: bool,
    /// Whether the deployment passes stages that only DescribeServiceDeployments shows.
    pub(crate) is_staged: bool,
}

/// Whether a `deploymentConfiguration` shifts traffic between two revisions: blue/green, linear or canary.
pub(crate) fn has_traffic_shift(configuration: &Value) -> bool {
    configuration["strategy"].as_str().is_some_and(|strategy| strategy != "ROLLING")
}

impl PlannedTimes {
    /// Reads `deploymentConfiguration`.
    pub(crate) fn of(configuration: &Value) -> PlannedTimes {
        let strategy = configuration["strategy"].as_str().unwrap_or("ROLLING");
        let mut times = PlannedTimes { is_staged: strategy != "ROLLING", ..PlannedTimes::default() };
        let mut steps = 1.0;
        match strategy {
            "CANARY" => {
                let canary = &configuration["canaryConfiguration"];
                // The canary, then the rest.
                steps = 2.0;
                times.add(minutes(&canary["canaryBakeTimeInMinutes"], CANARY_MINUTES), "canary");
            }
            "LINEAR" => {
                let linear = &configuration["linearConfiguration"];
                let percent = linear["stepPercent"].as_f64().filter(|percent| *percent >= 0.1).unwrap_or(STEP_PERCENT);
                steps = (100.0 / percent).ceil().max(1.0);
                // ECS does not wait after the last step.
                let step = minutes(&linear["stepBakeTimeInMinutes"], STEP_MINUTES);
                times.add(step * (steps - 1.0), "linear steps");
            }
            _ => {}
        }
        times.add(minutes(&configuration["bakeTimeInMinutes"], 0.0), "bake time");
        times.add_hooks(configuration, steps);
        times
    }

    fn add_hooks(&mut self, configuration: &Value, steps: f64) {
        let mut total = 0.0;
        for hook in configuration["lifecycleHooks"].as_array().into_iter().flatten() {
            self.is_staged = true;
            let stages = hook["lifecycleStages"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let runs: f64 = stages.map(|stage| if STAGES_OF_EACH_STEP.contains(&stage) { steps } else { 1.0 }).sum();
            match hook["timeoutConfiguration"]["timeoutInMinutes"].as_f64() {
                Some(limit) => total += limit.clamp(0.0, MAX_MINUTES) * runs,
                None => self.has_open_hook = true,
            }
        }
        self.add(total, "lifecycle hooks");
    }

    fn add(&mut self, minutes: f64, what: &str) {
        if minutes > 0.0 {
            let time = Duration::from_secs_f64(minutes * 60.0);
            self.added += time;
            self.parts.push(format!("{} {what}", humantime::format_duration(time)));
        }
    }
}

fn minutes(value: &Value, default: f64) -> f64 {
    value.as_f64().unwrap_or(default).clamp(0.0, MAX_MINUTES)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn added_minutes(configuration: Value) -> u64 {
        PlannedTimes::of(&configuration).added.as_secs() / 60
    }

    #[test]
    fn the_times_of_each_strategy_are_added() {
        for (configuration, expected) in [
            (json!(null), 0),
            (json!({"strategy": "ROLLING", "bakeTimeInMinutes": 4}), 4),
            (json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 30}), 30),
            (json!({"strategy": "BLUE_GREEN"}), 0),
            (json!({"strategy": "CANARY", "bakeTimeInMinutes": 5}), 15),
            (json!({"strategy": "CANARY", "canaryConfiguration": {"canaryBakeTimeInMinutes": 3}}), 3),
            (json!({"strategy": "LINEAR"}), 54),
            (
                json!({"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 30.0, "stepBakeTimeInMinutes": 2}}),
                6,
            ),
            (json!({"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 100.0}, "bakeTimeInMinutes": 1}), 1),
            (json!({"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 0, "stepBakeTimeInMinutes": -7}}), 0),
        ] {
            assert_eq!(added_minutes(configuration.clone()), expected, "{configuration}");
        }
    }

    #[test]
    fn the_limit_of_a_hook_counts_for_each_stage_and_each_step() {
        let hook = |stages: Value, limit: Value| json!({"lifecycleStages": stages, "timeoutConfiguration": {"timeoutInMinutes": limit}});
        let two_stages = hook(json!(["PRE_SCALE_UP", "POST_SCALE_UP"]), json!(5));
        assert_eq!(added_minutes(json!({"strategy": "BLUE_GREEN", "lifecycleHooks": [two_stages]})), 10);
        let each_step = hook(json!(["PRE_PRODUCTION_TRAFFIC_SHIFT", "POST_SCALE_UP"]), json!(2));
        let linear = json!({"stepPercent": 50.0, "stepBakeTimeInMinutes": 0});
        assert_eq!(
            added_minutes(json!({"strategy": "LINEAR", "linearConfiguration": linear, "lifecycleHooks": [each_step]})),
            6
        );
        let open = PlannedTimes::of(&json!({"lifecycleHooks": [hook(json!(["PRE_SCALE_UP"]), json!(null))]}));
        assert!(open.has_open_hook && open.is_staged && open.added.is_zero(), "{open:?}");
    }
}
