//! The rules that hold for all output of the product, for every input.
//!
//! In: outputs and files. Out: violations, each with the name of the output and an excerpt.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::commands::{BUNDLE, CONFIG, unpacked};
use crate::payload::{MARKS, WAIT_URL};
use crate::support::{Instance, Outcome};

const MAX_LINE_LENGTH: usize = 1024;
/// The first words of the report about a longer line.
pub const LONG_LINE: &str = "a line of";
const MAX_OUTPUT: usize = 20_000;
const MAX_SEEN: usize = 20;
/// Files of the harness and of the simulators, and `ecs.config`, which may hold a secret.
const NOT_CHECKED: [&str; 9] = [
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
/// Larger files are inputs of the test. The product writes smaller ones only.
const MAX_FILE_LENGTH: u64 = 4 << 20;

/// A rule that an output breaks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    pub command: String,
    pub output: String,
    pub what: String,
}

impl Violation {
    pub fn new(output: &str, what: String) -> Violation {
        Violation { command: String::new(), output: output.to_owned(), what }
    }

    pub fn of(self, command: &str) -> Violation {
        Violation { command: command.to_owned(), ..self }
    }
}

/// Checks stdout, stderr and the exit code of a command.
pub fn outcome(outcome: &Outcome, arguments: &[String]) -> Vec<Violation> {
    let is_json = arguments.iter().any(|word| word == "--json");
    let is_check = arguments.first().is_some_and(|word| word == "check");
    let mut violations = [text("stdout", &outcome.stdout), text("stderr", &outcome.stderr)].concat();
    let length = outcome.stdout.len() + outcome.stderr.len();
    if length > MAX_OUTPUT {
        violations.push(Violation::new("stdout and stderr", format!("{length} bytes, more than {MAX_OUTPUT}")));
    }
    let lines = || outcome.stdout.lines().chain(outcome.stderr.lines());
    let errors = lines().filter(|line| line.starts_with("error:")).count();
    let is_error = outcome.code != Some(0);
    // A JSON document has its error as a cause. Guard also prints the error of the run before it.
    let before = lines().filter(|line| *line == "verdict of the last run:").count();
    let expected = usize::from(is_error && !is_json && !is_check) + before.min(1);
    // `check` reports findings by file, line and column, and one error for each file that it cannot read.
    let is_unread = is_check && outcome.code == Some(2) && errors > 0 && errors < arguments.len();
    // A command that was killed did not get to its error line.
    let is_hung = outcome.code == Some(crate::measure::HUNG);
    let is_expected = errors == expected || is_unread || (is_json && is_error && errors == 1);
    if !is_hung && !is_expected {
        violations.push(Violation::new("stdout and stderr", format!("{errors} error lines, expected {expected}")));
    }
    if lines().filter(|line| line.starts_with("seen:")).count() > MAX_SEEN {
        violations.push(Violation::new("stdout and stderr", format!("more than {MAX_SEEN} lines of evidence")));
    }
    if lines().any(|line| line.contains("panicked") || line.contains("has a fault")) {
        violations.push(Violation::new("stderr", format!("a panic: {}", excerpt(&outcome.stderr, 0))));
    }
    if is_json && !outcome.stdout.is_empty() {
        violations.extend(document("stdout", &outcome.stdout));
    }
    violations
}

/// Finds secrets, control characters other than a line break, bidirectional controls, and lines that are too long.
pub fn text(output: &str, text: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    for mark in MARKS {
        if let Some(at) = text.find(mark) {
            violations.push(Violation::new(output, format!("secret `{mark}`: {}", excerpt(text, at))));
        }
    }
    violations.extend(control_character(output, text));
    if let Some(line) = text.split('\n').find(|line| line.len() > MAX_LINE_LENGTH) {
        let what = format!("{LONG_LINE} {} bytes, more than {MAX_LINE_LENGTH}: {}", line.len(), excerpt(line, 0));
        violations.push(Violation::new(output, what));
    }
    violations
}

fn control_character(output: &str, text: &str) -> Option<Violation> {
    let (at, c) = text.char_indices().find(|(_, c)| *c != '\n' && is_unsafe(*c))?;
    Some(Violation::new(output, format!("control character {}: {}", c.escape_unicode(), excerpt(text, at))))
}

/// Whether a terminal or an editor interprets the character instead of showing it (Unicode Standard, 23.1 and 23.2).
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{2028}' | '\u{2029}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Checks the strings of a JSON document after parsing, where escaped control characters are real ones.
fn document(output: &str, json: &str) -> Vec<Violation> {
    match serde_json::from_str::<serde_json::Value>(json) {
        Ok(value) => {
            let mut violations = Vec::new();
            let name = format!("{output}, a string of the document");
            strings(&value, &mut |string| violations.extend(control_character(&name, string)));
            violations
        }
        Err(error) => vec![Violation::new(output, format!("not JSON: {error}: {}", excerpt(json, 0)))],
    }
}

fn strings(value: &serde_json::Value, visit: &mut impl FnMut(&str)) {
    match value {
        serde_json::Value::String(string) => visit(string),
        serde_json::Value::Array(items) => items.iter().for_each(|item| strings(item, visit)),
        serde_json::Value::Object(members) => members.iter().for_each(|(key, value)| {
            visit(key);
            strings(value, visit);
        }),
        _ => {}
    }
}

fn excerpt(text: &str, at: usize) -> String {
    let from = text[..at].char_indices().rev().take(40).last().map_or(at, |(from, _)| from);
    let part: String = text[from..].chars().take(120).collect();
    format!("\"{}\"", part.escape_debug())
}

/// The content of `ecs.config`, compared before and after each command.
pub struct Config {
    before: Option<Vec<u8>>,
    /// The lines that the test put there before the first command. They belong to another writer.
    planted: Vec<Vec<u8>>,
}

impl Config {
    pub fn new(path: &Path) -> Config {
        let before = small(path);
        Config { planted: lines(before.as_deref().unwrap_or_default()), before }
    }

    /// Checks that the file is unchanged, or that only the product's own keys were added, changed or removed.
    pub fn after(&mut self, path: &Path) -> Vec<Violation> {
        let now = small(path);
        if now == self.before {
            return Vec::new();
        }
        let mut violations = Vec::new();
        let (old, new) = (self.before.take().unwrap_or_default(), now.clone().unwrap_or_default());
        if let Some(why) = damage(&self.planted, &old, &new) {
            let (old, new) = (String::from_utf8_lossy(&old).into_owned(), String::from_utf8_lossy(&new).into_owned());
            violations.push(Violation::new(CONFIG, format!("{why}: {} became {}", excerpt(&old, 0), excerpt(&new, 0))));
        }
        let (mode, text) = (mode(path), String::from_utf8_lossy(&new).into_owned());
        if MARKS.iter().any(|mark| text.contains(mark)) && mode & 0o077 != 0 {
            violations.push(Violation::new(CONFIG, format!("mode {mode:o} although it holds a secret")));
        }
        self.before = now;
        violations
    }
}

/// The bytes of a regular file, if it is small enough to be written by the product.
fn small(path: &Path) -> Option<Vec<u8>> {
    let is_small = path.symlink_metadata().is_ok_and(|about| about.is_file() && about.len() <= MAX_FILE_LENGTH);
    if is_small { std::fs::read(path).ok() } else { None }
}

/// Checks that every line of another writer is there in its order (except lines of keys that the product decides), and
/// that every new line is a complete assignment or comment. Returns the reason if not.
fn damage(planted: &[Vec<u8>], old: &[u8], new: &[u8]) -> Option<&'static str> {
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
        return Some("a line was added that is not an assignment");
    }
    let last = new.last().filter(|last| !last.is_empty() && !old.contains(last));
    last.map(|_| "the last line has no line break")
}

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

/// Every file below the root, by its path. `None`: not a regular file, or too large to be written by the product.
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
                found.insert(name, (about.len() <= MAX_FILE_LENGTH).then(|| std::fs::read(&path).unwrap_or_default()));
            } else {
                found.insert(name, None);
            }
        }
    }
    found
}

/// The files below the root, compared with those that were there before the first command.
pub struct FilesOnDisk {
    planted: BTreeMap<String, Option<Vec<u8>>>,
    seen: BTreeMap<String, Option<Vec<u8>>>,
}

impl FilesOnDisk {
    pub fn new(root: &Path) -> FilesOnDisk {
        let planted = files(root);
        FilesOnDisk { seen: planted.clone(), planted }
    }

    /// Checks the files that are new or changed since the last call.
    pub fn since(&mut self, instance: &Instance) -> Vec<Violation> {
        let now = files(instance.root());
        let mut violations = Vec::new();
        for (name, bytes) in &now {
            if name.contains(".ecs-bootstrap-") && !self.planted.contains_key(name) {
                violations.push(Violation::new(name, "a temporary file was left".into()));
            }
            // The simulated agent writes the hostile text itself, and the product may move a planted file unchanged.
            let is_agents = NOT_CHECKED.contains(&name.as_str()) || name.starts_with("var/lib/ecs/data");
            let is_known = self.seen.get(name) == Some(bytes) || self.planted.values().any(|old| old == bytes);
            if let Some(bytes) = bytes.as_ref().filter(|_| !is_agents && !is_known) {
                violations.extend(file(instance, name, &String::from_utf8_lossy(bytes)));
            }
        }
        self.seen = now;
        violations.extend(bundle(instance));
        violations
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).map_or(0, |about| about.permissions().mode() & 0o7777)
}

fn file(instance: &Instance, name: &str, content: &str) -> Vec<Violation> {
    let is_plan = name == "run/ecs-bootstrap/plan.json";
    let content = if is_plan { content.replace(WAIT_URL, "") } else { content.to_owned() };
    let mut violations = text(name, &content);
    if name.ends_with(".json") {
        violations.extend(document(name, &content));
    }
    let mode = mode(&instance.disk.path(name));
    if (is_plan || name == "var/lib/ecs-bootstrap/written.json") && mode != 0o600 {
        violations.push(Violation::new(name, format!("mode {mode:o}, expected 600")));
    }
    violations
}

/// Checks the files of a support bundle, and removes the bundle.
fn bundle(instance: &Instance) -> Vec<Violation> {
    let path = instance.disk.path(BUNDLE);
    let files = unpacked(&path).into_iter();
    let mut violations: Vec<Violation> = files
        .flat_map(|(name, content)| text(&format!("bundle, {}", name.rsplit('/').next().unwrap_or_default()), &content))
        .collect();
    if path.exists() && mode(&path) != 0o600 {
        violations.push(Violation::new("bundle", format!("mode {:o}, expected 600", mode(&path))));
    }
    let _ = std::fs::remove_file(path);
    violations
}
