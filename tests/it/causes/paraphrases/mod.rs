//! Each cause that rests on text, with the paraphrases of `mutators`.
//!
//! In: the text of today, as evidence with what else its cause needs. Out: a change of the form alone (prefix, request
//! id, format, further fields) keeps the verdict. With other words the verdict may become more general. It never becomes
//! another specific cause, and never ready.

mod mutators;
mod texts;

use self::mutators::{Entry, FORMS, Mutator, WORDS};
use self::texts::{TEXTS, Text};
use super::cause;
use super::observed::{Place, evidence};
use ecs_bootstrap::causes::{Cause, Layer, diagnose};
use ecs_bootstrap::comparison::Specificity;

/// The log of three attempts that end with this entry.
fn log(place: Place, entry: &Entry) -> String {
    if place == Place::Docker {
        return entry.line("2026-11-26T08:00:00Z").to_owned();
    }
    let start = if place == Place::Init { "pre-start" } else { "Starting Amazon ECS Agent" };
    let attempt = |second: u32| {
        let time = format!("2026-11-26T08:00:{second:02}Z");
        Entry::new("info", start, "").line(&time) + &entry.line(&time)
    };
    [5, 20, 50].map(attempt).concat()
}

fn found(text: &Text, entry: &Entry) -> (Vec<&'static Cause>, bool) {
    let mut evidence = evidence(text.place, &log(text.place, entry));
    (text.with)(&mut evidence);
    let diagnosis = diagnose(&evidence);
    (diagnosis.found.iter().map(|found| found.cause).collect(), diagnosis.ready.is_some())
}

fn original(text: &Text) -> Entry {
    Entry::new("error", text.message, text.error)
}

/// A general cause of the same layer, of the agent, or of refused registrations.
fn is_more_general(other: &Cause, than: &Cause) -> bool {
    let layers = [than.layer, Layer::Agent, Layer::Api];
    other.specificity == Specificity::General && layers.contains(&other.layer)
}

/// Checks every change of every text. Returns those with a wrong verdict.
fn changed(
    changes: &[(&str, Mutator)],
    is_right: impl Fn(&[&'static Cause], &[&'static Cause], bool) -> bool,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for text in TEXTS {
        let (before, _) = found(text, &original(text));
        for (name, change) in changes {
            let Some(entry) = change(&original(text)) else { continue };
            let (after, is_ready) = found(text, &entry);
            if !is_right(&before, &after, is_ready) {
                wrong.push(format!("{} with {name}: {after:?}, not {before:?}\n  {}", text.id, entry.line("T")));
            }
        }
    }
    wrong
}

#[test]
fn each_text_of_today_has_its_cause() {
    let first = |text: &Text| found(text, &original(text)).0;
    let wrong: Vec<String> = TEXTS
        .iter()
        .filter(|text| first(text).first() != Some(&cause(text.id)))
        .map(|text| format!("{}: {:?}", text.id, first(text)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn another_form_of_a_text_keeps_its_cause() {
    let wrong = changed(&FORMS, |before, after, is_ready| before == after && !is_ready);
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn other_words_never_result_in_another_specific_cause() {
    let wrong = changed(&WORDS, |before, after, is_ready| {
        let is_known =
            |cause: &&Cause| before.contains(cause) || before.iter().any(|than| is_more_general(cause, than));
        after.iter().all(is_known) && !is_ready
    });
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn each_text_has_at_least_five_paraphrases() {
    for text in TEXTS {
        let changes = FORMS.iter().chain(&WORDS);
        let lines: std::collections::BTreeSet<String> =
            changes.filter_map(|(_, change)| Some(change(&original(text))?.line("T"))).collect();
        assert!(lines.len() >= 5, "{}: {lines:?}", text.id);
    }
}
