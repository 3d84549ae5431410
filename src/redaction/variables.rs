//! Redacts variables and comments of `ecs.config`. The value of a known variable without secrets is shown up to the
//! first character that cannot belong to it. Other values are replaced by their length.

use serde_json::{Map, Value};

use super::names::{bare, is_secret_name};
use super::{MAX_LINE, MAX_READ, REDACTED, clipped, cut, forms, is_unprintable, name, printable};
use crate::agent_variables::{self, VariableType, find};

/// The longest ARN of a cluster, in bytes: its name has at most 255.
const MAX_ARN_LENGTH: usize = 400;
/// The longest name of an unknown variable that is shown, in bytes.
const MAX_NAME_LENGTH: usize = 64;
/// The longest name of an unknown variable without an underscore that is shown, in bytes.
const MAX_WORD_LENGTH: usize = 12;

/// The redacted value of a variable. It is cut at the first character that a value of this type cannot contain, because
/// a second setting on the same line may be secret.
pub fn variable(variable: &str, value: &str) -> String {
    clipped(&unclipped(variable, value), MAX_LINE).into_owned()
}

/// Whether nothing of the value is redacted. It may still be too long to be shown.
pub fn is_shown_whole(variable: &str, value: &str) -> bool {
    unclipped(variable, value) == value.trim()
}

fn unclipped(variable: &str, value: &str) -> String {
    let Some(known) = find(bare(variable)).filter(|known| !known.secret) else {
        return hidden(variable, value);
    };
    let text = value.trim();
    if is_placeholder(text) {
        return text.to_owned();
    }
    if let Some((open, inner, close)) = quotes(text) {
        return format!("{open}{}{close}", of_type(known.variable_type, inner));
    }
    of_type(known.variable_type, text)
}

/// The name of a variable, if it may be shown. `None` if an unknown name does not have the form of an environment
/// variable, because it can be any text.
pub fn variable_name(variable: &str) -> Option<&str> {
    let name = bare(variable);
    let is_variable = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let is_form = (1..=MAX_NAME_LENGTH).contains(&name.len()) && name.bytes().all(is_variable);
    // Base32 text, which may be a secret, has no underscore.
    let is_word = name.contains('_') || name.len() <= MAX_WORD_LENGTH;
    let is_shown = find(name).is_some() || is_form && is_word && !name.starts_with(|c: char| c.is_ascii_digit());
    is_shown.then_some(name)
}

/// Whether the line is a comment of plain words: no assignment, no quotes, no digits, and no word that hints at
/// secrets.
pub fn is_plain_comment(line: &str) -> bool {
    const WORDS: [&str; 9] = ["pass", "secret", "token", "login", "auth", "credential", "key", "pwd", "bearer"];
    let line = line.trim();
    let is_plain = |c: char| c.is_alphabetic() || " .,;!?'()/-#".contains(c);
    let lower = line.to_lowercase();
    line.starts_with(['#', ';'])
        && line.chars().all(|c| is_plain(c) && !is_unprintable(c))
        && !WORDS.iter().any(|word| lower.contains(word))
}

/// The redacted name or ARN of a cluster. It is cut at the first character that cannot be part of it.
pub fn cluster(value: &str) -> String {
    variable("ECS_CLUSTER", value)
}

/// The replacement of a value that is not shown.
fn hidden(variable: &str, value: &str) -> String {
    if value.is_empty() {
        String::new()
    } else if is_secret_name(variable) {
        REDACTED.to_owned()
    } else {
        format!("<{} bytes>", value.len())
    }
}

fn of_type(variable_type: VariableType, text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "-_.,+".contains(c);
    match variable_type {
        VariableType::Attributes | VariableType::Tags | VariableType::Labels | VariableType::RegistryAuth => {
            match serde_json::from_str::<Map<String, Value>>(text) {
                Ok(object) if text.len() <= MAX_READ => printable(&object_shown(text, object), |_| ' '),
                _ => format!("<{} bytes>", text.len()),
            }
        }
        VariableType::LoggingDrivers | VariableType::Ports | VariableType::Cidrs => {
            let end = text.find(']').map_or(text.len(), |at| at + 1);
            let is_item = |c: char| is_word(c) || "[]\"'\u{201c}\u{201d} :/".contains(c);
            match text[..end].find(|c| !is_item(c)).unwrap_or(end) {
                end if end == text.len() && end <= MAX_LINE => text.to_owned(),
                end => cut(text, end.min(MAX_LINE)),
            }
        }
        VariableType::Text | VariableType::Images | VariableType::Proxy | VariableType::UnixSocket => {
            let is_place = |c: char| is_word(c) || ":/*%~[]".contains(c);
            let start = text.find("://").map_or(0, |at| at + 3);
            match text[start..].rfind('@') {
                // A password can contain any character, also unescaped by mistake, so all text before the last `@` is
                // hidden.
                Some(at) => {
                    let scheme = name(&text[..start], is_place);
                    format!("{scheme}{REDACTED}@{}", name(&text[start + at + 1..], is_place))
                }
                None if matches!(variable_type, VariableType::Images) => name(text, is_place),
                // Text after the colon of a host that is not a port may be a password.
                None => match credential(text, start) {
                    Some(at) => cut(text, at),
                    None => name(text, is_place),
                },
            }
        }
        VariableType::Cluster if text.starts_with("arn:") => cluster_arn(text),
        VariableType::Cluster => name(text, is_of_name),
        VariableType::Pair => name(text, |c| c.is_ascii_digit() || ", ".contains(c)),
        _ => name(text, is_word),
    }
}

/// The JSON object as it was written if it has no secrets. Otherwise it is written again, with its secrets replaced.
/// Keys and values are checked after their escapes are decoded.
fn object_shown(text: &str, object: Map<String, Value>) -> String {
    let as_written = forms::without_secrets(text);
    let (before, after) = (Value::Object(object.clone()), without_secrets(Value::Object(object)));
    if after == before && as_written == text { as_written } else { after.to_string() }
}

fn without_secrets(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(forms::without_secrets(&text)),
        Value::Array(items) => items.into_iter().map(without_secrets).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(key, value)| {
                if is_secret_name(&key) {
                    (key, REDACTED.into())
                } else {
                    (forms::without_secrets(&key), without_secrets(value))
                }
            })
            .collect(),
        other => other,
    }
}

/// The byte after the first colon that no port follows, in a list of hosts or after the scheme. A password may begin
/// there.
fn credential(text: &str, start: usize) -> Option<usize> {
    let mut is_in_brackets = false;
    text.char_indices().skip_while(|(at, _)| *at < start).find_map(|(at, c)| {
        is_in_brackets = c == '[' || (is_in_brackets && c != ']');
        let rest = &text[at + c.len_utf8()..];
        let is_port = rest.starts_with(|c: char| c.is_ascii_digit());
        (c == ':' && !is_in_brackets && !is_port && !rest.starts_with("//")).then_some(at + 1)
    })
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

/// The ARN of a cluster, cut at the first character that its form does not allow.
fn cluster_arn(text: &str) -> String {
    if agent_variables::check("ECS_CLUSTER", text).is_ok() {
        return text.to_owned();
    }
    // arn:PARTITION:ecs:REGION:ACCOUNT:cluster/NAME
    let segments: [fn(char) -> bool; 6] = [
        |c| c.is_ascii_lowercase(),
        |c| c.is_ascii_lowercase() || c == '-',
        |c| c.is_ascii_lowercase(),
        |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-',
        |c| c.is_ascii_digit(),
        |c| is_of_name(c) || c == '/',
    ];
    let mut segment = 0;
    let end = text.char_indices().find_map(|(at, c)| match c {
        ':' if segment + 1 < segments.len() => {
            segment += 1;
            None
        }
        c => (!segments[segment](c)).then_some(at),
    });
    match end {
        None if text.len() <= MAX_ARN_LENGTH => text.to_owned(),
        end => cut(text, end.unwrap_or(MAX_ARN_LENGTH).min(MAX_ARN_LENGTH)),
    }
}

/// Whether the text is a placeholder of a template.
fn is_placeholder(text: &str) -> bool {
    const FORMS: [(&str, &str); 5] = [("${", "}"), ("{{", "}}"), ("<", ">"), ("%", "%"), ("$", "")];
    let is_name = |name: &str| {
        let name = name.trim_matches(' ');
        !name.is_empty() && name.len() <= MAX_NAME_LENGTH && name.chars().all(|c| is_of_name(c) || c == '.')
    };
    let inside = |(open, close): (&str, &str)| text.strip_prefix(open)?.strip_suffix(close);
    FORMS.into_iter().filter_map(inside).any(is_name)
}

/// A pair of quotes around a value, and the value.
fn quotes(text: &str) -> Option<(char, &str, char)> {
    const PAIRS: [(char, char); 5] =
        [('"', '"'), ('\'', '\''), ('`', '`'), ('\u{201c}', '\u{201d}'), ('\u{2018}', '\u{2019}')];
    PAIRS.into_iter().find_map(|(open, close)| {
        let inner = text.strip_prefix(open)?.strip_suffix(close)?;
        Some((open, inner, close))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_values_of_known_variables_without_secrets_are_shown() {
        for (name, value, expected) in [
            ("ECS_CLUSTER", "shop-prod", "shop-prod"),
            (
                "ECS_CLUSTER",
                r#"shop-prodECS_ENGINE_AUTH_DATA={"r":{"auth":"hunter2"}}"#,
                "shop-prodECS_ENGINE_AUTH_DATA<25 more bytes>",
            ),
            ("ECS_CLUSTER", "prod DB_PASS=hunter2", "prod<16 more bytes>"),
            ("ECS_CLUSTER", "\"prod\"", "\"prod\""),
            ("ECS_CLUSTER", "\"prod hunter2\"", "\"prod<8 more bytes>\""),
            ("ECS_CLUSTER", "${cluster}", "${cluster}"),
            (
                "ECS_CLUSTER",
                "arn:aws:ecs:eu-west-1:111122223333:cluster/prod",
                "arn:aws:ecs:eu-west-1:111122223333:cluster/prod",
            ),
            (
                "ECS_CLUSTER",
                "arn:aws:ecs:eu-west-1:111122223333:cluster/prodX=hunter2",
                "arn:aws:ecs:eu-west-1:111122223333:cluster/prodX<8 more bytes>",
            ),
            ("ECS_CLUSTER", "arn:aws:ecs:eu-west-1:HUNTER2:cluster/prod", "arn:aws:ecs:eu-west-1:<20 more bytes>"),
            ("ECS_CLUSTER", "${cluster}mysql -uroot -phunter2", "<32 more bytes>"),
            ("ECS_CLUSTER", "{{ cluster.name }}", "{{ cluster.name }}"),
            ("ECS_CLUSTER", "$CLUSTER", "$CLUSTER"),
            ("ECS_CLUSTER", "%CLUSTER% hunter2", "<17 more bytes>"),
            ("ECS_LOGLEVEL", "${x} hunter2", "<12 more bytes>"),
            ("ECS_LOGLEVEL", "DEBUG", "DEBUG"),
            ("ECS_LOGLEVEL", "infoDB_PASS=hunter2", "infoDB_PASS<8 more bytes>"),
            ("ECS_LOGLEVEL", "info hunter2", "info<8 more bytes>"),
            ("ECS_AVAILABLE_LOGGING_DRIVERS", "[\"awslogs\"] hunter2", "[\"awslogs\"]<8 more bytes>"),
            ("ECS_TASK_METADATA_RPS_LIMIT", "40, 60", "40, 60"),
            ("ECS_RESERVED_MEMORY", "+5", "+5"),
            ("ECS_INSTANCE_ATTRIBUTES", r#"{"stack":"web"}"#, r#"{"stack":"web"}"#),
            ("ECS_INSTANCE_ATTRIBUTES", r#"{"stack":"web"}DB_PASS=hunter2"#, "<30 bytes>"),
            ("ECS_AVAILABLE_LOGGING_DRIVERS", "[json-file,awslogs]", "[json-file,awslogs]"),
            ("ECS_ENGINE_AUTH_DATA", "hunter2", "<redacted>"),
            ("ECS_ENGINE_AUTH_DATA", "", ""),
            ("ECS_ENGINE_AUTHDATA", "hunter2", "<redacted>"),
            ("DB_PASS", "hunter2", "<redacted>"),
            ("SENTRY_DSN", "https://hunter2@sentry/1", "<redacted>"),
            ("SOMETHING", "hunter2", "<7 bytes>"),
            ("ALL_PROXY", "user:hunter2@host", "<17 bytes>"),
            ("HTTP_PROXY", "http://user:hunter2@proxy:3128/", "http://<redacted>@proxy:3128/"),
            ("http_proxy", "user:p/a@hunter2#s@proxy:3128", "<redacted>@proxy:3128"),
            ("HTTPS_PROXY", r#"http://proxy:3128ECS_X={"hunter2""#, "http://proxy:3128ECS_X<11 more bytes>"),
            ("#HTTP_PROXY", "u:hunter2@proxy", "<redacted>@proxy"),
            ("ECS_BACKEND_HOST", "https://u:hunter2@host/a@b", "https://<redacted>@b"),
            ("ECS_BACKEND_HOST", "https://host/?token=hunter2", "https://host/<14 more bytes>"),
            ("HTTP_PROXY", "http://ci:hunter2%40proxy:3128", "http://ci:<20 more bytes>"),
            ("HTTPS_PROXY", "ci:hunter2", "ci:<7 more bytes>"),
            ("NO_PROXY", "169.254.169.254,ci:hunter2", "169.254.169.254,ci:<7 more bytes>"),
            ("ECS_BACKEND_HOST", "ci:hunter2", "ci:<7 more bytes>"),
            ("ECS_INSTANCE_ATTRIBUTES", r#"{"passwor\u0064":"hunter2"}"#, r#"{"password":"<redacted>"}"#),
            ("ECS_INSTANCE_ATTRIBUTES", r#"{"a":"b", "a":"c"}"#, r#"{"a":"b", "a":"c"}"#),
            (
                "ECS_CONTAINER_INSTANCE_TAGS",
                r#"{"u":"https:\u002f\u002fci:hunter2\u0040h"}"#,
                r#"{"u":"https://<redacted>@h"}"#,
            ),
            ("ECS_CONTAINER_INSTANCE_TAGS", r#"{"a":"Password: hunter2"}"#, r#"{"a":"Password: <redacted>"}"#),
            ("NO_PROXY", "169.254.169.254,.internal,[fd00::1]", "169.254.169.254,.internal,[fd00::1]"),
        ] {
            assert_eq!(variable(name, value), expected, "{name}={value}");
        }
    }

    #[test]
    fn a_long_value_is_cut_and_counts_as_shown_whole() {
        let long = format!(r#"{{"stack":"{}"}}"#, "x".repeat(2000));
        assert!(variable("ECS_INSTANCE_ATTRIBUTES", &long).len() <= MAX_LINE);
        assert!(is_shown_whole("ECS_INSTANCE_ATTRIBUTES", &long));
        let curly = format!("[{}", "\u{201c}".repeat(400));
        assert!(variable("ECS_AVAILABLE_LOGGING_DRIVERS", &curly).ends_with(" more bytes>"), "cut between characters");
        assert!(!is_shown_whole("MINE", "x") && !is_shown_whole("ECS_CLUSTER", "prod X=y"));
    }

    #[test]
    fn a_name_that_may_be_a_value_is_not_shown() {
        for (name, expected) in [
            ("ECS_CLUSTER", Some("ECS_CLUSTER")),
            ("export ECS_CLUSTER", Some("ECS_CLUSTER")),
            ("DB_PASS", Some("DB_PASS")),
            ("http_proxy", Some("http_proxy")),
            (r#"ECS_ENGINE_AUTH_DATA: {"r":{"auth":"aHVudGVyMg"#, None),
            ("docker login -u ci -p hunter2", None),
            ("aHVudGVyMg", None),
            ("JBSWY3DPEHPK3PXPJBSWY3DP", None),
            ("9_A", None),
            ("", None),
        ] {
            assert_eq!(variable_name(name), expected, "{name}");
        }
    }
}
