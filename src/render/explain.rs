//! The catalogue as text and JSON: one cause with all that is known of it, or the list.
//!
//! The man page takes the same words.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::causes::{Cause, Class};

/// The width of a terminal that nobody has widened.
const WIDTH: usize = 80;
/// Where the text of a field begins.
const INDENT: usize = 13;

/// `ID  title`, a line each.
pub fn list_text<'c>(causes: impl Iterator<Item = &'c Cause> + Clone) -> String {
    let width = causes.clone().map(|cause| cause.id.len()).max().unwrap_or_default();
    causes.map(|cause| format!("{:width$}  {}\n", cause.id, cause.title)).collect()
}

/// All that is known of one.
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

/// The same for programs. `looks` and `exit_code_lapsed` are the old names of the fields before them.
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
        "exit_code": cause.exit,
        "exit_code_after_deadline": cause.exit_after_deadline,
        "exit_code_lapsed": cause.exit_after_deadline,
        "remedy": cause.remedy,
        "source": cause.source,
    })
}

/// Name and text of each field, in the order in which one asks.
pub fn fields(cause: &Cause) -> Vec<(&'static str, String)> {
    let exit = match (cause.exit.code(), cause.exit_after_deadline.code()) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first} while it can heal, then {last}"),
    };
    let mut fields = vec![
        ("looks like", cause.symptoms.to_owned()),
        ("proven by", cause.proof.to_owned()),
        ("look-alikes", cause.look_alikes.join(", ")),
        ("remedy", cause.remedy.to_owned()),
        ("when told", told(cause.class)),
        ("exit code", exit),
        ("layer", cause.layer.word().to_owned()),
        ("source", cause.source.to_owned()),
    ];
    fields.retain(|(_, text)| !text.is_empty());
    fields
}

fn told(class: Class) -> String {
    match class {
        Class::Terminal => "at once: somebody must act".to_owned(),
        Class::Settling(window) => format!(
            "once the instance is older than {}: until then it may still come",
            humantime::format_duration(window)
        ),
        Class::Retry => "at the deadline: it may heal by itself".to_owned(),
        Class::Lasting(window) => {
            format!("once it has lasted {}: until then it may heal", humantime::format_duration(window))
        }
        Class::Waiting => "beside the verdict: it is no failure".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::causes::find;

    #[test]
    fn a_cause_is_explained_within_the_width_of_a_terminal() {
        let text = cause_text(find("user-data-deadlock").unwrap());
        assert!(text.starts_with("user-data-deadlock: user data waits for"), "{text}");
        for name in ["remedy", "when told", "exit code", "source"] {
            assert!(text.lines().any(|line| line.starts_with(name)), "no {name} in {text}");
        }
        let long = text.lines().skip(1).find(|line| line.chars().count() > WIDTH);
        assert_eq!(long, None);
    }
}
