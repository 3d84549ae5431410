//! The player of `tests/try`: boots one simulated instance with the real binary, and shows what happens.
//!
//! In: the name of a scenario. Out: the instance, the plan, the output of the run, the written file and the verdict, on
//! stdout. The exit code is that of the run. The simulators are those of the tests.

#![expect(
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a demo that prints to the terminal; it is not part of the product"
)]

#[path = "../it/support/mod.rs"]
mod support;

mod scenario;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use scenario::Scenario;
use serde_json::Value;
use support::disk::KEEP;
use support::http::lock;
use support::imds::Role;

const ECS_CONFIG: &str = "/etc/ecs/ecs.config";
const STATUS: &str = "/run/ecs-bootstrap/status.json";
/// The length of a line: easy to read, and fits into a terminal.
const WIDTH: usize = 72;
/// The length of the longest bar of a phase, in columns.
const BAR: usize = 40;

/// Prints a line on stdout. Ignores a closed pipe (`| head`).
macro_rules! say {
    ($($part:tt)*) => {{
        let _ = writeln!(std::io::stdout(), $($part)*);
    }};
}

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_else(|| "imds-tag".to_owned());
    let Some(scenario) = scenario::find(&name) else {
        eprintln!("error: unknown scenario `{name}`; the scenarios are:\n{}", scenario::LIST);
        return ExitCode::from(2);
    };
    let page = Page::new();
    let subject = scenario.subject;
    let scenario = Scenario { instance: scenario.instance.binary(product()).env("TERM", term()), ..scenario };
    page.title(&name, subject);
    instance(&page, &scenario);
    plan(&page, &scenario);
    let arguments = [&["run", "--wait"], scenario.options].concat();
    page.command(&arguments);
    let outcome = scenario.instance.show(&arguments);
    written(&page, &scenario);
    let code = outcome.code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    verdict(&page, &scenario, code);
    if code != 0 {
        page.command(&["doctor"]);
        let _ = scenario.instance.show(&["doctor"]);
        explain(&page, &scenario);
    }
    page.end(&scenario);
    ExitCode::from(code)
}

/// Runs `explain` for the cause of the verdict.
fn explain(page: &Page, scenario: &Scenario) {
    let status: Value =
        scenario.instance.disk.read(STATUS).and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    if let Some(id) = status["cause"]["id"].as_str() {
        page.command(&["explain", id]);
        let _ = scenario.instance.show(&["explain", id]);
    }
}

/// The path of the product: cargo puts examples into a folder next to the binaries.
fn product() -> PathBuf {
    let player = std::env::current_exe().expect("the path of this program");
    let folder = player.parent().and_then(Path::parent).expect("target/.../debug/examples");
    folder.join("ecs-bootstrap")
}

fn term() -> String {
    std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned())
}

fn instance(page: &Page, scenario: &Scenario) {
    let instance = &scenario.instance;
    let state = instance.imds.state();
    let imds = lock(&state).clone();
    let state = instance.aws.state();
    let aws = lock(&state).clone();
    page.section("instance");
    page.line("id", &format!("{}, {} in {}", imds.instance_id, imds.instance_type, imds.region));
    let tags = aws.instance_tags.get(&imds.instance_id).cloned().unwrap_or_default();
    let place = if imds.tags.is_some() { "" } else { "  (not in instance metadata)" };
    page.line("tags", &format!("{}{place}", pairs(tags.iter())));
    let role = match &imds.role {
        Role::Present(name) | Role::NotAssumable(name) | Role::Unusable(name, _) | Role::Expired(name, _) => name,
        Role::Absent | Role::EmptyProfile | Role::ProfileDeleted => "none",
    };
    page.line("role", role);
    for (name, cluster) in &aws.clusters {
        page.line("cluster", &format!("{name}, {}, tags {}", cluster.status, pairs(cluster.tags.iter())));
    }
    if let Some(target) = &imds.target_lifecycle_state {
        page.line("group", &format!("Auto Scaling, target state {target}"));
    }
    for name in ["docker.service", "ecs.service"] {
        if let Some(unit) = instance.systemd.unit(name) {
            page.line("unit", &format!("{name}, {}, {}", unit.unit_file_state, unit.active_state));
        }
    }
    page.line("root", &instance.root().display().to_string());
    if let Some(settings) = scenario.settings {
        page.section("/etc/ecs-bootstrap/config.toml");
        say!("{}", settings.trim_end());
    }
}

fn plan(page: &Page, scenario: &Scenario) {
    let arguments = [&["plan"], scenario.options].concat();
    page.command(&arguments);
    let _ = scenario.instance.show(&arguments);
}

fn written(page: &Page, scenario: &Scenario) {
    page.section(ECS_CONFIG);
    match scenario.instance.disk.text(ECS_CONFIG) {
        text if text.is_empty() => say!("empty: nothing was written"),
        text => say!("{}", text.trim_end()),
    }
}

/// Prints the verdict from `status.json`.
fn verdict(page: &Page, scenario: &Scenario, code: u8) {
    let status: Value =
        scenario.instance.disk.read(STATUS).and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    page.section("verdict");
    let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
    page.line("verdict", &text(&status["verdict"]));
    page.line("exit code", &code.to_string());
    page.line("cluster", &text(&status["cluster"]));
    page.line("registered", &text(&status["container_instance_arn"]));
    if let Some(id) = status["cause"]["id"].as_str() {
        page.line("cause", id);
    }
    let phases = status["phases"].as_array().cloned().unwrap_or_default();
    let of = |phase: &Value, key: &str| phase[key].as_u64().unwrap_or_default();
    let end = phases.iter().map(|phase| of(phase, "start_ms") + of(phase, "duration_ms")).max().unwrap_or_default();
    if !phases.is_empty() {
        page.section("phases");
    }
    for phase in &phases {
        page.phase(&text(&phase["name"]), of(phase, "start_ms"), of(phase, "duration_ms"), end);
    }
}

fn pairs<'a>(tags: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    let tags: Vec<_> = tags.map(|(key, value)| format!("{key}={value}")).collect();
    if tags.is_empty() { "none".to_owned() } else { tags.join(", ") }
}

/// The layout of the output: readable without colour, and in ASCII if the locale is not UTF-8.
struct Page {
    is_bold: bool,
    rule: &'static str,
    block: &'static str,
}

impl Page {
    fn new() -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default();
        let is_utf8 = locale.to_lowercase().replace('-', "").ends_with("utf8");
        let (rule, block) = if is_utf8 { ("─", "█") } else { ("-", "#") };
        Self { is_bold: std::io::stdout().is_terminal() && set("NO_COLOR").is_none(), rule, block }
    }

    fn bold(&self, text: &str) -> String {
        if self.is_bold { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn title(&self, name: &str, subject: &str) {
        say!("{}: {subject}", self.bold(name));
    }

    fn section(&self, title: &str) {
        let rest = self.rule.repeat(WIDTH.saturating_sub(title.chars().count() + 4));
        say!("\n{rule}{rule} {} {rest}", self.bold(title), rule = self.rule);
    }

    fn end(&self, scenario: &Scenario) {
        let root = scenario.instance.root().display();
        say!("");
        match std::env::var_os(KEEP) {
            Some(_) => say!("kept: {root}"),
            None => say!("{root} is removed; `tests/try --keep` keeps it"),
        }
    }

    fn command(&self, arguments: &[&str]) {
        self.section(&format!("ecs-bootstrap {}", arguments.join(" ")));
    }

    fn line(&self, name: &str, value: &str) {
        say!("{name:<11} {value}");
    }

    fn phase(&self, name: &str, start: u64, duration: u64, end: u64) {
        let columns = |ms: u64| usize::try_from(ms.saturating_mul(BAR as u64) / end.max(1)).unwrap_or(BAR);
        let before = columns(start).min(BAR - 1);
        let bar = self.block.repeat(columns(duration).clamp(1, BAR - before));
        say!("{name:<11} {duration:>6} ms  {}{bar}", " ".repeat(before));
    }
}
