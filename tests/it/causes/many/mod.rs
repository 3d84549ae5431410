//! Tests that run many simulated instances at once and use every core. `tests/run` runs them after all others, one test
//! at a time.
//!
//! In: the faults of `faults`, alone, in pairs and with noise, and faults that no cause describes. Out: the verdicts.

mod noise;
mod random_pairs;
mod remedies;
mod unlisted;

use super::faults::{self, Fault, Part};
use super::{record, run};
use crate::support::{Instance, Outcome};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Almost all of the time is waiting.
const THREADS: usize = 16;
/// For programs that fail every few seconds.
const MANY_THREADS: usize = 32;
const SETTINGS: [&str; 4] = ["verify.window=1s", "run.deadline=20s", "imds.deadline=3s", "tags.wait=1s"];

/// Runs until the cause is final, or until the deadline. The probe of an endpoint that drops packets takes some seconds.
fn run_with(instance: &Instance, faults: &[&Fault]) -> Outcome {
    let is_long = |part: &Part| matches!(part, Part::Endpoint | Part::DateOfAws);
    let is_path = faults.iter().any(|fault| fault.parts.iter().any(is_long));
    let deadline = if is_path { "verify.deadline=9s" } else { "verify.deadline=5s" };
    run(instance, &[&SETTINGS[..], &[deadline]].concat())
}

/// SplitMix64: a deterministic sequence of numbers.
struct Random(u64);

impl Random {
    fn of(seed: u64) -> Random {
        Random(seed)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).unwrap()
    }
}

/// Runs `check` for each item on so many threads. Returns the errors.
fn in_parallel<T: Sync>(
    threads: usize,
    name: &str,
    items: &[T],
    check: impl Fn(&T) -> Result<(), String> + Sync,
) -> Vec<String> {
    let (next, errors) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            let checked = catch_unwind(AssertUnwindSafe(|| check(item)));
            if let Err(error) = checked.unwrap_or_else(|_| Err("a panic, see above".to_owned())) {
                errors.lock().unwrap().push(error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            std::thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, work).unwrap();
        }
    });
    errors.into_inner().unwrap()
}

/// The causes that a report names: the first one, and those beside it.
fn named(report: &str) -> Vec<&str> {
    let found = report.lines().filter_map(|line| line.strip_prefix("error: [").or(line.strip_prefix("also: [")));
    found.filter_map(|rest| rest.split(']').next()).collect()
}

/// Checks that the report names the cause of this fault, and no cause that is not true of it.
fn is_right(fault: &Fault, outcome: &Outcome) -> Result<(), String> {
    let found = named(&outcome.stderr);
    let is_true = |id: &&str| *id == fault.id || fault.also.contains(id);
    let is_right = found.first() == Some(&fault.id) && found.iter().all(is_true);
    is_right.then_some(()).ok_or(format!("{}: {found:?} {:?}\n{}", fault.id, outcome.code, outcome.stderr))
}

#[test]
fn each_fault_of_the_table_has_its_cause() {
    let wrong = in_parallel(THREADS, "causes::many::faults", &faults::all(), |fault| {
        let outcome = run_with(&(fault.make)(Instance::new()), &[fault]);
        record(fault.id, named(&outcome.stderr).first().copied().unwrap_or("nothing"));
        is_right(fault, &outcome)
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
