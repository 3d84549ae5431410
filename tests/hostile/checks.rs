//! What must hold of everything that leaves the product, whatever was planted.
//!
//! In: outputs and files. Out: what is wrong, with the output, the offending bytes and their surroundings.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::commands::{BUNDLE, CONFIG, unpacked};
use crate::payload::{MARKS, WAIT_URL};
use crate::support::{Instance, Outcome};

const LONGEST_LINE: usize = 1024;
/// How the report of a longer one begins.
pub const LONG_LINE: &str = "a line of";
const MOST_OUTPUT: usize = 20_000;
const MOST_SEEN: usize = 20;
/// Files of the harness, of the simulators, and the one file that may hold a secret.
const NOT_OURS: [&str; 9] = [
    CONFIG,
    BUNDLE,
    "home/measured",
    "dev/console",
    "var/log/ecs/ecs-agent.log",
    "var/log/ecs/ecs-init.log",
    "run/docker.sock",
    "run/notify",
    "run/systemd/journal/socket",
];
/// A larger file was planted, and nothing of ours is.
const LONGEST_FILE: u64 = 4 << 20;

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wrong {
    pub command: String,
    pub output: String,
    pub what: String,
}

impl Wrong {
    pub fn new(output: &str, what: String) -> Wrong {
        Wrong { command: String::new(), output: output.to_owned(), what }
    }

    pub fn of(self, command: &str) -> Wrong {
        Wrong { command: command.to_owned(), ..self }
    }
}

/// Both streams and the exit code of a command.
pub fn outcome(outcome: &Outcome, arguments: &[String]) -> Vec<Wrong> {
    let is_json = arguments.iter().any(|word| word == "--json");
    let is_check = arguments.first().is_some_and(|word| word == "check");
    let mut wrong = [text("stdout", &outcome.stdout), text("stderr", &outcome.stderr)].concat();
    let length = outcome.stdout.len() + outcome.stderr.len();
    if length > MOST_OUTPUT {
        wrong.push(Wrong::new("stdout and stderr", format!("{length} bytes, more than {MOST_OUTPUT}")));
    }
    let lines = || outcome.stdout.lines().chain(outcome.stderr.lines());
    // A command that was killed has said nothing yet.
    let errors = lines().filter(|line| line.starts_with("error:")).count();
    let is_error = outcome.code != Some(0);
    // The error of a document is its cause; guard tells that of the run before it too.
    let before = lines().filter(|line| *line == "verdict of the last run:").count();
    let expected = usize::from(is_error && !is_json && !is_check) + before.min(1);
    // What `check` finds is told by file, line and column; each file that it cannot read is one error.
    let is_unread = is_check && outcome.code == Some(2) && errors > 0 && errors < arguments.len();
    let is_hung = outcome.code == Some(crate::measure::HUNG);
    let is_expected = errors == expected || is_unread || (is_json && is_error && errors == 1);
    if !is_hung && !is_expected {
        wrong.push(Wrong::new("stdout and stderr", format!("{errors} error lines, expected {expected}")));
    }
    if lines().filter(|line| line.starts_with("seen:")).count() > MOST_SEEN {
        wrong.push(Wrong::new("stdout and stderr", format!("more than {MOST_SEEN} lines of evidence")));
    }
    if lines().any(|line| line.contains("panicked") || line.contains("has a fault")) {
        wrong.push(Wrong::new("stderr", format!("a panic: {}", shown(&outcome.stderr, 0))));
    }
    if is_json && !outcome.stdout.is_empty() {
        wrong.extend(document("stdout", &outcome.stdout));
    }
    wrong
}

/// No secret, no control character but a line break, no bidirectional control, no long line.
pub fn text(output: &str, text: &str) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    for mark in MARKS {
        if let Some(at) = text.find(mark) {
            wrong.push(Wrong::new(output, format!("secret `{mark}`: {}", shown(text, at))));
        }
    }
    wrong.extend(obeyed(output, text));
    if let Some(line) = text.split('\n').find(|line| line.len() > LONGEST_LINE) {
        let what = format!("{LONG_LINE} {} bytes, more than {LONGEST_LINE}: {}", line.len(), shown(line, 0));
        wrong.push(Wrong::new(output, what));
    }
    wrong
}

fn obeyed(output: &str, text: &str) -> Option<Wrong> {
    let (at, c) = text.char_indices().find(|(_, c)| *c != '\n' && is_obeyed(*c))?;
    Some(Wrong::new(output, format!("control character {}: {}", c.escape_unicode(), shown(text, at))))
}

/// What a terminal or an editor obeys instead of showing it (Unicode Standard, 23.1 and 23.2).
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The strings of a JSON document, as a reader has them once it is parsed: what was escaped is obeyed then.
fn document(output: &str, json: &str) -> Vec<Wrong> {
    match serde_json::from_str::<serde_json::Value>(json) {
        Ok(value) => {
            let mut wrong = Vec::new();
            let name = format!("{output}, a string of the document");
            strings(&value, &mut |string| wrong.extend(obeyed(&name, string)));
            wrong
        }
        Err(error) => vec![Wrong::new(output, format!("not JSON: {error}: {}", shown(json, 0)))],
    }
}

fn strings(value: &serde_json::Value, look: &mut impl FnMut(&str)) {
    match value {
        serde_json::Value::String(string) => look(string),
        serde_json::Value::Array(items) => items.iter().for_each(|item| strings(item, look)),
        serde_json::Value::Object(members) => members.iter().for_each(|(key, value)| {
            look(key);
            strings(value, look);
        }),
        _ => {}
    }
}

fn shown(text: &str, at: usize) -> String {
    let from = text[..at].char_indices().rev().take(40).last().map_or(at, |(from, _)| from);
    let part: String = text[from..].chars().take(120).collect();
    format!("\"{}\"", part.escape_debug())
}

/// `ecs.config` from one command to the next.
pub struct Config {
    before: Option<Vec<u8>>,
    /// The lines that were planted, which another writer wrote.
    planted: Vec<Vec<u8>>,
}

impl Config {
    pub fn new(path: &Path) -> Config {
        let before = small(path);
        Config { planted: lines(before.as_deref().unwrap_or_default()), before }
    }

    /// It holds the old bytes, or those with keys of ours added, changed or taken out.
    pub fn after(&mut self, path: &Path) -> Vec<Wrong> {
        let now = small(path);
        if now == self.before {
            return Vec::new();
        }
        let mut wrong = Vec::new();
        let (old, new) = (self.before.take().unwrap_or_default(), now.clone().unwrap_or_default());
        if let Some(why) = torn(&self.planted, &old, &new) {
            let (old, new) = (String::from_utf8_lossy(&old).into_owned(), String::from_utf8_lossy(&new).into_owned());
            wrong.push(Wrong::new(CONFIG, format!("{why}: {} became {}", shown(&old, 0), shown(&new, 0))));
        }
        let (mode, text) = (mode(path), String::from_utf8_lossy(&new).into_owned());
        if MARKS.iter().any(|mark| text.contains(mark)) && mode & 0o077 != 0 {
            wrong.push(Wrong::new(CONFIG, format!("mode {mode:o} although something in it is a secret")));
        }
        self.before = now;
        wrong
    }
}

/// The bytes of a regular file that could be one of ours.
fn small(path: &Path) -> Option<Vec<u8>> {
    let is_small = path.symlink_metadata().is_ok_and(|about| about.is_file() && about.len() <= LONGEST_FILE);
    if is_small { std::fs::read(path).ok() } else { None }
}

/// Every line of another writer is there in its order, but for those of keys that the product decides; what is new is an
/// assignment or a comment, and whole.
fn torn(planted: &[Vec<u8>], old: &[u8], new: &[u8]) -> Option<&'static str> {
    let is_decided = |line: &[u8]| {
        let line = String::from_utf8_lossy(line);
        line.trim_start().trim_start_matches("export ").starts_with("ECS_") || line.trim().is_empty()
    };
    let (old, new) = (lines(old), lines(new));
    let mut rest = new.iter();
    for line in old.iter().filter(|line| planted.contains(line) && !is_decided(line)) {
        if !rest.any(|now| now == line) {
            return Some("a line of another writer is gone");
        }
    }
    let is_key =
        |key: &[u8]| key.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_');
    let is_whole = |line: &[u8]| {
        let sign = line.iter().position(|byte| *byte == b'=').filter(|at| *at > 0);
        line.is_empty() || line.starts_with(b"#") || sign.is_some_and(|at| is_key(&line[..at]))
    };
    if !new.iter().filter(|line| !old.contains(line)).all(|line| is_whole(line)) {
        return Some("a line was added that is no assignment");
    }
    let last = new.last().filter(|last| !last.is_empty() && !old.contains(last));
    last.map(|_| "the last line has no end")
}

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

/// Every regular file below the root, by its path; None for what is too large to have been written by the product.
pub fn files(root: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(about) = path.symlink_metadata() else { continue };
            let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            if about.is_dir() {
                folders.push(path);
            } else if about.is_file() {
                found.insert(name, (about.len() <= LONGEST_FILE).then(|| std::fs::read(&path).unwrap_or_default()));
            } else {
                found.insert(name, None);
            }
        }
    }
    found
}

/// What the product leaves on the disk, compared with what was planted.
pub struct Kept {
    planted: BTreeMap<String, Option<Vec<u8>>>,
    seen: BTreeMap<String, Option<Vec<u8>>>,
}

impl Kept {
    pub fn new(root: &Path) -> Kept {
        let planted = files(root);
        Kept { seen: planted.clone(), planted }
    }

    /// What is wrong with files that are new or changed since the last look.
    pub fn since(&mut self, instance: &Instance) -> Vec<Wrong> {
        let now = files(instance.root());
        let mut wrong = Vec::new();
        for (name, bytes) in &now {
            if name.contains(".ecs-bootstrap-") && !self.planted.contains_key(name) {
                wrong.push(Wrong::new(name, "a temporary file was left".into()));
            }
            // The simulated agent writes what it was given, and what was planted may be moved as it is.
            let is_agents = NOT_OURS.contains(&name.as_str()) || name.starts_with("var/lib/ecs/data");
            let is_known = self.seen.get(name) == Some(bytes) || self.planted.values().any(|old| old == bytes);
            if let Some(bytes) = bytes.as_ref().filter(|_| !is_agents && !is_known) {
                wrong.extend(file(instance, name, &String::from_utf8_lossy(bytes)));
            }
        }
        self.seen = now;
        wrong.extend(bundle(instance));
        wrong
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).map_or(0, |about| about.permissions().mode() & 0o7777)
}

fn file(instance: &Instance, name: &str, content: &str) -> Vec<Wrong> {
    let is_plan = name == "run/ecs-bootstrap/plan.json";
    let content = if is_plan { content.replace(WAIT_URL, "") } else { content.to_owned() };
    let mut wrong = text(name, &content);
    if name.ends_with(".json") {
        wrong.extend(document(name, &content));
    }
    let mode = mode(&instance.disk.path(name));
    if (is_plan || name == "var/lib/ecs-bootstrap/written.json") && mode != 0o600 {
        wrong.push(Wrong::new(name, format!("mode {mode:o} where 600 is expected")));
    }
    wrong
}

/// Looked at once, and removed.
fn bundle(instance: &Instance) -> Vec<Wrong> {
    let path = instance.disk.path(BUNDLE);
    let files = unpacked(&path).into_iter();
    let mut wrong: Vec<Wrong> = files
        .flat_map(|(name, content)| text(&format!("bundle, {}", name.rsplit('/').next().unwrap_or_default()), &content))
        .collect();
    if path.exists() && mode(&path) != 0o600 {
        wrong.push(Wrong::new("bundle", format!("mode {:o} where 600 is expected", mode(&path))));
    }
    let _ = std::fs::remove_file(path);
    wrong
}
