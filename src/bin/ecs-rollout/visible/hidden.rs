//! Finds hidden values in text from outside: error messages of ECS quote the request, reasons of stopped tasks quote the
//! command, and log lines can contain anything.
//!
//! In: the definitions and variables of a command, and a text. Out: the text with [`HIDDEN`] for each value that the
//! definitions hide. A value that is part of a shown one, such as the name of the service, is not hidden.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::{Definition, HIDDEN, Model, password};

/// Shorter values are not searched for: they are parts of many words, and not secrets.
const MIN_LENGTH: usize = 4;
/// Shorter values are only found as whole words.
const MIN_ANYWHERE: usize = 8;
/// Numbers with fewer digits are ports, sizes and counts.
const MIN_DIGITS: usize = 6;
/// The fewest bytes of the beginning of a value that are hidden at the end of a text, which may have been cut there.
const MIN_BEGINNING: usize = 6;
/// Settings that many programs have, and that the messages of ECS and of this program use as words.
const PLAIN: [&str; 27] = [
    "true",
    "false",
    "none",
    "null",
    "info",
    "debug",
    "warn",
    "warning",
    "error",
    "trace",
    "json",
    "text",
    "http",
    "https",
    "localhost",
    "default",
    "enabled",
    "disabled",
    "production",
    "staging",
    "development",
    "test",
    "task",
    "service",
    "container",
    "cluster",
    "image",
];

/// The values of a command that are not shown. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct HiddenValues {
    /// Whether `--show-values` was given.
    shows_all: bool,
    values: Arc<Mutex<Values>>,
}

#[derive(Default)]
struct Values {
    hidden: BTreeSet<String>,
    /// Values that are shown at other places.
    shown: BTreeSet<String>,
}

impl std::fmt::Debug for Values {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} hidden values", self.hidden.len())
    }
}

impl HiddenValues {
    /// With `shows_all` nothing is hidden.
    pub(crate) fn new(shows_all: bool) -> HiddenValues {
        HiddenValues { shows_all, values: Arc::default() }
    }

    /// Hides the values of a definition that are not shown. For a definition that ECS describes, too: members that only
    /// ECS sets are ignored.
    pub(crate) fn learn(&self, definition: Definition, value: &Value) {
        let model = Model::of(definition);
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, value) in value.as_object().into_iter().flatten() {
            let is_known = model.has_member(name);
            model.map(name, value, &mut |value, is_shown| {
                match value {
                    Value::String(text) if is_shown => drop(values.shown.insert(text.clone())),
                    Value::String(text) if is_known => values.hide(text),
                    // An ARN has the region and the account, which are values of many variables.
                    Value::String(text) if text.starts_with("arn:") => drop(values.shown.insert(text.clone())),
                    _ => {}
                }
                Value::Null
            });
        }
    }

    /// Hides a value that is part of no definition, such as that of a variable.
    pub(crate) fn hide(&self, value: &str) {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).hide(value);
    }

    /// A name that is shown. It is not hidden if it is also the value of a variable.
    pub(crate) fn show(&self, name: &str) {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).shown.insert(name.to_owned());
    }

    /// The text without the hidden values.
    pub(crate) fn without(&self, text: &str) -> String {
        if self.shows_all {
            return text.to_owned();
        }
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let is_secret = |value: &&String| !values.shown.iter().any(|shown| shown.contains(value.as_str()));
        let mut secrets: Vec<&String> = values.hidden.iter().filter(is_secret).collect();
        // A value can be part of another one.
        secrets.sort_by_key(|value| std::cmp::Reverse(value.len()));
        let mut text = text.to_owned();
        for secret in secrets {
            text = without_value(&text, secret);
        }
        text
    }

    /// The JSON without the hidden values in its strings.
    pub(crate) fn without_in(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.without(text)),
            Value::Array(list) => Value::Array(list.iter().map(|value| self.without_in(value)).collect()),
            Value::Object(members) => {
                let shown = members.iter().map(|(name, value)| (name.clone(), self.without_in(value)));
                Value::Object(shown.collect())
            }
            other => other.clone(),
        }
    }
}

impl Values {
    /// Adds a value in each form in which a message can quote it: whole, line by line, escaped as in JSON, and its parts
    /// that are secrets themselves.
    fn hide(&mut self, value: &str) {
        let escaped = Value::from(value).to_string();
        let escaped = &escaped[1..escaped.len() - 1];
        // Go's encoder of JSON, in the agent and in docker.
        let of_go = [("&", "\\u0026"), ("<", "\\u003c"), (">", "\\u003e")];
        let of_go = of_go.into_iter().fold(escaped.to_owned(), |text, (c, escape)| text.replace(c, escape));
        let on_one_line = value.replace(char::is_control, " ");
        let lines = value.lines().map(str::trim);
        let arguments = value.split_whitespace().filter_map(|word| word.split_once('=')).map(|(_, value)| value);
        let unquoted = |text: &str| text.trim_matches(['"', '\'']).to_owned();
        let forms = [value, value.trim(), escaped, &of_go, &on_one_line].into_iter().chain(lines).map(str::to_owned);
        let parts = arguments.chain(password(value)).map(unquoted);
        self.hidden.extend(forms.chain(parts).filter(|form| is_searched(form)));
    }
}

/// Whether a value is searched for in text. Settings that everybody knows and paths of programs are not: without them,
/// a message could not be understood.
fn is_searched(value: &str) -> bool {
    let is_number = value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let is_path = value.starts_with('/')
        && value.len() <= 64
        && value.bytes().all(|byte| byte.is_ascii_lowercase() || b"/._-".contains(&byte));
    let shortest = if is_number { MIN_DIGITS } else { MIN_LENGTH };
    value.len() >= shortest && !is_path && !PLAIN.contains(&value.to_ascii_lowercase().as_str())
}

fn without_value(text: &str, value: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(value) {
        let (before, after) = (&rest[..at], &rest[at + value.len()..]);
        let previous = before.chars().next_back().or(shown.chars().next_back());
        let is_part = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        shown.push_str(before);
        if value.len() < MIN_ANYWHERE && (is_part(previous) || is_part(after.chars().next())) {
            shown.push_str(value);
        } else {
            shown.push_str(HIDDEN);
        }
        rest = after;
    }
    shown.push_str(rest);
    let end = shown.trim_end_matches(['.', '\u{2026}', '"', '\'', '`']).len();
    let beginnings = (MIN_BEGINNING..value.len()).rev().filter(|length| value.is_char_boundary(*length));
    let cut = beginnings.map(|length| &value[..length]).find(|beginning| shown[..end].ends_with(beginning));
    if let Some(beginning) = cut.filter(|_| value.len() >= MIN_ANYWHERE) {
        shown.truncate(end - beginning.len());
        shown.push_str(HIDDEN);
    }
    shown
}
