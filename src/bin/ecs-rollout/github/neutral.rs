//! Makes output harmless for the runner of GitHub Actions, which reads commands in every line that a step prints.

use std::borrow::Cow;
use std::fmt::Write;

use ecs_bootstrap::command_line::CommandOutput;
use serde_json::Value;

/// This text with no line that the runner takes for a command.
///
/// A command is a line that begins with `::` after white space, or that has `##[` anywhere (actions/runner,
/// `ActionCommand.cs`: `TryParseV2`, `TryParse`). The runner compares with the rules of a culture, which ignore invisible
/// characters. So these are replaced first, as are control characters, which end a line or move the cursor.
pub(crate) fn neutral(text: &str) -> String {
    let visible = |c: char| match c {
        '\n' => c,
        '\t' => ' ',
        c if is_invisible(c) => '\u{fffd}',
        c => c,
    };
    let text: String = text.chars().map(visible).collect();
    let lines = text.split_inclusive('\n').map(|line| {
        let start = line.len() - line.trim_start().len();
        match line[start..].strip_prefix("::") {
            Some(rest) => Cow::Owned(format!("{}: :{rest}", &line[..start])),
            None => Cow::Borrowed(line),
        }
    });
    lines.collect::<String>().replace("##[", "## [")
}

/// The output of a command with no line that the runner takes for a command. A JSON document stays equal.
pub(crate) fn neutral_output(output: CommandOutput) -> CommandOutput {
    let stdout = match serde_json::from_str::<Value>(&output.stdout) {
        Ok(Value::Object(_) | Value::Array(_)) => neutral_json(&output.stdout),
        _ => neutral(&output.stdout),
    };
    CommandOutput { stdout, stderr: neutral(&output.stderr), exit: output.exit }
}

/// The same document with escapes. Characters other than ASCII, and `#`, occur only inside strings. No line of a document
/// begins with `::`.
fn neutral_json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.replace("##[", "#\\u0023[").chars() {
        // The other ASCII control characters are escaped already, or are the white space between members.
        if is_invisible(c) && (!c.is_ascii_control() || c == '\u{7f}') {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Control and format characters, and others that have no width (Unicode, `Default_Ignorable_Code_Point`).
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}
