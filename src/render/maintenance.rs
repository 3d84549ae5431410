//! What `prepare-image` and `reset-agent` would do, or have done, as text and as JSON.

use serde_json::{Value, json};

use super::verdict::Document;
use crate::cleanup::{Cleanup, Reset};
use crate::redaction;

/// The version of the JSON documents.
const VERSION: u32 = 1;

/// `prepare-image --json`.
pub fn cleanup_json(cleanup: &Cleanup, obstacles: &[Document], done: bool) -> Value {
    let mut value = merged(json!(cleanup), obstacles, done);
    // `left` is the old name.
    value["not_removed"] = value["left"].clone();
    value
}

/// `reset-agent --json`; `started` is false where the start is queued and has not ended, null where nothing is started.
pub fn reset_json(reset: &Reset, obstacles: &[Document], done: bool, started: Option<bool>) -> Value {
    let mut value = merged(json!(reset), obstacles, done);
    value["started"] = json!(started);
    value
}

fn merged(mut value: Value, obstacles: &[Document], done: bool) -> Value {
    value["version"] = json!(VERSION);
    value["done"] = json!(done);
    value["refusals"] = obstacles.iter().map(|document| json!(document.cause)).collect();
    // The old name.
    value["obstacles"] = value["refusals"].clone();
    redaction::json(value)
}

/// `prepare-image` for people.
pub fn cleanup_text(cleanup: &Cleanup, obstacles: &[Document], done: bool) -> String {
    let mut text = Text::new(done);
    let nothing = cleanup.is_empty() && cleanup.stop.is_none();
    if nothing {
        text.line("nothing to do: no saved state, no log and no line of this instance is here");
    }
    if let Some(unit) = &cleanup.stop {
        text.act("stop", "stopped", unit, "it would write again what must not be in the image");
    }
    if let Some(config) = &cleanup.ecs_config {
        let said = |verb: &str, keys: &[String]| (!keys.is_empty()).then(|| format!("{verb} {}", keys.join(", ")));
        let parts = [said("without", &config.removed), said("as before ecs-bootstrap:", &config.restored)];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        text.act("change", "changed", config.path, &format!("{}; all other lines stay", parts.join("; ")));
    }
    for removal in &cleanup.remove {
        text.act("remove", "removed", &removal.path, &format!("{}: {}", size(removal.bytes), removal.why));
    }
    for left in &cleanup.left {
        text.line(&format!("unknown  {}", left.why));
    }
    text.end(obstacles, &cleanup.hints, &command("prepare-image", cleanup.root.as_deref()), nothing)
}

/// `reset-agent` for people.
pub fn reset_text(reset: &Reset, obstacles: &[Document], done: bool, started: Option<bool>) -> String {
    let mut text = Text::new(done);
    if reset.is_empty() {
        text.line("nothing to do: the agent has no saved state");
    }
    if let Some(unit) = &reset.stop {
        text.act("stop", "stopped", unit, "it must not write while its state is moved");
    }
    if let Some(set_aside) = &reset.set_aside {
        let why = format!("to {} ({}), an empty folder in its place", set_aside.to, size(set_aside.bytes));
        text.act("move", "moved", &set_aside.from, &why);
    }
    if let Some(before) = &reset.was_set_aside {
        text.line(&format!("found    {before}: an interrupted reset has moved the saved state there"));
    }
    match (&reset.start, started) {
        (Some(unit), Some(false)) => text.line(&format!("queued   {unit}: it starts when what it waits for has ended")),
        (Some(unit), _) => text.act("start", "started", unit, "it registers anew; `ecs-bootstrap verify` tells"),
        (None, _) if reset.set_aside.is_some() => text.line("the agent does not run, and is not started"),
        (None, _) => {}
    }
    let hints: &[String] = if reset.set_aside.is_some() { &reset.hints } else { &[] };
    text.end(obstacles, hints, &command("reset-agent", reset.root.as_deref()), reset.is_empty())
}

/// The command as it was given, without `--yes`.
fn command(name: &str, root: Option<&str>) -> String {
    let root = root.map(|root| format!(" --root {}", redaction::shell_word(root))).unwrap_or_default();
    format!("{name}{root}")
}

/// Lines that say what would be done, or what was.
struct Text {
    done: bool,
    text: String,
}

impl Text {
    fn new(done: bool) -> Text {
        Text { done, text: String::new() }
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(&redaction::line(line));
        self.text.push('\n');
    }

    fn act(&mut self, would: &str, did: &str, what: &str, why: &str) {
        let verb = if self.done { format!("{did:8}") } else { format!("would {would:6}") };
        self.line(&format!("{verb} {what}  {why}"));
    }

    fn end(mut self, obstacles: &[Document], hints: &[String], command: &str, nothing: bool) -> String {
        for cause in obstacles.iter().filter_map(|document| document.cause.as_ref()) {
            self.line(&format!("in the way: [{}] {}", cause.id, cause.title));
            for seen in &cause.evidence {
                self.line(&format!("seen: {seen}"));
            }
            self.line(&format!("remedy: {}", cause.remedy));
        }
        for hint in hints {
            self.line(&format!("hint: {hint}"));
        }
        if !self.done && !nothing {
            self.line(&format!("nothing is changed yet; `ecs-bootstrap {command} --yes` does it"));
        }
        self.text
    }
}

fn size(bytes: Option<u64>) -> String {
    match bytes {
        None => "of unknown size".to_owned(),
        Some(bytes @ 0..1024) => format!("{bytes} B"),
        Some(bytes @ 1024..1_048_576) => format!("{} KiB", bytes.div_ceil(1024)),
        Some(bytes) => format!("{} MiB", bytes.div_ceil(1_048_576)),
    }
}
