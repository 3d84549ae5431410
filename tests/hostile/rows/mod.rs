//! The table of hostile inputs, and the exit codes that are expected for each. To add a row, see
//! `docs/contributing/testing.md`.
//!
//! An input that can hold any text is a [`TextInput`]. It becomes one row for each kind of text. An input of one
//! unusual form is a single row.

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

/// An input that can hold any text.
struct TextInput {
    name: &'static str,
    plant: fn(Instance, &str) -> Instance,
    /// For a secret, for terminal control sequences, and for a very long text.
    expected: [ExpectedCodes; 3],
    /// Bytes of the very long text; 0 if the input itself is limited in length (a file name).
    long: usize,
    /// The deadline of `verify`, if it differs from the default. Such a row runs only the commands of `BRIEF`.
    seconds: Option<u64>,
}

const MIB: usize = 1 << 20;

/// An input with the same expected exit codes for every text.
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

/// The text as a quoted string of JSON and TOML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
