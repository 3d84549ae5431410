//! Colours for output on a terminal.
//!
//! The text is complete without them: colours mark the label of a line (`error:`, `remedy:`), the result of a check of
//! `doctor`, and the lines of a diff. `anstream` decides whether they are used: not in a pipe, not with `NO_COLOR`, not with
//! `TERM=dumb`.

use anstream::stream::RawStream;
use anstyle::{AnsiColor, Style};

const BAD: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default();
const GOOD: Style = AnsiColor::Green.on_default();
const NOTE: Style = AnsiColor::Cyan.on_default();
const FAINT: Style = Style::new().dimmed();

/// Words at the beginning of a line, each with its style. A label ends with a colon; the others are followed by a blank.
const LABELS: [(&str, Style); 18] = [
    ("error:", BAD),
    ("FAILED:", BAD),
    ("fail ", BAD),
    ("failed:", BAD),
    ("unknown:", BAD),
    ("also:", WARNING),
    ("warning:", WARNING),
    ("warn ", WARNING),
    ("waiting:", WARNING),
    ("pass ", GOOD),
    ("ready:", GOOD),
    ("remedy:", NOTE),
    ("note:", NOTE),
    ("signal:", NOTE),
    ("unknown ", FAINT),
    ("seen:", FAINT),
    ("+", GOOD),
    ("-", BAD),
];

/// The text with colours if the stream shows them; otherwise the text as it is.
pub fn coloured(text: &str, stream: &impl RawStream) -> String {
    if text.is_empty() || anstream::AutoStream::choice(stream) == anstream::ColorChoice::Never {
        return text.to_owned();
    }
    // JSON is for programs, also on a terminal.
    if text.starts_with(['{', '[']) { text.to_owned() } else { text.split_inclusive('\n').map(coloured_line).collect() }
}

fn coloured_line(line: &str) -> String {
    let body = line.trim_start();
    let indent = &line[..line.len() - body.len()];
    match LABELS.iter().find(|(label, _)| body.starts_with(label)) {
        Some((label @ ("+" | "-"), style)) if indent.is_empty() => {
            let _ = label;
            let text = line.trim_end_matches('\n');
            format!("{style}{text}{style:#}{}", &line[text.len()..])
        }
        Some(("+" | "-", _)) | None => line.to_owned(),
        Some((label, style)) => format!("{indent}{style}{label}{style:#}{}", &body[label.len()..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_of_a_line_is_coloured_and_nothing_is_lost() {
        for (line, expected) in [
            ("error: [no-cluster-named] text\n", "\u{1b}[1m\u{1b}[31merror:\u{1b}[0m [no-cluster-named] text\n"),
            ("  pass  docker\n", "  \u{1b}[32mpass \u{1b}[0m docker\n"),
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
