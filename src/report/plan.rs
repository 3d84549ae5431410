//! A plan as text (with a diff of `ecs.config`) and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};

use crate::ecs_config::read;
use crate::plan::{Action, ECS_CONFIG, Plan};
use crate::settings::{Warning, agent_variables};

/// The version of the JSON document.
const VERSION: u32 = 1;
/// Of more lines no difference is computed, which would take time by the square of their number.
const MOST_LINES: usize = 5000;

/// `plan --json`: see README "JSON".
pub fn plan_json(plan: &Plan) -> Value {
    let config = &plan.ecs_config;
    let keys: Vec<Value> = config
        .keys
        .iter()
        .map(|key| {
            let value = agent_variables::redact(&key.key, &key.value);
            json!({ "key": key.key, "value": value, "source": key.source })
        })
        .collect();
    json!({
        "version": VERSION,
        "cluster": plan.cluster,
        "ecs_config": {
            "path": ECS_CONFIG,
            "text": redacted(&config.new),
            "changed": config.changed(),
            "keys": keys,
            "removed": config.removed,
        },
        "units": plan.units,
        "enable": plan.enable,
        "warnings": plan.warnings,
    })
}

/// The same for people.
pub fn plan_text(plan: &Plan) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let mut line = |line: String| text.push_str(&format!("{line}\n"));
    match &plan.cluster {
        Some(cluster) => line(format!("cluster     {}  ({})", cluster.value, cluster.source)),
        None => line("cluster     undecided: user data may still name one".to_owned()),
    }
    let config = &plan.ecs_config;
    line(format!("ecs.config  {ECS_CONFIG}, {}", if config.changed() { "to be written" } else { "unchanged" }));
    let width = config.keys.iter().map(|key| key.key.len()).max().unwrap_or(0);
    for key in &config.keys {
        let value = agent_variables::redact(&key.key, &key.value);
        line(format!("  {:width$}  {value}  ({})", key.key, key.source));
    }
    for key in &config.removed {
        line(format!("  {key:width$}  removed: an earlier run wrote it, and nothing asks for it any more"));
    }
    for unit in &plan.units {
        let action = match unit.action {
            Action::Start => "start",
            Action::Restart => "restart",
            Action::Leave => "leave",
            Action::Unknown => "unknown",
        };
        line(format!("unit        {}: {action}, {}", unit.unit, unit.why));
    }
    for unit in &plan.enable {
        line(format!("unit        {unit}: enable for the next boot"));
    }
    if config.changed() {
        text.push('\n');
        text.push_str(&diff(config.old.as_deref().unwrap_or_default(), &config.new));
    }
    text
}

/// One line a warning, for stderr.
pub fn warning_line(warning: &Warning) -> String {
    match &warning.source {
        Some(source) => format!("warning: [{}] {} ({source})", warning.id, warning.text),
        None => format!("warning: [{}] {}", warning.id, warning.text),
    }
}

/// The file's text without secrets, whoever wrote them. A secret may go on over lines that no reader takes for it, so
/// they are hidden up to the next assignment.
fn redacted(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown = String::with_capacity(text.len());
    let mut goes_on = false;
    for line in text.split_inclusive('\n') {
        let end = &line[line.trim_end_matches(['\r', '\n']).len()..];
        // As ecs-init reads it, so that what it takes for a key is what is looked up.
        let assignment = read(line.as_bytes()).into_iter().next().filter(|found| !goes_on || is_name(&found.key));
        match assignment {
            Some(assignment) => {
                let value = agent_variables::redact(&assignment.key, &assignment.value);
                goes_on = agent_variables::is_secret(&assignment.key) && is_open(&assignment.value);
                if value == assignment.value {
                    shown.push_str(line);
                } else {
                    shown.push_str(&format!("{}={value}{end}", assignment.key));
                }
            }
            None if goes_on && !line.trim().is_empty() => shown.push_str(&format!("<redacted>{end}")),
            None => shown.push_str(line),
        }
    }
    shown
}

/// Whether this is the name of a variable, and not a piece of a value that has an `=` in it.
fn is_name(key: &str) -> bool {
    let key = key.trim_start_matches("export ").trim();
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether the author of this value went on with it on the next line.
fn is_open(value: &str) -> bool {
    let value = value.trim();
    let closed = |quote: char| value.len() > 1 && value.ends_with(quote);
    match value.chars().next() {
        Some(quote @ ('\'' | '"')) => !closed(quote),
        Some('{' | '[') => serde_json::from_str::<serde::de::IgnoredAny>(value).is_err(),
        _ => value.ends_with('\\'),
    }
}

fn diff(old: &[u8], new: &[u8]) -> String {
    let (old, new) = (redacted(old), redacted(new));
    let lines = old.lines().count().max(new.lines().count());
    if lines > MOST_LINES {
        return format!("{ECS_CONFIG} has {lines} lines, which are too many to show how they change\n");
    }
    let diff = TextDiff::from_lines(&old, &new);
    let mut text = format!("--- {ECS_CONFIG}\n+++ {ECS_CONFIG} (planned)\n");
    for change in diff.iter_all_changes() {
        let sign = match change.tag() {
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
            ChangeTag::Equal => ' ',
        };
        let shown: String = change
            .value()
            .trim_end_matches(['\r', '\n'])
            .chars()
            .map(|c| if c.is_control() { '\u{fffd}' } else { c })
            .collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{sign}{shown}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_leaves_in_the_text_of_the_file() {
        let file = b"# mine\nECS_ENGINE_AUTH_DATA={\"x\":{\"password\":\"hunter2\"}}\r\nHTTP_PROXY=http://u:hunter2@proxy:3128\nECS_CLUSTER=prod\n";
        let text = redacted(file);
        assert!(!text.contains("hunter2"), "{text}");
        insta::assert_snapshot!(text, @r"
        # mine
        ECS_ENGINE_AUTH_DATA=<redacted>
        HTTP_PROXY=http://<redacted>@proxy:3128
        ECS_CLUSTER=prod
        ");
    }

    #[test]
    fn a_secret_that_goes_on_over_lines_is_hidden_to_its_end() {
        let file = b"ECS_ENGINE_AUTH_DATA='{\n  \"r\": {\"password\": \"hunter2\",\n\n  \"auth\": \"aHVudGVyMg==\"}\n}'\r\n# mine\nECS_CLUSTER=prod\n";
        insta::assert_snapshot!(redacted(file).replace('\r', ""), @r"
        ECS_ENGINE_AUTH_DATA=<redacted>
        <redacted>

        <redacted>
        <redacted>
        <redacted>
        ECS_CLUSTER=prod
        ");
        assert_eq!(redacted(b"ECS_ENGINE_AUTH_DATA={}\n# mine\n"), "ECS_ENGINE_AUTH_DATA=<redacted>\n# mine\n");
    }
}
