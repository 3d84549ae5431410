//! `prepare-image` and `reset-agent`: without `--yes` they change nothing, and with it exactly what they listed.
//!
//! In: an instance that a run has configured. Out: assertions on its files, on calls to systemd, on exit code and
//! report.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use ecs_bootstrap::causes::find;
use serde_json::Value;

use crate::support::systemd::Start;
use crate::support::{Instance, Outcome};

const DATA: &str = "var/lib/ecs/data";
const DB: &str = "var/lib/ecs/data/agent.db";
const LOG: &str = "var/log/ecs/ecs-agent.log";
const CONFIG: &str = "etc/ecs/ecs.config";
const FOREIGN: &str = "# mine\nHTTP_PROXY=127.0.0.1:3128\n";
const STAY: [&str; 5] = [
    "var/cache/ecs/ecs-agent.tar",
    "var/lib/ecs/ecs.config",
    "var/lib/ecs/deps/execute-command/bin/x",
    "var/lib/cloud/data/result.json",
    "etc/machine-id",
];

/// An instance that has joined, with foreign lines in `ecs.config` and other files of an image.
fn booted() -> Instance {
    let instance = STAY.iter().fold(Instance::new(), |instance, path| instance.file(path, "theirs"));
    let instance = instance.file("var/lib/ecs/gpu/nvidia-gpu-info.json", "{}").ecs_config(FOREIGN);
    let outcome = instance.run(&["run", "--wait"]);
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(instance.disk.agent_state().is_some() && instance.disk.text(CONFIG).contains("ECS_CLUSTER=prod"));
    instance.systemd.forget_calls();
    instance
}

fn succeeds(instance: &Instance, arguments: &[&str]) -> Outcome {
    let outcome = instance.run(arguments);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{}", outcome.stdout);
    outcome
}

/// The requested jobs, in order.
fn jobs(instance: &Instance) -> Vec<String> {
    instance.systemd.calls().into_iter().filter(|call| call.contains("Unit ecs") && !call.starts_with("Load")).collect()
}

/// Every file with its bytes, and every link with its target.
fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.display().to_string();
        match path.symlink_metadata().unwrap().file_type() {
            kind if kind.is_dir() => found.extend(tree(&path)),
            kind if kind.is_file() => drop(found.insert(name, std::fs::read(&path).unwrap())),
            _ => drop(found.insert(name, Vec::new())),
        }
    }
    found
}

fn file_names(instance: &Instance, folder: &str) -> Vec<String> {
    let listed = std::fs::read_dir(instance.disk.path(folder)).unwrap();
    let mut names: Vec<_> = listed.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The folder with the saved state that was set aside.
fn set_aside_folder(instance: &Instance) -> String {
    let mut found = file_names(instance, "var/lib/ecs").into_iter().filter(|name| name.starts_with("data."));
    let (name, other) = (found.next().expect("a folder data.TIME"), found.next());
    assert_eq!((name.len(), other), ("data.2026-11-25T22-31-05Z".len(), None), "{name}");
    format!("var/lib/ecs/{name}")
}

/// The id of the expected cause, the exit code, and a part of its evidence.
struct ExpectedCause<'a>(&'a str, i32, &'a str);

impl ExpectedCause<'_> {
    fn check(self, outcome: &Outcome) {
        let ExpectedCause(id, code, seen) = self;
        let (cause, report) = (find(id).unwrap(), &outcome.stderr);
        let named = report.lines().find_map(|line| line.strip_prefix("error: [")?.split(']').next());
        crate::causes::record(id, named.unwrap_or("nothing"));
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(code), ""), "{report}");
        assert!(report.starts_with(&format!("error: [{id}] {}\n", cause.title)), "{report}");
        assert!(
            report.lines().any(|line| line.starts_with("seen: ") && line.contains(seen)),
            "no `{seen}` in {report}"
        );
        assert!(report.ends_with(&format!("remedy: {}\n", cause.remedy)), "{report}");
        assert_eq!(report.matches("error: ").count(), 1, "{report}");
    }

    /// Runs the command and checks the cause, and that no file and no job has changed.
    fn check_untouched(self, instance: &Instance, arguments: &[&str]) {
        let before = tree(instance.root());
        self.check(&instance.run(arguments));
        let mut after = tree(instance.root());
        after.retain(|path, _| before.contains_key(path) || !path.ends_with("/run/ecs-bootstrap/lock"));
        assert_eq!(after, before);
        assert_eq!(jobs(instance), Vec::<String>::new());
    }
}

#[test]
fn a_list_changes_nothing_and_gives_a_reason_for_each_path() {
    let instance = booted();
    let before = tree(instance.root());
    for command in ["prepare-image", "reset-agent"] {
        let outcome = succeeds(&instance, &[command]);
        let whole = format!("run `ecs-bootstrap {command} --root {} --yes`", instance.root().display());
        assert!(outcome.stdout.contains(&whole), "{}", outcome.stdout);
        assert!(outcome.stdout.contains("would stop   ecs.service"), "{}", outcome.stdout);
        assert!(outcome.stdout.contains("aws ecs deregister-container-instance --region eu-west-1 --cluster prod"));
    }
    let list = succeeds(&instance, &["prepare-image"]).stdout;
    for part in [
        "would remove /var/lib/ecs/data/agent.db  20 KiB: the agent's saved state",
        "would remove /var/lib/ecs/gpu/nvidia-gpu-info.json",
        "would remove /var/log/ecs/ecs-agent.log",
        "would remove /var/lib/ecs-bootstrap/written.json",
        "would change /etc/ecs/ecs.config  without ECS_CLUSTER; all other lines stay",
        &format!("`truncate -s 0 {}/etc/machine-id`", instance.root().display()),
        "`docker rm ecs-agent`",
    ] {
        assert!(list.contains(part), "no `{part}` in {list}");
    }
    assert_eq!((tree(instance.root()), jobs(&instance)), (before, Vec::new()));
}

#[test]
fn a_prepared_image_has_nothing_of_this_instance_and_all_foreign_files() {
    let instance = booted();
    instance.disk.write(&format!("{DATA}/deep/er/file"), "x");
    let outcome = succeeds(&instance, &["prepare-image", "--yes"]);
    for part in ["stopped  ecs.service", "changed  /etc/ecs/ecs.config", "removed  /var/lib/ecs/data/deep  1 B"] {
        assert!(outcome.stdout.contains(part), "no `{part}` in {}", outcome.stdout);
    }
    assert_eq!(jobs(&instance), ["StopUnit ecs.service"]);
    assert_ne!(instance.systemd.unit("ecs.service").unwrap().active_state, "active");
    assert_eq!(instance.disk.text(CONFIG), FOREIGN);
    for folder in [DATA, "var/lib/ecs/gpu", "var/log/ecs", "var/lib/ecs-bootstrap"] {
        assert_eq!(file_names(&instance, folder), Vec::<String>::new(), "{folder}");
    }
    assert!(STAY.iter().all(|path| instance.disk.text(path) == "theirs"));
    assert_eq!(instance.run(&["status"]).code, Some(13), "the old verdict is removed");

    let before = tree(instance.root());
    let again = succeeds(&instance, &["prepare-image", "--yes"]);
    assert!(again.stdout.starts_with("nothing to do: "), "{}", again.stdout);
    assert!(succeeds(&instance, &["prepare-image"]).stdout.starts_with("nothing to do: "));
    assert_eq!((tree(instance.root()), jobs(&instance)), (before, vec!["StopUnit ecs.service".to_owned()]));
    let outcome = instance.run(&["run", "--wait"]);
    assert_eq!(outcome.code, Some(0), "the instance can boot again: {}", outcome.stderr);
}

#[test]
fn attributes_get_the_value_from_before_ecs_bootstrap() {
    let instance = Instance::new()
        .tag("stack", "web")
        .setting_file("etc/ecs-bootstrap/config.toml", "[derive]\nattributes = [\"stack\"]\n")
        .ecs_config("ECS_INSTANCE_ATTRIBUTES={\"disk\":\"ssd\"}\n");
    assert_eq!(instance.run(&["run", "--wait"]).code, Some(0));
    let outcome = succeeds(&instance, &["prepare-image", "--yes"]);
    assert!(outcome.stdout.contains("as before ecs-bootstrap: ECS_INSTANCE_ATTRIBUTES"), "{}", outcome.stdout);
    assert_eq!(instance.disk.text(CONFIG), "ECS_INSTANCE_ATTRIBUTES={\"disk\":\"ssd\"}\n");
}

#[test]
fn the_list_is_also_available_as_json() {
    let instance = booted();
    instance.agent.change(|agent| agent.tasks = vec![(1, "RUNNING")]);
    let json = |arguments: &[&str]| -> Value { serde_json::from_str(&succeeds(&instance, arguments).stdout).unwrap() };
    let list = json(&["prepare-image", "--json"]);
    assert_eq!(
        (list["version"].as_u64(), list["done"].as_bool(), list["stop"].as_str()),
        (Some(1), Some(false), Some("ecs.service"))
    );
    assert_eq!(list["remove"][0]["path"], "/var/lib/ecs/data/agent.db");
    assert_eq!((&list["remove"][0]["bytes"], &list["remove"][0]["kind"]), (&Value::from(20480), &Value::from("file")));
    assert_eq!(
        (&list["ecs_config"]["removed"][0], &list["obstacles"][0]["id"]),
        (&Value::from("ECS_CLUSTER"), &Value::from("tasks-running"))
    );
    assert!(!list.to_string().contains("3128"), "the text of ecs.config is in the list");
    let reset = json(&["reset-agent", "--json", "--yes", "--force"]);
    assert_eq!(
        (&reset["done"], &reset["started"], &reset["start"]),
        (&true.into(), &true.into(), &"ecs.service".into())
    );
    assert_eq!(reset["set_aside"]["from"], "/var/lib/ecs/data");
}

#[test]
fn running_tasks_stop_the_command_unless_forced() {
    for command in ["prepare-image", "reset-agent"] {
        let instance = booted();
        instance.agent.change(|agent| agent.tasks = vec![(1, "STOPPED"), (2, "RUNNING"), (3, "PENDING")]);
        ExpectedCause("tasks-running", 24, "`web:3` is RUNNING: arn:aws:ecs:eu-west-1:111122223333:task/prod/2")
            .check_untouched(&instance, &[command, "--yes"]);
        let list = succeeds(&instance, &[command]).stdout;
        assert!(list.contains("refused: [tasks-running]") && !list.contains("task/prod/1"), "{list}");
        succeeds(&instance, &[command, "--yes", "--force"]);
        let has_state = || instance.disk.read(DB).is_some();
        if command == "prepare-image" {
            assert!(!has_state());
        } else {
            // The agent saves its state again when it has registered, which can be after the end of the command.
            let start = Instant::now();
            while !has_state() {
                assert!(start.elapsed() < Duration::from_secs(20), "the agent saved no state");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

#[test]
fn stopped_tasks_do_not_stop_the_command() {
    let instance = booted();
    instance.agent.change(|agent| agent.tasks = vec![(1, "STOPPED")]);
    // The container of a stopped task is ignored: docker is stopping it, or another agent started it.
    instance.docker.change(|docker| docker.tasks = vec![1]);
    succeeds(&instance, &["prepare-image", "--yes"]);
}

#[test]
fn containers_of_an_agent_that_died_count_as_tasks() {
    let instance = booted();
    instance.systemd.change_unit("ecs.service", |unit| unit.active_state = "failed".into());
    instance.agent.stop();
    instance.docker.change(|docker| docker.tasks = vec![7, 7]);
    let outcome = instance.run(&["reset-agent", "--yes"]);
    ExpectedCause("tasks-running", 24, "task/prod/7").check(&outcome);
    assert_eq!(outcome.stderr.matches("task/prod/7").count(), 1);
    instance.docker.change(|docker| docker.hung = true);
    ExpectedCause("tasks-unknown", 24, "docker did not answer").check_untouched(&instance, &["reset-agent", "--yes"]);
    instance.docker.change(|docker| docker.hung = false);
    succeeds(&instance, &["reset-agent", "--yes", "--force"]);
}

#[test]
fn an_agent_outside_its_unit_is_not_treated_as_stopped() {
    let instance = booted();
    instance.systemd.change_unit("ecs.service", |unit| unit.active_state = "inactive".into());
    for command in ["prepare-image", "reset-agent"] {
        ExpectedCause("agent-outside-systemd", 24, "an agent runs")
            .check_untouched(&instance, &[command, "--yes", "--force"]);
    }
}

#[test]
fn without_a_bus_nothing_is_removed_because_the_agent_may_run() {
    let instance = booted().without_bus();
    for command in ["prepare-image", "reset-agent"] {
        ExpectedCause("systemd-unreachable", 12, "no D-Bus system bus").check_untouched(&instance, &[command, "--yes"]);
        assert!(succeeds(&instance, &[command]).stdout.contains("refused: [systemd-unreachable]"));
    }
}

#[test]
fn a_mounted_image_needs_no_bus_and_the_agent_of_the_host_is_not_touched() {
    let instance = booted();
    instance.disk.remove("run/systemd/system");
    succeeds(&instance, &["reset-agent", "--yes"]);
    assert!(instance.disk.read(&format!("{}/agent.db", set_aside_folder(&instance))).is_some());
    let outcome = succeeds(&instance, &["prepare-image", "--yes"]);
    assert!(outcome.stdout.contains("removed  /var/lib/ecs/data.2"), "{}", outcome.stdout);
    assert_eq!(file_names(&instance, "var/lib/ecs"), ["data", "deps", "ecs.config", "gpu"]);
    assert_eq!((instance.disk.text(CONFIG).as_str(), instance.systemd.calls()), (FOREIGN, Vec::new()));
}

#[test]
fn a_host_without_an_agent_is_cleaned_too() {
    let instance = Instance::new().file(LOG, "x");
    instance.systemd.change_unit("ecs.service", crate::support::systemd::Unit::absent);
    let outcome = succeeds(&instance, &["prepare-image", "--yes"]);
    assert!(outcome.stdout.contains("removed  /var/log/ecs/ecs-agent.log") && !outcome.stdout.contains("stop"));
    assert_eq!(jobs(&instance), Vec::<String>::new());
}

#[test]
fn links_are_removed_and_never_followed() {
    let instance = booted();
    instance.disk.write("home/precious", "x");
    for (link, target) in [("to-file", "home/precious"), ("to-folder", "home")] {
        symlink(instance.disk.path(target), instance.disk.path(DATA).join(link)).unwrap();
    }
    succeeds(&instance, &["prepare-image", "--yes"]);
    assert_eq!((file_names(&instance, DATA), instance.disk.text("home/precious").as_str()), (Vec::new(), "x"));
}

#[test]
fn a_folder_that_is_a_link_stops_the_command_before_anything_is_removed() {
    let instance = booted();
    instance.systemd.change_unit("ecs.service", |unit| unit.active_state = "inactive".into());
    instance.agent.stop();
    std::fs::rename(instance.disk.path(DATA), instance.disk.path("home/data")).unwrap();
    symlink(instance.disk.path("home/data"), instance.disk.path(DATA)).unwrap();
    for command in ["prepare-image", "reset-agent"] {
        ExpectedCause("folder-elsewhere", 24, "`/var/lib/ecs/data`: it is a symbolic link")
            .check_untouched(&instance, &[command, "--yes"]);
    }
    assert!(instance.disk.read("home/data/agent.db").is_some());
}

#[test]
fn an_agent_that_does_not_stop_keeps_its_files() {
    let instance = booted();
    instance.systemd.change_unit("ecs.service", |unit| unit.start = Start::NeverEnds);
    let arguments = ["prepare-image", "--yes", "--set", "run.deadline=3s"];
    ExpectedCause("agent-unit-job", 12, "the stop job of ecs.service failed").check(&instance.run(&arguments));
    assert!(instance.disk.read(DB).is_some() && instance.disk.text(CONFIG).contains("ECS_CLUSTER=prod"));
    let instance = booted();
    let name = "org.freedesktop.DBus.Error.UnknownMethod".to_owned();
    instance.systemd.change_unit("ecs.service", |unit| unit.start = Start::Refused { name, text: "no".into() });
    ExpectedCause("systemd-refused", 24, "systemd does not support StopUnit(ecs.service)")
        .check(&instance.run(&["prepare-image", "--yes"]));
    assert!(instance.disk.read(DB).is_some());
}

#[test]
fn a_path_that_cannot_be_removed_is_reported_and_the_others_are_removed() {
    let instance = booted();
    // Root can remove everything, but it cannot list a file as a folder.
    instance.disk.remove("var/lib/ecs/gpu");
    instance.disk.write("var/lib/ecs/gpu", "not a folder");
    ExpectedCause("cleanup-incomplete", 24, "cannot list `/var/lib/ecs/gpu`")
        .check(&instance.run(&["prepare-image", "--yes"]));
    assert!(instance.disk.read(DB).is_none() && instance.disk.read(LOG).is_none());
    assert_eq!(instance.disk.text("var/lib/ecs/gpu"), "not a folder");
}

#[test]
fn nothing_is_removed_if_ecs_config_cannot_be_edited() {
    let instance = booted();
    let text = format!("X=\"open\n{}", instance.disk.text(CONFIG));
    instance.disk.write(CONFIG, text);
    ExpectedCause("ecs-config-unusable", 20, "cannot be edited safely")
        .check_untouched(&instance, &["prepare-image", "--yes"]);
}

#[test]
fn saved_state_is_set_aside_and_the_agent_starts_without_it() {
    let instance = booted();
    std::fs::set_permissions(instance.disk.path(DATA), std::fs::Permissions::from_mode(0o711)).unwrap();
    let (state, config) = (instance.disk.read(DB).unwrap(), instance.disk.text(CONFIG));
    let outcome = succeeds(&instance, &["reset-agent", "--yes"]);
    let kept = set_aside_folder(&instance);
    for part in ["stopped  ecs.service", &format!("moved    /var/lib/ecs/data  to /{kept}"), "started  ecs.service"] {
        assert!(outcome.stdout.contains(part), "no `{part}` in {}", outcome.stdout);
    }
    assert_eq!(jobs(&instance), ["StopUnit ecs.service", "StartUnit ecs.service"]);
    assert_eq!((instance.disk.read(&format!("{kept}/agent.db")).unwrap(), instance.disk.text(CONFIG)), (state, config));
    let mode = |path: &str| instance.disk.path(path).metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(DATA), mode(&kept)), (0o711, 0o711));
    assert!(instance.disk.read("run/ecs-bootstrap/reset.json").is_none());
    assert_eq!(instance.run(&["verify"]).code, Some(0));
}

#[test]
fn an_agent_that_did_not_run_is_not_started() {
    let instance = booted();
    instance.systemd.change_unit("ecs.service", |unit| unit.active_state = "inactive".into());
    instance.agent.stop();
    let outcome = succeeds(&instance, &["reset-agent", "--yes"]);
    assert!(outcome.stdout.contains("the agent does not run, and is not started"), "{}", outcome.stdout);
    assert_eq!((jobs(&instance), file_names(&instance, DATA)), (Vec::new(), Vec::new()));
    let again = succeeds(&instance, &["reset-agent", "--yes"]);
    assert!(again.stdout.starts_with("nothing to do: "), "{}", again.stdout);
    set_aside_folder(&instance);
}

#[test]
fn an_agent_that_gave_up_on_its_saved_cluster_joins_after_a_reset() {
    let instance = booted().cluster("stage", &[]).tag("ecs-bootstrap:cluster", "stage");
    let stage = ["run", "--wait", "--set", "verify.deadline=10s"];
    let outcome = instance.run(&stage);
    assert_eq!(outcome.code, Some(21), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("`ecs-bootstrap reset-agent --yes`"), "{}", outcome.stderr);
    succeeds(&instance, &["reset-agent", "--yes"]);
    let outcome = instance.run(&["verify"]);
    assert!(outcome.stdout.contains("in cluster `stage`"), "{}\n{}", outcome.stdout, outcome.stderr);
}

#[test]
fn a_reset_killed_while_the_agent_stops_is_finished_by_the_next_one() {
    let instance = booted();
    instance.systemd.change_unit("ecs.service", |unit| unit.delay = std::time::Duration::from_millis(300));
    let running = instance.start(&["reset-agent", "--yes"]);
    while jobs(&instance).is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(running.kill().signal, Some(9));
    while instance.systemd.unit("ecs.service").unwrap().active_state == "active" {
        std::thread::yield_now();
    }
    assert!(instance.disk.read(DB).is_some());
    succeeds(&instance, &["reset-agent", "--yes"]);
    assert_eq!(jobs(&instance), ["StopUnit ecs.service", "StartUnit ecs.service"]);
    assert!(instance.disk.read(&format!("{}/agent.db", set_aside_folder(&instance))).is_some());
}

#[test]
fn a_reset_killed_after_the_move_is_finished_by_the_next_one() {
    let instance = booted();
    instance.systemd.change_unit("ecs.service", |unit| unit.active_state = "inactive".into());
    instance.agent.stop();
    let kept = "var/lib/ecs/data.2026-11-25T22-31-05Z";
    std::fs::rename(instance.disk.path(DATA), instance.disk.path(kept)).unwrap();
    std::fs::set_permissions(instance.disk.path(kept), std::fs::Permissions::from_mode(0o750)).unwrap();
    instance.disk.write("run/ecs-bootstrap/reset.json", format!(r#"{{"unit":"ecs.service","to":"/{kept}"}}"#));
    let outcome = succeeds(&instance, &["reset-agent", "--yes"]);
    assert!(outcome.stdout.contains("an interrupted reset has moved the saved state there"), "{}", outcome.stdout);
    assert_eq!(
        (jobs(&instance), set_aside_folder(&instance).as_str()),
        (vec!["StartUnit ecs.service".to_owned()], kept)
    );
    assert_eq!(instance.disk.path(DATA).metadata().unwrap().permissions().mode() & 0o777, 0o750);
    assert!(instance.disk.read(&format!("{kept}/agent.db")).is_some());
    assert!(instance.disk.read("run/ecs-bootstrap/reset.json").is_none());
}

#[test]
fn a_command_waits_for_another_run() {
    let instance = booted();
    let held = std::fs::File::open(instance.disk.path("run/ecs-bootstrap/lock")).unwrap();
    held.lock().unwrap();
    ExpectedCause("run-late", 13, "waiting for another run")
        .check_untouched(&instance, &["prepare-image", "--yes", "--set", "run.deadline=1s"]);
    succeeds(&instance, &["prepare-image"]);
}
