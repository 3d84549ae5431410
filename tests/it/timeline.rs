//! `timeline` on hosts with and without an earlier run, and the records that it reads.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ecs_bootstrap::journal::MESSAGE_ID_READY;
use ecs_bootstrap::timeline::{Timeline, id};

use serde_json::Value;

use crate::support::Instance;

fn timeline(instance: &Instance) -> Timeline {
    let outcome = instance.run(&["timeline", "--json"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{}", outcome.stdout);
    serde_json::from_str(&outcome.stdout).unwrap()
}

fn unix_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

fn reason<'t>(timeline: &'t Timeline, id: &str) -> &'t str {
    assert!(timeline.event(id).is_none(), "{id}");
    &timeline.missing.iter().find(|missing| missing.id == id).unwrap().reason
}

/// When the simulated host booted, in microseconds since the epoch: with the host of the test, because both have the same
/// monotonic clock.
fn booted(instance: &Instance) -> u64 {
    let mut booted = 0;
    instance.systemd.change(|state| booted = state.booted);
    booted
}

/// Makes the instance launched this long before it booted.
fn launched_before_boot(instance: &Instance, before: Duration) {
    let launch = UNIX_EPOCH + Duration::from_micros(booted(instance)) - before;
    instance.imds.change(|imds| imds.pending_time = launch);
}

#[test]
fn a_run_is_shown_with_its_stages_and_requests() {
    let instance = Instance::new().file("var/lib/cloud/instance/sem/config_scripts_user.once", "");
    launched_before_boot(&instance, Duration::from_secs(9));
    let before = unix_us();
    assert_eq!(instance.run(&["run", "--wait"]).code, Some(0));
    let after = unix_us();
    let timeline = timeline(&instance);
    assert_eq!(timeline.origin.event, id::LAUNCH);
    let zero = timeline.origin.unix_us;
    for name in [id::RUN, "run.gather", "run.decide", "run.apply", id::VERIFY] {
        let event = timeline.event(name).unwrap_or_else(|| panic!("{name} is missing: {timeline:?}"));
        assert!((before..=after).contains(&(zero + event.start_us)), "{event:?}");
        assert!(zero + event.end_us.unwrap() <= after + 1000, "{event:?}");
    }
    assert_eq!(timeline.event("run.gather").unwrap().parent.as_deref(), Some(id::RUN));
    let requests: Vec<&str> = timeline
        .events
        .iter()
        .filter(|event| event.parent.as_deref() == Some("run.gather"))
        .map(|event| event.label.as_str())
        .collect();
    assert!(requests.contains(&"IMDS api/token"), "{requests:?}");
    assert!(requests.contains(&"IMDS dynamic/instance-identity/document"), "{requests:?}");
    // The unit of the agent has started after the run queued it.
    let agent = timeline.event(id::ECS).unwrap();
    assert!((before..=after).contains(&(zero + agent.start_us)), "{agent:?}");
    let table = instance.run(&["timeline"]);
    assert_eq!(table.code, Some(0));
    assert!(table.stdout.starts_with("seconds since the launch of i-"), "{}", table.stdout);
    assert!(table.stdout.contains("IMDS api/token"), "{}", table.stdout);
}

#[test]
fn the_record_of_a_run_is_written_once_and_has_no_secret() {
    let instance = Instance::new();
    assert_eq!(instance.run(&["run", "--wait"]).code, Some(0));
    let path = instance.disk.path("run/ecs-bootstrap/run.json");
    let first = path.metadata().unwrap();
    assert_eq!(first.permissions().mode() & 0o7777, 0o644);
    assert_eq!(instance.run(&["run", "--wait"]).code, Some(0));
    let second = path.metadata().unwrap();
    assert_eq!((first.ino(), first.mtime_nsec()), (second.ino(), second.mtime_nsec()));
}

#[test]
fn the_record_of_a_failed_run_is_replaced() {
    let instance = Instance::new().without_cluster("prod");
    assert_eq!(instance.run(&["run", "--wait"]).code, Some(21));
    assert_eq!(recorded_exit(&instance), 21);
    instance.aws.change(|aws| aws.add_cluster("prod", &[]));
    assert_eq!(instance.run(&["run", "--wait"]).code, Some(0));
    assert_eq!(recorded_exit(&instance), 0);
}

fn recorded_exit(instance: &Instance) -> i64 {
    let record: Value = serde_json::from_str(&instance.disk.text("run/ecs-bootstrap/run.json")).unwrap();
    record["exit_code"].as_i64().unwrap()
}

#[test]
fn on_a_host_without_a_run_only_its_events_are_missing() {
    let instance = Instance::new();
    launched_before_boot(&instance, Duration::from_secs(7200));
    let timeline = timeline(&instance);
    assert_eq!(reason(&timeline, id::RUN), "ecs-bootstrap has not run in this boot");
    assert!(reason(&timeline, id::LAUNCH).contains("first boot"), "{timeline:?}");
    assert_eq!(timeline.origin.event, id::KERNEL);
    assert_eq!(timeline.event(id::KERNEL).unwrap().duration_us(), Some(1_000_000));
    assert!(!instance.disk.path("run/ecs-bootstrap").exists());
}

#[test]
fn messages_and_the_earlier_boot_are_read_from_the_journal() {
    let instance = Instance::new();
    launched_before_boot(&instance, Duration::from_secs(7200));
    let booted = booted(&instance);
    let entry = |monotonic: u64, id: &str| {
        let unix = booted + monotonic;
        format!(
            "{{\"__MONOTONIC_TIMESTAMP\":\"{monotonic}\",\"__REALTIME_TIMESTAMP\":\"{unix}\",\"MESSAGE_ID\":\"{id}\"}}\n"
        )
    };
    let instance = instance.journal_has("messages", &entry(7_000_000, MESSAGE_ID_READY)).journal_has(
        "earlier-boot",
        &entry(1, "").replace(&(booted + 1).to_string(), &(booted - 60_000_000).to_string()),
    );
    let timeline = timeline(&instance);
    assert_eq!(timeline.event(id::REPORTED).unwrap().start_us, 7_000_000);
    assert!(reason(&timeline, id::LAUNCH).contains("rebooted since"), "{timeline:?}");
}

#[test]
fn without_systemd_nothing_is_drawn() {
    let instance = Instance::new().without_bus();
    let timeline = timeline(&instance);
    assert!(timeline.events.is_empty(), "{timeline:?}");
    assert!(reason(&timeline, id::DOCKER).contains("D-Bus"), "{timeline:?}");
    assert!(instance.run(&["timeline"]).stdout.starts_with("nothing is known of this boot\n"));
}

#[test]
fn a_systemd_that_does_not_answer_is_the_reason_and_ends_the_reading_in_time() {
    let instance = Instance::new();
    instance.systemd.change(|state| state.silent.extend(["LoadUnit".to_owned()]));
    let start = Instant::now();
    let timeline = timeline(&instance);
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    assert!(reason(&timeline, id::DOCKER).contains("systemd did not answer"), "{timeline:?}");
    assert_eq!(timeline.origin.event, id::KERNEL);
}

#[test]
fn the_requests_of_a_record_are_redacted_when_they_are_read() {
    let instance = Instance::new();
    assert_eq!(instance.run(&["run", "--wait"]).code, Some(0));
    let path = instance.disk.path("run/ecs-bootstrap/run.json");
    let record = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, record.replace("IMDS api/token", "password=hunter2\\nnext")).unwrap();
    let timeline = timeline(&instance);
    let request = timeline.event("run.gather.1").unwrap();
    assert!(!request.label.contains("hunter2") && !request.label.contains('\n'), "{request:?}");
}

#[test]
fn metrics_are_written_atomically_and_never_through_a_link() {
    let instance = Instance::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ecs.prom");
    let outcome = instance.run(&["timeline", "--prometheus", path.to_str().unwrap()]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.stdout.starts_with("seconds since"), "{}", outcome.stdout);
    assert!(outcome.stderr.starts_with("wrote `"), "{}", outcome.stderr);
    let metrics = std::fs::read_to_string(&path).unwrap();
    assert!(metrics.contains("\necs_bootstrap_timeline_event_start_seconds{event=\"kernel\",lane=\"system\"} 0\n"));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o644);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

    let link = folder.path().join("link.prom");
    symlink(&path, &link).unwrap();
    let outcome = instance.run(&["timeline", "--prometheus", link.to_str().unwrap()]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(24), ""));
    assert!(outcome.stderr.contains("it is a symbolic link"), "{}", outcome.stderr);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), metrics);
}

#[test]
fn only_one_form_goes_to_stdout() {
    let instance = Instance::new();
    let printed = instance.run(&["timeline", "--prometheus", "-"]);
    assert_eq!(printed.code, Some(0));
    assert!(printed.stdout.starts_with("# HELP ecs_bootstrap_timeline_"), "{}", printed.stdout);
    let both = instance.run(&["timeline", "--json", "--prometheus", "-"]);
    assert_eq!((both.code, both.stdout.as_str()), (Some(2), ""));
}

#[test]
fn the_picture_has_the_cluster_and_is_written_beside_the_table() {
    let instance = Instance::new();
    assert_eq!(instance.run(&["run", "--wait"]).code, Some(0));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("boot.svg");
    let outcome = instance.run(&["timeline", "--svg", path.to_str().unwrap()]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.stdout.starts_with("seconds since"), "{}", outcome.stdout);
    let picture = std::fs::read_to_string(&path).unwrap();
    assert!(picture.starts_with("<svg xmlns=") && picture.ends_with("</svg>\n"), "{picture}");
    assert!(picture.contains(" in cluster prod: ") && picture.contains("prefers-color-scheme: dark"), "{picture}");
    let printed = instance.run(&["timeline", "--svg", "-"]);
    assert!(printed.stdout.starts_with("<svg xmlns="), "{}", printed.stdout);
}
