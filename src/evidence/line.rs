//! A line of the agent's log or of ecs-init's log, and what it reports.

use std::time::SystemTime;

/// The agent logs this if ECS refuses its registration, or cannot be reached.
const REFUSED: &str = "Unable to register as a container instance with ECS";
/// The agent logs these if an attempt to connect to ACS fails.
const CONNECTION_FAILED: [&str; 4] =
    ["Failed to connect to ACS", "Error connecting to ACS", "Unable to discover poll endpoint", "unable to dial ecs-a"];
/// What the AWS SDK for Go puts between the operation and the error code. The request id ends with a comma.
const REQUEST_DETAILS: (&str, &str) = (", https response error StatusCode: ", "RequestID: ");
/// An error that a healthy agent logs at each start.
const HEALTHY_ERROR: &str = "to fsnotify watcher";

/// A log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// `info`, `warn`, `error`, ...
    pub level: String,
    /// The field `msg`.
    pub message: String,
    /// The field `error` or `err`; empty if there is none.
    pub error: String,
    /// The field `time`.
    pub time: Option<SystemTime>,
    /// The text as evidence, if it is not the message alone.
    pub(super) shown: Option<String>,
}

impl Line {
    /// An error that a program printed without a format.
    pub(super) fn of_output(message: String, time: Option<SystemTime>) -> Line {
        Line { level: "error".to_owned(), message, error: String::new(), time, shown: None }
    }

    /// Message and error, joined by a colon, the error without details of the request. Of an error, the other fields too,
    /// for example `missingAttributes`.
    pub fn text(&self) -> &str {
        self.shown.as_deref().unwrap_or(&self.message)
    }

    /// Sets the text. `fields` are the other fields, in their order.
    pub(super) fn show(&mut self, fields: &[(String, String)]) {
        let is_new = |value: &String| !value.is_empty() && *value != self.message && *value != self.error;
        let fields = fields.iter().filter(|(_, value)| self.is_error() && is_new(value));
        let fields: String = fields.map(|(key, value)| format!(" {key}={value}")).collect();
        self.shown = match self.error.as_str() {
            "" if fields.is_empty() => None,
            "" => Some(format!("{}{fields}", self.message)),
            error => Some(format!("{}: {}{fields}", self.message, without_request_details(error))),
        };
    }

    /// Whether the agent logged it as an error. An agent that logs a warning goes on, and also after an error of a healthy
    /// start.
    pub fn is_error(&self) -> bool {
        matches!(self.level.as_str(), "error" | "critical" | "crit") && !self.message.contains(HEALTHY_ERROR)
    }

    /// Whether it reports a refused registration.
    pub fn is_refusal(&self) -> bool {
        self.holds(REFUSED)
    }

    /// Whether it reports a failed attempt to connect to ACS. TCS is not ACS: ECS needs only ACS.
    pub fn is_failed_connection(&self) -> bool {
        let is_problem = self.level != "info" && self.level != "debug";
        let is_failed = || CONNECTION_FAILED.iter().any(|words| self.holds(words));
        is_problem && is_failed() && !self.message.to_ascii_lowercase().contains("tcs")
    }

    /// Whether message or error contains this fragment.
    pub fn holds(&self, fragment: &str) -> bool {
        self.message.contains(fragment) || self.error.contains(fragment)
    }
}

/// The text without status code and request id, which stand between the operation and the error of an AWS call.
fn without_request_details(text: &str) -> String {
    let (begin, id) = REQUEST_DETAILS;
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, details)) = rest.split_once(begin) {
        shown.push_str(before);
        let after = details.split_once(id).and_then(|(_, id)| id.split_once(", "));
        let Some((_, after)) = after else {
            shown.push_str(begin);
            rest = details;
            break;
        };
        shown.push_str(": ");
        rest = after;
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::without_request_details;

    #[test]
    fn incomplete_request_details_stay() {
        for odd in [", https response error StatusCode: 400", ", https response error StatusCode: 1, RequestID: x"] {
            assert_eq!(without_request_details(odd), odd);
        }
    }
}
