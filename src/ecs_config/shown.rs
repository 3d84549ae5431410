//! What of an `ecs.config` may be shown, line by line: values of known variables without secrets, comments of plain
//! words, and blank lines. Anything else is shown by its name and its length.

use super::read;
use crate::agent_variables::is_secret;
use crate::redaction::{self, is_unprintable};

/// The file as it may be shown.
pub fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown = String::with_capacity(text.len());
    let mut goes_on = false;
    for line in text.split_inclusive('\n') {
        let body = line.trim_end_matches(['\r', '\n']);
        let part = part(body, goes_on);
        goes_on = part.goes_on;
        shown.push_str(&part.text);
        shown.push_str(&line[body.len()..]);
    }
    shown
}

/// Whether something in the file is not shown, so that the file is for its owner only.
pub fn has_hidden(bytes: &[u8]) -> bool {
    shown(bytes) != String::from_utf8_lossy(bytes)
}

struct Part {
    text: String,
    /// Whether the author goes on with this value on the next line.
    goes_on: bool,
}

fn part(line: &str, goes_on: bool) -> Part {
    let stays = |text: String| Part { text, goes_on };
    if line.trim().is_empty() {
        return stays(line.to_owned());
    }
    if is_plain_comment(line) && !goes_on {
        return stays(line.to_owned());
    }
    // As ecs-init reads it, so that what it takes for a key is what is looked up.
    let assignment = read(line.as_bytes()).into_iter().next();
    let Some(found) = assignment.filter(|found| redaction::variable_name(&found.key).is_some()) else {
        return stays(format!("<{} bytes>", line.len()));
    };
    let value = match redaction::is_shown_whole(&found.key, &found.value) {
        true => found.value.clone(),
        false => redaction::variable(&found.key, &found.value),
    };
    Part { text: format!("{}={value}", found.key), goes_on: is_secret(&found.key) && is_open(&found.value) }
}

/// A comment of words: no assignment, no quotes, no digits, no word that speaks of secrets.
fn is_plain_comment(line: &str) -> bool {
    const TELLING: [&str; 9] = ["pass", "secret", "token", "login", "auth", "credential", "key", "pwd", "bearer"];
    let line = line.trim();
    let is_plain = |c: char| c.is_alphabetic() || " .,;!?'()/-#".contains(c);
    let lower = line.to_lowercase();
    line.starts_with(['#', ';'])
        && line.chars().all(|c| is_plain(c) && !is_unprintable(c))
        && !TELLING.iter().any(|word| lower.contains(word))
}

/// Whether the author of this value went on with it on the next line.
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
    fn only_known_variables_are_shown() {
        let file = "# made by hand\nECS_ENGINE_AUTH_DATA={\"x\":{\"password\":\"hunter2\"}}\r\nHTTP_PROXY=http://u:hunter2@proxy:3128\n\
                    DB_HOST=hunter2\nECS_CLUSTER=prod\n#ECS_ENGINE_AUTHDATA=hunter2\n# docker login -p hunter\n\
                    docker login -u ci -p hunter2\nECS_ENGINE_AUTH_DATA: {\"auth\":\"hunter2==\"}\n\n  ECS_LOGLEVEL=info\n";
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
    fn a_secret_that_goes_on_over_lines_is_hidden_to_its_end() {
        let file = b"ECS_ENGINE_AUTH_DATA='{\n  \"r\": {\"password\": \"hunter2\",\n\n  \"auth\": \"aHVudGVyMg==\"}\nAHVUDGVYMG==\n}'\r\n# mine\nECS_CLUSTER=prod\n";
        let text = shown(file);
        assert!(!text.contains("hunter") && !text.contains("VudGVyMg"), "{text}");
        assert!(text.ends_with("ECS_CLUSTER=prod\n"), "{text}");
        assert_eq!(shown(b"ECS_ENGINE_AUTH_DATA={}\n# mine\n"), "ECS_ENGINE_AUTH_DATA=<redacted>\n# mine\n");
    }

    #[test]
    fn a_file_is_for_its_owner_where_something_in_it_is_not_shown() {
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
