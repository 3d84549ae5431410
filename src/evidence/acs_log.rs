//! What the agent logs about its connection to ACS.
//!
//! In: the lines of the agent's log since its last start. Out: the error that keeps the agent from connecting, and
//! connections that end again and again.

use std::time::{Duration, SystemTime};

use super::Evidence;
use super::agent_log::Line;
use super::log::Lines;
use crate::boundary::aws::Endpoint;

/// The agent logs this for each connection.
const CONNECTED: &str = "Connected to ACS endpoint";
/// The agent logs this when it ends a connection on which nothing has arrived for one to two minutes, at random
/// (`ecs-agent/acs/session`: heartbeat time-out and its jitter).
const SILENT: &str = "ACS Connection hasn't had any activity for too long";
const MAX_SILENCE: Duration = Duration::from_secs(120);
/// An agent that is disconnected logs an error at least this often: the longest pause, and the time-out of an attempt.
const MAX_REPEAT: Duration = Duration::from_secs(180);
/// The agent logs this when ACS has ended a connection.
const CLOSED: &str = "ACS WebSocket connection closed";
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
    /// When the first of them began.
    pub since: SystemTime,
}

/// A lost connection to ACS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostConnection {
    /// When it was lost, at the earliest.
    pub since: SystemTime,
    /// When the agent last logged that it has none.
    pub last: SystemTime,
}

/// The endpoint of ACS that the end of the agent's log names last, as `ecs:DiscoverPollEndpoint` returned it.
pub fn acs_endpoint(log: &[u8]) -> Option<Endpoint> {
    const BEGINS: &str = "ecs-a";
    const HTTPS: u16 = 443;
    let text = String::from_utf8_lossy(log);
    let is_of_host = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    // Not `ecs-agent.log`.
    let is_numbered = |rest: &str| rest.starts_with('-') || rest.starts_with('.');
    text.rmatch_indices(BEGINS).find_map(|(at, _)| {
        let rest = &text[at..];
        let (host, after) = rest.split_at(rest.find(|c| !is_of_host(c)).unwrap_or(rest.len()));
        let is_whole = !text[..at].ends_with(is_of_host) && host.contains('.') && host.len() <= 253;
        let after = after.strip_prefix(':').or_else(|| after.strip_prefix(" port ")).unwrap_or_default();
        let digits = &after[..after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len())];
        let is_host = is_whole && is_numbered(&host[BEGINS.len()..]);
        is_host.then(|| Endpoint { host: host.to_owned(), port: digits.parse().unwrap_or(HTTPS) })
    })
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

    /// When the agent last logged a connection to ACS.
    pub fn connected_at(&self) -> Option<SystemTime> {
        let lines = self.agent_lines();
        lines[lines.last_with(Lines::All, &[CONNECTED])?].time
    }

    /// The lost connection to ACS, if the agent's log shows it: from the first sign after the last connection. A connection that
    /// was cut without a sign was lost up to [`MAX_SILENCE`] before the agent noticed it.
    pub fn lost_connection(&self) -> Option<LostConnection> {
        let lines = self.agent_lines();
        if !self.logs_connections() {
            return self.repeated_failures();
        }
        let connected = lines.last_with(Lines::All, &[CONNECTED]);
        let after = &lines[connected.map_or(0, |index| index + 1)..];
        let is_sign = |line: &&Line| line.is_failed_connection() || line.holds(SILENT) || line.holds(CLOSED);
        let lost = after.iter().find(is_sign)?;
        let last = after.iter().rev().find(is_sign)?.time?;
        let noticed = lost.time?;
        if !lost.holds(SILENT) {
            return Some(LostConnection { since: noticed, last });
        }
        let earliest = noticed.checked_sub(MAX_SILENCE)?;
        let since = earliest.max(connected.and_then(|index| lines[index].time).unwrap_or(earliest));
        Some(LostConnection { since, last })
    }

    /// The same for a log without successes: errors that follow each other, and still do.
    fn repeated_failures(&self) -> Option<LostConnection> {
        let failed = self.agent_lines().iter().rev().filter(|line| line.is_failed_connection());
        let mut times = failed.filter_map(|line| line.time);
        let last = times.next()?;
        let is_current = self.observed_at?.duration_since(last).is_ok_and(|since| since <= MAX_REPEAT);
        let mut since = last;
        for time in times.take_while(|_| is_current) {
            if time + MAX_REPEAT < since {
                break;
            }
            since = time;
        }
        (since < last).then_some(LostConnection { since, last })
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
        let since = times[times.len() - 1 - regular.len()];
        (regular.len() >= MIN_DROPS && is_current).then_some(DroppedConnections {
            count: regular.len(),
            interval,
            since,
        })
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
    fn the_endpoint_of_acs_is_the_last_one_in_the_log() {
        let of = |log: &str| acs_endpoint(log.as_bytes()).map(|found| format!("{}:{}", found.host, found.port));
        let url = "url=\"https://ecs-a-1.eu-west-1.amazonaws.com/ws?a\"\n";
        assert_eq!(of(url).as_deref(), Some("ecs-a-1.eu-west-1.amazonaws.com:443"));
        let dial = format!(
            "{url}error=\"unable to dial ecs-a-7.x.aws port 8443: dial tcp: timeout\"\nmodule=ecs-agent.x ecs-a"
        );
        assert_eq!(of(&dial).as_deref(), Some("ecs-a-7.x.aws:8443"));
        assert_eq!(of("https://ecs-a.x.aws:9/ not-ecs-a-1.x.aws").as_deref(), Some("ecs-a.x.aws:9"));
        assert_eq!(of("msg=ecs-agent.log module=ecs-agent.go.x \u{fc} ecs-a"), None);
    }

    #[test]
    fn a_connection_is_lost_from_the_first_sign_until_the_next_connection() {
        let (connected, failed) = ("Connected to ACS endpoint", "Failed to connect to ACS: i/o timeout");
        let (closed, silent) = ("ACS WebSocket connection closed for a valid reason", SILENT);
        let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
        let lost_at = |now: u64, lines: &[(u64, &str, &str)]| {
            let observed_at = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(now));
            let lost = Evidence { observed_at, ..logged(lines) }.lost_connection()?;
            assert_eq!(seconds(lost.last), lines.iter().rev().find(|line| line.2 != "tcs: x")?.0);
            Some(seconds(lost.since))
        };
        let lost = |lines: &[(u64, &str, &str)]| lost_at(lines.last().unwrap().0 + 10, lines);
        let start = (100, "info", connected);
        assert_eq!(lost(&[start]), None);
        assert_eq!(lost(&[start, (900, "info", closed), (901, "info", connected)]), None);
        assert_eq!(lost(&[start, (900, "info", closed), (930, "error", failed), (960, "error", failed)]), Some(900));
        assert_eq!(lost(&[start, (900, "warn", silent), (901, "error", failed)]), Some(780));
        assert_eq!(lost(&[start, (160, "warn", silent)]), Some(100), "not before the connection");
        assert_eq!(lost(&[(5, "info", "x"), (900, "error", failed), (5000, "error", "tcs: x")]), Some(900));
        // Below the level info, the agent does not log that it connects: only an error that is repeated counts.
        let repeated = [(700, "error", failed), (850, "error", failed), (1000, "error", failed)];
        assert_eq!(lost(&repeated), Some(700));
        assert_eq!(lost_at(1179, &repeated), Some(700));
        assert_eq!(lost_at(1181, &repeated), None);
        assert_eq!(lost(&[(100, "error", failed), (1000, "error", failed)]), None);
        assert_eq!(lost(&[(100, "error", failed)]), None);
    }

    #[test]
    fn connections_that_end_after_the_same_time_are_found() {
        let at = |seconds: &[u64]| {
            let lines: Vec<_> = seconds.iter().map(|second| (*second, "info", "Connected to ACS endpoint")).collect();
            let last = SystemTime::UNIX_EPOCH + Duration::from_secs(*seconds.last().unwrap());
            Evidence { observed_at: Some(last + Duration::from_secs(5)), ..logged(&lines) }.dropped_connections()
        };
        let dropped = |since: u64| {
            let since = SystemTime::UNIX_EPOCH + Duration::from_secs(since);
            DroppedConnections { count: 3, interval: Duration::from_secs(60), since }
        };
        assert_eq!(at(&[0, 60, 121, 180]), Some(dropped(0)));
        assert_eq!(at(&[0, 900, 960, 1021, 1080]), Some(dropped(900)));
        assert_eq!(at(&[0, 60, 121]), None);
        assert_eq!(at(&[0, 3600, 7200, 10_800]), None);
        assert_eq!(at(&[0, 1, 400, 401]), None);
    }
}
