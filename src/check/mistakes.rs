//! Finds mistakes of a shell script because of which `ecs.config` does not contain what the script seems to write.
//!
//! In: the text that each command of a script writes. Out: notes. The output of functions, loops and other programs is
//! not known here and is not checked.

use super::finding::{CheckNote, narrow};
use super::text::{At, config_lines, string};
use crate::agent_variables::find;
use crate::ecs_config::issue::{CLUSTER_KEY, Level};

/// Paths that are often mistaken for the agent's file. ecs-init and the agent's unit read `/etc/ecs/ecs.config`, and on
/// Amazon Linux also `/var/lib/ecs/ecs.config` (amazon-ecs-init, `ecs.service`).
const OTHER_FILES: [&str; 12] = [
    "/etc/ecs.config",
    "/etc/ecs.conf",
    "/etc/ecs/config",
    "/etc/ecs/ecs/config",
    "/etc/ecs/ecs.conf",
    "/etc/ecs/ecs.cfg",
    "/etc/ecs/ecs-config",
    "/etc/ecs/ecs_config",
    "/etc/ecs/ecsconfig",
    "/etc/ecs/ecs.configs",
    "/etc/ecs/ecs.config.conf",
    "/etc/ecs/ecs.config.txt",
];

/// One write to the agent's file.
pub(super) struct Write {
    pub(super) text: Vec<At>,
    /// Whether it replaces the file and does not append to it.
    pub(super) replaces: bool,
    /// Where the command begins.
    pub(super) at: At,
}

/// Whether this path ends with the name of the agent's file.
pub(super) fn is_config_file(path: &str) -> bool {
    path == "ecs.config" || path.ends_with("/ecs.config")
}

/// Whether this path is often mistaken for the agent's file.
pub(super) fn is_other_file(path: &str) -> bool {
    OTHER_FILES.contains(&path)
}

/// Checks the writes of a script in their order: a later one may replace the file, or continue the last line.
pub(super) fn of_writes(writes: &[Write]) -> Vec<CheckNote> {
    let mut notes = Vec::new();
    let names = |write: &Write| config_lines(&write.text).iter().any(|line| is_cluster(&line.text));
    let kept = writes.iter().rposition(|write| write.replaces).unwrap_or(0);
    let lost = writes[..kept].iter().rfind(|write| names(write));
    if let Some(lost) = lost.filter(|_| !writes[kept..].iter().any(names)) {
        let by = writes[kept].at;
        let message =
            format!("this replaces `ecs.config` and so removes the `{CLUSTER_KEY}` that line {} wrote", lost.at.line);
        notes.push(CheckNote::new(by.place(), Level::Error, "no-cluster-named", message).meant(">>"));
    }
    for pair in writes.windows(2) {
        let (Some(last), Some(first)) = (pair[0].text.last(), pair[1].text.first()) else { continue };
        if last.c != '\n' && first.c != '\n' && !pair[1].replaces {
            let message = format!(
                "this text has no line break at its end, so the text that line {} writes is on the same line",
                pair[1].at.line
            );
            let is_error = names(&pair[0]) || names(&pair[1]);
            let level = if is_error { Level::Error } else { Level::Warning };
            notes.push(CheckNote::new(last.place(), level, "config-unreadable-key", message));
        }
    }
    notes
}

/// Checks the text that one command writes.
pub(super) fn of_text(text: &[At], is_echo: bool) -> Option<CheckNote> {
    let written = string(text);
    let first = text.iter().find(|at| !at.c.is_whitespace())?;
    if written.trim_start().starts_with('{')
        && serde_json::from_str::<serde_json::Value>(written.trim()).is_ok_and(|json| json.is_object())
    {
        let message =
            "this is JSON, and the agent does not read JSON here; move it to `/etc/ecs/ecs.config.json`".to_owned();
        return Some(CheckNote::new(first.place(), Level::Error, "config-wrong-file", message));
    }
    let is_setting = |rest: &str| rest.split_once('=').is_some_and(|(key, _)| find(key.trim()).is_some());
    let break_at = written.match_indices("\\n").find(|(at, _)| is_setting(&written[at + 2..])).filter(|_| is_echo);
    let (at, _) = break_at?;
    let place = text.get(written[..at].chars().count()).unwrap_or(first);
    let message =
        "`echo` of bash writes `\\n` unchanged, so all of it is one setting; use `printf` or `echo -e`".to_owned();
    Some(CheckNote::new(place.place(), Level::Error, "config-value-ignored", message))
}

/// Checks the text that a command prints, or writes to another file: a setting in it has no effect.
pub(super) fn of_other_output(text: &[At], file: Option<&str>) -> Option<CheckNote> {
    let lines = config_lines(text);
    let line = lines.iter().find(|line| setting(&line.text).is_some())?;
    let level = if is_cluster(&line.text) { Level::Error } else { Level::Warning };
    let message = match file {
        Some(file) => format!("the agent does not read `{file}`; it reads `/etc/ecs/ecs.config`"),
        None => "this setting is printed and not written to a file".to_owned(),
    };
    let column = line.columns.first().copied().unwrap_or(1);
    Some(CheckNote::new(narrow(line.line, column), level, "config-wrong-file", message))
}

/// The variable of the agent that this line sets.
pub(super) fn setting(line: &str) -> Option<&'static str> {
    find(line.trim().split_once('=')?.0).map(|variable| variable.name)
}

fn is_cluster(line: &str) -> bool {
    line.trim().split_once('=').is_some_and(|(key, value)| key == CLUSTER_KEY && !value.trim().is_empty())
}
