//! Causes in cloud-init itself. See `causes/mod.rs`. User data that waits for the agent is in `tests/it/user_data.rs`.

use super::{ExpectedCause, ExpectedNote, is_ready, run};
use crate::support::{Instance, Outcome};

const SCRIPT: &str = "#!/bin/bash\necho ECS_CLUSTER=prod >> /etc/ecs/ecs.config\n";
const RESULT: &str = "run/cloud-init/result.json";
const STATUS: &str = "run/cloud-init/status.json";
const NONE: &str = r#"{"v1": {"datasource": "DataSourceNone", "errors": []}}"#;

fn only_user_data() -> Instance {
    Instance::new().without_tags().user_data(SCRIPT)
}

fn report_of(instance: &Instance) -> Outcome {
    run(instance, &["tags.wait=1s"])
}

#[test]
fn a_boot_without_a_data_source_is_reported() {
    let instance = only_user_data().file(RESULT, NONE);
    ExpectedCause("datasource-none", 21, "cloud-init recorded DataSourceNone").check(&instance, &report_of(&instance));
    let text = "Cloud-init failure detected: DataSourceNone while user data exists";
    let exits = Instance::new().user_data(SCRIPT).file(RESULT, NONE);
    let exits = exits.agent_behaves(|agent| agent.gives_up_with = Some(text.into()));
    ExpectedCause("datasource-none", 21, "Cloud-init failure detected")
        .check(&exits, &run(&exits, &["verify.deadline=20s"]));
}

#[test]
fn without_user_data_a_missing_data_source_is_user_data_absent() {
    let instance = Instance::new().without_tags().file(RESULT, NONE);
    ExpectedCause("user-data-absent", 21, "no user data").check(&instance, &report_of(&instance));
}

#[test]
fn an_agent_that_gives_up_for_another_reason_is_agent_gave_up() {
    let instance = Instance::new().user_data(SCRIPT).file(RESULT, NONE);
    let instance = instance.agent_behaves(|agent| agent.gives_up_with = Some("something new".into()));
    ExpectedCause("agent-gave-up", 23, "the agent exited with code 5")
        .check(&instance, &run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_failed_module_of_cloud_init_is_reported() {
    let error = r#"{"v1": {"datasource": "DataSourceEc2Local", "errors": ["('users_groups', KeyError('hunter2'))"]}}"#;
    let instance = only_user_data().file(RESULT, error);
    let outcome = report_of(&instance);
    ExpectedCause("cloud-init-failed", 21, "its module `users-groups` failed").check(&instance, &outcome);
    assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
    let beside = Instance::new().user_data(SCRIPT).file(RESULT, error);
    ExpectedNote("cloud-init-failed", "`users-groups` failed").check(&run(&beside, &["verify.deadline=20s"]));
}

#[test]
fn a_cloud_config_that_is_not_yaml_is_reported() {
    let text = "#cloud-config\nwrite_files:\n - path: /etc/ecs/ecs.config\n  content: ECS_CLUSTER=hunter2\n";
    let log =
        "2026-01-01 00:00:00,000 - util.py[WARNING]: Failed loading yaml blob. Invalid format at line 4: \"hunter2\"\n";
    let instance = Instance::new().without_tags().user_data(text).file("var/log/cloud-init-output.log", log);
    let outcome = report_of(&instance);
    ExpectedCause("cloud-init-failed", 21, "cloud-init-output.log: `Failed loading yaml blob`")
        .check(&instance, &outcome);
    assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
}

#[test]
fn a_cloud_init_that_never_ran_is_reported() {
    let instance = only_user_data();
    instance.disk.remove(RESULT);
    instance.disk.remove(STATUS);
    ExpectedCause("cloud-init-failed", 21, "no record of this boot").check(&instance, &report_of(&instance));
}

#[test]
fn recoverable_warnings_of_cloud_init_are_ignored() {
    let status = r#"{"v1": {"datasource": "DataSourceEc2Local", "init": {"errors": [], "recoverable_errors":
        {"WARNING": ["Unhandled non-multipart (text/x-not-multipart) userdata: 'hunter2'"]}}}}"#;
    let outcome = run(&Instance::new().file(STATUS, status), &["verify.deadline=20s"]);
    is_ready(&outcome);
    assert!(!outcome.stdout.contains("note: "), "{}", outcome.stdout);
    assert!(!outcome.stdout.contains("hunter2"), "{}", outcome.stdout);
}

/// Adds a process of user data, which started `started` hundredths of a second after the boot.
fn process(instance: Instance, pid: u32, name: &str, parent: u32, started: u64) -> Instance {
    let stat = format!("{pid} ({name}) S {parent} 1 1 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 {started} 0 0\n");
    instance
        .file(&format!("proc/{pid}/cgroup"), "0::/system.slice/cloud-final.service\n")
        .file(&format!("proc/{pid}/cmdline"), format!("{name}\0hunter2\0"))
        .file(&format!("proc/{pid}/stat"), stat)
}

/// cloud-init runs a script that started `started` hundredths of a second after the boot and sleeps.
fn sleeping(started: u64) -> Instance {
    let instance = Instance::new().user_data(SCRIPT).file("proc/uptime", "4000.00 80.02\n").file("dev/console", "");
    let instance = process(instance, 4700, "cloud-init", 1, 1000);
    let instance = process(instance, 4701, "tee", 4700, 1000);
    let instance = process(instance, 4710, "part-001", 4700, started);
    process(instance, 4712, "sleep", 4710, started + 100).user_data_runs()
}

#[test]
fn a_script_that_runs_too_long_is_reported_while_it_runs() {
    let instance = sleeping(100_000);
    assert_eq!(instance.run(&["run", "--no-wait"]).code, Some(0));
    let verify = instance.start(&["verify", "--set", "verify.deadline=3s"]);
    let status = (0..100).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        Some(instance.run(&["status"])).filter(|status| status.code == Some(13))
    });
    let status = status.expect("the cause is reported while the script runs");
    let outcome = Outcome { stdout: String::new(), stderr: status.stdout, ..status };
    ExpectedCause(
        "cloud-init-stuck",
        13,
        "process 4710 (`part-001`) of user data has run for 50m, and waits for `sleep`",
    )
    .check(&instance, &outcome);
    assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
    // The script ends, and the instance joins.
    instance.user_data_ends();
    assert_eq!(verify.wait().code, Some(0));
}

#[test]
fn a_script_that_started_recently_is_waited_for() {
    let instance = sleeping(395_000);
    assert_eq!(instance.run(&["run", "--no-wait"]).code, Some(0));
    let verify = instance.start(&["verify", "--set", "verify.deadline=1s"]);
    std::thread::sleep(std::time::Duration::from_secs(4));
    let status = instance.run(&["status"]);
    assert!(status.code == Some(0) && !status.stdout.contains("cloud-init-stuck"), "{}", status.stdout);
    instance.user_data_ends();
    super::is_ready(&verify.wait());
}
