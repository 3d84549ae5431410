//! The catalogue of causes as text and as JSON, for `explain` and for the man page.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::causes::{Cause, Class};

/// The width of a standard terminal.
const WIDTH: usize = 80;
/// The column at which the text of a field begins.
const INDENT: usize = 13;

/// The list: one line `ID  TITLE` for each cause.
pub fn list_text<'c>(causes: impl Iterator<Item = &'c Cause> + Clone) -> String {
    let width = causes.clone().map(|cause| cause.id.len()).max().unwrap_or_default();
    causes.map(|cause| format!("{:width$}  {}\n", cause.id, cause.title)).collect()
}

/// One cause with all its fields.
pub fn cause_text(cause: &Cause) -> String {
    let mut text = format!("{}: {}\n\n", cause.id, cause.title);
    for (name, value) in fields(cause) {
        let mut column = INDENT;
        // Writing to a string cannot fail.
        let _ = write!(text, "{name:INDENT$}");
        for word in value.split_whitespace() {
            if column > INDENT && column + 1 + word.chars().count() > WIDTH {
                let _ = write!(text, "\n{:INDENT$}", "");
                column = INDENT;
            } else if column > INDENT {
                text.push(' ');
                column += 1;
            }
            text.push_str(word);
            column += word.chars().count();
        }
        text.push('\n');
    }
    text
}

/// One cause as JSON. `looks` and `exit_code_lapsed` are deprecated names of the fields before them.
pub fn cause_json(cause: &Cause) -> Value {
    json!({
        "id": cause.id,
        "layer": cause.layer.word(),
        "title": cause.title,
        "symptoms": cause.symptoms,
        "looks": cause.symptoms,
        "proof": cause.proof,
        "look_alikes": cause.look_alikes,
        "class": cause.class.word(),
        "is_only_note": cause.is_only_note,
        "exit_code": cause.exit,
        "exit_code_after_deadline": cause.exit_after_deadline,
        "exit_code_lapsed": cause.exit_after_deadline,
        "remedy": cause.remedy,
        "source": cause.source,
    })
}

/// The label and the text of each field.
pub fn fields(cause: &Cause) -> Vec<(&'static str, String)> {
    let exit = match (cause.exit.code(), cause.exit_after_deadline.code()) {
        _ if cause.is_only_note => "none".to_owned(),
        (first, last) if first == last => first.to_string(),
        (before, after) => format!("{before} until the deadline, then {after}"),
    };
    let mut fields = vec![
        ("symptoms", cause.symptoms.to_owned()),
        ("proof", cause.proof.to_owned()),
        ("look-alikes", cause.look_alikes.join(", ")),
        ("remedy", cause.remedy.to_owned()),
        ("reported", if cause.is_only_note { ONLY_NOTE.to_owned() } else { reported(cause.class) }),
        ("exit code", exit),
        ("layer", cause.layer.word().to_owned()),
        ("source", cause.source.to_owned()),
    ];
    fields.retain(|(_, text)| !text.is_empty());
    fields
}

/// When a cause is reported that is only a note.
const ONLY_NOTE: &str = "as a note, because the instance is ready nevertheless";

/// When the cause is reported.
fn reported(class: Class) -> String {
    match class {
        Class::Terminal => "at once, because it cannot recover by itself".to_owned(),
        Class::Settling(age) => {
            let age = humantime::format_duration(age);
            format!("when the instance is older than {age}, because before that it may recover by itself")
        }
        Class::Retry => "at the deadline, because it may recover by itself".to_owned(),
        Class::Lasting(duration) => {
            let duration = humantime::format_duration(duration);
            format!(
                "after it was observed for {duration} without interruption, because before that it may recover by itself"
            )
        }
        Class::Waiting => "as the reason for waiting, not as a failure".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::causes::find;

    #[test]
    fn the_text_of_a_cause_fits_a_terminal() {
        let text = cause_text(find("user-data-deadlock").unwrap());
        assert!(text.starts_with("user-data-deadlock: user data waits for"), "{text}");
        for name in ["remedy", "reported", "exit code", "source"] {
            assert!(text.lines().any(|line| line.starts_with(name)), "no {name} in {text}");
        }
        let long = text.lines().skip(1).find(|line| line.chars().count() > WIDTH);
        assert_eq!(long, None);
    }
}
