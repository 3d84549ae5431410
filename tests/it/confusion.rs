//! The confusion matrix: the causes that the tests of `causes` provoked, and the causes that were reported.
//!
//! In: the records of those tests. Out: a table, and a failure for each cause that no test provoked, or for which
//! another cause was reported, and for each look-alike of a cause that no test provoked. `tests/run` empties the folder before the tests, and runs this test after them.

use std::collections::BTreeMap;
use std::path::Path;

use crate::causes::ELSEWHERE;
use ecs_bootstrap::causes::{ALL, UNKNOWN};

/// By provoked cause: how often each cause was reported.
fn recorded() -> BTreeMap<String, BTreeMap<String, usize>> {
    let mut table: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("confusion");
    for entry in std::fs::read_dir(folder).expect("the tests of `causes` run before this one") {
        for line in std::fs::read_to_string(entry.unwrap().path()).unwrap().lines() {
            let (provoked, named) = line.split_once(' ').unwrap();
            *table.entry(provoked.to_owned()).or_default().entry(named.to_owned()).or_default() += 1;
        }
    }
    table
}

#[test]
#[ignore = "reads the records of other tests; tests/run runs it after them"]
fn matrix() {
    let table = recorded();
    let mut wrong = Vec::new();
    println!("{:<28} {:>8}  {:<34} look-alikes (times provoked)", "cause", "provoked", "reported");
    let healthy = table.get("healthy").cloned().unwrap_or_default();
    let rows =
        ALL.iter().copied().chain([&UNKNOWN]).map(|cause| (cause.id, cause.look_alikes)).chain([("healthy", &[][..])]);
    for (id, look_alikes) in rows {
        let named = if id == "healthy" { healthy.clone() } else { table.get(id).cloned().unwrap_or_default() };
        let right = if id == "healthy" { "ready" } else { id };
        let often = |id: &str| table.get(id).map_or(0, |named| named.values().sum::<usize>());
        let words = |named: &BTreeMap<String, usize>| {
            named.iter().map(|(id, times)| format!("{id} x{times}")).collect::<Vec<_>>().join(", ")
        };
        let elsewhere = ELSEWHERE.iter().find(|(other, _)| *other == id);
        let seen = match elsewhere {
            Some(_) if named.is_empty() => "(elsewhere)".to_owned(),
            _ => words(&named),
        };
        let is_elsewhere = |id: &str| ELSEWHERE.iter().any(|(other, _)| *other == id);
        let unseen = look_alikes.iter().filter(|other| often(other) == 0 && !is_elsewhere(other));
        wrong.extend(unseen.map(|other| format!("no test provokes `{other}`, a look-alike of `{id}`")));
        let look_alikes: Vec<_> = look_alikes.iter().map(|other| format!("{other} x{}", often(other))).collect();
        println!("{id:<28} {:>8}  {seen:<34} {}", named.values().sum::<usize>(), look_alikes.join(", "));
        if named.keys().any(|other| other != right) {
            wrong.push(format!("`{id}` was provoked, but reported was: {}", words(&named)));
        }
        if named.is_empty() && elsewhere.is_none() {
            wrong.push(format!("no test provokes `{id}`"));
        }
    }
    let all = table.values().flat_map(BTreeMap::values).sum::<usize>();
    let named_right = table
        .iter()
        .map(|(id, named)| named.get(if id == "healthy" { "ready" } else { id }).copied().unwrap_or_default())
        .sum::<usize>();
    println!("{named_right} of {all} reported correctly");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
