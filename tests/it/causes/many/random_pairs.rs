//! Two faults at once, for random pairs of the table in `faults`. See `many/mod.rs`.
//!
//! In: pairs of faults that do not undo each other, chosen by a seed. Out: the first broken layer has the cause, and
//! neither `run` nor `doctor` says something that is false because of the other fault.

use super::{Random, in_parallel, named, run_with};
use crate::causes::faults::{self, Fault, first_of};
use crate::support::{Instance, Outcome};
use serde_json::Value;
use std::collections::BTreeSet;

/// How many pairs a run of the tests checks.
const PAIRS: usize = 300;
/// Sets another seed than [`SEED`], for other pairs.
const SEED_VARIABLE: &str = "ECS_BOOTSTRAP_TEST_SEED";
const SEED: u64 = 14;
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
fn of_two_random_faults_the_one_in_the_first_layer_is_reported() {
    let seed = std::env::var(SEED_VARIABLE).ok().and_then(|text| text.parse().ok()).unwrap_or(SEED);
    let wrong = in_parallel(super::THREADS, "causes::many::random_pairs", &pairs(seed), check);
    assert!(wrong.is_empty(), "seed {seed}, {} of {PAIRS}:\n{}", wrong.len(), wrong.join("\n"));
}
