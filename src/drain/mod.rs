//! What `drain` knows about the end of the instance: the reason, the time that is left, its tasks, and what has failed.
//!
//! `ecs-bootstrap drain` stores [`Drain`], and `status`, verify, doctor and `watch` read it. The rules are here and are pure.

mod notice;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::notice::{Answers, Notice, SpotInterruption, is_terminated, notice};
use crate::settings::DrainTrigger;

/// Where the state is stored. Below /run, so that it is of this boot.
pub const DRAIN: &str = "/run/ecs-bootstrap/drain.json";
/// The lock of the process that writes [`DRAIN`].
pub const LOCK: &str = "/run/ecs-bootstrap/drain.lock";
/// The hook that ECS adds to the group of a capacity provider with managed draining (Amazon ECS Developer Guide, "Safely stop
/// Amazon ECS workloads running on EC2 instances").
pub const MANAGED_HOOK: &str = "ecs-managed-draining-termination-hook";

/// The time before the end of a Spot instance that is kept for the last calls.
const RESERVE: u64 = 15;
/// The time before the end of a hook that is kept for the last calls.
const RESERVE_OF_HOOK: u64 = 60;
/// The longest time that a hook waits, with heartbeats: 48 hours, or 100 times its time-out, whichever is less (Amazon EC2 Auto
/// Scaling User Guide, "Amazon EC2 Auto Scaling lifecycle hooks").
const LONGEST_HOOK: u64 = 48 * 3600;
const MOST_HEARTBEATS: u64 = 100;

/// How far the draining is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrainState {
    /// There is no reason yet.
    #[default]
    Waiting,
    /// Its tasks have not ended.
    Draining,
    /// Its tasks have ended.
    Drained,
    /// The time has passed, and tasks run.
    TasksLeft,
}

/// A step of the draining that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrainStep {
    /// The terminating hook is looked up.
    FindHook,
    /// The hook gets a heartbeat.
    Heartbeat,
    /// The status of the container instance is set to DRAINING.
    SetDraining,
    /// ECS is asked for the number of its tasks.
    CountTasks,
    /// It is deregistered.
    Deregister,
    /// The hook is completed.
    CompleteHook,
}

/// Why a step failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrainReason {
    /// The role may not make the call.
    Denied,
    /// The group has no hook that can be completed.
    NoHook,
    /// Any other reason.
    Other,
}

/// A step that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainFailure {
    /// The reason.
    pub reason: DrainReason,
    /// The error.
    pub text: String,
}

/// A failure, and its step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedStep {
    /// The step.
    pub step: DrainStep,
    /// Why it failed.
    #[serde(flatten)]
    pub failure: DrainFailure,
}

/// The state of the draining in this boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Drain {
    /// How far it is.
    pub state: DrainState,
    /// Why the container instance is drained.
    pub trigger: Option<DrainTrigger>,
    /// What instance metadata says.
    pub notice: Option<String>,
    /// When that was seen first, in seconds since 1970.
    pub noticed_at: Option<u64>,
    /// Until when the tasks are waited for, in seconds since 1970.
    pub until: Option<u64>,
    /// Whether the instance ends for good.
    pub terminates: bool,
    /// The container instance; `None` if the agent has not registered.
    pub container_instance_arn: Option<String>,
    /// Whether ECS drains it, by the managed draining of its capacity provider.
    pub by_ecs: bool,
    /// Whether ECS has accepted the status DRAINING from ecs-bootstrap.
    pub is_draining: bool,
    /// The tasks that the agent has and that have not stopped; `None` if the agent did not answer.
    pub tasks: Option<Vec<String>>,
    /// The hook that ecs-bootstrap completes.
    pub hook: Option<String>,
    /// Whether the container instance is deregistered.
    pub is_deregistered: bool,
    /// Whether the hook was completed.
    pub is_completed: bool,
    /// Whether nothing is left to do for this reason.
    pub has_ended: bool,
    /// The steps that failed, until they succeed.
    pub failures: Vec<FailedStep>,
}

/// What is known about the tasks of the container instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TasksSeen {
    /// Those that the agent has and that have not stopped; `None` if the agent did not answer.
    pub of_agent: Option<Vec<String>>,
    /// How many ECS counts; `None` if it did not answer.
    pub of_ecs: Option<u64>,
    /// Whether ECS can be asked.
    pub can_ask_ecs: bool,
}

impl TasksSeen {
    /// Whether all tasks have ended. ECS does not count a task that it is stopping, and the agent does not know a task that was
    /// placed just now, so both are asked (aws/aws-cdk#13506).
    pub fn have_ended(&self) -> bool {
        match (self.of_agent.as_deref(), self.of_ecs) {
            (Some([]) | None, Some(0)) => true,
            (Some([]), None) => !self.can_ask_ecs,
            _ => false,
        }
    }
}

impl Drain {
    /// Whether the instance is about to end, so that nothing else about its agent matters.
    pub fn is_ending(&self) -> bool {
        self.terminates || self.trigger.is_some_and(|trigger| trigger > DrainTrigger::Rebalance)
    }

    /// Whether the tasks are no longer waited for.
    pub fn is_over(&self) -> bool {
        matches!(self.state, DrainState::Drained | DrainState::TasksLeft)
    }

    /// Whether it can go on: an instance that its group terminates gets no other notice.
    pub fn is_final(&self) -> bool {
        self.has_ended && self.trigger == Some(DrainTrigger::Termination)
    }

    /// Begins to drain for this reason, unless it does so for the same or a more urgent one. Returns whether it begins.
    /// `heartbeat_timeout` is that of the hook.
    pub fn begin(&mut self, notice: &Notice, now: u64, longest: Duration, heartbeat_timeout: Option<Duration>) -> bool {
        if self.trigger >= Some(notice.trigger) {
            return false;
        }
        let seconds =
            |time: std::time::SystemTime| time.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let of_hook = heartbeat_timeout.map(|timeout| {
            let longest = LONGEST_HOOK.min(timeout.as_secs().saturating_mul(MOST_HEARTBEATS));
            now.saturating_add(longest.saturating_sub(RESERVE_OF_HOOK))
        });
        let of_spot = notice.ends_at.map(|end| seconds(end).saturating_sub(RESERVE));
        let own = now.saturating_add(longest.as_secs());
        self.until = [Some(own), of_hook, of_spot].into_iter().flatten().min();
        self.trigger = Some(notice.trigger);
        self.notice = Some(notice.text.clone());
        self.noticed_at = Some(now);
        self.terminates |= notice.terminates;
        (self.state, self.has_ended) = (DrainState::Draining, false);
        true
    }

    /// Notes the tasks. Returns whether the wait has ended with this.
    pub fn note_tasks(&mut self, seen: &TasksSeen, now: u64) -> bool {
        self.tasks.clone_from(&seen.of_agent);
        if self.state != DrainState::Draining {
            return false;
        }
        let has_passed = self.until.is_none_or(|until| now >= until);
        if self.container_instance_arn.is_none() || self.is_deregistered || seen.have_ended() {
            self.state = DrainState::Drained;
        } else if has_passed {
            self.state = DrainState::TasksLeft;
        }
        self.is_over()
    }

    /// Notes the outcome of a step.
    pub fn note(&mut self, step: DrainStep, outcome: Result<(), DrainFailure>) {
        self.failures.retain(|failed| failed.step != step);
        self.failures.extend(outcome.err().map(|failure| FailedStep { step, failure }));
    }

    /// Why this step failed, if it did.
    pub fn failure_of(&self, step: DrainStep) -> Option<&DrainFailure> {
        self.failures.iter().find(|failed| failed.step == step).map(|failed| &failed.failure)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    fn of(trigger: DrainTrigger, ends_at: Option<u64>) -> Notice {
        let ends_at: Option<SystemTime> = ends_at.map(|end| UNIX_EPOCH + Duration::from_secs(end));
        Notice { trigger, ends_at, terminates: trigger == DrainTrigger::Termination, text: "text".to_owned() }
    }

    #[test]
    fn the_time_ends_with_the_setting_the_hook_or_the_instance() {
        let until = |notice, longest, timeout: Option<u64>| {
            let mut drain = Drain::default();
            assert!(drain.begin(&notice, 1000, Duration::from_secs(longest), timeout.map(Duration::from_secs)));
            drain.until.unwrap() - 1000
        };
        let termination = || of(DrainTrigger::Termination, None);
        assert_eq!(until(termination(), 1800, Some(3600)), 1800);
        assert_eq!(until(termination(), 86_400, Some(30)), 2940);
        assert_eq!(until(termination(), 86_400, Some(172_800)), 86_400);
        assert_eq!(until(termination(), 1800, None), 1800);
        assert_eq!(until(of(DrainTrigger::Termination, Some(1120)), 1800, Some(3600)), 105);
        assert_eq!(until(of(DrainTrigger::Spot, Some(1120)), 1800, None), 105);
        assert_eq!(until(of(DrainTrigger::Rebalance, None), 60, None), 60);
    }

    #[test]
    fn only_a_more_urgent_reason_begins_anew() {
        let mut drain = Drain::default();
        let longest = Duration::from_secs(60);
        assert!(drain.begin(&of(DrainTrigger::Rebalance, None), 0, longest, None) && !drain.is_ending());
        assert!(!drain.begin(&of(DrainTrigger::Rebalance, None), 50, longest, None));
        drain.container_instance_arn = Some("arn".into());
        assert!(drain.note_tasks(&TasksSeen::default(), 60) && drain.state == DrainState::TasksLeft);
        assert!(drain.begin(&of(DrainTrigger::Termination, None), 70, longest, None) && drain.is_ending());
        assert_eq!((drain.state, drain.until), (DrainState::Draining, Some(130)));
        assert!(!drain.begin(&of(DrainTrigger::Spot, Some(500)), 80, longest, None));
    }

    #[test]
    fn tasks_have_ended_only_if_neither_the_agent_nor_ecs_has_one() {
        let seen = |of_agent: Option<usize>, of_ecs, can_ask_ecs| TasksSeen {
            of_agent: of_agent.map(|count| vec!["task".to_owned(); count]),
            of_ecs,
            can_ask_ecs,
        };
        for (of_agent, of_ecs, can_ask, ended) in [
            (Some(0), Some(0), true, true),
            (Some(1), Some(0), true, false),
            (Some(0), Some(1), true, false),
            (Some(0), None, true, false),
            (Some(0), None, false, true),
            (None, Some(0), true, true),
            (None, Some(2), true, false),
            (None, None, true, false),
            (None, None, false, false),
        ] {
            assert_eq!(seen(of_agent, of_ecs, can_ask).have_ended(), ended, "{of_agent:?} {of_ecs:?} {can_ask}");
        }
    }

    #[test]
    fn an_instance_that_never_registered_has_nothing_to_wait_for() {
        let mut drain = Drain::default();
        drain.begin(&of(DrainTrigger::Termination, None), 0, Duration::from_secs(60), None);
        assert!(drain.note_tasks(&TasksSeen::default(), 0));
        assert!(drain.state == DrainState::Drained && drain.is_over());
    }

    #[test]
    fn a_step_has_its_last_failure_until_it_succeeds() {
        let mut drain = Drain::default();
        let failed = |reason| Err(DrainFailure { reason, text: "text".to_owned() });
        drain.note(DrainStep::SetDraining, failed(DrainReason::Other));
        drain.note(DrainStep::SetDraining, failed(DrainReason::Denied));
        assert_eq!(drain.failure_of(DrainStep::SetDraining).unwrap().reason, DrainReason::Denied);
        let stored: Drain = serde_json::from_str(&serde_json::to_string(&drain).unwrap()).unwrap();
        assert_eq!(stored, drain);
        drain.note(DrainStep::SetDraining, Ok(()));
        assert!(drain.failures.is_empty());
    }
}
