//! A program that exits repeatedly with the same error.
//!
//! In: the attempts in a log. Out: the error, and when attempts ended with it. Times, request ids and port numbers differ
//! in each repetition, so numbers and ids are not compared.

use std::time::{Duration, SystemTime};

use super::agent_log::Line;

/// The minimum number of attempts that ended with the same error.
pub(super) const MIN_ATTEMPTS: usize = 3;
/// The minimum time from the first of these ends to the last one.
pub(super) const MIN_TIME: Duration = Duration::from_secs(20);
/// The maximum number of errors of an attempt in a log without lines that mark a start.
const MAX_ERRORS_OF_ATTEMPT: usize = 6;
/// The errors of an attempt that are kept: the last one often only says that the program ends.
const MAX_MESSAGES: usize = 2;
/// What ecs-init logs before it removes what it set up. Errors after it are a consequence.
const CLEANUP: &str = "post-stop";
/// Words of errors that can disappear by themselves: the network path, the role, its policy, throttling, a service.
const TEMPORARY: [&str; 23] = [
    "request send failed",
    "dial tcp",
    "imeout",
    "timed out",
    "exceeded",
    "EOF",
    "broken pipe",
    "no such host",
    "connection re",
    "Bad Gateway",
    "Service Unavailable",
    "StatusCode: 5",
    "StatusCode: 429",
    "ServerException",
    "InternalError",
    "ServiceUnavailable",
    "NoCredential",
    "EC2 IMDS role",
    "valid credentials",
    "EC2 Metadata",
    "Throttl",
    "RequestLimit",
    "Token",
];
/// Denials: a policy can be attached later.
const DENIALS: [&str; 3] = ["AccessDenied", "authorized to", "UnauthorizedOperation"];
/// Words of errors of a connection that stay.
const PERMANENT: [&str; 4] = ["x509: ", "tls: ", "malformed", "HTTP response to HTTPS client"];

/// The same error at the end of each of the last attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrashLoop {
    /// The last errors of the last attempt, in their order.
    pub messages: Vec<String>,
    /// When the attempts ended, the first one first.
    ends: Vec<SystemTime>,
    /// Whether lines in the log mark where attempts begin. Otherwise one attempt may have repeated the error.
    is_marked: bool,
}

impl CrashLoop {
    /// The loop at the end of the attempts of a log, if there may be one. There is none while an attempt is running, and
    /// none if its error can disappear by itself.
    pub fn of(attempts: &[Vec<Line>]) -> Option<CrashLoop> {
        let ended: Vec<Vec<&Line>> = match attempts {
            [only] => repeated(&errors(only)),
            attempts => attempts.iter().map(|attempt| last(errors(attempt))).collect(),
        };
        let last = ended.last().filter(|errors| !errors.is_empty())?;
        if last.iter().any(|line| is_temporary(&line.message) || is_temporary(&line.error)) {
            return None;
        }
        let is_same = |attempt: &&Vec<&Line>| {
            attempt.len() == last.len() && attempt.iter().zip(last).all(|(one, other)| shape(one) == shape(other))
        };
        let mut ends: Vec<SystemTime> =
            ended.iter().rev().take_while(is_same).map_while(|attempt| attempt.last()?.time).collect();
        ends.reverse();
        let messages = last.iter().map(|line| line.text().to_owned()).collect();
        Some(CrashLoop { messages, ends, is_marked: attempts.len() > 1 })
    }

    /// Whether the last of the attempts began after the one before it ended, if the program started last at this time.
    pub(super) fn has_restarted(&self, started: Option<SystemTime>) -> bool {
        let before = self.ends.iter().rev().nth(1);
        self.is_marked
            || started.zip(before).is_some_and(|(started, before)| started + Duration::from_secs(1) > *before)
    }

    /// The number of attempts since this time that ended with the error, and from when to when; `None` if they are too
    /// few for a loop.
    pub(super) fn since(&self, start: Option<SystemTime>) -> Option<(usize, Duration)> {
        // The times in a log are whole seconds.
        let is_recent = |end: &&SystemTime| start.is_none_or(|start| **end + Duration::from_secs(1) > start);
        let ends: Vec<&SystemTime> = self.ends.iter().filter(is_recent).collect();
        let time = ends.last()?.duration_since(**ends.first()?).ok()?;
        (ends.len() >= MIN_ATTEMPTS && time >= MIN_TIME).then_some((ends.len(), time))
    }
}

/// Whether the error can disappear by itself.
pub(super) fn is_temporary(error: &str) -> bool {
    let holds = |words: &[&str]| words.iter().any(|words| error.contains(words));
    holds(&DENIALS) || (holds(&TEMPORARY) && !holds(&PERMANENT))
}

/// The attempts in a log without lines that mark a start, as below the level info: as many errors are one attempt as repeat
/// themselves at the end of the log.
fn repeated<'l>(errors: &[&'l Line]) -> Vec<Vec<&'l Line>> {
    let is_repeated = |length: &usize| {
        let mut chunks = errors.rchunks(*length).map(|chunk| chunk.iter().map(|line| shape(line)).collect::<Vec<_>>());
        let last = chunks.next();
        last.is_some()
            && chunks.by_ref().take(MIN_ATTEMPTS - 1).filter(|chunk| Some(chunk) == last.as_ref()).count()
                == MIN_ATTEMPTS - 1
    };
    let length = (1..=MAX_ERRORS_OF_ATTEMPT).find(is_repeated).unwrap_or(1);
    let mut attempts: Vec<Vec<&Line>> = errors.rchunks(length).map(|chunk| last(chunk.to_vec())).collect();
    attempts.reverse();
    attempts
}

/// The errors of an attempt.
fn errors(attempt: &[Line]) -> Vec<&Line> {
    attempt.iter().take_while(|line| line.message.trim() != CLEANUP).filter(|line| line.is_error()).collect()
}

fn last(mut errors: Vec<&Line>) -> Vec<&Line> {
    errors.drain(..errors.len().saturating_sub(MAX_MESSAGES));
    errors
}

/// The text of a line without its numbers and ids.
fn shape(line: &Line) -> String {
    const MAX_WORD_LENGTH: usize = 20;
    let is_id = |word: &str| word.len() > MAX_WORD_LENGTH || word.contains(|c: char| c.is_ascii_digit());
    let words = line.text().split(' ').map(|word| if is_id(word) { "#" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::agent_log::attempts;

    const START: &str = "level=info time=2026-01-01T00:00:30Z msg=\"Starting Amazon ECS Agent\"\n";

    fn failure(second: u32, error: &str) -> String {
        format!("level=critical time=2026-01-01T00:00:{second:02}Z msg=\"Error loading config\" error=\"{error}\"\n")
    }

    fn attempt(second: u32, error: &str) -> String {
        format!("level=info time=2026-01-01T00:00:{second:02}Z msg=\"Starting Amazon ECS Agent\"\n")
            + "level=error time=2026-01-01T00:00:00Z msg=\"error adding x to fsnotify watcher\"\n"
            + &failure(second, error)
    }

    fn of(log: &[String]) -> Option<(usize, Duration)> {
        CrashLoop::of(&attempts(log.concat().as_bytes()))?.since(None)
    }

    #[test]
    fn three_equal_ends_over_twenty_seconds_are_a_loop() {
        let log = [attempt(0, "port 5 of 0xc0ffee"), attempt(7, "port 61 of 0xbeef1"), attempt(22, "port 8 of 0xa1")];
        assert_eq!(of(&log), Some((3, Duration::from_secs(22))));
        let found = CrashLoop::of(&attempts(log.concat().as_bytes())).unwrap();
        assert_eq!(found.messages, ["Error loading config: port 8 of 0xa1"]);
        // Only attempts since the start of the unit count.
        let start = humantime::parse_rfc3339("2026-01-01T00:00:05Z").unwrap();
        assert_eq!(found.since(Some(start)), None);
    }

    #[test]
    fn without_start_lines_each_error_is_an_end() {
        assert_eq!(of(&[failure(0, "no"), failure(7, "no"), failure(22, "no")]), Some((3, Duration::from_secs(22))));
    }

    #[test]
    fn fewer_faster_different_temporary_or_unfinished_ends_are_not_a_loop() {
        assert_eq!(of(&[attempt(0, "no"), attempt(30, "no")]), None);
        assert_eq!(of(&[attempt(0, "no"), attempt(5, "no"), attempt(19, "no")]), None);
        assert_eq!(of(&[attempt(0, "no"), attempt(10, "yes"), attempt(40, "no")]), None);
        assert_eq!(of(&[]), None);
        for error in ["request send failed: dial tcp: no such host", "AccessDeniedException: x is not authorized"] {
            assert_eq!(of(&[attempt(0, error), attempt(10, error), attempt(40, error)]), None, "{error}");
        }
        assert_eq!(of(&[attempt(0, "no"), attempt(7, "no"), attempt(22, "no"), START.to_owned()]), None);
    }

    #[test]
    fn errors_of_the_cleanup_are_not_the_reason() {
        let line = |second: u32, level: &str, message: &str| {
            format!("level={level} time=2026-01-01T00:00:{second:02}Z msg=\"{message}\"\n")
        };
        let attempt = |second: u32| {
            let lines = [("info", "pre-start"), ("error", "no loopback"), ("info", "post-stop"), ("error", "no route")];
            lines.map(|(level, message)| line(second, level, message)).concat()
        };
        let log = [attempt(0), attempt(12), attempt(24)].concat();
        assert_eq!(CrashLoop::of(&attempts(log.as_bytes())).unwrap().messages, ["no loopback"]);
    }

    #[test]
    fn without_lines_that_mark_a_start_the_errors_that_repeat_are_an_attempt() {
        let line = |second: u32, text: &str| format!("level=error time=2026-01-01T00:00:{second:02}Z msg=\"{text}\"\n");
        let attempt = |second: u32| line(second, "Error loading config") + &line(second, "Unable to start");
        let found = CrashLoop::of(&attempts([5, 20, 40].map(attempt).concat().as_bytes())).unwrap();
        assert_eq!(found.messages, ["Error loading config", "Unable to start"]);
        assert_eq!(found.since(None), Some((3, Duration::from_secs(35))));
        // Errors that differ are not repeated.
        let log: String = [1, 20, 40].map(|second| line(second, &"x".repeat(second as usize % 19))).concat();
        assert!(CrashLoop::of(&attempts(log.as_bytes())).is_none_or(|found| found.since(None).is_none()));
    }
}
