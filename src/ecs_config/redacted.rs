//! Redacts an `ecs.config`, line by line.
//!
//! In: the bytes of the file. Out: the text that may be shown: values of known variables without secrets, comments of
//! plain words, and blank lines. Other lines are replaced by the name of the variable and the length.

use super::read;
use crate::redaction::{self, is_plain_comment, is_secret_name};

/// The redacted text of the file.
pub fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown = String::with_capacity(text.len());
    let mut continues = false;
    for line in text.split_inclusive('\n') {
        let body = line.trim_end_matches(['\r', '\n']);
        let part = part(body, continues);
        continues = part.continues;
        shown.push_str(&part.text);
        shown.push_str(&line[body.len()..]);
    }
    shown
}

/// Whether a part of the file is redacted. Such a file must be readable by its owner only.
pub fn has_hidden(bytes: &[u8]) -> bool {
    shown(bytes) != String::from_utf8_lossy(bytes)
}

/// One redacted line.
struct Part {
    text: String,
    /// Whether the value continues on the next line.
    continues: bool,
}

fn part(line: &str, continues: bool) -> Part {
    let other = |text: String| Part { text, continues };
    if line.trim().is_empty() {
        return other(line.to_owned());
    }
    if is_plain_comment(line) && !continues {
        return other(line.to_owned());
    }
    // Read as ecs-init does, so that the key is the one that the agent sees.
    let assignment = read(line.as_bytes()).into_iter().next();
    let Some(found) = assignment.filter(|found| redaction::variable_name(&found.key).is_some()) else {
        return other(format!("<{} bytes>", line.len()));
    };
    let value = if redaction::is_shown_whole(&found.key, &found.value) {
        found.value.clone()
    } else {
        redaction::variable(&found.key, &found.value)
    };
    Part { text: format!("{}={value}", found.key), continues: is_secret_name(&found.key) && is_open(&found.value) }
}

/// Whether the value is incomplete, so that its author continued it on the next line.
fn is_open(value: &str) -> bool {
    let value = value.trim();
    let closed = |quote: char| value.len() > 1 && value.ends_with(quote);
    match value.chars().next() {
        Some(quote @ ('\'' | '"')) => !closed(quote),
        Some('{' | '[') => serde_json::from_str::<serde::de::IgnoredAny>(value).is_err(),
        _ => value.ends_with('\\'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_values_of_known_variables_are_shown() {
        let file = "# made by hand\nECS_ENGINE_AUTH_DATA={\"x\":{\"password\":\"hunter2\"}}\r\n\
                    HTTP_PROXY=http://u:hunter2@proxy:3128\nDB_HOST=hunter2\nECS_CLUSTER=prod\n\
                    #ECS_ENGINE_AUTHDATA=hunter2\n# docker login -p hunter\ndocker login -u ci -p hunter2\n\
                    ECS_ENGINE_AUTH_DATA: {\"auth\":\"hunter2==\"}\n\n  ECS_LOGLEVEL=info\n";
        let text = shown(file.as_bytes());
        assert!(!text.contains("hunter"), "{text}");
        insta::assert_snapshot!(text.replace('\r', ""), @r"
        # made by hand
        ECS_ENGINE_AUTH_DATA=<redacted>
        HTTP_PROXY=http://<redacted>@proxy:3128
        DB_HOST=<7 bytes>
        ECS_CLUSTER=prod
        #ECS_ENGINE_AUTHDATA=<redacted>
        <24 bytes>
        <29 bytes>
        <42 bytes>

        ECS_LOGLEVEL=info
        ");
    }

    #[test]
    fn a_secret_of_several_lines_is_hidden_to_its_end() {
        let file = b"ECS_ENGINE_AUTH_DATA='{\n  \"r\": {\"password\": \"hunter2\",\n\n  \"auth\": \"aHVudGVyMg==\"}\n\
                    AHVUDGVYMG==\n}'\r\n# mine\nECS_CLUSTER=prod\n";
        let text = shown(file);
        assert!(!text.contains("hunter") && !text.contains("VudGVyMg"), "{text}");
        assert!(text.ends_with("ECS_CLUSTER=prod\n"), "{text}");
        assert_eq!(shown(b"ECS_ENGINE_AUTH_DATA={}\n# mine\n"), "ECS_ENGINE_AUTH_DATA=<redacted>\n# mine\n");
    }

    #[test]
    fn a_file_with_redacted_text_has_hidden_parts() {
        for (file, hidden) in [
            ("ECS_CLUSTER=prod\n# a comment\n\nECS_LOGLEVEL=info\r\n", false),
            ("ECS_CLUSTER = prod\n", false),
            ("HTTP_PROXY=proxy:3128\n", false),
            ("HTTP_PROXY=http://u:p@proxy:3128\n", true),
            ("ECS_ENGINE_AUTH_DATA={}\n", true),
            ("MINE=x\n", true),
            ("MINE=\n", false),
            ("docker login\n", true),
            ("ECS_CLUSTER=prodX=y\n", true),
        ] {
            assert_eq!(has_hidden(file.as_bytes()), hidden, "{file}");
        }
    }
}
