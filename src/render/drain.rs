//! The state of the draining as text.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::drain::{Drain, DrainState};
use crate::redaction;

/// The document of `drain --json`.
pub fn drain_json(drain: &Drain) -> Value {
    let mut document = json!(drain);
    document["version"] = json!(1);
    redaction::json(document)
}

/// Lines about the draining. Failures are notes of the verdict.
pub fn drain_text(drain: &Drain) -> String {
    let Some(notice) = &drain.notice else {
        let hook = match (&drain.hook, drain.by_ecs) {
            (Some(hook), _) => format!("; the terminating hook is `{hook}`"),
            (None, true) => "; ECS drains it before a termination (managed draining)".to_owned(),
            (None, false) => String::new(),
        };
        return redaction::line(&format!("drain: waits for a sign that the instance ends{hook}")) + "\n";
    };
    let until = drain.until.map(time).unwrap_or_default();
    let by = match (drain.is_left_to_ecs(), drain.is_draining) {
        (true, _) => "; ECS drains it (managed draining)",
        (false, true) => "; the container instance is DRAINING",
        (false, false) if drain.container_instance_arn.is_none() => "; the agent has not registered",
        (false, false) => "; the container instance is not DRAINING",
    };
    let tasks = match (drain.state, drain.tasks.as_ref().map(Vec::len)) {
        (DrainState::Drained, _) => "; its tasks have ended".to_owned(),
        (DrainState::LeftToEcs, _) => String::new(),
        (DrainState::TasksLeft, Some(left)) => format!("; tasks left: {left}"),
        (DrainState::TasksLeft, None) => "; it is not known whether tasks were left".to_owned(),
        (_, Some(open)) => format!("; running tasks: {open}, waited for until {until}"),
        (_, None) => format!("; its tasks are waited for until {until}"),
    };
    let deregistered = if drain.is_deregistered { "; deregistered" } else { "" };
    let hook = match (&drain.hook, drain.is_completed) {
        (Some(hook), true) => format!("; hook `{hook}` completed"),
        (Some(hook), false) => format!("; hook `{hook}` waits"),
        (None, _) if drain.is_terminated() && !drain.by_ecs => "; no hook delays the termination".to_owned(),
        (None, _) => String::new(),
    };
    redaction::line(&format!("drain: {notice}{by}{tasks}{deregistered}{hook}")) + "\n"
}

/// The state for `systemctl status`. `now` is in seconds since 1970.
pub fn drain_status(drain: &Drain, now: u64) -> String {
    let Some(trigger) = drain.trigger else { return "waiting for a sign that the instance ends".to_owned() };
    let left = drain.until.unwrap_or(now).saturating_sub(now);
    let tasks = drain
        .tasks
        .as_ref()
        .map_or_else(|| "the tasks are not known".to_owned(), |tasks| format!("running tasks: {}", tasks.len()));
    match drain.state {
        DrainState::Draining if !drain.is_draining && !drain.is_left_to_ecs() => {
            format!("{}: the status DRAINING is not set, {tasks}, {left} s are left", trigger.word())
        }
        DrainState::Waiting | DrainState::Draining => {
            format!("{}: draining, {tasks}, {left} s are left", trigger.word())
        }
        DrainState::Drained => format!("{}: the tasks have ended", trigger.word()),
        DrainState::LeftToEcs => format!("{}: ECS drains it (managed draining)", trigger.word()),
        DrainState::TasksLeft => format!("{}: the time is over, {tasks}", trigger.word()),
    }
}

fn time(seconds: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}
