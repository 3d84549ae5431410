//! The output of `check`: one line for each finding in a form that editors parse, and JSON.

use serde_json::{Value, json};

use crate::check::{Checked, Finding, Level};
use crate::ecs_config::issue::OPAQUE;
use crate::redaction;

/// The version of the JSON document.
const VERSION: u32 = 1;
/// The longest message, in bytes.
const MAX_LENGTH: usize = 1000;
/// The longest file name, in bytes.
const MAX_FILE_NAME_LENGTH: usize = 200;
/// The most files in the summary.
const MAX_FILES: usize = 50;

/// One line for each finding: `FILE:LINE:COLUMN: error: MESSAGE [ID]`.
pub fn check_text(checked: &[Checked]) -> String {
    let line = |finding: &Finding| {
        let Finding { file, line, column, level, id, message, suggestion } = finding;
        let hint = suggestion.as_ref().map(|suggestion| format!("; did you mean `{suggestion}`?")).unwrap_or_default();
        let place = format!("{}:{line}:{column}", plain(file, MAX_FILE_NAME_LENGTH));
        let rest = MAX_LENGTH.saturating_sub(place.len() + id.len() + 20);
        format!("{place}: {level}: {} [{id}]\n", plain(&format!("{message}{hint}"), rest))
    };
    checked.iter().flat_map(|file| &file.findings).map(line).collect()
}

/// One line for each file: its type, and the number of its findings.
pub fn check_summary(checked: &[Checked]) -> String {
    // If there are too many files, those with findings are listed first.
    let mut listed: Vec<&Checked> = checked.iter().collect();
    if listed.len() > MAX_FILES {
        listed.sort_by_key(|file| file.findings.is_empty() && file.is_recognised);
        listed.truncate(MAX_FILES);
    }
    let mut text: String = listed.into_iter().map(summary_line).collect();
    if let Some(more) = checked.len().checked_sub(MAX_FILES).filter(|more| *more > 0) {
        text.push_str(&format!("{more} more files are not listed\n"));
    }
    text
}

fn summary_line(file: &Checked) -> String {
    let count = |level: Level| match file.findings.iter().filter(|finding| finding.level == level).count() {
        1 => format!("1 {level}"),
        number => format!("{number} {level}s"),
    };
    let not_recognised = if file.is_recognised { "" } else { "; not checked: no user data was found in it" };
    let not_shown = match file.findings_not_shown {
        0 => String::new(),
        more => format!("; {more} more are not shown"),
    };
    let (name, what) = (plain(&file.file, MAX_FILE_NAME_LENGTH), file.what);
    format!("{name}: {what}, {}, {}{not_shown}{not_recognised}\n", count(Level::Error), count(Level::Warning))
}

/// The document of `check --json` (`docs/reference/json.md`).
pub fn check_json(checked: &[Checked]) -> Value {
    let finding = |finding: &Finding| {
        json!({
            "file": finding.file,
            "line": finding.line,
            "column": finding.column,
            "level": finding.level,
            "id": finding.id,
            "message": plain(&finding.message, MAX_LENGTH),
            "suggestion": finding.suggestion.as_ref().map(|suggestion| plain(suggestion, MAX_LENGTH)),
        })
    };
    let findings: Vec<Value> = checked.iter().flat_map(|file| &file.findings).map(finding).collect();
    json!({ "version": VERSION, "inputs": checked, "findings": findings })
}

/// The text without secrets, at most `longest` bytes of it.
fn plain(text: &str, longest: usize) -> String {
    let shown = redaction::line(&text.replace(OPAQUE, "..."));
    let end = (0..=longest.min(shown.len())).rev().find(|at| shown.is_char_boundary(*at)).unwrap_or_default();
    if end == shown.len() { shown } else { format!("{}...", &shown[..end]) }
}
