//! Provokes every cause of the catalogue, and the look-alikes that must not be reported as that cause.
//!
//! In: a simulated instance with one fault. Out: assertions on the exit code, the report, the stored verdict and the
//! written files. Causes that no simulator on loopback can provoke are listed in `ELSEWHERE` with the reason.

mod agent;
mod agent_start;
mod api;
mod cloud_init;
mod cluster;
mod config;
mod contradictions;
mod cost;
mod crash_loops;
mod docker;
mod faults;
mod host;
mod imds;
mod look_alikes;
mod many;
mod network_path;
mod observed;
mod paraphrases;
mod relations;
mod resources;
mod role;
mod tasks;
mod units;
mod unknown_answers;
mod unknown_faults;
mod user_data;

use crate::support::tls::SelfSigned;
use crate::support::{Instance, Outcome};
use ecs_bootstrap::causes::{ALL, Cause, Class, UNKNOWN};
use std::time::{Duration, SystemTime};

/// A terminal cause is reported as soon as its evidence is there, and not at the deadline, which is 8 s or more in these
/// tests. A run takes about a second; the rest is for a loaded host.
const AT_ONCE: Duration = Duration::from_secs(7);
const SOURCES: [&str; 21] = [
    include_str!("../verify_died.rs"),
    include_str!("../maintenance.rs"),
    include_str!("agent.rs"),
    include_str!("agent_start.rs"),
    include_str!("api.rs"),
    include_str!("cluster.rs"),
    include_str!("host.rs"),
    include_str!("imds.rs"),
    include_str!("role.rs"),
    include_str!("network_path.rs"),
    include_str!("cloud_init.rs"),
    include_str!("config.rs"),
    include_str!("contradictions.rs"),
    include_str!("user_data.rs"),
    include_str!("docker.rs"),
    include_str!("resources.rs"),
    include_str!("tasks.rs"),
    include_str!("units.rs"),
    include_str!("look_alikes.rs"),
    include_str!("unknown_answers.rs"),
    include_str!("unknown_faults.rs"),
];
const DRAIN: &str = "only `drain` observes it: tests/it/drain.rs";
/// Causes that loopback cannot provoke, with the reason and the tests that do it instead.
pub(crate) const ELSEWHERE: [(&str, &str); 13] = [
    ("drain-denied", DRAIN),
    ("drain-no-hook", DRAIN),
    ("drain-call-failed", DRAIN),
    ("drain-tasks-left", DRAIN),
    (
        "images-pulling",
        "the simulated systemd does not order jobs: tests/boot/cases/images-held, unit test of causes/images.rs",
    ),
    ("dns-name-unknown", "needs a name server: tests/boot/cases/doctor-layers, unit tests of causes/dns.rs"),
    ("dns-failed", "needs a name server that refuses: unit tests of causes/dns.rs"),
    ("user-data-deadlock", "reported only after ten seconds: tests/it/user_data.rs"),
    ("endpoint-sg-blocks", "loopback is not a private address of a VPC: tests/boot/cases/doctor-layers"),
    ("endpoint-partial", "as endpoint-sg-blocks: unit test of causes/acs.rs"),
    ("no-default-route", "loopback always has a route: tests/boot/cases/doctor-layers"),
    ("agent-restarts", "only `watch` observes for long enough: tests/it/watch.rs"),
    ("no-public-ip", "a hint, never the first cause: with egress-timeout in causes/network_path.rs"),
];

#[test]
fn every_cause_is_provoked_here_or_listed_with_a_reason() {
    for cause in ALL.iter().copied().chain([&UNKNOWN]) {
        let calls = ["ExpectedCause", "ExpectedNote", "reports_cause", "is_cause"]
            .map(|kind| format!("{kind}(\"{}\"", cause.id));
        // rustfmt may put a line break after the bracket.
        let text = |source: &str| source.split_whitespace().collect::<String>();
        let provoked = SOURCES.iter().any(|source| calls.iter().any(|call| text(source).contains(call)));
        let elsewhere = ELSEWHERE.iter().any(|(id, _)| *id == cause.id);
        assert!(provoked != elsewhere, "`{}`: provoked {provoked}, listed {elsewhere}", cause.id);
    }
}

/// The words of a command, with a `--set` for each setting.
fn command(name: &[&str], settings: &[&str]) -> Vec<String> {
    let settings = settings.iter().flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()]);
    name.iter().map(|word| (*word).to_owned()).chain(settings).collect()
}

fn run(instance: &Instance, settings: &[&str]) -> Outcome {
    let command = command(&["run", "--wait"], settings);
    instance.run(&command.iter().map(String::as_str).collect::<Vec<_>>())
}

fn verify(instance: &Instance, settings: &[&str]) -> Outcome {
    let command = command(&["verify"], settings);
    instance.run(&command.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The id of the expected cause, the exit code, and a part of its evidence.
struct ExpectedCause<'a>(&'a str, i32, &'a str);

impl ExpectedCause<'_> {
    /// Checks that the report has this cause with its evidence and remedy, and that `status.json` has it too.
    fn check(self, instance: &Instance, outcome: &Outcome) {
        let ExpectedCause(id, code, seen) = self;
        let report = &outcome.stderr;
        let cause = cause(id);
        assert_eq!(outcome.code, Some(code), "{}\n{report}", outcome.stdout);
        let named = report.lines().find_map(|line| line.strip_prefix("error: [")?.split(']').next());
        record(id, named.unwrap_or("nothing"));
        let errors: Vec<&str> = report.lines().filter(|line| line.starts_with("error: [")).collect();
        assert_eq!(errors, [format!("error: [{id}] {}", cause.title)], "{report}");
        assert!(
            report.lines().any(|line| line.starts_with("seen: ") && line.contains(seen)),
            "no `{seen}` in {report}"
        );
        assert_eq!(outcome.stdout, "");
        if cause.class == Class::Terminal {
            assert!(outcome.duration < AT_ONCE, "reported after {:?}", outcome.duration);
        }
        let status: serde_json::Value =
            serde_json::from_str(&instance.disk.text("run/ecs-bootstrap/status.json")).unwrap();
        assert_eq!(status["cause"]["id"], id);
        assert_eq!(status["exit_code"], code);
        let remedy = status["cause"]["remedy"].as_str().unwrap();
        // A step can follow that starts the agent, or that moves an instance in another cluster.
        assert!(remedy.starts_with(cause.remedy) || cause.has_specific_remedy(), "{remedy}");
        assert!(report.contains(&format!("remedy: {remedy}\n")), "{report}");
    }

    /// Checks the cause, and that nothing was written or started.
    fn check_untouched(self, instance: &Instance, outcome: &Outcome) {
        self.check(instance, outcome);
        assert_eq!(instance.disk.text("etc/ecs/ecs.config"), "");
        assert!(instance.disk.read("var/lib/ecs-bootstrap/written.json").is_none());
        assert!(
            !instance.systemd.calls().iter().any(|call| call.contains("StartUnit")),
            "{:?}",
            instance.systemd.calls()
        );
    }
}

/// The id of an expected note, and a part of its evidence. A note does not keep the instance from joining.
struct ExpectedNote<'a>(&'a str, &'a str);

impl ExpectedNote<'_> {
    /// Checks that the instance is ready without a cause, and that the report has this note.
    fn check(self, outcome: &Outcome) {
        let ExpectedNote(id, seen) = self;
        is_ready_as(id, outcome);
        let note = outcome.stdout.lines().find(|line| line.starts_with(&format!("note: [{id}] ")));
        record(id, note.map_or("nothing", |_| id));
        assert!(note.is_some_and(|note| note.contains(seen)), "{}", outcome.stdout);
    }
}

/// Appends the provoked and the reported cause to a file, for the table of `confusion::matrix`.
pub(crate) fn record(provoked: &str, named: &str) {
    use std::io::Write;
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("confusion");
    std::fs::create_dir_all(&folder).unwrap();
    let test = std::thread::current().name().unwrap_or("unnamed").replace("::", ".");
    let mut file = std::fs::File::options().append(true).create(true).open(folder.join(test)).unwrap();
    writeln!(file, "{provoked} {named}").unwrap();
}

fn cause(id: &str) -> &'static Cause {
    ALL.iter().copied().chain([&UNKNOWN]).find(|cause| cause.id == id).unwrap()
}

/// Checks that the instance is ready and no cause is reported.
fn is_ready(outcome: &Outcome) {
    is_ready_as("healthy", outcome);
}

fn is_ready_as(what: &str, outcome: &Outcome) {
    let named = outcome.stderr.lines().find_map(|line| line.strip_prefix("error: [")?.split(']').next());
    if what == "healthy" || named.is_some() {
        record(what, named.unwrap_or("ready"));
    }
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stdout.starts_with("ready: `arn:aws:ecs:"), "{}", outcome.stdout);
    assert!(!outcome.stderr.contains("error: ["), "{}", outcome.stderr);
}

/// Sets the launch time. The simulated instance is two hours old by default, so that no temporary error is expected.
fn launched(instance: &Instance, ago: Duration) {
    instance.imds.change(|imds| imds.pending_time = SystemTime::now() - ago);
}

/// Makes the agent already registered, started with this text of `ecs.config`.
fn joined(instance: &Instance, cluster: &str) {
    instance.disk.write("etc/ecs/ecs.config", cluster);
    for unit in ["docker.service", "ecs.service"] {
        instance.systemd.change_unit(unit, |unit| unit.active_state = "active".into());
    }
    instance.docker.start();
    instance.agent.start();
    let until = std::time::Instant::now() + Duration::from_secs(5);
    while instance.disk.agent_state().is_none() {
        assert!(std::time::Instant::now() < until, "the agent did not register");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Adds six connections to the agent's log, one each minute. The last one is new, so that a slow host has almost two
/// minutes to read them before they are over.
fn log_dropped_connections(instance: &Instance) {
    const LOG: &str = "var/log/ecs/ecs-agent.log";
    let now = SystemTime::now();
    let line = |ago: u64, text: &str| {
        let time = humantime::format_rfc3339_seconds(now - Duration::from_secs(ago));
        format!("level=info time={time} msg=\"{text}\"\n")
    };
    let dropped = |round: u64| {
        line(302 - round * 60, "Connected to ACS endpoint")
            + &line(302 - round * 60 - 58, "ACS WebSocket connection closed")
    };
    let drops: String = (0..5).map(dropped).chain([line(2, "Connected to ACS endpoint")]).collect();
    instance.disk.write(LOG, instance.disk.text(LOG) + &drops);
}
