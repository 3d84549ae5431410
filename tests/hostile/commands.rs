//! Runs every command on the simulated instance of a row, in the order of an instance's life.
//!
//! In: a row. Out: violations, each with its command and output.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::checks::{self, Config, Violation};
use crate::measure;
use crate::row::{Codes, Group, Row};
use crate::support::journal::Journal;
use crate::support::{Instance, Outcome};

/// A command may take this much longer than its deadline.
const BEYOND: Duration = Duration::from_secs(10);
const MAX_MEMORY_KIB: u64 = 128 * 1024;
/// The file to which the wrapper writes the peak memory; see `measure.rs`.
const MEASURED: &str = "home/measured";
pub const BUNDLE: &str = "home/bundle.tar.gz";
pub const CONFIG: &str = "etc/ecs/ecs.config";
/// The content of `ecs.config` before the first command, if the row does not change it.
pub const BY_HAND: &str = "# by hand\nECS_LOGLEVEL=warn\nECS_CLUSTER=prod\n";

/// The output in the report about a command that took too long.
pub const TIME: &str = "time";
/// The first words of the report about a command that was killed.
pub const HUNG: &str = "still ran";

const COMMANDS: &[(Group, &str)] = &[
    (Group::Check, "check ROOT/etc/ecs/ecs.config"),
    (Group::Check, "check --json ROOT/etc/ecs/ecs.config ROOT/etc/ecs-bootstrap/config.toml"),
    (Group::Plan, "plan"),
    (Group::Plan, "plan -vvv"),
    (Group::Plan, "plan --json"),
    (Group::Run, "run --no-wait"),
    (Group::Rewrite, "guard --rewrite"),
    (Group::Guard, "guard"),
    (Group::Verify, "verify"),
    (Group::Verify, "status"),
    (Group::Verify, "verify --json"),
    (Group::Verify, "status --json"),
    (Group::Verify, "run --wait"),
    (Group::Verify, "run --wait --json"),
    (Group::Doctor, "doctor"),
    (Group::Doctor, "doctor --json"),
    (Group::Doctor, "doctor --bundle ROOT/home/bundle.tar.gz"),
    (Group::Clean, "reset-agent"),
    (Group::Clean, "prepare-image"),
    (Group::Clean, "reset-agent --yes"),
    (Group::Clean, "prepare-image --yes"),
];

/// One command of each group, each command that writes a file, and the bundle, which has the output of the others.
/// `status.json` is checked after every command.
const BRIEF: [&str; 7] = [
    "check ROOT/etc/ecs/ecs.config",
    "plan",
    "run --no-wait",
    "guard",
    "verify",
    "doctor --bundle ROOT/home/bundle.tar.gz",
    "prepare-image --yes",
];

/// A healthy instance of an Auto Scaling group of a stack, with all signals on, so that every request to AWS is made.
fn instance(row: &Row) -> Instance {
    const STACK: &str = "arn:aws:cloudformation:eu-west-1:111122223333:stack/fleet/0f0f";
    let seconds = |count: u64| format!("{count}s");
    let instance = Instance::new().ecs_config(BY_HAND).file("dev/console", "");
    for (key, value) in [
        ("aws:cloudformation:stack-id", STACK),
        ("aws:cloudformation:logical-id", "Group"),
        ("aws:autoscaling:groupName", "fleet"),
    ] {
        instance.imds.change(|imds| drop(imds.tags.as_mut().map(|tags| tags.insert(key.into(), value.into()))));
    }
    instance.imds.change(|imds| imds.target_lifecycle_state = Some("InService".into()));
    instance.aws.change(|aws| {
        aws.waiting.resources.insert((STACK.into(), "Group".into()), true);
        aws.waiting.hooks = vec![("ready".into(), 30)];
        aws.waiting.hook_waits = true;
        aws.waiting.others_in_service = 2;
    });
    let wait_url = format!("{}/wait?X-Amz-Signature={}", instance.aws.endpoint(), crate::payload::WAIT_URL);
    let measured = instance.disk.path(MEASURED);
    let notify = instance.disk.path("run/notify");
    let instance = instance
        .env("ECS_BOOTSTRAP_SIGNAL__CLOUDFORMATION", "true")
        .env("ECS_BOOTSTRAP_SIGNAL__LIFECYCLE", "true")
        .env("ECS_BOOTSTRAP_SIGNAL__INSTANCE_TAGS", "true")
        .env("ECS_BOOTSTRAP_SIGNAL__UNHEALTHY", "true")
        .env("ECS_BOOTSTRAP_SIGNAL__WAIT_URL", wait_url)
        .env("ECS_BOOTSTRAP_IMDS__DEADLINE", "2s")
        .env("ECS_BOOTSTRAP_TAGS__WAIT", "1s")
        .env("ECS_BOOTSTRAP_RUN__DEADLINE", seconds(row.seconds + 3))
        .env("ECS_BOOTSTRAP_VERIFY__DEADLINE", seconds(row.seconds))
        .env("ECS_BOOTSTRAP_VERIFY__WINDOW", "1s")
        .env("NOTIFY_SOCKET", notify)
        .env(measure::INTO, measured)
        .wrapper(std::env::current_exe().expect("this program's own path"));
    (row.plant)(instance)
}

/// The result of a row.
pub struct RowResult {
    pub violations: Vec<Violation>,
    /// Command, exit code and duration, for `--codes`.
    pub codes: Vec<(String, Option<i32>, Duration)>,
}

pub fn try_row(row: &Row, has_check: bool) -> RowResult {
    let instance = instance(row);
    let notified = Journal::start(&instance.disk.path("run/notify"));
    let mut files_on_disk = checks::FilesOnDisk::new(instance.root());
    let mut config = Config::new(&instance.disk.path(CONFIG));
    let mut result = RowResult { violations: Vec::new(), codes: Vec::new() };
    let mut other_outputs = OtherOutputs::default();
    for (arguments, codes) in commands(row, &instance, has_check) {
        let name = arguments.join(" ").replace(&instance.root().display().to_string(), "ROOT");
        let name: String = name.chars().take(100).collect::<String>().escape_default().to_string();
        let outcome = instance.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        result.codes.push((name.clone(), outcome.code, outcome.duration));
        let mut violations = exit_code_and_time(row, &outcome, codes);
        violations.extend(memory(&instance, &outcome, row));
        violations.extend(checks::outcome(&outcome, &arguments));
        violations.extend(config.after(&instance.disk.path(CONFIG)));
        violations.extend(other_outputs.since(&instance, &notified));
        violations.extend(files_on_disk.since(&instance));
        let is_hung = violations.iter().any(|violation| violation.what.starts_with(HUNG));
        result.violations.extend(violations.into_iter().map(|violation| violation.of(&name)));
        if is_hung {
            break;
        }
    }
    result
}

fn commands(row: &Row, instance: &Instance, has_check: bool) -> Vec<(Vec<String>, Codes)> {
    let root = instance.root().display().to_string();
    let with_root = |text: &str| text.replace("ROOT", &root);
    if !row.only_commands.is_empty() {
        let own = |(arguments, codes): &(Vec<String>, Codes)| {
            (arguments.iter().map(|text| with_root(text)).collect(), *codes)
        };
        return row.only_commands.iter().map(own).collect();
    }
    let all = COMMANDS.iter().filter(|(group, _)| has_check || *group != Group::Check);
    let all = all.filter(|(_, line)| !row.is_brief || BRIEF.contains(line));
    all.map(|(group, line)| {
        let words = line.split(' ').map(with_root).chain(row.arguments.iter().cloned());
        (words.collect(), row.expected.of(*group))
    })
    .collect()
}

fn exit_code_and_time(row: &Row, outcome: &Outcome, codes: Codes) -> Vec<Violation> {
    let mut violations = Vec::new();
    let run_deadline = Duration::from_secs(row.seconds + 3);
    if let Some(signal) = outcome.signal {
        violations.push(Violation::new("exit", format!("ended by signal {signal}")));
    } else if outcome.code != Some(measure::HUNG) && !outcome.code.is_some_and(|code| codes.contains(&code)) {
        let first = outcome.stderr.lines().chain(outcome.stdout.lines()).find(|line| line.starts_with("error:"));
        let first: String = first.unwrap_or("no error line").chars().take(200).collect();
        let code = outcome.code.unwrap_or(-1);
        // At `run.deadline`, a command ends with another code.
        let output = if outcome.duration >= run_deadline { TIME } else { "exit" };
        let what = format!("exit code {code} after {:?}, expected one of {codes:?}: ", outcome.duration);
        violations.push(Violation::new(output, what + &first.escape_debug().to_string()));
    }
    let longest = run_deadline + BEYOND;
    if outcome.duration > longest && outcome.code != Some(measure::HUNG) {
        violations.push(Violation::new(TIME, format!("took {:?}, longer than {longest:?}", outcome.duration)));
    }
    violations
}

fn memory(instance: &Instance, outcome: &Outcome, row: &Row) -> Vec<Violation> {
    let text = instance.disk.text(MEASURED);
    instance.disk.remove(MEASURED);
    match text.trim().parse::<u64>() {
        Ok(peak) if peak > MAX_MEMORY_KIB => {
            vec![Violation::new("memory", format!("peak memory of {peak} KiB, more than {MAX_MEMORY_KIB} KiB"))]
        }
        Ok(_) => Vec::new(),
        Err(_) if text.starts_with("hung") => {
            vec![Violation::new(TIME, format!("{HUNG} after {:?}; the row was ended", outcome.duration))]
        }
        Err(_) => {
            vec![Violation::new("memory", format!("no memory was measured in row `{}`: {}", row.name, outcome.stderr))]
        }
    }
}

/// How much of the outputs other than stdout and stderr was already checked.
#[derive(Default)]
struct OtherOutputs {
    entries: usize,
    notified: usize,
    requests: usize,
    console: usize,
}

impl OtherOutputs {
    /// Checks the journal, the notifications of systemd, the requests to AWS and the console since the last call.
    fn since(&mut self, instance: &Instance, notified: &Journal) -> Vec<Violation> {
        let mut violations = Vec::new();
        let entries = instance.journal.entries();
        for entry in entries.iter().skip(self.entries) {
            violations.extend(fields("journal", entry));
        }
        self.entries = entries.len();
        let statuses = notified.entries();
        for entry in statuses.iter().skip(self.notified) {
            violations.extend(fields("notification", entry));
        }
        self.notified = statuses.len();
        let requests = instance.aws.requests();
        for request in requests.iter().skip(self.requests) {
            let body = String::from_utf8_lossy(&request.body);
            let body = crate::support::http::percent_decode(&body, true);
            let target = request.header("x-amz-target").unwrap_or("query").to_owned();
            let output = format!("request to AWS ({target})");
            let is_query = ["Describe", "List"].iter().any(|word| output.contains(word));
            // A query is one line, and may name many clusters.
            let of_request = checks::text(&output, &body).into_iter();
            violations
                .extend(of_request.filter(|violation| !(is_query && violation.what.starts_with(checks::LONG_LINE))));
        }
        self.requests = requests.len();
        let console = instance.disk.text("dev/console").replace("\r\n", "\n");
        violations.extend(checks::text("console", console.get(self.console..).unwrap_or_default()));
        self.console = console.len();
        violations
    }
}

/// Checks names and values of journal fields. An invalid name means that a line break in a value forged a field.
fn fields(output: &str, entry: &BTreeMap<String, String>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (name, value) in entry {
        let is_name =
            !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
        if !is_name || name.starts_with('_') {
            let name: String = name.chars().take(80).collect();
            violations.push(Violation::new(
                output,
                format!("a field that the product did not write: {}", name.escape_debug()),
            ));
        }
        violations.extend(checks::text(&format!("{output} {name}"), value));
    }
    violations
}

/// Whether the product has the command `check`.
pub fn has_check() -> bool {
    let outcome = Instance::new().run(&["check", "--help"]);
    outcome.code == Some(0)
}

/// The files of a bundle.
pub fn unpacked(path: &Path) -> Vec<(String, String)> {
    use std::io::Read;
    let Ok(file) = std::fs::File::open(path) else { return Vec::new() };
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let mut files = Vec::new();
    for entry in archive.entries().into_iter().flatten().flatten() {
        let name = entry.path().map(|path| path.display().to_string()).unwrap_or_default();
        let mut bytes = Vec::new();
        let _ = entry.take(16 << 20).read_to_end(&mut bytes);
        files.push((name, String::from_utf8_lossy(&bytes).into_owned()));
    }
    files
}
