//! The findings of `check` as lines for people and editors, and as JSON.

use serde_json::{Value, json};

use crate::check::{Checked, Finding};
use crate::ecs_config::issue::OPAQUE;
use crate::redaction;

/// The version of the JSON document.
const VERSION: u32 = 1;
/// A line is not longer, in bytes.
const LONGEST: usize = 1000;

/// One line a finding: `FILE:LINE:COLUMN: error: MESSAGE [ID]`.
pub fn check_text(checked: &[Checked]) -> String {
    let line = |finding: &Finding| {
        let Finding { file, line, column, level, id, message, suggestion } = finding;
        let meant = suggestion.as_ref().map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
        let place = format!("{}:{line}:{column}", plain(file, 200));
        let rest = LONGEST.saturating_sub(place.len() + id.len() + 20);
        format!("{place}: {level}: {} [{id}]\n", plain(&format!("{message}{meant}"), rest))
    };
    checked.iter().flat_map(|checked| &checked.findings).map(line).collect()
}

/// The most files that are listed.
const MOST_FILES: usize = 50;

/// What each file was taken for, and the number of findings.
pub fn check_summary(checked: &[Checked]) -> String {
    let line = |of: &Checked| {
        let count = |level| of.findings.iter().filter(|finding| finding.level == level).count();
        let counted = |level| match count(level) {
            1 => format!("1 {level}"),
            number => format!("{number} {level}s"),
        };
        let nothing = if of.is_recognised { "" } else { "; nothing in it was recognised as user data" };
        let more = match of.findings_not_shown {
            0 => String::new(),
            more => format!("; {more} more are not shown"),
        };
        format!("{}: {}, {}, {}{more}{nothing}\n", plain(&of.file, 200), of.what, counted("error"), counted("warning"))
    };
    // Of many files those with findings come first.
    let mut listed: Vec<&Checked> = checked.iter().collect();
    if listed.len() > MOST_FILES {
        listed.sort_by_key(|one| one.findings.is_empty() && one.is_recognised);
        listed.truncate(MOST_FILES);
    }
    let mut text: String = listed.into_iter().map(line).collect();
    if let Some(more) = checked.len().checked_sub(MOST_FILES).filter(|more| *more > 0) {
        text.push_str(&format!("{more} more files are not listed\n"));
    }
    text
}

/// `check --json`: see README "JSON".
pub fn check_json(checked: &[Checked]) -> Value {
    let finding = |finding: &Finding| {
        json!({
            "file": finding.file,
            "line": finding.line,
            "column": finding.column,
            "level": finding.level,
            "id": finding.id,
            "message": plain(&finding.message, LONGEST),
            "suggestion": finding.suggestion.as_ref().map(|meant| plain(meant, LONGEST)),
        })
    };
    let findings: Vec<Value> = checked.iter().flat_map(|checked| &checked.findings).map(finding).collect();
    json!({ "version": VERSION, "inputs": checked, "findings": findings })
}

/// The text as it may be shown, cut at this many bytes.
fn plain(text: &str, longest: usize) -> String {
    let shown = redaction::line(&text.replace(OPAQUE, "..."));
    let end = (0..=longest.min(shown.len())).rev().find(|at| shown.is_char_boundary(*at)).unwrap_or_default();
    match end == shown.len() {
        true => shown,
        false => format!("{}...", &shown[..end]),
    }
}
