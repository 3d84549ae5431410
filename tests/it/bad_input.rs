//! Bad input of every kind (issue 3): each ends in one clear error with its exit code, and `ecs.config` is old or new.
//!
//! In: a simulated instance with something broken. Out: assertions on the report and on every file that may be half done.

use crate::support::http::{Answer, Reply};
use crate::support::systemd::Start;
use crate::support::{Instance, Outcome, aws, imds};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

const OLD: &str = "# by hand\nECS_LOGLEVEL=warn\n";
const PRODUCT: &str = env!("CARGO_BIN_EXE_ecs-bootstrap");

fn run(instance: &Instance, settings: &[&str]) -> Outcome {
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    instance.run(&["run", "--wait"].into_iter().chain(settings).collect::<Vec<_>>())
}

/// One error line, no panic, this exit code; returns the report.
fn one_error(outcome: &Outcome, id: &str, code: i32) -> String {
    let told = outcome.stderr.clone();
    assert_eq!(outcome.code, Some(code), "signal {:?}\n{}\n{told}", outcome.signal, outcome.stdout);
    assert_eq!(told.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{told}");
    assert!(told.starts_with(&format!("error: [{id}] ")), "{told}");
    assert!(told.contains("\nseen: ") && told.contains("\nremedy: "), "{told}");
    assert!(!told.contains("panicked") && !told.contains("RUST_BACKTRACE"), "{told}");
    told
}

fn is_untouched(instance: &Instance) {
    assert_eq!(instance.disk.text("etc/ecs/ecs.config"), OLD);
    assert_eq!(names(&instance.disk.path("etc/ecs")), ["ecs.config", "ecs.config.json"]);
}

fn old() -> Instance {
    Instance::new().ecs_config(OLD)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_broken_settings_file_is_told_by_line_and_column() {
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
        let instance = old().setting_file("etc/ecs-bootstrap/config.toml", text);
        let told = one_error(&run(&instance, &[]), "setting-invalid", 20);
        assert!(told.contains("/etc/ecs-bootstrap/config.toml") && told.contains(seen), "{text:.60}: {told}");
        is_untouched(&instance);
    }
}

#[test]
fn a_settings_file_that_is_not_text_is_told() {
    let instance = old().file("etc/ecs-bootstrap/config.d/10.toml", b"cluster = \"pr\xff\xfe\"\n");
    let told = one_error(&run(&instance, &[]), "setting-invalid", 20);
    assert!(told.contains("10.toml") && told.contains("UTF-8"), "{told}");
    is_untouched(&instance);
}

#[test]
fn a_folder_in_place_of_the_settings_file_is_told() {
    let instance = old();
    instance.disk.folder("etc/ecs-bootstrap/config.toml");
    let told = one_error(&run(&instance, &[]), "setting-invalid", 20);
    assert!(told.contains("/etc/ecs-bootstrap/config.toml"), "{told}");
    is_untouched(&instance);
}

#[test]
fn an_unknown_variable_of_ours_is_told() {
    let instance = old().env("ECS_BOOTSTRAP_VERIFY__DEADLIN", "4s");
    let told = one_error(&run(&instance, &[]), "setting-invalid", 20);
    assert!(told.contains("ECS_BOOTSTRAP_VERIFY__DEADLIN"), "{told}");
    is_untouched(&instance);
}

#[test]
fn broken_user_data_of_ours_is_told_and_anybody_elses_is_not() {
    let instance = old().user_data("#ecs-bootstrap\ncluster = \n");
    one_error(&run(&instance, &[]), "setting-invalid", 20);
    is_untouched(&instance);
    for foreign in
        [&b"#!/bin/sh\nexit 1\n"[..], b"\x1f\x8b\x08broken gzip", b"\x00\xff\xfe", b"MIME-Version: 1.0\n\n--x"]
    {
        let outcome = run(&old().user_data(foreign), &["verify.deadline=20s"]);
        assert_eq!(outcome.code, Some(0), "{foreign:?}: {}", outcome.stderr);
    }
}

#[test]
fn a_tag_with_a_newline_writes_no_second_line() {
    let instance = old().tag("ecs-bootstrap:cluster", "prod\nECS_DATADIR=/elsewhere");
    one_error(&run(&instance, &[]), "setting-invalid", 20);
    is_untouched(&instance);
    let instance = old().tag("ecs-bootstrap:ECS_LOGLEVEL", "debug\nECS_DATADIR=/elsewhere");
    run(&instance, &["verify.deadline=20s"]);
    assert!(!instance.disk.text("etc/ecs/ecs.config").contains("ECS_DATADIR"));
}

#[test]
fn an_ecs_config_that_is_no_file_or_too_long_is_told() {
    let path = "etc/ecs/ecs.config";
    let folder = old();
    folder.disk.remove(path);
    folder.disk.folder(path);
    one_error(&run(&folder, &[]), "ecs-config-unusable", 20);
    let pipe = old();
    pipe.disk.remove(path);
    assert!(std::process::Command::new("mkfifo").arg(pipe.disk.path(path)).status().unwrap().success());
    one_error(&run(&pipe, &[]), "ecs-config-unusable", 20);
    let huge = Instance::new().ecs_config("#".repeat(8 << 20));
    let told = one_error(&run(&huge, &[]), "ecs-config-unusable", 20);
    assert!(told.contains("/etc/ecs/ecs.config"), "{told}");
    assert_eq!(huge.disk.read(path).unwrap().len(), 8 << 20);
}

#[test]
fn an_ecs_config_that_may_not_be_read_is_told() {
    let instance = unprivileged(old());
    let mode =
        |bits| std::fs::set_permissions(instance.disk.path("etc/ecs/ecs.config"), PermissionsExt::from_mode(bits));
    mode(0o000).unwrap();
    one_error(&run(&instance, &[]), "ecs-config-unusable", 20);
    mode(0o644).unwrap();
    is_untouched(&instance);
}

#[test]
fn a_hand_over_that_may_not_be_read_is_not_blamed_on_ecs_config() {
    let instance = Instance::new();
    instance.disk.folder("run/ecs-bootstrap/plan.json");
    let outcome = instance.run(&["verify"]);
    let told = one_error(&outcome, "own-file-unusable", 24);
    assert!(told.contains("/run/ecs-bootstrap/plan.json"), "{told}");
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
                let ours = b"ECS_CLUSTER=prod\n";
                assert!(after.windows(ours.len()).any(|part| part == ours), "{after:?}");
            }
            _ => {
                one_error(&outcome, "ecs-config-unusable", 20);
                assert_eq!(after, bytes);
            }
        }
    }
}

#[test]
fn metadata_that_answers_nonsense_half_or_nothing_is_told() {
    use imds::Fault;
    for fault in
        [Fault::Garbage, Fault::Half, Fault::Silent, Fault::FailsNext(u32::MAX, 500), Fault::FailsNext(u32::MAX, 418)]
    {
        let instance = old().imds_fault(fault.clone());
        let outcome = run(&instance, &["imds.deadline=2s"]);
        let id = if fault == Fault::Silent { "imds-token-hop-limit" } else { "imds-garbled" };
        one_error(&outcome, id, 10);
        is_untouched(&instance);
    }
}

#[test]
fn an_identity_document_of_other_types_is_told() {
    for body in ["{\"region\": 7}", "[]", "", "{\"instanceId\": \"i-1\"}", "<html>"] {
        let instance = old();
        let answer: Answer = Reply::new(200, "text/plain", body).into();
        let path = "/latest/dynamic/instance-identity/document";
        instance.imds.change(|imds| drop(imds.overrides.insert(path.into(), answer)));
        one_error(&run(&instance, &["imds.deadline=2s"]), "imds-garbled", 10);
        is_untouched(&instance);
    }
}

#[test]
fn an_error_of_aws_of_any_code_is_told() {
    let error = aws::Fault::error;
    for (fault, id, code) in [
        (
            error(401, "AuthFailure", "AWS was not able to validate the provided access credentials"),
            "credentials-rejected",
            22,
        ),
        (error(403, "UnauthorizedOperation", "You are not authorized to perform this operation."), "api-denied", 22),
        (error(400, "SomethingNew", "nobody has seen this before"), "service-error", 11),
        (error(418, "", ""), "service-error", 11),
        (error(503, "Unavailable", "<>&\u{1b}[31m"), "service-error", 11),
        (aws::Fault::Garbage, "service-error", 11),
        (aws::Fault::Half, "service-error", 11),
        (aws::Fault::Silent, "service-error", 11),
    ] {
        let what = format!("{fault:?}");
        let instance = old().without_imds_tags().aws_fault("DescribeTags", fault);
        let told = one_error(&run(&instance, &["run.deadline=4s", "tags.wait=2s"]), id, code);
        assert!(!told.contains('\u{1b}'), "{what}: {told:?}");
        is_untouched(&instance);
    }
}

#[test]
fn an_error_of_aws_while_verifying_does_not_hide_that_the_agent_registered() {
    for fault in [aws::Fault::error(400, "SomethingNew", "?"), aws::Fault::Garbage, aws::Fault::Half] {
        let instance = old().aws_fault("DescribeContainerInstances", fault);
        let outcome = run(&instance, &["verify.deadline=20s", "verify.window=1s"]);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    }
}

#[test]
fn a_systemd_that_refuses_is_told() {
    let name = "org.freedesktop.DBus.Error.AccessDenied".to_owned();
    let refused = Start::Refused { name, text: "Permission denied".into() };
    let instance = old().unit("docker.service", |unit| unit.start = refused);
    one_error(&run(&instance, &[]), "systemd-refused", 24);
}

#[test]
fn a_systemd_that_is_silent_is_told_by_the_deadline() {
    for method in ["LoadUnit", "Subscribe", "StartUnit"] {
        let instance = old();
        instance.systemd.change(|systemd| systemd.silent.extend([method.to_owned()]));
        let outcome = run(&instance, &["run.deadline=3s", "verify.deadline=2s"]);
        if outcome.code != Some(0) {
            let told = outcome.stderr.clone();
            assert!(matches!(outcome.code, Some(12 | 13)), "{method}: {:?}\n{told}", outcome.code);
            assert_eq!(told.lines().filter(|line| line.starts_with("error: [")).count(), 1, "{told}");
        }
        assert!(outcome.duration < Duration::from_secs(20), "{method}: {:?}", outcome.duration);
    }
}

#[test]
fn a_full_or_read_only_disk_keeps_the_old_file_and_no_temporary_one() {
    for (instance, id) in [(full_disk(Instance::new()), "disk-full"), (read_only(Instance::new()), "write-refused")] {
        one_error(&run(&instance, &[]), id, 24);
        assert_eq!(instance.disk.text("home/after"), "ECS_LOGLEVEL=warn\n");
        assert_eq!(instance.disk.text("home/left"), "ecs.config\n");
        assert!(!instance.systemd.calls().iter().any(|call| call.contains("StartUnit")));
    }
}

#[test]
fn a_kill_at_any_moment_leaves_the_old_file_or_the_new() {
    let new = {
        let instance = old();
        assert_eq!(run(&instance, &["verify.deadline=20s"]).code, Some(0));
        instance.disk.text("etc/ecs/ecs.config")
    };
    assert!(new.contains("ECS_CLUSTER=prod\n") && new.contains("ECS_LOGLEVEL=warn\n"), "{new}");
    // An agent that a killed run started must not join by the file that the next round puts back.
    let instance = old().agent_behaves(|agent| agent.never_registers = true);
    let (mut before, mut after) = (0, 0);
    for round in 0..600 {
        // On a slow host, the write comes later than in the first 60 rounds.
        if round >= 60 && after > 0 {
            break;
        }
        instance.ecs_config_again();
        let running = instance.start(&["run", "--wait", "--set", "verify.deadline=20s"]);
        std::thread::sleep(Duration::from_micros(round * 1500));
        running.kill();
        match instance.disk.text("etc/ecs/ecs.config") {
            text if text == OLD => before += 1,
            text if text == new => after += 1,
            text => panic!("killed after {} us, the file held {text:?}", round * 1500),
        }
    }
    assert!(before > 0 && after > 0, "{before} old, {after} new: the moments did not surround the write");
    instance.ecs_config_again();
    instance.agent.change(|agent| agent.never_registers = false);
    let outcome = run(&instance, &["verify.deadline=20s"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(instance.disk.text("etc/ecs/ecs.config"), new);
    assert_eq!(names(&instance.disk.path("etc/ecs")), ["ecs.config", "ecs.config.json"]);
    assert_eq!(names(&instance.disk.path("var/lib/ecs-bootstrap")), ["written.json"]);
    assert_eq!(names(&instance.disk.path("run/ecs-bootstrap")), ["lock", "plan.json", "status.json"]);
}

trait Again {
    fn ecs_config_again(&self);
}

impl Again for Instance {
    /// The host as before the first run; left-overs of the killed one stay.
    fn ecs_config_again(&self) {
        self.disk.write("etc/ecs/ecs.config", OLD);
        self.disk.remove("var/lib/ecs-bootstrap/written.json");
    }
}

#[test]
fn a_ca_bundle_of_rubbish_is_told() {
    let instance = old().without_imds_tags();
    instance.disk.write("home/empty.pem", "");
    instance.disk.write("home/binary.pem", (0..=255).collect::<Vec<u8>>());
    instance.disk.write("home/broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let mut instance = instance;
    for name in ["empty.pem", "binary.pem", "broken.pem", "absent.pem", ""] {
        let path = instance.disk.path("home").join(name);
        instance = instance.env("AWS_CA_BUNDLE", path.as_os_str());
        let told = one_error(&run(&instance, &[]), "ca-bundle-invalid", 20);
        assert!(told.contains(name), "{told}");
        is_untouched(&instance);
    }
}

#[test]
fn broken_records_of_our_own_and_of_the_agent_stop_nothing() {
    for path in [
        "var/lib/ecs-bootstrap/written.json",
        "run/ecs-bootstrap/plan.json",
        "run/ecs-bootstrap/status.json",
        "var/lib/ecs/data/agent.db",
    ] {
        let instance = old().file(path, b"{\x00\xff half a rec");
        let outcome = run(&instance, &["verify.deadline=20s"]);
        assert_eq!(outcome.code, Some(0), "{path}: {}", outcome.stderr);
    }
    let instance = old().file("run/ecs-bootstrap/status.json", b"{\x00\xff half a rec");
    let outcome = instance.run(&["status"]);
    assert_eq!(outcome.code, Some(1));
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
}

/// The product as an ordinary user, who does not own the files.
fn unprivileged(instance: Instance) -> Instance {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    for folder in ["run", "run/ecs-bootstrap"] {
        instance.disk.folder(folder);
        std::fs::set_permissions(instance.disk.path(folder), PermissionsExt::from_mode(0o777)).unwrap();
    }
    match is_root {
        true => wrapped(
            instance,
            &format!("exec /usr/bin/setpriv --reuid=65534 --regid=65534 --clear-groups {PRODUCT} \"$@\""),
        ),
        false => instance,
    }
}

fn wrapped(instance: Instance, script: &str) -> Instance {
    instance.disk.write("bin/wrapped", format!("#!/bin/sh\n{script}\n"));
    let path = instance.disk.path("bin/wrapped");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    instance.binary(path)
}

/// The product runs where `/etc/ecs` is a file system of its own, in a mount namespace that an ordinary user may make
/// too. What it leaves there is copied to `home/after` and listed in `home/left`.
fn mounted(instance: Instance, options: &str, then: &str) -> Instance {
    let (folder, home) = (instance.disk.path("etc/ecs"), instance.disk.path("home"));
    let (folder, home) = (folder.display(), home.display());
    let inner = format!(
        "/bin/mount -t tmpfs -o {options} tmpfs {folder} && cd {folder} && {{ {then}; }} || exit 99; {PRODUCT} \"$@\"; code=$?; /bin/cat ecs.config >{home}/after; /bin/ls -A >{home}/left; exit $code"
    );
    let script = format!("exec /usr/bin/unshare --user --map-root-user --mount /bin/sh -c '{inner}' product \"$@\"");
    wrapped(instance, &script)
}

/// A full file system of its own at this folder, as the product sees it.
pub(crate) fn full_at(instance: Instance, folder: &str) -> Instance {
    instance.disk.folder(folder);
    let folder = instance.disk.path(folder);
    let folder = folder.display();
    let inner = format!(
        "/bin/mount -t tmpfs -o size=64k tmpfs {folder} || exit 99; /bin/cat /dev/zero 2>/dev/null >{folder}/full; exec {PRODUCT} \"$@\""
    );
    let script = format!("exec /usr/bin/unshare --user --map-root-user --mount /bin/sh -c '{inner}' product \"$@\"");
    wrapped(instance, &script)
}

/// `/etc/ecs` has room for the file that is there, and no more.
pub(crate) fn full_disk(instance: Instance) -> Instance {
    mounted(instance, "size=4096", "echo ECS_LOGLEVEL=warn >ecs.config")
}

/// `/etc/ecs` is read-only.
pub(crate) fn read_only(instance: Instance) -> Instance {
    mounted(instance, "size=64k", "echo ECS_LOGLEVEL=warn >ecs.config && /bin/mount -o remount,ro .")
}

#[test]
fn durations_without_measure_are_refused_wherever_they_stand() {
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
fn the_deadline_of_a_run_is_not_taken_from_user_data() {
    for text in ["run.deadline = \"1s\"\n", "[run]\ndeadline = \"1s\"\n", "[imds]\ndeadline = \"1s\"\n"] {
        let instance = old().user_data(format!("#ecs-bootstrap\n{text}"));
        let told = one_error(&run(&instance, &[]), "setting-invalid", 20);
        assert!(told.contains("/etc/ecs-bootstrap/config.toml") && told.contains("user data:"), "{told}");
        is_untouched(&instance);
    }
}

#[test]
fn absurd_times_in_a_plan_that_was_left_are_bounded() {
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
fn an_identity_document_that_breaks_off_is_asked_for_again() {
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
fn a_folder_of_settings_without_end_is_refused() {
    let instance = Instance::new();
    for at in 0..101 {
        instance.disk.write(&format!("etc/ecs-bootstrap/config.d/{at}.toml"), "");
    }
    let told = one_error(&run(&instance, &[]), "setting-invalid", 20);
    assert!(told.contains("more than 100 settings files"), "{told}");
}
