//! Bad input of every kind: each results in one clear error with its exit code, and `ecs.config` is the old or the new
//! file.
//!
//! In: a simulated instance with something broken. Out: assertions on the report and on every file that may be
//! incomplete.

use crate::file_systems::{full_disk, read_only, unprivileged};
use crate::support::http::{Answer, Reply};
use crate::support::systemd::Start;
use crate::support::{Instance, Outcome, aws, imds};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

const OLD: &str = "# by hand\nECS_LOGLEVEL=warn\n";

fn run(instance: &Instance, settings: &[&str]) -> Outcome {
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    instance.run(&["run", "--wait"].into_iter().chain(settings).collect::<Vec<_>>())
}

/// Checks that there is one error with this id and exit code, and no panic. Returns the report.
fn one_error(outcome: &Outcome, id: &str, code: i32) -> String {
    let report = outcome.stderr.clone();
    assert_eq!(outcome.code, Some(code), "signal {:?}\n{}\n{report}", outcome.signal, outcome.stdout);
    assert_eq!(report.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{report}");
    assert!(report.starts_with(&format!("error: [{id}] ")), "{report}");
    assert!(report.contains("\nseen: ") && report.contains("\nremedy: "), "{report}");
    assert!(!report.contains("panicked") && !report.contains("RUST_BACKTRACE"), "{report}");
    report
}

fn is_untouched(instance: &Instance) {
    assert_eq!(instance.disk.text("etc/ecs/ecs.config"), OLD);
    assert_eq!(names(&instance.disk.path("etc/ecs")), ["ecs.config", "ecs.config.json"]);
}

fn with_old_config() -> Instance {
    Instance::new().ecs_config(OLD)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_broken_settings_file_is_reported_with_its_line_and_column() {
    let deep_array = format!("cluster = {}", "[".repeat(300_000));
    let deep_table = format!("{} = 1", "a.".repeat(300_000) + "a");
    let deep_inline = format!("cluster = {}", "{a=".repeat(200_000));
    for (text, seen) in [
        ("cluster = \"prod\n", "config.toml:1:"),
        ("cluster = 7\n", "cluster"),
        ("[verify]\ndeadline = true\n", "deadline"),
        ("[verify]\ndeadline = \"soon\"\n", "deadline"),
        ("[verify]\ndeadline = \"18446744073709551615s\"\n", "at most `1day`"),
        ("[run]\ndeadline = \"584942417355y\"\n", "at most `1day`"),
        ("[imds]\ndeadline = \"25h\"\n", "at most `1day`"),
        ("[tags]\nwait = \"99999999999999999999h\"\n", "at most `1day`"),
        ("[verify]\nwindow = \"86401s\"\n", "at most `1day`"),
        (&deep_array, "config.toml:1:"),
        (&deep_table, "recursion limit"),
        (&deep_inline, "config.toml:1:"),
        ("[agent]\nECS_LOGLEVEL = [\"debug\"]\n", "ECS_LOGLEVEL"),
        ("[agent]\nECS_CONTAINER_STOP_TIMEOUT = \"yes\"\n", "ECS_CONTAINER_STOP_TIMEOUT"),
        ("\u{0}\u{1}\u{2}", "config.toml:1:"),
    ] {
        let instance = with_old_config().setting_file("etc/ecs-bootstrap/config.toml", text);
        let report = one_error(&run(&instance, &[]), "setting-invalid", 20);
        assert!(report.contains("/etc/ecs-bootstrap/config.toml") && report.contains(seen), "{text:.60}: {report}");
        is_untouched(&instance);
    }
}

#[test]
fn a_settings_file_that_is_not_text_is_reported() {
    let instance = with_old_config().file("etc/ecs-bootstrap/config.d/10.toml", b"cluster = \"pr\xff\xfe\"\n");
    let report = one_error(&run(&instance, &[]), "setting-invalid", 20);
    assert!(report.contains("10.toml") && report.contains("UTF-8"), "{report}");
    is_untouched(&instance);
}

#[test]
fn a_folder_in_place_of_the_settings_file_is_reported() {
    let instance = with_old_config();
    instance.disk.folder("etc/ecs-bootstrap/config.toml");
    let report = one_error(&run(&instance, &[]), "setting-invalid", 20);
    assert!(report.contains("/etc/ecs-bootstrap/config.toml"), "{report}");
    is_untouched(&instance);
}

#[test]
fn an_unknown_ecs_bootstrap_variable_is_reported() {
    let instance = with_old_config().env("ECS_BOOTSTRAP_VERIFY__DEADLIN", "4s");
    let report = one_error(&run(&instance, &[]), "setting-invalid", 20);
    assert!(report.contains("ECS_BOOTSTRAP_VERIFY__DEADLIN"), "{report}");
    is_untouched(&instance);
}

#[test]
fn broken_settings_in_user_data_are_reported_and_other_broken_user_data_is_not() {
    let instance = with_old_config().user_data("#ecs-bootstrap\ncluster = \n");
    one_error(&run(&instance, &[]), "setting-invalid", 20);
    is_untouched(&instance);
    for foreign in
        [&b"#!/bin/sh\nexit 1\n"[..], b"\x1f\x8b\x08broken gzip", b"\x00\xff\xfe", b"MIME-Version: 1.0\n\n--x"]
    {
        let outcome = run(&with_old_config().user_data(foreign), &["verify.deadline=20s"]);
        assert_eq!(outcome.code, Some(0), "{foreign:?}: {}", outcome.stderr);
    }
}

#[test]
fn a_tag_with_a_line_break_writes_no_second_line() {
    let instance = with_old_config().tag("ecs-bootstrap:cluster", "prod\nECS_DATADIR=/elsewhere");
    one_error(&run(&instance, &[]), "setting-invalid", 20);
    is_untouched(&instance);
    let instance = with_old_config().tag("ecs-bootstrap:ECS_LOGLEVEL", "debug\nECS_DATADIR=/elsewhere");
    run(&instance, &["verify.deadline=20s"]);
    assert!(!instance.disk.text("etc/ecs/ecs.config").contains("ECS_DATADIR"));
}

#[test]
fn an_ecs_config_that_is_not_a_file_or_too_long_is_reported() {
    let path = "etc/ecs/ecs.config";
    let folder = with_old_config();
    folder.disk.remove(path);
    folder.disk.folder(path);
    one_error(&run(&folder, &[]), "ecs-config-unusable", 20);
    let pipe = with_old_config();
    pipe.disk.remove(path);
    assert!(std::process::Command::new("mkfifo").arg(pipe.disk.path(path)).status().unwrap().success());
    one_error(&run(&pipe, &[]), "ecs-config-unusable", 20);
    let huge = Instance::new().ecs_config("#".repeat(8 << 20));
    let report = one_error(&run(&huge, &[]), "ecs-config-unusable", 20);
    assert!(report.contains("/etc/ecs/ecs.config"), "{report}");
    assert_eq!(huge.disk.read(path).unwrap().len(), 8 << 20);
}

#[test]
fn an_unreadable_ecs_config_is_reported() {
    let instance = unprivileged(with_old_config());
    let mode =
        |bits| std::fs::set_permissions(instance.disk.path("etc/ecs/ecs.config"), PermissionsExt::from_mode(bits));
    mode(0o000).unwrap();
    one_error(&run(&instance, &[]), "ecs-config-unusable", 20);
    mode(0o644).unwrap();
    is_untouched(&instance);
}

#[test]
fn an_unreadable_plan_is_not_reported_as_a_fault_of_ecs_config() {
    let instance = Instance::new();
    instance.disk.folder("run/ecs-bootstrap/plan.json");
    let outcome = instance.run(&["verify"]);
    let report = one_error(&outcome, "own-file-unusable", 24);
    assert!(report.contains("/run/ecs-bootstrap/plan.json"), "{report}");
}

#[test]
fn an_ecs_config_of_any_bytes_is_kept_or_refused() {
    let every_byte: Vec<u8> = (0..=255).collect();
    for bytes in [&every_byte[..], b"\xff\xfe\xfd", b"A=1\\", b"A='open\n", b"\n\n\0=\0\n", b"ECS_CLUSTER\n=x\n"] {
        let instance = Instance::new().ecs_config(bytes);
        let outcome = run(&instance, &["verify.deadline=20s"]);
        let after = instance.disk.read("etc/ecs/ecs.config").unwrap();
        match outcome.code {
            Some(0) => {
                assert!(after.windows(bytes.len()).any(|part| part == bytes), "{bytes:?} became {after:?}");
                let line = b"ECS_CLUSTER=prod\n";
                assert!(after.windows(line.len()).any(|part| part == line), "{after:?}");
            }
            _ => {
                one_error(&outcome, "ecs-config-unusable", 20);
                assert_eq!(after, bytes);
            }
        }
    }
}

#[test]
fn metadata_with_broken_partial_or_no_answers_is_reported() {
    use imds::Fault;
    for fault in
        [Fault::Garbage, Fault::Half, Fault::Silent, Fault::FailsNext(u32::MAX, 500), Fault::FailsNext(u32::MAX, 418)]
    {
        let instance = with_old_config().imds_fault(fault.clone());
        let outcome = run(&instance, &["imds.deadline=2s"]);
        let id = if fault == Fault::Silent { "imds-token-hop-limit" } else { "imds-garbled" };
        one_error(&outcome, id, 10);
        is_untouched(&instance);
    }
}

#[test]
fn an_identity_document_with_wrong_types_is_reported() {
    for body in ["{\"region\": 7}", "[]", "", "{\"instanceId\": \"i-1\"}", "<html>"] {
        let instance = with_old_config();
        let answer: Answer = Reply::new(200, "text/plain", body).into();
        let path = "/latest/dynamic/instance-identity/document";
        instance.imds.change(|imds| drop(imds.overrides.insert(path.into(), answer)));
        one_error(&run(&instance, &["imds.deadline=2s"]), "imds-garbled", 10);
        is_untouched(&instance);
    }
}

#[test]
fn an_aws_error_with_any_code_is_reported() {
    let error = aws::Fault::error;
    for (fault, id, code) in [
        (
            error(401, "AuthFailure", "AWS was not able to validate the provided access credentials"),
            "credentials-rejected",
            22,
        ),
        (error(403, "UnauthorizedOperation", "You are not authorized to perform this operation."), "api-denied", 22),
        (error(400, "SomethingNew", "an unknown error"), "service-error", 11),
        (error(418, "", ""), "service-error", 11),
        (error(503, "Unavailable", "<>&\u{1b}[31m"), "service-error", 11),
        (aws::Fault::Garbage, "service-error", 11),
        (aws::Fault::Half, "service-error", 11),
        (aws::Fault::Silent, "service-error", 11),
    ] {
        let what = format!("{fault:?}");
        let instance = with_old_config().without_imds_tags().aws_fault("DescribeTags", fault);
        let report = one_error(&run(&instance, &["run.deadline=4s", "tags.wait=2s"]), id, code);
        assert!(!report.contains('\u{1b}'), "{what}: {report:?}");
        is_untouched(&instance);
    }
}

#[test]
fn an_aws_error_during_verification_does_not_hide_the_registration() {
    for fault in [aws::Fault::error(400, "SomethingNew", "?"), aws::Fault::Garbage, aws::Fault::Half] {
        let instance = with_old_config().aws_fault("DescribeContainerInstances", fault);
        let outcome = run(&instance, &["verify.deadline=20s", "verify.window=1s"]);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    }
}

#[test]
fn a_refusal_of_systemd_is_reported() {
    let name = "org.freedesktop.DBus.Error.AccessDenied".to_owned();
    let refused = Start::Refused { name, text: "Permission denied".into() };
    let instance = with_old_config().unit("docker.service", |unit| unit.start = refused);
    one_error(&run(&instance, &[]), "systemd-refused", 24);
}

#[test]
fn a_systemd_that_does_not_answer_is_reported_by_the_deadline() {
    for method in ["LoadUnit", "Subscribe", "StartUnit"] {
        let instance = with_old_config();
        instance.systemd.change(|systemd| systemd.silent.extend([method.to_owned()]));
        let outcome = run(&instance, &["run.deadline=3s", "verify.deadline=2s"]);
        if outcome.code != Some(0) {
            let report = outcome.stderr.clone();
            assert!(matches!(outcome.code, Some(12 | 13)), "{method}: {:?}\n{report}", outcome.code);
            assert_eq!(report.lines().filter(|line| line.starts_with("error: [")).count(), 1, "{report}");
        }
        assert!(outcome.duration < Duration::from_secs(20), "{method}: {:?}", outcome.duration);
    }
}

#[test]
fn a_full_or_read_only_disk_keeps_the_old_file_and_no_temporary_file() {
    for (instance, id) in [(full_disk(Instance::new()), "disk-full"), (read_only(Instance::new()), "write-refused")] {
        one_error(&run(&instance, &[]), id, 24);
        assert_eq!(instance.disk.text("home/after"), "ECS_LOGLEVEL=warn\n");
        assert_eq!(instance.disk.text("home/left"), "ecs.config\n");
        assert!(!instance.systemd.calls().iter().any(|call| call.contains("StartUnit")));
    }
}

#[test]
fn a_kill_at_any_moment_leaves_the_old_or_the_new_file() {
    let new = {
        let instance = with_old_config();
        assert_eq!(run(&instance, &["verify.deadline=20s"]).code, Some(0));
        instance.disk.text("etc/ecs/ecs.config")
    };
    assert!(new.contains("ECS_CLUSTER=prod\n") && new.contains("ECS_LOGLEVEL=warn\n"), "{new}");
    // An agent that a killed run started must not join with the file that the next round restores.
    let instance = with_old_config().agent_behaves(|agent| agent.never_registers = true);
    let (mut before, mut after) = (0, 0);
    for round in 0..600 {
        // On a slow host, the write comes later than in the first 60 rounds.
        if round >= 60 && after > 0 {
            break;
        }
        restore_files(&instance);
        let running = instance.start(&["run", "--wait", "--set", "verify.deadline=20s"]);
        std::thread::sleep(Duration::from_micros(round * 1500));
        running.kill();
        match instance.disk.text("etc/ecs/ecs.config") {
            text if text == OLD => before += 1,
            text if text == new => after += 1,
            text => panic!("killed after {} us, the file held {text:?}", round * 1500),
        }
    }
    assert!(before > 0 && after > 0, "{before} old, {after} new: no kill was before the write, or none after it");
    restore_files(&instance);
    // A start that the last killed run has queued may come later.
    std::thread::sleep(std::time::Duration::from_secs(1));
    instance.agent.change(|agent| agent.never_registers = false);
    let outcome = run(&instance, &["verify.deadline=20s"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(instance.disk.text("etc/ecs/ecs.config"), new);
    assert_eq!(names(&instance.disk.path("etc/ecs")), ["ecs.config", "ecs.config.json"]);
    assert_eq!(names(&instance.disk.path("var/lib/ecs-bootstrap")), ["written.json"]);
    assert_eq!(names(&instance.disk.path("run/ecs-bootstrap")), ["lock", "plan.json", "run.json", "status.json"]);
}

/// Restores the files as before the first run, except for files that the killed run left behind.
fn restore_files(instance: &Instance) {
    instance.disk.write("etc/ecs/ecs.config", OLD);
    instance.disk.remove("var/lib/ecs-bootstrap/written.json");
}

#[test]
fn an_invalid_ca_bundle_is_reported() {
    let instance = with_old_config().without_imds_tags();
    instance.disk.write("home/empty.pem", "");
    instance.disk.write("home/binary.pem", (0..=255).collect::<Vec<u8>>());
    instance.disk.write("home/broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let mut instance = instance;
    for name in ["empty.pem", "binary.pem", "broken.pem", "absent.pem", ""] {
        let path = instance.disk.path("home").join(name);
        instance = instance.env("AWS_CA_BUNDLE", path.as_os_str());
        let report = one_error(&run(&instance, &[]), "ca-bundle-invalid", 20);
        assert!(report.contains(name), "{report}");
        is_untouched(&instance);
    }
}

#[test]
fn broken_records_of_ecs_bootstrap_and_the_agent_are_ignored() {
    for path in [
        "var/lib/ecs-bootstrap/written.json",
        "run/ecs-bootstrap/plan.json",
        "run/ecs-bootstrap/status.json",
        "var/lib/ecs/data/agent.db",
    ] {
        let instance = with_old_config().file(path, b"{\x00\xff half a rec");
        let outcome = run(&instance, &["verify.deadline=20s"]);
        assert_eq!(outcome.code, Some(0), "{path}: {}", outcome.stderr);
    }
    let instance = with_old_config().file("run/ecs-bootstrap/status.json", b"{\x00\xff half a rec");
    let outcome = instance.run(&["status"]);
    assert_eq!(outcome.code, Some(1));
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
}

#[test]
fn excessive_durations_are_refused_from_every_source() {
    for text in
        ["18446744073709551615s", "18446744073709551616s", "9999999999h", "2days", "584942417355y", "-1s", "1e9s"]
    {
        let of_environment = Instance::new().env("ECS_BOOTSTRAP_VERIFY__DEADLINE", text);
        for outcome in [
            run(&Instance::new(), &[&format!("run.deadline={text}")]),
            run(&Instance::new(), &[&format!("imds.deadline={text}")]),
            of_environment.run(&["run", "--no-wait"]),
            of_environment.run(&["plan"]),
        ] {
            one_error(&outcome, "setting-invalid", 20);
        }
    }
}

#[test]
fn user_data_cannot_set_the_deadline_of_a_run() {
    for text in ["run.deadline = \"1s\"\n", "[run]\ndeadline = \"1s\"\n", "[imds]\ndeadline = \"1s\"\n"] {
        let instance = with_old_config().user_data(format!("#ecs-bootstrap\n{text}"));
        let report = one_error(&run(&instance, &[]), "setting-invalid", 20);
        assert!(report.contains("/etc/ecs-bootstrap/config.toml") && report.contains("user data:"), "{report}");
        is_untouched(&instance);
    }
}

#[test]
fn absurd_times_in_an_old_plan_are_limited() {
    let instance = Instance::new();
    assert_eq!(run(&instance, &[]).code, Some(0));
    let plan = instance.disk.text("run/ecs-bootstrap/plan.json");
    let mut plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    for member in ["deadline", "window"] {
        plan["expectation"][member] = serde_json::json!({ "secs": u64::MAX, "nanos": 999_999_999 });
    }
    instance.disk.write("run/ecs-bootstrap/plan.json", plan.to_string());
    for command in ["verify", "status", "doctor", "guard"] {
        let outcome = instance.run(&[command]);
        assert!(!outcome.stderr.contains("has a fault") && outcome.signal.is_none(), "{command}: {}", outcome.stderr);
    }
}

#[test]
fn a_truncated_identity_document_is_read_again() {
    let instance = Instance::new().imds_fault(imds::Fault::CutsDocumentOnce);
    let outcome = run(&instance, &[]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
}

#[test]
fn many_settings_are_read_in_linear_time() {
    let count = 32_000;
    let lines: String = (0..count).map(|at| format!("UNKNOWN_VARIABLE_{at} = \"{at}\"\n")).collect();
    let inline: Vec<String> = (0..count / 2).map(|at| format!("V{at} = \"{at}\"")).collect();
    for text in [format!("[agent]\n{lines}"), format!("agent = {{ {} }}\n", inline.join(", "))] {
        let instance = Instance::new().setting_file("etc/ecs-bootstrap/config.toml", &text);
        let outcome = instance.run(&["plan"]);
        one_error(&outcome, "setting-invalid", 20);
        assert!(outcome.stderr.contains("more than 500 variables"), "{:.2000}", outcome.stderr);
        assert!(outcome.duration < Duration::from_secs(30), "{:?}", outcome.duration);
        assert!(outcome.stderr.lines().count() < 30, "{} lines", outcome.stderr.lines().count());
    }
    let keys: String = (0..count).map(|at| format!("SOME_KEY_{at}=value\n")).collect();
    let instance = Instance::new().ecs_config(keys);
    for command in [["plan"].as_slice(), &["run", "--no-wait"], &["guard"], &["doctor"]] {
        let outcome = instance.run(command);
        assert!(outcome.duration < Duration::from_secs(30), "{command:?}: {:?}", outcome.duration);
    }
}

#[test]
fn a_folder_with_too_many_settings_files_is_refused() {
    let instance = Instance::new();
    for at in 0..101 {
        instance.disk.write(&format!("etc/ecs-bootstrap/config.d/{at}.toml"), "");
    }
    let report = one_error(&run(&instance, &[]), "setting-invalid", 20);
    assert!(report.contains("more than 100 settings files"), "{report}");
}
