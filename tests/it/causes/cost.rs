//! The cost of an evaluation of all causes.
//!
//! In: evidence with long logs. Out: how often the logs are searched, as the ratio to one search. A word that one more
//! cause looks for on every host adds one; a cause whose other conditions are cheap and not met adds nothing.

use super::observed::{Place, evidence};
use ecs_bootstrap::causes::{ALL, diagnose};
use ecs_bootstrap::evidence::Evidence;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// The length of each log, in lines.
const LINES: usize = 1000;
const ROUNDS: u32 = 30;
/// About twice what is measured, and fewer than there are causes.
const MAX_SEARCHES: f64 = 150.0;

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

/// How many searches of all lines for one word take as long as an evaluation of these logs.
fn searches(level: &str) -> f64 {
    let evidence = with_long_logs(level, LINES);
    let search = shortest(|| {
        let found = evidence.agent_log.iter().filter(|line| line.holds("no such words in any line")).count();
        assert_eq!(black_box(found), 0);
    });
    let evaluation = shortest(|| drop(black_box(diagnose(&evidence))));
    let searches = evaluation.as_secs_f64() / search.as_secs_f64();
    println!("{} causes, {LINES} lines at level {level}: {evaluation:?}, or {searches:.0} searches", ALL.len());
    searches
}

#[test]
fn an_evaluation_searches_the_logs_less_often_than_there_are_causes() {
    for level in ["debug", "error"] {
        let searches = searches(level);
        assert!(searches < MAX_SEARCHES, "{searches:.0} searches at level {level}");
    }
}

#[test]
fn the_cost_grows_with_the_length_of_the_logs_and_not_faster() {
    let cost = |lines| {
        let evidence = with_long_logs("error", lines);
        shortest(|| drop(black_box(diagnose(&evidence)))).as_secs_f64()
    };
    let (short, long) = (cost(LINES / 10), cost(LINES));
    assert!(long < 25.0 * short, "{long} s for {LINES} lines, {short} s for a tenth");
}
