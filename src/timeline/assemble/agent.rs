//! The agent and the first task.
//!
//! The agent's log files keep a day, in whole seconds. The output of its container has nanoseconds, and is lost when
//! ecs-init replaces the container. So the log says which event it was, and the output makes its time precise.

use super::draft::{Draft, Found, MILESTONES};
use super::units::FirstStarts;
use crate::timeline::id;
use crate::timeline::sources::{AgentContainer, LoggedLine, Sources};

const STARTS: &str = "Starting Amazon ECS Agent";
const REGISTERED: &str = "Registered container instance with cluster";
const CONNECTED: &str = "Connected to ACS endpoint";
/// The agent logs this when it removes the containers of a task that stopped 3 hours ago, or as long ago as
/// ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION says. The first letter is large or small, depending on the version.
const CLEANS_UP: &str = "leaning up task's containers and data";

const SECOND_US: i64 = 1_000_000;
/// How much later than a line of the log the same line may be in the output of the container, beside the second.
const OUTPUT_DELAY_US: i64 = 500_000;
/// How long before its first line the container of the agent may have started.
const MAX_START_US: i64 = 5_000_000;

pub(super) fn add(sources: &Sources, units: &FirstStarts, draft: &mut Draft) {
    let Some(boot_start) = draft.boot_start() else {
        for id in [id::AGENT_STARTED, id::REGISTERED, id::CONNECTED, id::FIRST_TASK] {
            draft.miss(id, "the start of this boot is not known");
        }
        return;
    };
    let reader = Reader { sources, draft, boot_start, is_restarted: units.agent_was_restarted() };
    let started = reader.started();
    let registered = reader.logged(id::REGISTERED, REGISTERED);
    let connected = reader.logged(id::CONNECTED, CONNECTED);
    let first_task = reader.first_task();
    for (id, event) in [
        (id::AGENT_STARTED, started),
        (id::REGISTERED, registered),
        (id::CONNECTED, connected),
        (id::FIRST_TASK, first_task),
    ] {
        draft.add_or_miss(id, event);
    }
    add_waits(draft);
}

/// Each milestone waits for the one before it that has happened; the first one for `ecs.service`. The first task does not
/// wait for the report. A time in whole seconds may be too early, so what ended within its second ended before it.
fn add_waits(draft: &mut Draft) {
    for (at, id) in MILESTONES.iter().enumerate() {
        let Some(start) = draft.get(id).map(Found::latest_start) else { continue };
        let before = MILESTONES[..at].iter().rev().filter(|before| **before != id::REPORTED).chain([&id::ECS]);
        let has_ended = |before: &&&str| draft.get(before).and_then(|event| event.end).is_some_and(|end| end <= start);
        let before = before.into_iter().find(has_ended).map(|before| (*before).to_owned());
        if let (Some(before), Some(event)) = (before, draft.get_mut(id)) {
            event.waited_for = Some(before);
        }
    }
}

struct Reader<'s> {
    sources: &'s Sources,
    draft: &'s Draft,
    boot_start: i64,
    /// Whether the container of now may not be the first one of this boot.
    is_restarted: bool,
}

impl Reader<'_> {
    /// The first line with this message that is not of an earlier boot: its wall clock time and its monotonic time. If
    /// that is ambiguous, no later line is the first one either.
    fn first_line(&self, lines: &[LoggedLine], message: &str, resolution: i64) -> Option<(i64, Result<i64, String>)> {
        let of_message = lines.iter().filter(|line| line.message.contains(message));
        let mut times = of_message.map(|line| (line.unix_us, self.draft.clock.monotonic(line.unix_us)));
        times.find(|(_, at)| at.as_ref().map_or(true, |at| at.saturating_add(resolution) >= self.boot_start))
    }

    fn in_log(&self, message: &str) -> Option<(i64, Result<i64, String>)> {
        self.first_line(self.sources.agent_log.as_deref().unwrap_or_default(), message, SECOND_US)
    }

    fn container(&self) -> Option<&AgentContainer> {
        self.sources.agent_container.as_ref().ok()
    }

    fn coarse(&self, id: &str, at: i64) -> Found {
        let event = Found::moment(id, at, "ecs-agent.log");
        Found { resolution_us: SECOND_US.unsigned_abs(), ..event }
    }

    /// Why neither source has the event.
    fn unknown(&self, message: &str) -> String {
        match (&self.sources.agent_log, &self.sources.agent_container) {
            (Ok(lines), _) if !lines.is_empty() => {
                format!("ecs-agent.log has no line `{message}` in this boot")
            }
            (_, Ok(_)) if self.is_restarted => {
                "ecs.service was started again, and ecs-agent.log no longer has its first start".to_owned()
            }
            (_, Ok(AgentContainer { output: Err(output), .. })) => output.clone(),
            (_, Ok(_)) => format!("the output of the agent's container has no line `{message}` in this boot"),
            (Err(log), Err(_)) => log.clone(),
            (Ok(_), Err(container)) => container.clone(),
        }
    }

    fn started(&self) -> Result<Found, String> {
        let of_container = self.container().map(|container| container.started_unix_us);
        let precise = |unix_us: i64| {
            let at = self.draft.clock.monotonic(unix_us)?;
            if at < self.boot_start {
                return Err("the agent's container has not started in this boot".to_owned());
            }
            Ok(Found::moment(id::AGENT_STARTED, at, "docker: ecs-agent"))
        };
        match (self.in_log(STARTS), of_container) {
            (Some((_, Err(reason))), _) => Err(reason),
            (Some((logged, Ok(_))), Some(unix_us))
                if (logged - MAX_START_US..=logged + SECOND_US + OUTPUT_DELAY_US).contains(&unix_us) =>
            {
                precise(unix_us)
            }
            (Some((_, Ok(at))), _) => Ok(self.coarse(id::AGENT_STARTED, at)),
            (None, Some(unix_us)) if !self.is_restarted => precise(unix_us),
            (None, _) => Err(self.unknown(STARTS)),
        }
    }

    fn logged(&self, id: &'static str, message: &str) -> Result<Found, String> {
        let output = self.container().and_then(|container| container.output.as_deref().ok()).unwrap_or_default();
        let precise = |at: i64| Found::moment(id, at, "docker: output of ecs-agent");
        let Some((logged, at)) = self.in_log(message) else {
            if self.is_restarted {
                return Err(self.unknown(message));
            }
            let (_, at) = self.first_line(output, message, 0).ok_or_else(|| self.unknown(message))?;
            return Ok(precise(at?));
        };
        let at = at?;
        let is_same = |line: &&LoggedLine| {
            line.message.contains(message) && (logged..=logged + SECOND_US + OUTPUT_DELAY_US).contains(&line.unix_us)
        };
        match output.iter().find(is_same) {
            Some(line) => Ok(precise(self.draft.clock.monotonic(line.unix_us)?)),
            None => Ok(self.coarse(id, at)),
        }
    }

    fn first_task(&self) -> Result<Found, String> {
        let starts = self.sources.task_starts.as_ref().map_err(Clone::clone)?;
        let times: Result<Vec<i64>, String> =
            starts.iter().map(|unix_us| self.draft.clock.monotonic(*unix_us)).collect();
        let first = times?.into_iter().filter(|at| *at >= self.boot_start).min();
        let Some(first) = first else {
            return Err("docker has no container of a task that started in this boot".to_owned());
        };
        // Each start of the agent is in the same log as its removals, so a log with the first start has all removals.
        if self.in_log(STARTS).is_none_or(|(_, at)| at.is_err()) {
            return Err(
                "the agent removes the containers of stopped tasks, and ecs-agent.log does not show whether it \
                        has removed the first one"
                    .to_owned(),
            );
        }
        if self.in_log(CLEANS_UP).is_some() {
            return Err(
                "the agent has removed the containers of stopped tasks, and one of them may be the first".to_owned()
            );
        }
        Ok(Found::moment(id::FIRST_TASK, first, "docker: container of a task"))
    }
}
