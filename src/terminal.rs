//! Colours for output on a terminal.
//!
//! The text is complete without them: colours mark the label of a line (`error:`, `remedy:`), the result of a check of
//! `doctor`, and the lines of a diff. `anstream` decides whether they are used: not in a pipe, not with `NO_COLOR`, and
//! not with `TERM=dumb`.

use anstream::stream::RawStream;
use anstyle::{AnsiColor, Style};

const BAD: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default();
const GOOD: Style = AnsiColor::Green.on_default();
const NOTE: Style = AnsiColor::Cyan.on_default();
const FAINT: Style = Style::new().dimmed();

/// Labels at the beginning of a line.
const LABELS: [(&str, Style); 11] = [
    ("error:", BAD),
    ("FAILED:", BAD),
    ("also:", WARNING),
    ("warning:", WARNING),
    ("waiting:", WARNING),
    ("ready:", GOOD),
    ("remedy:", NOTE),
    ("note:", NOTE),
    ("signal:", NOTE),
    ("suggestion:", NOTE),
    ("seen:", FAINT),
];
/// Results in the second column of a table, such as the one of `doctor`.
const RESULTS: [(&str, Style); 4] = [("pass", GOOD), ("warn", WARNING), ("fail", BAD), ("unknown", FAINT)];
/// Levels of a finding: `FILE:LINE:COLUMN: error: ...`.
const LEVELS: [(&str, Style); 2] = [(": error: ", BAD), (": warning: ", WARNING)];

/// The text with colours if the stream shows them; otherwise the text as it is.
pub fn coloured(text: &str, stream: &impl RawStream) -> String {
    // JSON is for programs, also on a terminal.
    let is_plain = text.starts_with(['{', '[']) || anstream::AutoStream::choice(stream) == anstream::ColorChoice::Never;
    if is_plain { text.to_owned() } else { text.split_inclusive('\n').map(coloured_line).collect() }
}

fn coloured_line(line: &str) -> String {
    let text = line.trim_end_matches('\n');
    let (start, length, style) = mark(text).unwrap_or((0, 0, Style::new()));
    let (before, rest) = line.split_at(start);
    let (marked, after) = rest.split_at(length);
    if marked.is_empty() { line.to_owned() } else { format!("{before}{style}{marked}{style:#}{after}") }
}

/// The part of a line that has a colour: where it starts, its length, and its style.
fn mark(line: &str) -> Option<(usize, usize, Style)> {
    if let Some((label, style)) = LABELS.iter().find(|(label, _)| line.starts_with(label)) {
        // The id of the cause belongs to the label.
        let id = line[label.len()..].strip_prefix(" [").and_then(|rest| rest.find(']')).map_or(0, |end| end + 3);
        return Some((0, label.len() + id, *style));
    }
    match line.as_bytes().first()? {
        b'+' => return Some((0, line.len(), GOOD)),
        b'-' => return Some((0, line.len(), BAD)),
        _ => {}
    }
    if let Some((start, (level, style))) = LEVELS.iter().find_map(|level| Some((line.find(level.0)?, level))) {
        return Some((start + 2, level.len() - 3, *style));
    }
    // The name in the first column is a single word.
    let first = line.find("  ").filter(|end| *end > 0 && !line[..*end].contains(' '))?;
    let second = first + line[first..].len() - line[first..].trim_start().len();
    RESULTS
        .iter()
        .find(|(word, _)| line[second..].split(' ').next() == Some(word))
        .map(|(word, style)| (second, word.len(), *style))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_of_a_line_is_coloured_and_nothing_is_lost() {
        for (line, expected) in [
            ("error: [no-cluster-named] text\n", "\u{1b}[1m\u{1b}[31merror: [no-cluster-named]\u{1b}[0m text\n"),
            ("docker      pass     version 25\n", "docker      \u{1b}[32mpass\u{1b}[0m     version 25\n"),
            ("a:1:2: warning: text [id]\n", "a:1:2: \u{1b}[33mwarning:\u{1b}[0m text [id]\n"),
            ("             pass `--cluster`\n", "             pass `--cluster`\n"),
            ("remedies are unknown here", "remedies are unknown here"),
            ("", ""),
            ("+ECS_CLUSTER=prod\n", "\u{1b}[32m+ECS_CLUSTER=prod\u{1b}[0m\n"),
            ("  - in a list\n", "  - in a list\n"),
            ("errors: none", "errors: none"),
        ] {
            assert_eq!(coloured_line(line), expected);
            assert_eq!(anstream::adapter::strip_str(&coloured_line(line)).to_string(), line);
        }
    }

    #[test]
    fn a_file_gets_no_colours() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(coloured("error: x\n", &file), "error: x\n");
    }
}
