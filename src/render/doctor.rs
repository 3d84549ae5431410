//! The output of `doctor`: the verdict, a row for each layer, and what is not visible to this user; as text and as
//! JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use super::verdict::{VerdictDocument, verdict_text};
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

/// The document of the verdict, with `checks` and `not_visible`.
pub fn doctor_json(document: &VerdictDocument, rows: &[Examined], not_visible: &[String]) -> Value {
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
    value["not_visible"] = json!(redaction::lines(not_visible.iter().cloned()));
    // The deprecated name.
    value["unseen"] = value["not_visible"].clone();
    value
}
