//! The output of `prepare-image` and `reset-agent`: what they would do, or what they did; as text and as JSON.

use serde_json::{Value, json};

use super::verdict::VerdictDocument;
use crate::cleanup::{Cleanup, Reset};
use crate::redaction;

/// The version of the JSON documents.
const VERSION: u32 = 1;

/// The document of `prepare-image --json`.
pub fn cleanup_json(cleanup: &Cleanup, refusals: &[VerdictDocument], done: bool) -> Value {
    let mut value = with_common_fields(json!(cleanup), refusals, done);
    // `left` is the deprecated name.
    value["not_removed"] = value["left"].clone();
    value
}

/// The document of `reset-agent --json`. `started` is false if the start is only queued, and null if the agent is not
/// started.
pub fn reset_json(reset: &Reset, refusals: &[VerdictDocument], done: bool, started: Option<bool>) -> Value {
    let mut value = with_common_fields(json!(reset), refusals, done);
    value["started"] = json!(started);
    value
}

fn with_common_fields(mut value: Value, refusals: &[VerdictDocument], done: bool) -> Value {
    value["version"] = json!(VERSION);
    value["done"] = json!(done);
    value["refusals"] = refusals.iter().map(|document| json!(document.cause)).collect();
    // The deprecated name.
    value["obstacles"] = value["refusals"].clone();
    redaction::json(value)
}

/// The text of `prepare-image`.
pub fn cleanup_text(cleanup: &Cleanup, refusals: &[VerdictDocument], done: bool) -> String {
    let mut text = RenderedText::new(done);
    let has_nothing_to_do = cleanup.is_empty() && cleanup.stop.is_none();
    if has_nothing_to_do {
        text.line("nothing to do: there is no saved state, no log and no configuration of this instance");
    }
    if let Some(unit) = &cleanup.stop {
        text.step("stop", "stopped", unit, "it would write files that must not be in the image");
    }
    if let Some(config) = &cleanup.ecs_config {
        let part = |label: &str, keys: &[String]| (!keys.is_empty()).then(|| format!("{label} {}", keys.join(", ")));
        let parts = [part("without", &config.removed), part("as before ecs-bootstrap:", &config.restored)];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        text.step("change", "changed", config.path, &format!("{}; all other lines stay", parts.join("; ")));
    }
    for removal in &cleanup.remove {
        text.step("remove", "removed", &removal.path, &format!("{}: {}", size(removal.bytes), removal.why));
    }
    for left in &cleanup.left {
        text.line(&format!("unknown  {}", left.why));
    }
    text.end(refusals, &cleanup.hints, &command("prepare-image", cleanup.root.as_deref()), has_nothing_to_do)
}

/// The text of `reset-agent`.
pub fn reset_text(reset: &Reset, refusals: &[VerdictDocument], done: bool, started: Option<bool>) -> String {
    let mut text = RenderedText::new(done);
    if reset.is_empty() {
        text.line("nothing to do: the agent has no saved state");
    }
    if let Some(unit) = &reset.stop {
        text.step("stop", "stopped", unit, "it must not write while its saved state is moved");
    }
    if let Some(set_aside) = &reset.set_aside {
        let where_to = format!("to {} ({}); an empty folder replaces it", set_aside.to, size(set_aside.bytes));
        text.step("move", "moved", &set_aside.from, &where_to);
    }
    if let Some(earlier) = &reset.was_set_aside {
        text.line(&format!("found    {earlier}: an interrupted reset has moved the saved state there"));
    }
    match (&reset.start, started) {
        (Some(unit), Some(false)) => text.line(&format!("queued   {unit}: it starts after the units before it")),
        (Some(unit), _) => {
            let next = "it registers as a new container instance; check with `ecs-bootstrap verify`";
            text.step("start", "started", unit, next);
        }
        (None, _) if reset.set_aside.is_some() => text.line("the agent does not run, and is not started"),
        (None, _) => {}
    }
    text.end(refusals, &reset.hints, &command("reset-agent", reset.root.as_deref()), reset.is_empty())
}

/// The command with its `--root`, as a user can copy it.
fn command(name: &str, root: Option<&str>) -> String {
    let root = root.map(|root| format!(" --root {}", redaction::shell_word(root))).unwrap_or_default();
    format!("{name}{root}")
}

/// Lines in the form "would remove PATH" or "removed PATH".
struct RenderedText {
    done: bool,
    text: String,
}

impl RenderedText {
    fn new(done: bool) -> RenderedText {
        RenderedText { done, text: String::new() }
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(&redaction::line(line));
        self.text.push('\n');
    }

    fn step(&mut self, verb: &str, past_verb: &str, object: &str, reason: &str) {
        let verb = if self.done { format!("{past_verb:8}") } else { format!("would {verb:6}") };
        self.line(&format!("{verb} {object}  {reason}"));
    }

    fn end(mut self, refusals: &[VerdictDocument], hints: &[String], command: &str, has_nothing_to_do: bool) -> String {
        for cause in refusals.iter().filter_map(|document| document.cause.as_ref()) {
            self.line(&format!("refused: [{}] {}", cause.id, cause.title));
            for line in &cause.evidence {
                self.line(&format!("seen: {line}"));
            }
            self.line(&format!("remedy: {}", cause.remedy));
        }
        for hint in hints {
            self.line(&format!("hint: {hint}"));
        }
        if !self.done && !has_nothing_to_do {
            self.line(&format!("nothing is changed yet; to do all of this, run `ecs-bootstrap {command} --yes`"));
        }
        self.text
    }
}

fn size(bytes: Option<u64>) -> String {
    match bytes {
        None => "unknown size".to_owned(),
        Some(bytes @ 0..1024) => format!("{bytes} B"),
        Some(bytes @ 1024..1_048_576) => format!("{} KiB", bytes.div_ceil(1024)),
        Some(bytes) => format!("{} MiB", bytes.div_ceil(1_048_576)),
    }
}
