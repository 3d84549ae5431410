//! Mistakes in the lines of `ecs.config` that another file writes.

use super::finding::CheckNote;
use super::text::Text;
use crate::ecs_config::issue::{CLUSTER_KEY, Context, SourceLine, half_login, issues_of};

/// Checks runs of lines, each written by one command or file, that together make one `ecs.config`.
pub(super) fn check(runs: &[(Vec<SourceLine>, Text)], is_template: bool) -> Vec<CheckNote> {
    let names = |line: &SourceLine| {
        let named = line.text.trim().split_once('=');
        named.is_some_and(|(key, value)| key == CLUSTER_KEY && !value.trim().is_empty())
    };
    let is_cluster_named = runs.iter().flat_map(|(lines, _)| lines).any(names);
    let context = Context { is_template, is_cluster_named, ..Context::default() };
    let of_run = |(lines, text): &(Vec<SourceLine>, Text)| -> Vec<CheckNote> {
        issues_of(lines, &context).iter().map(|issue| CheckNote::of_issue(issue).within(text)).collect()
    };
    let login = half_login(runs.iter().flat_map(|(lines, _)| lines)).map(|issue| CheckNote::of_issue(&issue));
    runs.iter().flat_map(of_run).chain(login).collect()
}
