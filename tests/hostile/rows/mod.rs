//! The table: which input holds what, and how the commands end then. To add a row, see `CONTRIBUTING.md`.
//!
//! An input that takes any text is a [`TextInput`]: it becomes one row for each kind of text. What takes one odd shape only is
//! a row of its own.

mod checked;
mod config;
mod files;
mod local;
mod metadata;
mod services;
mod settings;
mod shapes;

use crate::payload;
use crate::row::{ExpectedCodes, Row};
use crate::support::Instance;

pub fn all() -> Vec<Row> {
    [
        checked::rows(),
        config::rows(),
        files::rows(),
        local::rows(),
        metadata::rows(),
        services::rows(),
        settings::rows(),
        shapes::rows(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// An input that takes any text.
struct TextInput {
    name: &'static str,
    plant: fn(Instance, &str) -> Instance,
    /// With a secret in it, with text that a terminal obeys, and with too much.
    expected: [ExpectedCodes; 3],
    /// How much is too much; 0 where the input has a bound of its own.
    long: usize,
    /// How long `verify` may take, where that is longer than elsewhere; then fewer commands are tried.
    seconds: Option<u64>,
}

const MIB: usize = 1 << 20;

/// Ends alike whatever the text is.
fn text_input(name: &'static str, expected: ExpectedCodes, plant: fn(Instance, &str) -> Instance) -> TextInput {
    TextInput { name, plant, expected: [expected; 3], long: MIB, seconds: None }
}

impl TextInput {
    fn long(self, long: usize) -> TextInput {
        TextInput { long, ..self }
    }

    fn expected(self, expected: [ExpectedCodes; 3]) -> TextInput {
        TextInput { expected, ..self }
    }

    fn seconds(self, seconds: u64) -> TextInput {
        TextInput { seconds: Some(seconds), ..self }
    }

    fn rows(self) -> Vec<Row> {
        let TextInput { name, plant, expected, long, seconds } = self;
        let mut rows = vec![
            Row::new(format!("{name}/secret"), expected[0], move |instance| plant(instance, payload::SECRET)),
            Row::new(format!("{name}/escapes"), expected[1], move |instance| plant(instance, payload::ESCAPES)).brief(),
        ];
        if long > 0 {
            let row =
                Row::new(format!("{name}/long"), expected[2], move |instance| plant(instance, &payload::long(long)));
            rows.push(row.brief());
        }
        match seconds {
            Some(seconds) => rows.into_iter().map(|row| Row { seconds, ..row.brief() }).collect(),
            None => rows,
        }
    }
}

/// A text in quotes, as JSON and TOML have it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
