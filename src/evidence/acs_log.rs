//! What the agent logs about its connection to ACS.
//!
//! In: the lines of the agent's log since its last start. Out: the error that keeps the agent from connecting, and
//! connections that end again and again.

use std::time::{Duration, SystemTime};

use super::Evidence;
use super::agent_log::Line;
use super::log::Lines;

/// The agent logs this for each connection.
const CONNECTED: &str = "Connected to ACS endpoint";
/// The agent pauses at most two minutes between two attempts to connect (`ecs-agent/acs/session`).
const MAX_PAUSE: Duration = Duration::from_secs(300);
/// The minimum number of connections that ended.
const MIN_DROPS: usize = 3;
/// A connection that ACS itself ends has lasted for longer.
const MAX_CONNECTION_TIME: Duration = Duration::from_secs(600);
/// The longest of these connections lasts at most this many times as long as the shortest one.
const MAX_RATIO: u32 = 2;

/// Connections to ACS that ended again and again after about the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DroppedConnections {
    /// The number of connections that ended.
    pub count: usize,
    /// The mean time from one of them to the next one.
    pub interval: Duration,
}

impl Evidence {
    /// Whether the agent has logged a connection to ACS since its start. Below the level info it logs none.
    pub fn has_connected(&self) -> bool {
        self.agent_lines().last_with(Lines::All, &[CONNECTED]).is_some()
    }

    /// Whether the agent logs its connections: at the level info or debug, of which each start has lines.
    pub fn logs_connections(&self) -> bool {
        self.agent_lines().iter().any(|line| line.level == "info")
    }

    /// The last error of an attempt to connect to ACS, if the agent has not connected since.
    pub fn acs_error(&self) -> Option<&Line> {
        let lines = self.agent_lines();
        let failed = lines.last_with(Lines::FailedConnections, &[""])?;
        let connected = lines.last_with(Lines::All, &[CONNECTED]);
        // Below the level info, the agent does not log that it connects. An error that it has not repeated is over.
        let last = lines.last()?.time;
        let is_recent = |at: SystemTime| last.is_none_or(|last| at + MAX_PAUSE >= last);
        let is_current =
            connected.is_none_or(|connected| connected < failed) && lines[failed].time.is_none_or(is_recent);
        is_current.then(|| &lines[failed])
    }

    /// The last connections to ACS that ended again and again, if they lasted about equally long and still end.
    pub fn dropped_connections(&self) -> Option<DroppedConnections> {
        let lines = self.agent_lines();
        let times: Vec<SystemTime> =
            lines.iter().filter(|line| line.holds(CONNECTED)).filter_map(|line| line.time).collect();
        let last = *times.last()?;
        let intervals = times.windows(2).rev().filter_map(|pair| pair[1].duration_since(pair[0]).ok());
        let first = intervals.clone().next()?;
        let is_regular = |interval: &Duration| {
            *interval <= MAX_CONNECTION_TIME && *interval <= first * MAX_RATIO && first <= *interval * MAX_RATIO
        };
        let regular: Vec<Duration> = intervals.take_while(is_regular).collect();
        let count = u32::try_from(regular.len()).ok()?;
        let interval = regular.iter().sum::<Duration>().checked_div(count)?;
        // A connection that has lasted for longer shows that the fault is over.
        let is_current = self.observed_at?.duration_since(last).is_ok_and(|since| since <= interval * MAX_RATIO);
        (regular.len() >= MIN_DROPS && is_current).then_some(DroppedConnections { count: regular.len(), interval })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::agent_log::last_attempt;

    fn logged(lines: &[(u64, &str, &str)]) -> Evidence {
        let line = |(second, level, text): &(u64, &str, &str)| {
            let time = humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_secs(*second));
            format!("level={level} time={time} msg=\"{text}\"\n")
        };
        let log: String = lines.iter().map(line).collect();
        Evidence { agent_log: last_attempt(log.as_bytes()), ..Evidence::default() }
    }

    #[test]
    fn an_error_counts_until_the_agent_connects() {
        let (failed, connected) = ("Failed to connect to ACS: websocket: bad handshake", "Connected to ACS endpoint");
        let error = |lines: &[(u64, &str, &str)]| logged(lines).acs_error().map(|line| line.message.clone());
        assert_eq!(error(&[(1, "error", failed)]).as_deref(), Some(failed));
        assert_eq!(error(&[(1, "info", connected), (2, "error", failed)]).as_deref(), Some(failed));
        assert_eq!(error(&[(1, "error", failed), (2, "info", connected)]), None);
        assert_eq!(error(&[(1, "error", "tcs: Unable to discover poll endpoint")]), None);
        assert_eq!(error(&[(1, "info", failed)]), None);
        assert_eq!(error(&[(1, "error", failed), (400, "warn", "something else")]), None);
    }

    #[test]
    fn connections_that_end_after_the_same_time_are_found() {
        let at = |seconds: &[u64]| {
            let lines: Vec<_> = seconds.iter().map(|second| (*second, "info", "Connected to ACS endpoint")).collect();
            let last = SystemTime::UNIX_EPOCH + Duration::from_secs(*seconds.last().unwrap());
            Evidence { observed_at: Some(last + Duration::from_secs(5)), ..logged(&lines) }.dropped_connections()
        };
        let dropped = DroppedConnections { count: 3, interval: Duration::from_secs(60) };
        assert_eq!(at(&[0, 60, 121, 180]), Some(dropped));
        assert_eq!(at(&[0, 900, 960, 1021, 1080]), Some(dropped));
        assert_eq!(at(&[0, 60, 121]), None);
        assert_eq!(at(&[0, 3600, 7200, 10_800]), None);
        assert_eq!(at(&[0, 1, 400, 401]), None);
    }
}
