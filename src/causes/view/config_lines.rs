//! The lines of `ecs.config` with a mistake.

use crate::ecs_config::issue::{ConfigIssue, IssueKind};
use crate::evidence::Evidence;

/// The lines with a mistake, each with the path of its file.
pub(in crate::causes) fn issues(evidence: &Evidence) -> impl Iterator<Item = (&'static str, &ConfigIssue)> {
    evidence.files.configs.iter().flat_map(|file| file.issues.iter().map(|issue| (file.path, issue)))
}

/// A line with a mistake, as an evidence line.
pub(in crate::causes) fn describe_issue(path: &str, issue: &ConfigIssue) -> String {
    let ConfigIssue { line, key, kind, .. } = issue;
    match kind {
        IssueKind::Quoted => format!("the value of `{key}` on line {line} of {path} is quoted"),
        IssueKind::Blanks => format!("there are spaces before the `=` of `{key}` on line {line} of {path}"),
        IssueKind::Export => format!("there is an `export` before `{key}` on line {line} of {path}"),
        IssueKind::Misspelt { written } => format!("line {line} of {path} sets `{written}`; the variable is `{key}`"),
        IssueKind::Unreadable(why) if !key.is_empty() => {
            format!("line {line} of {path} is meant to set `{key}`, but {why}")
        }
        IssueKind::Overridden { by } => {
            format!("line {line} of {path} sets `{key}`, and line {by} sets it to another value")
        }
        IssueKind::Repeated { by } => format!("line {line} of {path} sets `{key}`, and line {by} repeats it"),
        _ => format!("line {line} of {path}: {}", issue.advice()),
    }
}

/// The line that sets this key to a quoted value.
pub(in crate::causes) fn quoted_line(evidence: &Evidence, key: &str) -> Option<String> {
    let found = |(path, issue): (&str, &ConfigIssue)| {
        (issue.key == key && issue.kind == IssueKind::Quoted).then(|| describe_issue(path, issue))
    };
    issues(evidence).find_map(found)
}
