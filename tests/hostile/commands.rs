//! Every command in the order in which an instance meets them, on one simulated instance a row.
//!
//! In: a row. Out: what is wrong with what came out, each with row, command and output.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::checks::{self, Config, Wrong};
use crate::measure;
use crate::row::{Codes, Group, Row};
use crate::support::journal::Journal;
use crate::support::{Instance, Outcome};

/// A command may take this much longer than the deadlines that it was given.
const BEYOND: Duration = Duration::from_secs(10);
const MOST_MEMORY_KIB: u64 = 128 * 1024;
/// Where the wrapper writes what a run took; see `measure.rs`.
const MEASURED: &str = "home/measured";
pub const BUNDLE: &str = "home/bundle.tar.gz";
pub const CONFIG: &str = "etc/ecs/ecs.config";
/// What lies there before the first command, where a row does not put something else there.
pub const BY_HAND: &str = "# by hand\nECS_LOGLEVEL=warn\nECS_CLUSTER=prod\n";

/// How the report of a command that was killed begins.
const HUNG: &str = "still ran";

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

/// Each group, each way to write a file, and the bundle, which holds what the others print; `status.json` is looked at anyway.
const BRIEF: [&str; 7] = [
    "check ROOT/etc/ecs/ecs.config",
    "plan",
    "run --no-wait",
    "guard",
    "verify",
    "doctor --bundle ROOT/home/bundle.tar.gz",
    "prepare-image --yes",
];

/// A healthy instance of a group that a stack made, with all signals on: whatever leaves the host leaves it here.
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

/// What a row gave.
pub struct Tried {
    pub wrong: Vec<Wrong>,
    /// Command and exit code, for who writes a new row.
    pub codes: Vec<(String, Option<i32>)>,
}

pub fn try_row(row: &Row, has_check: bool) -> Tried {
    let instance = instance(row);
    let notified = Journal::start(&instance.disk.path("run/notify"));
    let mut kept = checks::Kept::new(instance.root());
    let mut config = Config::new(&instance.disk.path(CONFIG));
    let mut tried = Tried { wrong: Vec::new(), codes: Vec::new() };
    let mut told = Told::default();
    for (arguments, codes) in commands(row, &instance, has_check) {
        let name = arguments.join(" ").replace(&instance.root().display().to_string(), "ROOT");
        let name: String = name.chars().take(100).collect::<String>().escape_default().to_string();
        let outcome = instance.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        tried.codes.push((name.clone(), outcome.code));
        let mut wrong = ended(row, &outcome, codes);
        wrong.extend(took(&instance, &outcome, row));
        wrong.extend(checks::outcome(&outcome, &arguments));
        wrong.extend(config.after(&instance.disk.path(CONFIG)));
        wrong.extend(told.since(&instance, &notified));
        wrong.extend(kept.since(&instance));
        let is_hung = wrong.iter().any(|wrong| wrong.what.starts_with(HUNG));
        tried.wrong.extend(wrong.into_iter().map(|wrong| wrong.of(&name)));
        if is_hung {
            break;
        }
    }
    tried
}

fn commands(row: &Row, instance: &Instance, has_check: bool) -> Vec<(Vec<String>, Codes)> {
    let root = instance.root().display().to_string();
    let with_root = |text: &str| text.replace("ROOT", &root);
    if !row.own.is_empty() {
        let own = |(arguments, codes): &(Vec<String>, Codes)| {
            (arguments.iter().map(|text| with_root(text)).collect(), *codes)
        };
        return row.own.iter().map(own).collect();
    }
    let all = COMMANDS.iter().filter(|(group, _)| has_check || *group != Group::Check);
    let all = all.filter(|(_, line)| !row.is_brief || BRIEF.contains(line));
    all.map(|(group, line)| {
        let words = line.split(' ').map(with_root).chain(row.arguments.iter().cloned());
        (words.collect(), row.expected.of(*group))
    })
    .collect()
}

fn ended(row: &Row, outcome: &Outcome, codes: Codes) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    if let Some(signal) = outcome.signal {
        wrong.push(Wrong::new("exit", format!("ended by signal {signal}")));
    } else if outcome.code != Some(measure::HUNG) && !outcome.code.is_some_and(|code| codes.contains(&code)) {
        let first = outcome.stderr.lines().chain(outcome.stdout.lines()).find(|line| line.starts_with("error:"));
        let first: String = first.unwrap_or("no error line").chars().take(200).collect();
        let code = outcome.code.unwrap_or(-1);
        wrong.push(Wrong::new(
            "exit",
            format!("exit code {code} where one of {codes:?} is expected: {}", first.escape_debug()),
        ));
    }
    let longest = Duration::from_secs(row.seconds + 3) + BEYOND;
    if outcome.duration > longest && outcome.code != Some(measure::HUNG) {
        wrong.push(Wrong::new("time", format!("took {:?}, longer than {longest:?}", outcome.duration)));
    }
    wrong
}

fn took(instance: &Instance, outcome: &Outcome, row: &Row) -> Vec<Wrong> {
    let text = instance.disk.text(MEASURED);
    instance.disk.remove(MEASURED);
    match text.trim().parse::<u64>() {
        Ok(peak) if peak > MOST_MEMORY_KIB => {
            vec![Wrong::new("memory", format!("peak memory of {peak} KiB, more than {MOST_MEMORY_KIB} KiB"))]
        }
        Ok(_) => Vec::new(),
        Err(_) if text.starts_with("hung") => {
            vec![Wrong::new("time", format!("{HUNG} after {:?}, and the row was ended", outcome.duration))]
        }
        Err(_) => vec![Wrong::new("memory", format!("nothing was measured of `{}`: {}", row.name, outcome.stderr))],
    }
}

/// What was told outside stdout and stderr, up to now.
#[derive(Default)]
struct Told {
    entries: usize,
    notified: usize,
    requests: usize,
    console: usize,
}

impl Told {
    /// Everything that came since the last look.
    fn since(&mut self, instance: &Instance, notified: &Journal) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        let entries = instance.journal.entries();
        for entry in entries.iter().skip(self.entries) {
            wrong.extend(fields("journal", entry));
        }
        self.entries = entries.len();
        let statuses = notified.entries();
        for entry in statuses.iter().skip(self.notified) {
            wrong.extend(fields("notification", entry));
        }
        self.notified = statuses.len();
        let requests = instance.aws.requests();
        for request in requests.iter().skip(self.requests) {
            let body = String::from_utf8_lossy(&request.body);
            let body = crate::support::http::percent_decode(&body, true);
            let target = request.header("x-amz-target").unwrap_or("query").to_owned();
            let output = format!("request to AWS ({target})");
            let asks = ["Describe", "List"].iter().any(|word| output.contains(word));
            // What is asked is one line, however many clusters it names.
            let of_request = checks::text(&output, &body).into_iter();
            wrong.extend(of_request.filter(|wrong| !(asks && wrong.what.starts_with(checks::LONG_LINE))));
        }
        self.requests = requests.len();
        let console = instance.disk.text("dev/console").replace("\r\n", "\n");
        wrong.extend(checks::text("console", console.get(self.console..).unwrap_or_default()));
        self.console = console.len();
        wrong
    }
}

/// Names of fields that the product writes, or that the protocol has; another one was forged by a line break.
fn fields(output: &str, entry: &BTreeMap<String, String>) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    for (name, value) in entry {
        let is_name =
            !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
        if !is_name || name.starts_with('_') {
            let name: String = name.chars().take(80).collect();
            wrong.push(Wrong::new(output, format!("a field that is not one of ours: {}", name.escape_debug())));
        }
        wrong.extend(checks::text(&format!("{output} {name}"), value));
    }
    wrong
}

/// Whether the product has `check` yet.
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
