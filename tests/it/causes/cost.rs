//! The cost of an evaluation of all causes.
//!
//! In: evidence with long logs. Out: the time of an evaluation, as a ratio to one search of all lines for one word, measured
//! in the same run. Each search is made once for each log: later evaluations cost the same with any number of lines.

use super::observed::{Place, evidence};
use ecs_bootstrap::causes::{ALL, diagnose};
use ecs_bootstrap::evidence::Evidence;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// The length of each log, in lines.
const LINES: usize = 1000;
const ROUNDS: u32 = 30;
/// The bound of the first evaluation of a log: fewer searches than there are causes.
const MAX_FIRST_SEARCHES: f64 = 150.0;
/// The bound of each further evaluation.
const MAX_SEARCHES: f64 = 8.0;

/// An agent that exits, with long logs of its last attempt in which no cause is found.
fn with_long_logs(level: &str, lines: usize) -> Evidence {
    let line = |number: usize| {
        format!(
            "level={level} time=2026-11-26T08:00:05Z msg=\"Handled request {number} of the introspection server, and found \
             nothing to do for any of its tasks\" module=server.go\n"
        )
    };
    let log: String = (0..lines).map(line).collect();
    let mut evidence = evidence(Place::Exits(1), &log);
    let init = "level=info msg=\"Agent exited with code 1\"\n".repeat(lines);
    evidence.init_log = ecs_bootstrap::evidence::agent_log::last_attempt(init.as_bytes());
    evidence.host.docker_journal = Some(vec!["level=info loading containers".to_owned(); lines]);
    evidence
}

/// The shortest time of some rounds.
fn shortest(mut work: impl FnMut()) -> Duration {
    let time = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    (0..ROUNDS).map(|_| time(&mut work)).min().expect("a round")
}

/// How many searches of all lines for one word take as long as the first evaluation of these logs, and as a further one.
#[expect(clippy::print_stdout, reason = "the figures are shown with --nocapture")]
fn searches(level: &str) -> (f64, f64) {
    let evidence = with_long_logs(level, LINES);
    let search = shortest(|| {
        let found = evidence.agent_log.iter().filter(|line| line.holds("no such words in any line")).count();
        assert_eq!(black_box(found), 0);
    });
    let time_of_first = || {
        let evidence = with_long_logs(level, LINES);
        let start = Instant::now();
        drop(black_box(diagnose(&evidence)));
        start.elapsed()
    };
    let first = (0..5).map(|_| time_of_first()).min().expect("a round");
    let further = shortest(|| drop(black_box(diagnose(&evidence))));
    println!(
        "{} causes, {LINES} lines at level {level}: {first:?}, then {further:?}; one search: {search:?}",
        ALL.len()
    );
    (first.as_secs_f64() / search.as_secs_f64(), further.as_secs_f64() / search.as_secs_f64())
}

#[test]
fn a_log_is_searched_at_its_first_evaluation_only() {
    for level in ["debug", "error"] {
        let (first, further) = searches(level);
        assert!(first < MAX_FIRST_SEARCHES, "the first evaluation costs {first:.0} searches at level {level}");
        assert!(further < MAX_SEARCHES, "a further evaluation costs {further:.1} searches at level {level}");
    }
}
