//! Hostile lines in `ecs.config`, as other writers leave them.
//!
//! In: lines of `payload`. Out: rows.

use crate::payload;
use crate::row::{ExpectedCodes, JOINS, Row, SETTINGS};

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, line) in payload::secret_lines() {
        let text = format!("# by hand\nECS_LOGLEVEL=warn\n{line}");
        rows.push(Row::new(format!("ecs.config/{name}"), expected(name), move |instance| instance.ecs_config(&text)));
    }
    for (name, line) in payload::odd_lines() {
        let bytes = [b"# by hand\nECS_CLUSTER=prod\n".to_vec(), line].concat();
        rows.push(Row::new(format!("ecs.config/{name}"), expected(name), move |instance| instance.ecs_config(&bytes)));
    }
    rows
}

fn expected(name: &str) -> ExpectedCodes {
    /// The agent or the checks of ecs-bootstrap may refuse the value.
    const WRONG: &[i32] = &[0, 20];
    match name {
        // systemd ignores a whole file if one assignment is not UTF-8.
        "c1-bytes" => ExpectedCodes::all(SETTINGS).clean(WRONG),
        "json-not-allowed" | "run-together-json" => ExpectedCodes::verify(SETTINGS).plan(WRONG),
        "value-not-allowed" | "number-not-allowed" | "list-not-allowed" | "region-not-allowed" | "auth-not-json"
        | "run-together-other" | "trailing-comment" => ExpectedCodes::verify(WRONG).plan(WRONG),
        "only-carriage-returns" => JOINS.clean(WRONG),
        _ => JOINS,
    }
}
