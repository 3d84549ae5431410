//! Two faults at once, for random pairs of the table in `faults`. See `causes/mod.rs`.
//!
//! In: pairs of faults that do not undo each other, chosen by a seed. Out: the first broken layer has the cause, and
//! neither `run` nor `doctor` says something that is false because of the other fault.

use super::faults::{self, Fault, Part, first_of};
use super::{record, run};
use crate::support::{Instance, Outcome};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many pairs a run of the tests checks.
const PAIRS: usize = 300;
/// Sets another seed than [`SEED`], for other pairs.
const SEED_VARIABLE: &str = "ECS_BOOTSTRAP_TEST_SEED";
const SEED: u64 = 14;
/// Almost all of the time is waiting.
const THREADS: usize = 16;
const SETTINGS: [&str; 4] = ["verify.window=1s", "run.deadline=20s", "imds.deadline=3s", "tags.wait=1s"];

/// Runs until the cause is final, or until the deadline. The probe of an endpoint that drops packets takes some seconds.
pub(super) fn run_with(instance: &Instance, faults: &[&Fault]) -> Outcome {
    let is_long = |part: &Part| matches!(part, Part::Endpoint | Part::DateOfAws);
    let is_path = faults.iter().any(|fault| fault.parts.iter().any(is_long));
    let deadline = if is_path { "verify.deadline=9s" } else { "verify.deadline=5s" };
    run(instance, &[&SETTINGS[..], &[deadline]].concat())
}

/// SplitMix64: a deterministic sequence of numbers.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn of(seed: u64) -> Random {
        Random(seed)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).unwrap()
    }
}

/// Runs `check` for each item on several threads. Returns the errors.
pub(super) fn in_parallel<T: Sync>(
    name: &str,
    items: &[T],
    check: impl Fn(&T) -> Result<(), String> + Sync,
) -> Vec<String> {
    let (next, errors) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = check(item) {
                errors.lock().unwrap().push(error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            std::thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, work).unwrap();
        }
    });
    errors.into_inner().unwrap()
}

fn pairs(seed: u64) -> Vec<(&'static Fault, &'static Fault)> {
    let (all, mut random, mut chosen) = (faults::all(), Random::of(seed), BTreeSet::new());
    while chosen.len() < PAIRS {
        let (one, other) = (random.below(all.len()), random.below(all.len()));
        if one < other && all[one].fits(all[other]) {
            chosen.insert((one, other));
        }
    }
    chosen.into_iter().map(|(one, other)| (all[one], all[other])).collect()
}

/// The causes that a report names: the first one, and those beside it.
fn named(report: &str) -> Vec<&str> {
    let found = report.lines().filter_map(|line| line.strip_prefix("error: [").or(line.strip_prefix("also: [")));
    found.filter_map(|rest| rest.split(']').next()).collect()
}

/// The ids of the causes that `doctor --json` names.
fn named_by_doctor(outcome: &Outcome) -> Vec<String> {
    let document: Value = serde_json::from_str(&outcome.stdout).unwrap_or(Value::Null);
    let also = document["also"].as_array().into_iter().flatten();
    also.chain([&document["cause"]]).filter_map(|found| Some(found["id"].as_str()?.to_owned())).collect()
}

fn check((one, other): &(&'static Fault, &'static Fault)) -> Result<(), String> {
    let instance = (other.make)((one.make)(Instance::new()));
    let outcome = run_with(&instance, &[one, other]);
    let doctor = instance.run(&["doctor", "--json"]);
    let mut wrong = Vec::new();
    let found = named(&outcome.stderr);
    let first = found.first().copied().unwrap_or("nothing");
    let expected = first_of(one, other);
    if !expected.contains(&first) {
        wrong.push(format!("run reports {first} first, not {expected:?}"));
    }
    let of_doctor = named_by_doctor(&doctor);
    let all = found.iter().copied().chain(of_doctor.iter().map(String::as_str));
    let is_true = |id: &str| [one, other].iter().any(|fault| fault.id == id || fault.also.contains(&id));
    let false_ids: BTreeSet<&str> = all.filter(|id| !is_true(id)).collect();
    if !false_ids.is_empty() {
        wrong.push(format!("reported although neither fault has that cause: {false_ids:?}"));
    }
    let words = one.false_words.iter().chain(other.false_words);
    let said: Vec<_> =
        words.filter(|words| outcome.stderr.contains(**words) || doctor.stdout.contains(**words)).collect();
    if !said.is_empty() {
        wrong.push(format!("said although it is false: {said:?}"));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!("{} + {}: {}\n{}\ndoctor: {of_doctor:?}\n", one.id, other.id, wrong.join("; "), outcome.stderr))
}

#[test]
fn each_fault_of_the_table_has_its_cause() {
    let wrong = in_parallel("causes::faults", &faults::all(), |fault| {
        let outcome = run_with(&(fault.make)(Instance::new()), &[fault]);
        let found = named(&outcome.stderr);
        record(fault.id, found.first().copied().unwrap_or("nothing"));
        let is_right =
            found.first() == Some(&fault.id) && found.iter().all(|id| *id == fault.id || fault.also.contains(id));
        is_right.then_some(()).ok_or(format!("{}: {found:?} {:?}\n{}", fault.id, outcome.code, outcome.stderr))
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn of_two_random_faults_the_one_in_the_first_layer_is_reported() {
    let seed = std::env::var(SEED_VARIABLE).ok().and_then(|text| text.parse().ok()).unwrap_or(SEED);
    let wrong = in_parallel("causes::random_pairs", &pairs(seed), check);
    assert!(wrong.is_empty(), "seed {seed}, {} of {PAIRS}:\n{}", wrong.len(), wrong.join("\n"));
}
