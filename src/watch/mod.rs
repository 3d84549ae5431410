//! The rules of the watch: which faults of the agent are suspected since when, when ECS is asked, and when a fault is
//! reported.
//!
//! In: what one check sees ([`Seen`]), and the state of the checks before it ([`State`], stored in
//! `/run/ecs-bootstrap/watch.json`). Out: the next step ([`Step`]). No I/O; times are seconds since 1970.
//!
//! A fault is suspected from the first sign of it and reported when it has lasted for `watch.window`. Most signs are local (the
//! agent's port, its log, its container), because one ECS call in five minutes is the limit for an instance. If the log
//! shows a lost connection, the call is saved for the end of the window, so that ECS confirms the fault. If only ECS shows
//! it, a second answer confirms it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The least time between two ECS calls.
pub const BETWEEN_CALLS: u64 = 300;
/// Up to this much is added at random to the time between two calls, so that instances do not stay in step.
pub const SPREAD: u64 = 60;
/// How long all faults must be gone before that is reported.
const RECOVERY: u64 = 60;
/// An agent that started again this often within [`START_TIME`] starts again and again.
const MIN_STARTS: usize = 3;
const START_TIME: u64 = 900;
/// An agent that runs for longer has stopped starting again.
const STEADY: u64 = 300;
/// A connection that lasts longer was not dropped.
const STEADY_CONNECTION: u64 = 600;

/// A fault of the agent after its registration. The order is that of the layers: an earlier one explains a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The agent starts again and again.
    Restarts,
    /// The agent does not answer, or has no container instance.
    Down,
    /// ECS has the container instance as INACTIVE or not at all.
    Inactive,
    /// The agent is not connected to ECS.
    Disconnected,
    /// The connection ends again and again after the same time.
    Drops,
}

impl Fault {
    /// The fault as text, after "since TIME".
    pub fn text(self) -> &'static str {
        match self {
            Fault::Restarts => "the agent starts again and again",
            Fault::Down => "the agent does not answer",
            Fault::Inactive => "ECS does not have the container instance as ACTIVE",
            Fault::Disconnected => "the agent is disconnected from ECS",
            Fault::Drops => "the agent's connection to ECS ends again and again",
        }
    }
}

/// What one check sees on this host.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The time of the check.
    pub at: u64,
    /// The ARN of the container instance; `None` if the agent does not answer or has not registered.
    pub arn: Option<String>,
    /// Since when the connection is lost, if the agent's log shows that.
    pub lost_since: Option<u64>,
    /// When the agent last logged that it has no connection.
    pub last_sign: Option<u64>,
    /// Whether the agent logs its connections. Without them, a suspicion ends when its errors do.
    pub logs_connections: bool,
    /// The URL of ACS that the agent's log names.
    pub acs: Option<String>,
    /// When the agent last logged a connection.
    pub connected_at: Option<u64>,
    /// Since when connections end at equal intervals.
    pub drops_since: Option<u64>,
    /// When the agent's container last started.
    pub started_at: Option<u64>,
}

/// What ECS answered about the container instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// When ECS answered.
    pub at: u64,
    /// Whether ECS has the instance with a status in which it runs tasks or lets them end.
    pub is_active: bool,
    /// Whether its agent is connected.
    pub is_connected: bool,
}

/// What was reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// The id of the cause.
    pub cause: String,
    /// The faults that it explains.
    pub faults: Vec<Fault>,
    /// When it was reported.
    pub at: u64,
    /// When its cause was last looked for.
    pub examined_at: u64,
    /// The verdict before it, which holds again after the recovery.
    pub before: Value,
}

/// The state between two checks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The suspected faults, and since when.
    pub faults: BTreeMap<Fault, u64>,
    /// The last answer of ECS.
    pub answer: Option<Answer>,
    /// What was reported and is not over.
    pub reported: Option<Reported>,
    /// When the watch restarted the agent in this boot.
    pub restarted_at: Option<u64>,
    /// The URL of ACS that the agent last used. The agent's log is rotated each hour.
    pub acs: Option<String>,
    /// Whether the tags of the instance do not have the verdict yet.
    pub unsent_tags: bool,
    /// The cause for which the metric was not stored yet.
    pub unsent_metric: Option<String>,
    /// When these signals are sent again.
    pub sends_at: u64,
    arn: Option<String>,
    /// When the agent's container started again, the oldest first.
    starts: Vec<u64>,
    /// When it last started. The start that the first check sees is not another one.
    started_at: Option<u64>,
    asked_at: Option<u64>,
    /// When ECS is asked next although nothing is suspected.
    asks_at: u64,
    /// Whether the role does not allow the call.
    is_denied: bool,
    /// Since when nothing is suspected.
    sound_since: Option<u64>,
    /// When the agent last connected.
    connected_at: Option<u64>,
    /// Whether the agent's log shows the lost connection, and would show another one.
    is_logged: bool,
    /// Whether the agent's log shows connections that end again and again now.
    is_dropping: bool,
    /// The last error in a log that has errors only.
    last_error: Option<u64>,
}

/// The next step of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing is suspected or due.
    End,
    /// A fault becomes due at this time.
    WaitUntil(u64),
    /// Ask ECS, note the answer, and take the next step.
    AskEcs,
    /// Find the cause, and report it if it is another one than was reported.
    Report,
    /// The reported fault is over.
    Recovered,
}

/// A time in seconds since 1970; 0 before it.
pub fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The time of these seconds since 1970.
pub fn time(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(SystemTime::UNIX_EPOCH)
}

impl State {
    /// The state of the first check in a boot. `random` is in `0.0..1.0`.
    pub fn new(now: u64, random: f64) -> State {
        // The verification has asked ECS a moment ago. Instances that start together ask at different times from now on.
        let asks_at = now + BETWEEN_CALLS + (random * BETWEEN_CALLS as f64) as u64;
        State { asked_at: Some(now), asks_at, ..State::default() }
    }

    /// Adds what a check has seen.
    pub fn note(&mut self, seen: &Seen) {
        if seen.arn.is_some() && seen.arn != self.arn {
            // A new container instance. The answer of ECS was about the old one.
            self.arn = seen.arn.clone();
            self.answer = None;
            self.faults.retain(|fault, _| !matches!(fault, Fault::Inactive | Fault::Disconnected));
        }
        self.follow_clock(seen.at);
        self.acs = seen.acs.clone().or(self.acs.take());
        self.connected_at = self.connected_at.max(seen.connected_at);
        self.suspect(Fault::Down, seen.arn.is_none().then_some(seen.at));
        self.note_start(seen);
        // What is known about the connection of an agent that does not answer stays as it is.
        if seen.arn.is_some() {
            self.note_drops(seen);
            self.note_connection(seen);
        }
        self.sound_since = self.faults.is_empty().then(|| self.sound_since.unwrap_or(seen.at));
    }

    /// Suspects the fault, or no longer. The first sign counts.
    fn suspect(&mut self, fault: Fault, since: Option<u64>) {
        match since {
            Some(since) => {
                let first = self.faults.entry(fault).or_insert(since);
                *first = since.min(*first);
            }
            None => drop(self.faults.remove(&fault)),
        }
    }

    /// Times after now are from before the clock was set back.
    fn follow_clock(&mut self, now: u64) {
        self.answer = self.answer.filter(|answer| answer.at <= now);
        self.connected_at = self.connected_at.map(|connected| connected.min(now));
        self.asks_at = self.asks_at.min(now.saturating_add(2 * BETWEEN_CALLS));
        self.sends_at = self.sends_at.min(now.saturating_add(BETWEEN_CALLS));
        self.sound_since = self.sound_since.map(|since| since.min(now));
        self.faults.values_mut().for_each(|since| *since = now.min(*since));
        self.starts.retain(|start| *start <= now);
        self.reported.iter_mut().for_each(|reported| reported.examined_at = reported.examined_at.min(now));
    }

    /// Only a connection that lasts shows that the fault is over. Until then it is not over, and not due either.
    fn note_drops(&mut self, seen: &Seen) {
        self.is_dropping = seen.drops_since.is_some();
        let is_steady = self.connected_at.is_none_or(|last| last.saturating_add(STEADY_CONNECTION) <= seen.at);
        let known = self.faults.get(&Fault::Drops).copied().filter(|_| !is_steady);
        self.suspect(Fault::Drops, seen.drops_since.or(known));
    }

    fn note_start(&mut self, seen: &Seen) {
        if let Some(started) = seen.started_at
            && self.started_at.replace(started).is_some_and(|before| before != started)
        {
            self.starts.push(started);
        }
        self.starts.retain(|start| start.saturating_add(START_TIME) >= seen.at);
        // The fault is over when the agent has run for as long as the starts are counted.
        let steady = if self.faults.contains_key(&Fault::Restarts) { START_TIME } else { STEADY };
        let is_steady = self.starts.last().is_none_or(|last| last.saturating_add(steady) <= seen.at);
        let is_fault = self.starts.len() >= MIN_STARTS || self.faults.contains_key(&Fault::Restarts);
        self.suspect(Fault::Restarts, self.starts.first().copied().filter(|_| !is_steady && is_fault));
    }

    fn note_connection(&mut self, seen: &Seen) {
        let answer = self.answer;
        let connected_per_ecs = answer.filter(|answer| answer.is_connected && answer.is_active).map(|answer| answer.at);
        let connected_since = |time: u64| seen.connected_at.is_some_and(|connected| connected >= time);
        // A log with each connection is newer than ECS, which notices a lost one later. A log with errors only has no line about
        // a success, so an answer counts that is newer than its last error.
        let is_newer = |sign: u64| seen.logs_connections || connected_per_ecs.is_none_or(|connected| sign > connected);
        let logged = seen.lost_since.filter(|_| seen.last_sign.is_some_and(is_newer));
        let answered = answer.filter(|answer| !answer.is_connected && !connected_since(answer.at));
        let first = [logged, answered.map(|answer| answer.at)].into_iter().flatten().min();
        let known = self.faults.get(&Fault::Disconnected).copied();
        // The sign can be in a file of the log that is gone. Only a connection ends the suspicion.
        let is_refuted =
            |since: u64| connected_per_ecs.is_some_and(|connected| connected >= since) || connected_since(since);
        let is_kept = seen.logs_connections || answered.is_some();
        let kept = known.filter(|since| is_kept && !is_refuted(*since));
        self.is_logged = seen.logs_connections && (logged.is_some() || (self.is_logged && kept.is_some()));
        self.last_error = logged.filter(|_| !seen.logs_connections).and(seen.last_sign);
        self.suspect(Fault::Disconnected, [first, kept].into_iter().flatten().min());
        self.suspect(Fault::Inactive, answer.filter(|answer| !answer.is_active).map(|answer| answer.at));
    }

    /// When the agent started, if it starts again and again.
    pub fn starts(&self) -> &[u64] {
        if self.faults.contains_key(&Fault::Restarts) { &self.starts } else { &[] }
    }

    /// Notes that ECS was asked now, and its answer, if it gave one. `random` is in `0.0..1.0`.
    pub fn note_answer(&mut self, now: u64, answer: Option<Answer>, is_denied: bool, random: f64) {
        self.asked_at = Some(now);
        self.asks_at = now + BETWEEN_CALLS + (random * SPREAD as f64) as u64;
        self.is_denied = is_denied;
        if answer.is_some() {
            self.answer = answer;
        }
    }

    /// Whether ECS may be asked: about a registered agent, at most once in [`BETWEEN_CALLS`], and never again after a denial. A
    /// clock that was set back allows the call.
    fn may_ask(&self, now: u64) -> bool {
        let is_registered = self.arn.is_some() && !self.faults.contains_key(&Fault::Down);
        is_registered
            && !self.is_denied
            && self.asked_at.is_none_or(|asked| now >= asked.saturating_add(BETWEEN_CALLS) || now < asked)
    }

    /// The next step of the check. `window` is in seconds.
    pub fn step(&self, now: u64, window: u64) -> Step {
        if self.reported.is_some() {
            return self.step_after_report(now, window);
        }
        let due = |since: u64| since.saturating_add(window);
        let Some(first) = self.open_faults().map(|(_, since)| due(since)).min() else {
            return if now >= self.asks_at && self.may_ask(now) { Step::AskEcs } else { Step::End };
        };
        if first > now {
            // A suspicion that only ECS has raised is checked again when it may be asked.
            let is_open = !self.is_logged && now >= self.asks_at && self.may_ask(now);
            return if is_open { Step::AskEcs } else { Step::WaitUntil(first) };
        }
        let is_due = |fault: Fault| self.open_faults().any(|(open, since)| open == fault && due(since) <= now);
        let is_about_ecs = !is_due(Fault::Down) && (is_due(Fault::Disconnected) || is_due(Fault::Inactive));
        if is_about_ecs && self.may_ask(now) {
            return Step::AskEcs;
        }
        let others = [Fault::Restarts, Fault::Down, Fault::Drops];
        if !is_about_ecs || self.is_logged || self.is_confirmed(window) || others.into_iter().any(is_due) {
            return Step::Report;
        }
        // ECS does not answer. A log with errors only is believed if they go on at the end of the window.
        let first = self.faults.get(&Fault::Disconnected).copied();
        let is_unanswered =
            self.is_denied || self.asked_at.zip(first).is_some_and(|(asked, first)| asked >= due(first));
        let goes_on = self.last_error.zip(first).is_some_and(|(last, first)| last >= due(first));
        let next = self.asked_at.unwrap_or(now).saturating_add(BETWEEN_CALLS).max(now.saturating_add(1));
        if is_unanswered && goes_on { Step::Report } else { Step::WaitUntil(next) }
    }

    /// Whether ECS has shown the fault some time after its first sign.
    fn is_confirmed(&self, window: u64) -> bool {
        let first = [Fault::Inactive, Fault::Disconnected].iter().filter_map(|fault| self.faults.get(fault)).min();
        self.answer
            .zip(first)
            .is_some_and(|(answer, first)| answer.at >= first.saturating_add(window.min(BETWEEN_CALLS)))
    }

    /// The faults that there are signs of now.
    fn open_faults(&self) -> impl Iterator<Item = (Fault, u64)> {
        let is_open = |fault: &Fault| *fault != Fault::Drops || self.is_dropping;
        self.faults.iter().map(|(fault, since)| (*fault, *since)).filter(move |(fault, _)| is_open(fault))
    }

    /// The faults that have lasted for the window.
    pub fn due(&self, now: u64, window: u64) -> Vec<Fault> {
        self.open_faults().filter(|(_, since)| since.saturating_add(window) <= now).map(|(fault, _)| fault).collect()
    }

    fn step_after_report(&self, now: u64, window: u64) -> Step {
        if self.sound_since.is_some_and(|since| now >= since.saturating_add(RECOVERY)) {
            return Step::Recovered;
        }
        let Some(reported) = &self.reported else { return Step::End };
        // The cause can change, and another fault can follow.
        let is_old = !self.due(now, window).is_empty() && now >= reported.examined_at.saturating_add(BETWEEN_CALLS);
        if self.may_ask(now) && (is_old || now >= self.asks_at) {
            return Step::AskEcs;
        }
        let is_new_fault = self.due(now, window).iter().any(|fault| !reported.faults.contains(fault));
        if is_old || is_new_fault { Step::Report } else { Step::End }
    }

    /// Forgets the report, because the fault is over.
    pub fn forget_report(&mut self) {
        (self.sound_since, self.reported) = (None, None);
    }
}

#[cfg(test)]
mod tests;
