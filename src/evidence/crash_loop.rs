//! A program that ends again and again with the same error.
//!
//! In: the tail of a log. Out: the error, how often it was seen, and over which time. Times, request ids and port numbers
//! differ in each repetition, so numbers are not compared.

use std::time::{Duration, SystemTime};

use super::agent_log::Line;

/// A loop that has not ended after so many attempts with the same error...
const MIN_ATTEMPTS: usize = 3;
/// ... and over this time does not end by itself.
const MIN_TIME: Duration = Duration::from_secs(20);
/// The errors of an attempt that are kept: the last one often only says that the program ends.
const MAX_MESSAGES: usize = 2;

/// The same error at the end of each of the last attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrashLoop {
    /// The last errors of the last attempt, in their order.
    pub messages: Vec<String>,
    /// The number of attempts that ended so.
    pub attempts: usize,
    /// The time from the first of these ends to the last one.
    pub time: Duration,
}

impl CrashLoop {
    /// The loop at the end of the attempts of a log, if there is one.
    pub fn of(attempts: &[Vec<Line>]) -> Option<CrashLoop> {
        let errors = |attempt: &[Line]| -> Vec<Line> {
            let errors: Vec<Line> = attempt.iter().filter(|line| line.is_error()).cloned().collect();
            errors[errors.len().saturating_sub(MAX_MESSAGES)..].to_vec()
        };
        // The last attempt may have just begun.
        let ended: Vec<Vec<Line>> = attempts.iter().map(|attempt| errors(attempt)).collect();
        let ended = match ended.split_last() {
            Some((last, before)) if last.is_empty() => before,
            _ => &ended[..],
        };
        let last = ended.last()?;
        let is_same = |attempt: &&Vec<Line>| {
            attempt.len() == last.len() && attempt.iter().zip(last).all(|(one, other)| shape(one) == shape(other))
        };
        let repeated: Vec<&Vec<Line>> = ended.iter().rev().take_while(is_same).collect();
        let at = |attempt: &Vec<Line>| attempt.last()?.time;
        let (first, end): (SystemTime, SystemTime) = (at(repeated.last()?)?, at(last)?);
        let found = CrashLoop {
            messages: last.iter().map(Line::text).collect(),
            attempts: repeated.len(),
            time: end.duration_since(first).ok()?,
        };
        (found.attempts >= MIN_ATTEMPTS && found.time >= MIN_TIME).then_some(found)
    }

    /// As an evidence line.
    pub fn describe(&self) -> String {
        format!("the same error ended {} attempts within {} s", self.attempts, self.time.as_secs())
    }
}

/// The text of a line without its numbers.
fn shape(line: &Line) -> String {
    let is_number = |c: char| c.is_ascii_digit();
    let mut text = String::new();
    for c in line.text().chars() {
        match (is_number(c), text.ends_with('#')) {
            (true, true) => {}
            (true, false) => text.push('#'),
            (false, _) => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::agent_log::attempts;

    fn attempt(second: u32, error: &str) -> String {
        format!(
            "level=info time=2026-01-01T00:00:{second:02}Z msg=\"Starting Amazon ECS Agent\"\n\
             level=warn time=2026-01-01T00:00:{second:02}Z msg=\"Unable to fetch user data: 404\"\n\
             level=critical time=2026-01-01T00:00:{second:02}Z msg=\"Error loading config\" error=\"{error}\"\n"
        )
    }

    #[test]
    fn three_equal_ends_over_twenty_seconds_are_a_loop() {
        let log = [attempt(0, "port 5: no"), attempt(7, "port 61: no"), attempt(22, "port 8: no")].concat();
        let found = CrashLoop::of(&attempts(log.as_bytes())).unwrap();
        assert_eq!((found.attempts, found.time), (3, Duration::from_secs(22)));
        assert_eq!(found.messages, ["Error loading config: port 8: no"]);
        // An attempt that has just begun has no error yet.
        let log = log + "level=info time=2026-01-01T00:00:30Z msg=\"Starting Amazon ECS Agent\"\n";
        assert_eq!(CrashLoop::of(&attempts(log.as_bytes())).unwrap().attempts, 3);
    }

    #[test]
    fn fewer_faster_or_different_ends_are_not_a_loop() {
        let of = |log: &[String]| CrashLoop::of(&attempts(log.concat().as_bytes()));
        assert_eq!(of(&[attempt(0, "no"), attempt(30, "no")]), None);
        assert_eq!(of(&[attempt(0, "no"), attempt(5, "no"), attempt(19, "no")]), None);
        assert_eq!(of(&[attempt(0, "no"), attempt(10, "yes"), attempt(40, "no")]), None);
        assert_eq!(of(&[]), None);
    }
}
