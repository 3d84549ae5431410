//! The output of `doctor`: the verdict, a row for each layer, and what is not visible to this user; as text and as
//! JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use super::verdict::{VerdictDocument, verdict_text};
use crate::causes::Diagnosis;
use crate::causes::examined::Examined;
use crate::redaction;

/// The verdict, then a row for each layer, then what is not visible to this user.
pub fn doctor_text(document: &VerdictDocument, rows: &[Examined], not_visible: &[String]) -> String {
    let mut text = verdict_text(document);
    if !text.is_empty() {
        text.push('\n');
    }
    // Writing to a string cannot fail.
    for row in rows {
        let _ = write!(text, "{:10}  {:7}", row.layer.word(), row.status);
        let verdict_cause = document.cause.as_ref().map(|cause| cause.id.as_str());
        let findings = row.findings.iter().map(|finding| {
            let cause = finding.cause;
            // The evidence for the cause of the verdict is above.
            let evidence = finding.seen.first().filter(|_| verdict_cause != Some(cause.id));
            let evidence = evidence.map(|line| format!(": {line}")).unwrap_or_default();
            redaction::line(&format!("[{}] {}{evidence}", cause.id, cause.title))
        });
        for (number, line) in row.seen.iter().cloned().chain(findings).enumerate() {
            let _ = if number == 0 { writeln!(text, "  {line}") } else { writeln!(text, "{:21}{line}", "") };
        }
    }
    for line in not_visible {
        let _ = writeln!(text, "not visible: {}", redaction::line(line));
    }
    text
}

/// Every cause that has evidence, and for those that are not reported the reason: for `--verbose`.
pub fn considered_text(diagnosis: &Diagnosis) -> String {
    let mut text = String::new();
    for (id, layer, why, seen) in considered(diagnosis) {
        let why = why.map_or_else(|| "reported".to_owned(), |why| format!("not reported, {why}"));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "considered: [{id}] of layer {layer}: {}", redaction::line(&why));
        for line in seen {
            let _ = writeln!(text, "{:12}{line}", "");
        }
    }
    text
}

/// The id, the layer, the reason and the evidence of each cause: first those that are reported.
fn considered(diagnosis: &Diagnosis) -> impl Iterator<Item = (&str, &str, Option<String>, &[String])> {
    let first = diagnosis.found.first().map(|found| found.cause.layer);
    let found = diagnosis.found.iter().map(move |found| {
        let is_later = first.filter(|first| *first != found.cause.layer && !found.cause.is_always_reported);
        let why = is_later.map(|first| format!("in a later layer than `{}`", first.word()));
        (found.cause.id, found.cause.layer.word(), why, &found.seen[..])
    });
    let dropped = diagnosis.dropped.iter().map(|dropped| {
        (dropped.cause.id, dropped.cause.layer.word(), Some(dropped.why.to_string()), &dropped.seen[..])
    });
    found.chain(dropped)
}

/// The document of the verdict, with `checks`, `considered` and `not_visible`.
pub fn doctor_json(
    document: &VerdictDocument,
    rows: &[Examined],
    diagnosis: &Diagnosis,
    not_visible: &[String],
) -> Value {
    let mut value = json!(document);
    value["checks"] = rows
        .iter()
        .map(|row| {
            let findings = row.findings.iter().map(
                |finding| json!({ "id": finding.cause.id, "title": finding.cause.title, "evidence": finding.seen }),
            );
            json!({
                "layer": row.layer.word(),
                "status": row.status,
                "seen": row.seen,
                "findings": findings.collect::<Vec<_>>(),
            })
        })
        .collect();
    value["considered"] = considered(diagnosis)
        .map(|(id, layer, why, seen)| json!({ "id": id, "layer": layer, "not_reported": why, "evidence": seen }))
        .collect();
    value["not_visible"] = json!(redaction::lines(not_visible.iter().cloned()));
    // The deprecated name.
    value["unseen"] = value["not_visible"].clone();
    value
}
