//! What `drain` knows about the end of the instance: the reason, the time that is left, its tasks, and what has failed.
//!
//! `ecs-bootstrap drain` stores [`Drain`], and `status`, verify, doctor and `watch` read it. The rules are here and are pure.

mod notice;

use std::time::{Duration, UNIX_EPOCH};

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
    /// ECS drains it, by the managed draining of its capacity provider.
    LeftToEcs,
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
    /// When EC2 takes the instance, in seconds since 1970; `None` if that is not known.
    pub ends_at: Option<u64>,
    /// Whether the instance ends for good.
    pub terminates: bool,
    /// The container instance; `None` if the agent has not registered.
    pub container_instance_arn: Option<String>,
    /// Whether ECS drains the instances that the group terminates (managed draining).
    pub by_ecs: bool,
    /// Whether ECS has accepted the status DRAINING from ecs-bootstrap.
    pub is_draining: bool,
    /// The tasks that the agent last had and that had not stopped; `None` if it has not answered.
    pub tasks: Option<Vec<String>>,
    /// The hook that ecs-bootstrap completes.
    pub hook: Option<String>,
    /// Whether the hook has accepted a heartbeat.
    pub hook_has_waited: bool,
    /// Whether the container instance is deregistered.
    pub is_deregistered: bool,
    /// Whether the hook was completed, or no longer waits.
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
    /// Whether the agent has not answered for so long that it does not run.
    pub is_agent_gone: bool,
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
            (Some([]), Some(0)) => true,
            (Some([]), None) => !self.can_ask_ecs,
            (None, Some(0)) => self.is_agent_gone,
            _ => false,
        }
    }
}

impl Drain {
    /// Whether the instance is about to end, so that nothing else about its agent matters.
    pub fn is_ending(&self) -> bool {
        self.terminates || self.trigger.is_some_and(|trigger| trigger > DrainTrigger::Rebalance)
    }

    /// Whether the Auto Scaling group terminates the instance.
    pub fn is_terminated(&self) -> bool {
        self.trigger == Some(DrainTrigger::Termination)
    }

    /// Whether ECS drains it for this reason: it does so only for a termination by the group.
    pub fn is_left_to_ecs(&self) -> bool {
        self.by_ecs && self.is_terminated()
    }

    /// Whether the tasks are no longer waited for.
    pub fn is_over(&self) -> bool {
        !matches!(self.state, DrainState::Waiting | DrainState::Draining)
    }

    /// Whether it can go on: an instance that its group terminates gets no other notice.
    pub fn is_final(&self) -> bool {
        self.has_ended && self.is_terminated()
    }

    /// Begins to drain for this reason, unless it does so for the same or a more urgent one. Returns whether it begins.
    /// `heartbeat_timeout` is that of the hook.
    pub fn begin(&mut self, notice: &Notice, now: u64, longest: Duration, heartbeat_timeout: Option<Duration>) -> bool {
        if self.trigger >= Some(notice.trigger) {
            return false;
        }
        self.trigger = Some(notice.trigger);
        self.notice = Some(notice.text.clone());
        (self.noticed_at, self.ends_at) = (Some(now), None);
        (self.state, self.has_ended) = (DrainState::Draining, false);
        self.set_longest(longest, heartbeat_timeout);
        self.terminates |= notice.terminates;
        // The agent can have registered anew, and the status can have been set back.
        (self.container_instance_arn, self.is_draining) = (None, false);
        self.failures.retain(|failed| failed.step == DrainStep::FindHook);
        self.limit(notice);
        true
    }

    /// Sets how long the tasks are waited for, since the notice.
    pub fn set_longest(&mut self, longest: Duration, heartbeat_timeout: Option<Duration>) {
        let Some(begun) = self.noticed_at.filter(|_| !self.is_over()) else { return };
        let of_hook = heartbeat_timeout.map(|timeout| {
            let longest = LONGEST_HOOK.min(timeout.as_secs().saturating_mul(MOST_HEARTBEATS));
            begun.saturating_add(longest.saturating_sub(RESERVE_OF_HOOK))
        });
        let of_spot = self.ends_at.map(|end| end.saturating_sub(RESERVE));
        let own = begun.saturating_add(longest.as_secs());
        self.until = [Some(own), of_hook, of_spot].into_iter().flatten().min();
    }

    /// Takes the time at which EC2 takes the instance. A Spot interruption can follow a termination.
    pub fn limit(&mut self, notice: &Notice) {
        let Some(end) = notice.ends_at.and_then(|end| end.duration_since(UNIX_EPOCH).ok()) else { return };
        let end = self.ends_at.map_or(end.as_secs(), |known| known.min(end.as_secs()));
        let last = end.saturating_sub(RESERVE);
        self.ends_at = Some(end);
        self.until = Some(self.until.map_or(last, |until| until.min(last)));
    }

    /// Forgets a reason that is over. What is known about the hooks of the group stays.
    pub fn forget(&mut self) {
        let failures = self.failures.drain(..).filter(|failed| failed.step == DrainStep::FindHook).collect();
        *self = Drain { by_ecs: self.by_ecs, hook: self.hook.take(), failures, ..Drain::default() };
    }

    /// Notes the tasks.
    pub fn note_tasks(&mut self, seen: &TasksSeen, now: u64) {
        if seen.of_agent.is_some() {
            self.tasks.clone_from(&seen.of_agent);
        }
        if self.state != DrainState::Draining {
            return;
        }
        let is_denied =
            self.failure_of(DrainStep::SetDraining).is_some_and(|failure| failure.reason == DrainReason::Denied);
        // Before the status is set, ECS can place a task.
        let is_set = self.is_draining || self.is_deregistered || self.is_left_to_ecs() || is_denied;
        let have_ended = self.container_instance_arn.is_none() || (is_set && seen.have_ended());
        let is_over = self.is_deregistered || self.until.is_none_or(|until| now >= until);
        self.state = match (have_ended, is_over) {
            (false, false) if !self.is_left_to_ecs() || self.hook.is_some() => return,
            _ if self.is_left_to_ecs() => DrainState::LeftToEcs,
            (true, _) => DrainState::Drained,
            (false, _) => DrainState::TasksLeft,
        };
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
    use std::time::SystemTime;

    use super::*;

    const ARN: &str = "arn:aws:ecs:eu-west-1:111122223333:container-instance/prod/0123";

    fn of(trigger: DrainTrigger, ends_at: Option<u64>) -> Notice {
        let ends_at: Option<SystemTime> = ends_at.map(|end| UNIX_EPOCH + Duration::from_secs(end));
        Notice { trigger, ends_at, terminates: trigger == DrainTrigger::Termination, text: "text".to_owned() }
    }

    /// A container instance with the status DRAINING, for 60 s from the time 0.
    fn draining(trigger: DrainTrigger) -> Drain {
        let mut drain = Drain::default();
        assert!(drain.begin(&of(trigger, None), 0, Duration::from_secs(60), None));
        (drain.container_instance_arn, drain.is_draining) = (Some(ARN.to_owned()), true);
        drain
    }

    /// What the agent and ECS say: the number of tasks.
    fn seen(of_agent: Option<usize>, of_ecs: Option<u64>) -> TasksSeen {
        let of_agent = of_agent.map(|count| vec!["task".to_owned(); count]);
        TasksSeen { of_agent, is_agent_gone: false, of_ecs, can_ask_ecs: true }
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
    fn an_interruption_that_follows_a_termination_shortens_the_time() {
        let mut drain = draining(DrainTrigger::Termination);
        drain.limit(&of(DrainTrigger::Termination, Some(50)));
        assert_eq!((drain.until, drain.ends_at), (Some(35), Some(50)));
        drain.limit(&of(DrainTrigger::Termination, Some(1000)));
        assert_eq!((drain.until, drain.ends_at), (Some(35), Some(50)));
        // A changed deadline does not make it longer.
        drain.set_longest(Duration::from_secs(600), None);
        assert_eq!(drain.until, Some(35));
    }

    #[test]
    fn the_end_of_an_interruption_that_the_instance_survived_does_not_limit_the_next_reason() {
        let mut drain = draining(DrainTrigger::Spot);
        drain.limit(&of(DrainTrigger::Spot, Some(50)));
        drain.begin(&of(DrainTrigger::Termination, None), 7000, Duration::from_secs(60), None);
        assert_eq!((drain.until, drain.ends_at), (Some(7060), None));
        drain.by_ecs = true;
        drain.forget();
        assert_eq!(drain, Drain { by_ecs: true, ..Drain::default() });
    }

    #[test]
    fn only_a_more_urgent_reason_begins_anew_and_then_with_the_status() {
        let mut drain = draining(DrainTrigger::Rebalance);
        let longest = Duration::from_secs(60);
        assert!(!drain.is_ending() && !drain.begin(&of(DrainTrigger::Rebalance, None), 50, longest, None));
        drain.note_tasks(&seen(Some(1), None), 60);
        assert_eq!(drain.state, DrainState::TasksLeft);
        assert!(drain.begin(&of(DrainTrigger::Termination, None), 70, longest, None) && drain.is_ending());
        assert_eq!((drain.state, drain.until), (DrainState::Draining, Some(130)));
        assert!(!drain.is_draining && drain.container_instance_arn.is_none());
        assert!(!drain.begin(&of(DrainTrigger::Spot, Some(500)), 80, longest, None));
    }

    #[test]
    fn tasks_have_ended_only_if_neither_the_agent_nor_ecs_has_one() {
        for (of_agent, of_ecs, can_ask, is_gone, ended) in [
            (Some(0), Some(0), true, false, true),
            (Some(1), Some(0), true, false, false),
            (Some(0), Some(1), true, false, false),
            (Some(0), None, true, false, false),
            (Some(0), None, false, false, true),
            // ECS does not count a task that is being stopped, so one answer that is missing proves nothing.
            (None, Some(0), true, false, false),
            (None, Some(0), true, true, true),
            (None, Some(2), true, true, false),
            (None, None, true, true, false),
            (None, None, false, true, false),
        ] {
            let seen = TasksSeen { can_ask_ecs: can_ask, is_agent_gone: is_gone, ..seen(of_agent, of_ecs) };
            assert_eq!(seen.have_ended(), ended, "{of_agent:?} {of_ecs:?} {can_ask} {is_gone}");
        }
    }

    #[test]
    fn without_the_status_no_task_counts_as_the_last_one() {
        let mut drain = draining(DrainTrigger::Spot);
        drain.is_draining = false;
        drain.note_tasks(&seen(Some(0), Some(0)), 5);
        assert_eq!(drain.state, DrainState::Draining);
        let text = "denied".to_owned();
        drain.note(DrainStep::SetDraining, Err(DrainFailure { reason: DrainReason::Denied, text }));
        drain.note_tasks(&seen(Some(0), Some(0)), 10);
        assert_eq!(drain.state, DrainState::Drained);
    }

    #[test]
    fn the_last_known_tasks_stay_if_the_agent_is_silent() {
        let mut drain = draining(DrainTrigger::Spot);
        drain.note_tasks(&seen(Some(2), None), 5);
        drain.note_tasks(&seen(None, Some(0)), 60);
        assert_eq!((drain.state, drain.tasks.map(|tasks| tasks.len())), (DrainState::TasksLeft, Some(2)));
    }

    #[test]
    fn a_termination_after_an_interruption_does_not_hide_the_tasks_that_were_left() {
        let mut drain = draining(DrainTrigger::Spot);
        drain.note_tasks(&seen(Some(1), None), 60);
        drain.is_deregistered = true;
        drain.begin(&of(DrainTrigger::Termination, None), 62, Duration::from_secs(60), None);
        drain.container_instance_arn = Some(ARN.to_owned());
        drain.note_tasks(&seen(Some(1), Some(0)), 63);
        assert_eq!(drain.state, DrainState::TasksLeft);
    }

    #[test]
    fn managed_draining_is_only_for_a_termination_and_does_not_wait_without_another_hook() {
        for trigger in [DrainTrigger::Spot, DrainTrigger::Rebalance] {
            let drain = Drain { by_ecs: true, ..draining(trigger) };
            assert!(!drain.is_left_to_ecs(), "{trigger:?}");
        }
        let of_ecs = || Drain { by_ecs: true, is_draining: false, ..draining(DrainTrigger::Termination) };
        let mut drain = of_ecs();
        drain.note_tasks(&seen(Some(1), None), 1);
        assert_eq!(drain.state, DrainState::LeftToEcs);
        let mut drain = Drain { hook: Some("own".to_owned()), ..of_ecs() };
        drain.note_tasks(&seen(Some(1), None), 1);
        assert_eq!(drain.state, DrainState::Draining);
        drain.note_tasks(&seen(Some(0), Some(0)), 2);
        assert_eq!(drain.state, DrainState::LeftToEcs);
    }

    #[test]
    fn an_instance_that_never_registered_has_nothing_to_wait_for() {
        let mut drain = Drain::default();
        drain.begin(&of(DrainTrigger::Termination, None), 0, Duration::from_secs(60), None);
        drain.note_tasks(&TasksSeen::default(), 0);
        assert_eq!(drain.state, DrainState::Drained);
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
