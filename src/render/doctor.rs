//! What doctor has seen, as a table by layer and as JSON; the cause first.

use std::fmt::Write;

use serde_json::{Value, json};

use super::verdict::{Document, verdict_text};
use crate::causes::examined::Examined;
use crate::redaction;

/// For people: the verdict, then a line a layer, then what could not be looked at.
pub fn doctor_text(document: &Document, rows: &[Examined], unseen: &[String]) -> String {
    let mut text = verdict_text(document);
    if !text.is_empty() {
        text.push('\n');
    }
    // Writing to a string cannot fail.
    for row in rows {
        let _ = write!(text, "{:10}  {:7}", row.layer.word(), row.status.word());
        let told = document.cause.as_ref().map(|cause| cause.id.as_str());
        let found = row.findings.iter().map(|found| {
            // The evidence of the cause stands above.
            let seen = found.seen.first().filter(|_| told != Some(found.cause.id));
            let seen = seen.map(|seen| format!(": {seen}")).unwrap_or_default();
            redaction::line(&format!("[{}] {}{seen}", found.cause.id, found.cause.title))
        });
        for (at, line) in row.seen.iter().cloned().chain(found).enumerate() {
            let _ = match at {
                0 => writeln!(text, "  {line}"),
                _ => writeln!(text, "{:21}{line}", ""),
            };
        }
    }
    for what in unseen {
        let _ = writeln!(text, "not seen: {}", redaction::line(what));
    }
    text
}

/// For programs: the document of a verdict, with `checks` and `unseen`.
pub fn doctor_json(document: &Document, rows: &[Examined], unseen: &[String]) -> Value {
    let mut value = json!(document);
    value["checks"] = rows
        .iter()
        .map(|row| {
            let found = row.findings.iter();
            let found =
                found.map(|found| json!({ "id": found.cause.id, "title": found.cause.title, "evidence": found.seen }));
            json!({
                "layer": row.layer.word(),
                "status": row.status.word(),
                "seen": row.seen,
                "findings": found.collect::<Vec<_>>(),
            })
        })
        .collect();
    value["not_visible"] = json!(redaction::lines(unseen.iter().cloned()));
    // The old name.
    value["unseen"] = value["not_visible"].clone();
    value
}
