//! Mistakes of a shell script itself, which keep `ecs.config` from holding what the script seems to write.
//!
//! In: the commands of a script, with what each of them writes. Out: notes. What a function, a loop or another program
//! writes is not known here, and nothing is said about it.

use super::finding::{Note, narrow};
use super::text::{At, config_lines, string};
use crate::agent_variables::find;
use crate::ecs_config::issue::{CLUSTER, Level};

/// Places that look like the agent's file. ecs-init and the agent's unit read `/etc/ecs/ecs.config`, and on Amazon Linux
/// `/var/lib/ecs/ecs.config` (amazon-ecs-init, `ecs.service`).
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
    /// Whether it replaces the file.
    pub(super) replaces: bool,
    /// Where the command begins.
    pub(super) at: At,
}

/// Whether this path ends in the name of the agent's file.
pub(super) fn is_config_file(path: &str) -> bool {
    path == "ecs.config" || path.ends_with("/ecs.config")
}

/// Whether this path is taken for the agent's file and is not.
pub(super) fn is_other_file(path: &str) -> bool {
    OTHER_FILES.contains(&path)
}

/// The writes of a script one after another: a later one may replace what an earlier one wrote, or continue its last line.
pub(super) fn of_writes(writes: &[Write]) -> Vec<Note> {
    let mut notes = Vec::new();
    let names = |write: &Write| config_lines(&write.text).iter().any(|line| is_cluster(&line.text));
    let kept = writes.iter().rposition(|write| write.replaces).unwrap_or(0);
    let lost = writes[..kept].iter().rfind(|write| names(write));
    if let Some(lost) = lost.filter(|_| !writes[kept..].iter().any(names)) {
        let by = writes[kept].at;
        let message = format!("this replaces `ecs.config`, and with it the `{CLUSTER}` of line {}", lost.at.line);
        notes.push(Note::new(by.place(), Level::Error, "no-cluster-named", message).meant(">>"));
    }
    for pair in writes.windows(2) {
        let (Some(last), Some(first)) = (pair[0].text.last(), pair[1].text.first()) else { continue };
        if last.c != '\n' && first.c != '\n' && !pair[1].replaces {
            let message = format!(
                "what is written here has no line break at its end, so that what line {} writes is on the same line",
                pair[1].at.line
            );
            let is_error = names(&pair[0]) || names(&pair[1]);
            let level = if is_error { Level::Error } else { Level::Warning };
            notes.push(Note::new(last.place(), level, "config-unreadable-key", message));
        }
    }
    notes
}

/// What one command writes.
pub(super) fn of_text(text: &[At], is_echo: bool) -> Option<Note> {
    let written = string(text);
    let first = text.iter().find(|at| !at.c.is_whitespace())?;
    if written.trim_start().starts_with('{')
        && serde_json::from_str::<serde_json::Value>(written.trim()).is_ok_and(|json| json.is_object())
    {
        let message =
            "this is JSON, of which the agent reads nothing here; it belongs in `/etc/ecs/ecs.config.json`".to_owned();
        return Some(Note::new(first.place(), Level::Error, "config-wrong-file", message));
    }
    let is_setting = |rest: &str| rest.split_once('=').is_some_and(|(key, _)| find(key.trim()).is_some());
    let break_at = written.match_indices("\\n").find(|(at, _)| is_setting(&written[at + 2..])).filter(|_| is_echo);
    let (at, _) = break_at?;
    let place = text.get(written[..at].chars().count()).unwrap_or(first);
    let message =
        "`echo` of bash writes `\\n` as it is here, so all of it is one setting; use `printf` or `echo -e`".to_owned();
    Some(Note::new(place.place(), Level::Error, "config-value-ignored", message))
}

/// A setting that a command prints, or writes elsewhere.
pub(super) fn of_other_output(text: &[At], file: Option<&str>) -> Option<Note> {
    let lines = config_lines(text);
    let line = lines.iter().find(|line| setting(&line.text).is_some())?;
    let level = if is_cluster(&line.text) { Level::Error } else { Level::Warning };
    let message = match file {
        Some(file) => format!("the agent does not read `{file}`, but `/etc/ecs/ecs.config`"),
        None => "this setting is printed, and written to no file".to_owned(),
    };
    let column = line.columns.first().copied().unwrap_or(1);
    Some(Note::new(narrow(line.line, column), level, "config-wrong-file", message))
}

/// The variable of the agent that a line sets.
pub(super) fn setting(line: &str) -> Option<&'static str> {
    find(line.trim().split_once('=')?.0).map(|variable| variable.name)
}

fn is_cluster(line: &str) -> bool {
    line.trim().split_once('=').is_some_and(|(key, value)| key == CLUSTER && !value.trim().is_empty())
}
