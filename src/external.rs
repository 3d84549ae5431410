//! Recognizes the agent of ECS Anywhere, which runs outside of EC2 or is configured so.
//!
//! In: `ecs.config`, or the variables of the agent. Out: the refusal to make a plan for it. Such a host has no instance
//! metadata, no instance role and no tags, so nothing that ecs-bootstrap does can work there.

use std::collections::BTreeMap;

use crate::ecs_config::{effective, read};
use crate::facts::ConfigFile;
use crate::plan::Refusal;
use crate::settings::{Secret, Sourced};

const KEY: &str = "ECS_EXTERNAL";

/// The refusal, if the last of these files that sets the variable sets it to true. It is known before the first request, so
/// that a host without metadata does not wait for it.
pub fn in_files(files: [(&str, &ConfigFile); 2]) -> Option<Refusal> {
    let set = |(path, file): (&str, &ConfigFile)| {
        let bytes = file.bytes.as_deref()?;
        // Most files do not have it, and a search is faster than a parse.
        bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes()).then_some(())?;
        effective(&read(bytes)).get(KEY).map(|line| (line.value.clone(), path.to_owned()))
    };
    let (value, place) = files.into_iter().rev().find_map(set)?;
    refusal(&value, &place)
}

/// The refusal, if any source sets the variable to true.
pub fn in_variables(agent: &BTreeMap<String, Sourced<Secret>>) -> Option<Refusal> {
    let set = agent.get(KEY)?;
    refusal(set.value.expose(), &set.source.to_string())
}

/// Whether the agent reads a value as true: as Go's strconv.ParseBool (`agent/config/parse.go`).
pub fn is_external(value: &str) -> bool {
    matches!(value.trim(), "1" | "t" | "T" | "true" | "TRUE" | "True")
}

fn refusal(value: &str, place: &str) -> Option<Refusal> {
    is_external(value).then(|| Refusal::External { seen: format!("{KEY} is `{value}` ({place})") })
}
