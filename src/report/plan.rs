//! A plan as text (with a diff of `ecs.config`) and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};

use crate::ecs_config::read;
use crate::plan::{Action, ECS_CONFIG, Plan};
use crate::settings::{Warning, agent_variables};

/// The version of the JSON document.
const VERSION: u32 = 1;

/// `plan --json`: see DESIGN "The interface".
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

/// The file's text without secrets, whoever wrote them.
fn redacted(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        // As ecs-init reads it, so that what it takes for a key is what is looked up.
        match read(line.as_bytes()).into_iter().next() {
            Some(assignment) => {
                let value = agent_variables::redact(&assignment.key, &assignment.value);
                if value == assignment.value {
                    shown.push_str(line);
                } else {
                    let end = &line[line.trim_end_matches(['\r', '\n']).len()..];
                    shown.push_str(&format!("{}={value}{end}", assignment.key));
                }
            }
            None => shown.push_str(line),
        }
    }
    shown
}

fn diff(old: &[u8], new: &[u8]) -> String {
    let (old, new) = (redacted(old), redacted(new));
    let diff = TextDiff::from_lines(&old, &new);
    let mut text = format!("--- {ECS_CONFIG}\n+++ {ECS_CONFIG} (planned)\n");
    for change in diff.iter_all_changes() {
        let sign = match change.tag() {
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
            ChangeTag::Equal => ' ',
        };
        let shown: String =
            change.value().trim_end_matches(['\r', '\n']).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
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
}
