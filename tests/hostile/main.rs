//! Runs every command of the real binary on a simulated instance with one hostile input.
//!
//! In: the table of `rows`, one row for each input, and words that choose rows by name. Out: a summary line in the
//! format of `cargo test`, and all failures at the end. It sends no packet off this host.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "this is a test throughout: helpers too may unwrap, read files, start programs and print"
)]
#![allow(missing_docs, unreachable_pub, reason = "nothing is exported from a test")]

mod checks;
mod commands;
mod inject;
mod measure;
mod payload;
mod row;
mod rows;
/// The simulated instance of `tests/it`.
#[path = "../it/support/mod.rs"]
pub mod support;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use checks::Violation;
use row::Row;

/// A row spends most of its time waiting: for deadlines, and for answers that never come.
const SIDE_BY_SIDE: usize = 24;
const FEWEST_ROWS: usize = 250;
const HELP: &str = "Usage: cargo test --test hostile -- [OPTIONS] [WORD...]

Runs the rows whose names contain one of the words, or all.
  --list     print the names
  --codes    also print the exit code and the duration of each command, to write a new row
  --jobs N   run N rows in parallel [default: 24]
";

fn main() -> ExitCode {
    if let Some(into) = std::env::var_os(measure::INTO) {
        return measure::run(into.into());
    }
    if let Ok(options) = std::env::var(inject::OPTIONS) {
        return inject::under_strace(&options);
    }
    if std::env::args().nth(1).as_deref() == Some("inject") {
        return inject::main(std::env::args().skip(2));
    }
    let (mut words, mut jobs, mut list, mut codes) = (Vec::new(), SIDE_BY_SIDE, false, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--help" => {
                print!("{HELP}");
                return ExitCode::SUCCESS;
            }
            "--list" => list = true,
            "--codes" => codes = true,
            "--jobs" => jobs = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(SIDE_BY_SIDE),
            option if option.starts_with('-') => {
                eprintln!("unknown option `{option}`; see --help");
                return ExitCode::from(2);
            }
            word => words.push(word.to_owned()),
        }
    }
    let all = rows::all();
    let names: std::collections::BTreeSet<&str> = all.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names.len(), all.len(), "two rows have the same name");
    assert!(all.len() >= FEWEST_ROWS, "{} rows, fewer than {FEWEST_ROWS}", all.len());
    let chosen: Vec<&Row> =
        all.iter().filter(|row| words.is_empty() || words.iter().any(|word| row.name.contains(word))).collect();
    if list {
        chosen.iter().for_each(|row| println!("{}", row.name));
        return ExitCode::SUCCESS;
    }
    let began = Instant::now();
    let mut failures = run(&chosen, jobs, codes);
    // The limits of time are for a command alone, and rows side by side share the processors.
    let late = |name: &str| failures.get(name).is_some_and(|found| is_late(found));
    let late: Vec<&Row> = chosen.iter().copied().filter(|row| late(&row.name)).collect();
    if !late.is_empty() && jobs > 1 {
        println!("\nagain, one after the other, because a command took too long:");
        late.iter().for_each(|row| drop(failures.remove(&row.name)));
        failures.extend(run(&late, 1, true));
    }
    // One more than the rows: the test that `check` exists.
    report(&failures, chosen.len() + 1, began)
}

/// Whether nothing was wrong but the time that a command took.
fn is_late(violations: &[Violation]) -> bool {
    violations.iter().all(|one| one.output == commands::TIME)
}

/// Runs the rows in parallel. Returns the violations by the name of their row.
fn run(rows: &[&Row], jobs: usize, codes: bool) -> BTreeMap<String, Vec<Violation>> {
    let failures: Mutex<BTreeMap<String, Vec<Violation>>> = Mutex::default();
    let next = AtomicUsize::new(0);
    let has_check = commands::has_check();
    if !has_check {
        let violation = Violation::new("exit", "the product has no command `check`, which every row runs".into());
        support::http::lock(&failures).insert("check".into(), vec![violation.of("check --help")]);
    }
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (name, began) = (row.name.clone(), Instant::now());
                    let result =
                        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| commands::try_row(row, has_check)));
                    let mut failures = support::http::lock(&failures);
                    match result {
                        Ok(result) => {
                            let word = match &result.violations[..] {
                                [] => "ok",
                                found if jobs > 1 && is_late(found) => "late",
                                _ => "FAILED",
                            };
                            println!("{word}: {name} ({:.1} s)", began.elapsed().as_secs_f64());
                            if codes {
                                for (command, code, duration) in &result.codes {
                                    println!("    {code:?} {:.1} s {command}", duration.as_secs_f64());
                                }
                            }
                            if !result.violations.is_empty() {
                                failures.insert(name, result.violations);
                            }
                        }
                        Err(_) => {
                            println!("FAILED: {name}");
                            failures.insert(name, vec![Violation::new("harness", "panicked; see above".into())]);
                        }
                    }
                }
            });
        }
    });
    failures.into_inner().unwrap_or_default()
}

fn report(failures: &BTreeMap<String, Vec<Violation>>, count: usize, began: Instant) -> ExitCode {
    for (name, violations) in failures {
        println!("\n{name}");
        // If several commands have the same fault in the same output, it is one line.
        let mut commands: BTreeMap<(&str, &str), (&str, Vec<&str>)> = BTreeMap::new();
        for Violation { command, output, what } in violations {
            let kind = what.split(':').next().unwrap_or_default();
            let (_, commands) = commands.entry((output, kind)).or_insert((what, Vec::new()));
            if !commands.contains(&command.as_str()) {
                commands.push(command);
            }
        }
        for ((output, _), (what, commands)) in commands {
            println!("  {output}: {what}\n      by `{}`", commands.join("`, `"));
        }
    }
    let failed = failures.len();
    let passed = count.saturating_sub(failed);
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out; \
         finished in {:.1}s",
        began.elapsed().as_secs_f64()
    );
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
