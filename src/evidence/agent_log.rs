//! Parses the tail of `ecs-agent.log` or `ecs-init.log`, in logfmt or JSON.
//!
//! In: bytes. Out: the lines since the agent last started. Lines in neither format are ignored.

use std::borrow::Cow;

pub use super::line::Line;
use super::log::Log;

/// The message that marks a start of the agent, in its own log.
const AGENT_STARTS: &str = "Starting Amazon ECS Agent";
/// The message that marks a start of ecs-init. About eight messages `pre-start: ...` follow in the same attempt, and a
/// message `Starting Amazon Elastic Container Service Agent` for each start of the agent's container.
const INIT_STARTS: &str = "pre-start";
/// Fields that say nothing about the fault.
const COMMON_FIELDS: [&str; 2] = ["module", "logger"];

/// The maximum number of lines of an attempt: a longer log repeats itself, and every cause searches all lines at each
/// diagnosis.
const MAX_LINES: usize = 1000;

/// The maximum number of lines of a quoted value.
const MAX_JOINED_LINES: usize = 20;

/// The lines of the last attempt: from the last line that marks a start, or all lines if there is none.
pub fn last_attempt(tail: &[u8]) -> Log {
    last_attempts(tail).1
}

/// The lines of each attempt, the oldest first. The first one may be incomplete.
pub fn attempts(tail: &[u8]) -> Vec<Vec<Line>> {
    let text = String::from_utf8_lossy(tail);
    let mut attempts = vec![Vec::new()];
    for line in joined(&text).iter().filter_map(|line| parse(line)) {
        match attempts.last_mut() {
            Some(last) if !is_start(&line) => last.push(line),
            _ => attempts.push(vec![line]),
        }
    }
    attempts
}

/// The lines of a log. A line break inside a quoted value becomes a blank.
fn joined(text: &str) -> Vec<Cow<'_, str>> {
    let mut lines: Vec<Cow<'_, str>> = Vec::new();
    let (mut is_open, mut joins) = (false, 0);
    for line in text.lines() {
        let continues = is_open && joins < MAX_JOINED_LINES && !line.starts_with("level=") && !line.starts_with('{');
        match lines.last_mut().filter(|_| continues) {
            Some(last) => {
                last.to_mut().push_str(&format!(" {}", line.trim_start()));
                joins += 1;
            }
            None => {
                (is_open, joins) = (false, 0);
                lines.push(Cow::Borrowed(line));
            }
        }
        // JSON has no line breaks inside strings.
        is_open ^= !line.starts_with('{') && has_open_quote(line);
    }
    lines
}

/// Whether the number of quotes in the line is odd, without those after a backslash.
fn has_open_quote(line: &str) -> bool {
    let (mut is_open, mut is_escaped) = (false, false);
    for byte in line.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => is_open = !is_open,
            _ => {}
        }
    }
    is_open
}

/// Whether an attempt of the agent or of ecs-init begins with this line.
fn is_start(line: &Line) -> bool {
    line.message.trim() == INIT_STARTS || line.message.contains(AGENT_STARTS)
}

/// The lines of the second to last attempt and of the last attempt.
pub fn last_attempts(tail: &[u8]) -> (Log, Log) {
    last_two(attempts(tail))
}

/// The last two of the attempts in a log.
pub fn last_two(mut attempts: Vec<Vec<Line>>) -> (Log, Log) {
    let mut last = attempts.pop().unwrap_or_default();
    last.drain(..last.len().saturating_sub(MAX_LINES));
    (attempts.pop().unwrap_or_default().into(), last.into())
}

fn parse(line: &str) -> Option<Line> {
    let mut parsed =
        Line { level: String::new(), message: String::new(), error: String::new(), time: None, shown: None };
    let mut fields = Vec::new();
    let mut keep = |key: &str, value: String| match key {
        "level" => parsed.level = value.to_ascii_lowercase(),
        "msg" => parsed.message = value,
        "error" | "err" => parsed.error = value,
        "time" => parsed.time = humantime::parse_rfc3339_weak(&value).ok(),
        key if COMMON_FIELDS.contains(&key) => {}
        key => fields.push((key.to_owned(), value)),
    };
    if line.starts_with('{') {
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).ok()?;
        for (key, value) in object {
            keep(&key, value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
    } else {
        let mut rest = line.trim();
        while let Some((key, value, after)) = field(rest) {
            keep(key, value);
            rest = after;
        }
    }
    parsed.show(&fields);
    (!parsed.message.is_empty()).then_some(parsed)
}

/// Key and value of the first `key=value` or `key="quoted"` of a logfmt line, and the rest of the line.
fn field(line: &str) -> Option<(&str, String, &str)> {
    let (key, rest) = line.split_once('=')?;
    let Some(quoted) = rest.strip_prefix('"') else {
        let (value, after) = rest.split_once(' ').unwrap_or((rest, ""));
        return Some((key, value.to_owned(), after.trim_start()));
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in quoted.char_indices() {
        match (escaped, c) {
            (true, 'n') => value.push('\n'),
            (true, 't') => value.push('\t'),
            (true, other) => value.push(other),
            (false, '\\') => {
                escaped = true;
                continue;
            }
            (false, '"') => return Some((key, value, quoted[at + 1..].trim_start())),
            (false, other) => value.push(other),
        }
        escaped = false;
    }
    Some((key, value, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_formats_and_only_the_last_attempt() {
        let log = concat!(
            "level=error time=2026-01-01T00:00:00Z msg=\"of an earlier start\"\n",
            "level=info time=2026-01-01T00:00:01Z msg=\"Starting Amazon ECS Agent\" version=\"1.106.1\"\n",
            "torn line without a format\n",
            "level=critical time=2026-01-01T00:00:02Z msg=\"Unable to register as a container instance with ECS\" ",
            "error=\"AccessDeniedException: User: \\\"x\\\" is not authorized\"\n",
            "{\"level\":\"info\",\"time\":\"2026-01-01T00:00:03Z\",\"msg\":\"Connected to ACS endpoint\"}\n",
        );
        let lines = last_attempt(log.as_bytes());
        assert_eq!(lines.len(), 3);
        assert!(lines[1].holds("AccessDeniedException: User: \"x\" is"));
        assert_eq!(lines[2].message, "Connected to ACS endpoint");
    }

    #[test]
    fn a_quoted_value_can_have_line_breaks() {
        let log = "level=error msg=\"refused\" error=\"User: x\n is not authorized \\\"at all\\\"\nwith an explicit deny\"\n\
                   level=info msg=\"torn\nlevel=info msg=\"next\"\nno format \"\nlevel=info msg=\"last\"\n";
        let lines = last_attempt(log.as_bytes());
        assert_eq!(lines[0].error, "User: x is not authorized \"at all\" with an explicit deny");
        let messages: Vec<&str> = lines[1..].iter().map(|line| line.message.as_str()).collect();
        assert_eq!(messages, ["torn", "next", "last"]);
    }

    #[test]
    fn the_attempt_before_is_kept_apart() {
        let line = |message: &str| format!("level=info msg=\"{message}\"\n");
        let log = ["pre-start", "one", "pre-start", "two", "pre-start"].map(line).concat();
        let (before, last) = last_attempts(log.as_bytes());
        assert_eq!((before.len(), before[1].message.as_str(), last.len()), (2, "two", 1));
    }

    #[test]
    fn a_step_of_ecs_init_does_not_begin_an_attempt() {
        let line = |message: &str| format!("level=info msg=\"{message}\"\n");
        let log = [
            "pre-start",
            "pre-start: enabling loopback routing",
            "pre-start: downloading agent",
            "start",
            "Starting Amazon Elastic Container Service Agent",
            "Agent exited with code 1",
            "Starting Amazon Elastic Container Service Agent",
            "post-stop",
        ];
        assert_eq!(last_attempt(log.map(line).concat().as_bytes()).len(), 8);
    }

    #[test]
    fn an_error_is_quoted_with_its_operation_code_message_and_fields_but_without_its_request() {
        let error = "operation error ECS: RegisterContainerInstance, https response error StatusCode: 400, RequestID: \
                     6d5f1c0a-7e0f-4d3c-9a39-2b7c7a1f0e55, ClientException: Container instance type changes are not supported.";
        let log = format!("level=critical time=2026-01-01T00:00:03Z msg=\"Unable to register\" error=\"{error}\"\n");
        let expected = "Unable to register: operation error ECS: RegisterContainerInstance: ClientException: Container \
                        instance type changes are not supported.";
        assert_eq!(last_attempt(log.as_bytes())[0].text(), expected);
        let log = b"level=critical msg=\"Attribute validation failed\" missingAttributes=\"[tier]\" module=agent.go\n";
        assert_eq!(last_attempt(log)[0].text(), "Attribute validation failed missingAttributes=[tier]");
        let log = b"level=info msg=\"Instance registration completed\" cluster=\"prod\"\n";
        assert_eq!(last_attempt(log)[0].text(), "Instance registration completed");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_can_break_it(bytes: Vec<u8>, text in "[a-z=\"\\\\ {}\n]{0,80}") {
            last_attempt(&bytes);
            last_attempt(text.as_bytes());
        }
    }
}
