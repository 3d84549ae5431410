//! `ecs.config` itself, as other writers leave it.
//!
//! In: lines of `payload`. Out: rows.

use crate::payload;
use crate::row::{Ends, JOINS, Row, SETTINGS};

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, line) in payload::secret_lines() {
        let text = format!("# by hand\nECS_LOGLEVEL=warn\n{line}");
        rows.push(Row::new(format!("ecs.config/{name}"), ends(name), move |instance| instance.ecs_config(&text)));
    }
    for (name, line) in payload::odd_lines() {
        let bytes = [b"# by hand\nECS_CLUSTER=prod\n".to_vec(), line].concat();
        rows.push(Row::new(format!("ecs.config/{name}"), ends(name), move |instance| instance.ecs_config(&bytes)));
    }
    rows
}

fn ends(name: &str) -> Ends {
    match name {
        "unknown" => Ends::all(SETTINGS),
        _ => JOINS,
    }
}
