//! The summary of a step, for the file that `GITHUB_STEP_SUMMARY` names.

use std::fmt::Write;

use super::{StepReport, neutral};
use crate::report;

/// How much of the plan and of the causes is shown, in characters. GitHub refuses a summary that is too long (1 MiB;
/// 128 KiB before version 2.294 of the runner), and the caller may summarize several commands in one step.
const MAX_BLOCK: usize = 20_000;

/// The summary as Markdown.
pub(crate) fn summary(step: &StepReport) -> String {
    let result = step.facts.iter().find(|(name, _)| *name == "result").map(|(_, value)| value.as_str());
    let mut text = format!("### `ecs-rollout {}`: {}\n\n", step.command, result.unwrap_or_default());
    for (name, value) in step.facts.iter().filter(|(name, value)| *name != "result" && !value.is_empty()) {
        let _ = writeln!(text, "- {name}: {}", code(value));
    }
    text += "\n";
    if !step.lines.is_empty() {
        text += &block("text", &step.lines.join("\n"));
    }
    if !step.causes.is_empty() {
        text += &block("text", &report::causes_text(&step.causes));
    }
    if !step.details.is_empty() {
        let title = if step.command == "status" { "State" } else { "Plan" };
        let _ = write!(text, "<details><summary>{title}</summary>\n\n{}</details>\n\n", block("diff", &step.details));
    }
    text
}

/// A code span. Only a run of backticks as long as its own could end it.
fn code(value: &str) -> String {
    let value = neutral(value).replace('\n', " ");
    let ticks = "`".repeat(longest_run(&value) + 1);
    // A span may begin and end with one space, which is not shown (CommonMark, "Code spans").
    if value.starts_with('`') || value.ends_with('`') {
        format!("{ticks} {value} {ticks}")
    } else {
        format!("{ticks}{value}{ticks}")
    }
}

/// A fenced code block. Only a run of backticks as long as its fence could end it.
fn block(language: &str, text: &str) -> String {
    let text = neutral(text);
    let mut shown: String = text.chars().take(MAX_BLOCK).collect();
    if shown.len() < text.len() {
        shown += "\n... (the output of the step has the rest)";
    }
    let fence = "`".repeat((longest_run(&shown) + 1).max(3));
    format!("{fence}{language}\n{}\n{fence}\n\n", shown.trim_end_matches('\n'))
}

/// The length of the longest run of backticks.
fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}
