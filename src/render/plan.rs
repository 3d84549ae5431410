//! The output of `plan`: the plan as text, with a diff of `ecs.config`, and as JSON; and warnings as text.

use std::fmt::Write;

use serde::Serialize;
use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};

use crate::ecs_config::shown;
use crate::plan::{Action, ECS_CONFIG, Plan, ReadyConditions};
use crate::redaction::{self, MAX_LINES};
use crate::settings::{AtDeadline, Daemons, Warning};

/// The version of the JSON document.
const VERSION: u32 = 1;
/// No diff is made of more lines, because it takes time in proportion to the square of their number.
const MAX_LINES_SHOWN: usize = 5000;
/// The most keys that are shown. A plan seldom has more.
const MAX_KEYS: usize = 32;
/// The most bytes of `ecs.config` in JSON, and of the warnings.
const MAX_BYTES: usize = 4 << 10;

/// The document of `plan --json` (`docs/reference/json.md`).
pub fn plan_json(plan: &Plan) -> Value {
    let config = &plan.ecs_config;
    let keys: Vec<Value> = config
        .keys
        .iter()
        .take(MAX_KEYS)
        .map(|key| {
            let value = redaction::variable(&key.key, &key.value);
            json!({ "key": key.key, "value": value, "source": key.source })
        })
        .collect();
    let text = redaction::text(&shown(&config.new));
    let lines = redaction::at_most(MAX_BYTES, text.lines(), |line| line.len());
    let warnings = redaction::at_most(MAX_BYTES, &plan.warnings, |warning| warning.text.len());
    let mut document = json!({
        "version": VERSION,
        "cluster": plan.cluster,
        "ecs_config": {
            "path": ECS_CONFIG,
            "text": text,
            "lines": lines,
            "changed": config.changed(),
            "keys": keys,
            "lines_not_shown": config.new.split(|byte| *byte == b'\n').count().saturating_sub(lines.len() + 1),
            "keys_not_shown": config.keys.len().saturating_sub(MAX_KEYS),
            "removed": config.removed.iter().take(MAX_KEYS).collect::<Vec<_>>(),
        },
        "units": plan.units,
        "enable": plan.enable,
        "early": plan.early,
        "warnings": warnings,
    });
    if let Some(ready) = &plan.expectation.ready {
        document["ready"] = json!({
            "daemons": ready.daemons,
            "deadline_s": ready.deadline.as_secs(),
            "at_deadline": ready.at_deadline,
        });
        if !ready.attributes.is_empty() {
            document["ready"]["attributes"] = json!(ready.attributes);
        }
        if !ready.images.is_empty() {
            document["ready"]["images"] = json!(ready.images);
        }
    }
    if !plan.expectation.start_tasks.is_empty() {
        document["start_tasks"] = json!(plan.expectation.start_tasks);
    }
    if let Some(follow) = &plan.expectation.follow {
        document["follow"] = json!({"keys": follow.keys});
    }
    if let Some(watch) = &plan.expectation.watch {
        document["watch"] = json!({"window_s": watch.window.as_secs(), "restarts_agent": watch.restarts_agent});
    }
    redaction::json(document)
}

/// The IAM policy document of `plan --iam`.
pub fn policy_json(statements: &impl Serialize) -> Value {
    redaction::json(json!({"Version": "2012-10-17", "Statement": statements}))
}

/// The text of `plan`.
pub fn plan_text(plan: &Plan) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let mut line = |line: String| text.push_str(&format!("{}\n", redaction::line(&line)));
    match &plan.cluster {
        Some(cluster) => line(format!("cluster     {}  ({})", cluster.value, cluster.source)),
        None => line("cluster     undecided: user data may still name one".to_owned()),
    }
    let config = &plan.ecs_config;
    line(format!("ecs.config  {ECS_CONFIG}, {}", if config.changed() { "to be written" } else { "unchanged" }));
    let width = config.keys.iter().map(|key| key.key.len()).max().unwrap_or(0).min(64);
    for key in config.keys.iter().take(MAX_KEYS) {
        let value = redaction::variable(&key.key, &key.value);
        line(format!("  {:width$}  {value}  ({})", key.key, key.source));
    }
    if let Some(more) = config.keys.len().checked_sub(MAX_KEYS + 1) {
        line(format!("  {} more keys are not shown", more + 1));
    }
    for key in config.removed.iter().take(MAX_KEYS) {
        line(format!("  {key:width$}  removed: an earlier run wrote it, and no setting asks for it now"));
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
    if let Some(early) = &plan.early {
        let when = if early.starts {
            "the agent may start before user data has ended"
        } else {
            "the agent waits for user data"
        };
        line(format!("early       {when}: {}", early.why));
    }
    if let Some(ready) = &plan.expectation.ready {
        let then = match ready.at_deadline {
            AtDeadline::Fail => "then it fails",
            AtDeadline::Allow => "then it is ready without them",
        };
        let limit = humantime::format_duration(ready.deadline);
        line(format!("ready       {}; waits at most {limit}, {then}", conditions(ready)));
    }
    if !plan.expectation.start_tasks.is_empty() {
        line(format!(
            "tasks       started on this instance when it is ready: {}",
            plan.expectation.start_tasks.join(", ")
        ));
    }
    if let Some(follow) = &plan.expectation.follow {
        let keys: Vec<&str> = follow.keys.iter().map(String::as_str).collect();
        line(format!("follow      the attributes {} follow the tags", keys.join(", ")));
    }
    if let Some(watch) = &plan.expectation.watch {
        let limit = humantime::format_duration(watch.window);
        let restarts = if watch.restarts_agent { "; restarts an agent that is stuck once" } else { "" };
        line(format!("watch       reports a fault of the agent that lasts for {limit}{restarts}"));
    }
    if config.changed() {
        text.push('\n');
        text.push_str(&diff(config.old.as_deref().unwrap_or_default(), &config.new));
    }
    text
}

/// The conditions of `ready.*`, as text.
fn conditions(ready: &ReadyConditions) -> String {
    let daemons = match &ready.daemons {
        Daemons::None => None,
        Daemons::Named(names) => Some(format!("the daemons {} must run before tasks are allowed", names.join(", "))),
        Daemons::All => Some("all daemons of the cluster must run before tasks are allowed".to_owned()),
    };
    let named = ready.attributes.named.iter().map(|(name, value)| match value {
        Some(value) => format!("{name}={value}"),
        None => name.clone(),
    });
    let attributes: Vec<String> = ready.attributes.auto.then(|| "auto".to_owned()).into_iter().chain(named).collect();
    let attributes = (!attributes.is_empty()).then(|| format!("needs the attributes {}", attributes.join(", ")));
    let of_services = ready.images.of_services.iter().map(|service| format!("those of the service {service}"));
    let images: Vec<String> = ready.images.named.iter().cloned().chain(of_services).collect();
    let before = if ready.images.holds_registration { " before the agent starts" } else { "" };
    let images = (!images.is_empty()).then(|| format!("needs the images {}{before}", images.join(", ")));
    daemons.into_iter().chain(attributes).chain(images).collect::<Vec<_>>().join("; ")
}

/// The warnings for stderr, one line each.
pub fn warning_lines(warnings: &[Warning]) -> String {
    let mut text: String = warnings.iter().take(MAX_LINES).map(|warning| warning_line(warning) + "\n").collect();
    if let Some(more) = warnings.len().checked_sub(MAX_LINES + 1) {
        text.push_str(&format!("warning: {} more warnings are not shown\n", more + 1));
    }
    text
}

fn warning_line(warning: &Warning) -> String {
    let source = warning.source.as_ref().map(|source| format!(" ({source})")).unwrap_or_default();
    format!("warning: [{}] {}", warning.id(), redaction::line(&format!("{}{source}", warning.text)))
}

fn diff(old: &[u8], new: &[u8]) -> String {
    let (old, new) = (shown(old), shown(new));
    let lines = old.lines().count().max(new.lines().count());
    if lines > MAX_LINES_SHOWN {
        return format!("{ECS_CONFIG} has {lines} lines; a diff is shown for at most {MAX_LINES_SHOWN}\n");
    }
    let diff = TextDiff::from_lines(&old, &new);
    let mut text = format!("--- {ECS_CONFIG}\n+++ {ECS_CONFIG} (planned)\n");
    for change in diff.iter_all_changes() {
        let sign = match change.tag() {
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
            ChangeTag::Equal => ' ',
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{sign}{}", change.value().trim_end_matches(['\r', '\n']));
    }
    redaction::text(&text)
}
