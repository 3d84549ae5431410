//! Parses the tail of `ecs-agent.log` or `ecs-init.log`, in logfmt or JSON.
//!
//! In: bytes. Out: the lines since the agent last started. Lines in neither format are ignored.

/// The messages that mark a start: two of the agent, and the first step of ecs-init.
const STARTS: [&str; 3] = ["Starting Amazon ECS Agent", "Starting Amazon Elastic Container Service Agent", "pre-start"];

/// The maximum number of lines of an attempt: a longer log repeats itself, and every cause searches all lines at each
/// diagnosis.
const MAX_LINES: usize = 1000;

/// A log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// `info`, `warn`, `error`, ...
    pub level: String,
    /// The field `msg`.
    pub message: String,
    /// The field `error` or `err`; empty if there is none.
    pub error: String,
}

impl Line {
    /// Message and error, joined by a colon.
    pub fn text(&self) -> String {
        if self.error.is_empty() { self.message.clone() } else { format!("{}: {}", self.message, self.error) }
    }

    /// Whether message or error contains this fragment.
    pub fn holds(&self, fragment: &str) -> bool {
        self.message.contains(fragment) || self.error.contains(fragment)
    }
}

/// The lines of the last attempt: from the last line that marks a start, or all lines if there is none.
pub fn last_attempt(tail: &[u8]) -> Vec<Line> {
    last_attempts(tail).1
}

/// The lines of the second to last attempt and of the last attempt.
pub fn last_attempts(tail: &[u8]) -> (Vec<Line>, Vec<Line>) {
    let text = String::from_utf8_lossy(tail);
    let mut lines: Vec<Line> = text.lines().filter_map(parse).collect();
    let begin = |lines: &[Line]| {
        let starts = |line: &Line| STARTS.iter().any(|start| line.message.contains(start));
        lines.iter().rposition(starts).unwrap_or(0)
    };
    let mut last = lines.split_off(begin(&lines));
    last.drain(..last.len().saturating_sub(MAX_LINES));
    let before = lines.split_off(begin(&lines));
    (before, last)
}

fn parse(line: &str) -> Option<Line> {
    let mut parsed = Line { level: String::new(), message: String::new(), error: String::new() };
    let mut keep = |key: &str, value: String| match key {
        "level" => parsed.level = value.to_ascii_lowercase(),
        "msg" => parsed.message = value,
        "error" | "err" => parsed.error = value,
        _ => {}
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
    fn the_attempt_before_is_kept_apart() {
        let line = |message: &str| format!("level=info msg=\"{message}\"\n");
        let log = ["pre-start", "one", "pre-start", "two", "pre-start"].map(line).concat();
        let (before, last) = last_attempts(log.as_bytes());
        assert_eq!((before.len(), before[1].message.as_str(), last.len()), (2, "two", 1));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_can_break_it(bytes: Vec<u8>, text in "[a-z=\"\\\\ {}\n]{0,80}") {
            last_attempt(&bytes);
            last_attempt(text.as_bytes());
        }
    }
}
