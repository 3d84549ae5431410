//! While user data has not ended: what it may still name, what waits for it, and the part of the boot without a bus.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::support::Instance;

const CONFIG: &str = "etc/ecs/ecs.config";

/// Nothing names a cluster, and cloud-final runs.
fn undecided() -> Instance {
    let instance = Instance::new().without_tags().tag("Name", "web").file("dev/console", "");
    instance.systemd.cloud_final_runs();
    instance
}

/// The jobs that were asked for, in order.
fn jobs(instance: &Instance) -> Vec<String> {
    let calls = instance.systemd.calls().into_iter();
    calls.filter(|call| call.starts_with("StartUnit ") || call.starts_with("RestartUnit ")).collect()
}

fn run(instance: &Instance, arguments: &[&str]) {
    let outcome = instance.run(arguments);
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stdout.contains("nothing names a cluster yet"), "{}", outcome.stdout);
}

#[test]
fn names_no_cluster_and_starts_no_agent_while_user_data_may_still_speak() {
    let instance = undecided();
    run(&instance, &["run", "--wait"]);
    assert_eq!(instance.disk.text(CONFIG), "");
    assert_eq!(
        jobs(&instance).iter().filter(|job| !job.contains("ecs-bootstrap-verify")).collect::<Vec<_>>(),
        Vec::<&String>::new()
    );
    instance.disk.write(CONFIG, "ECS_CLUSTER=prod\n");
    instance.systemd.cloud_final_ends();
    let outcome = instance.run(&["run", "--wait"]);
    assert!(outcome.stdout.starts_with("ready: "), "{}\n{}", outcome.stdout, outcome.stderr);
}

#[test]
fn what_user_data_writes_while_a_tag_is_waited_for_is_kept_and_ends_the_wait() {
    let instance = Instance::new().without_tags().without_imds_tags().ecs_config("# mine\n");
    instance.systemd.cloud_final_runs();
    let running = instance.start(&["run", "--no-wait"]);
    while instance.aws.requests().is_empty() {
        std::thread::yield_now();
    }
    instance.disk.write(CONFIG, "# mine\nECS_CLUSTER=prod\n");
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.duration < Duration::from_secs(10), "`tags.wait` is half a minute: {:?}", outcome.duration);
    assert_eq!(instance.disk.text(CONFIG), "# mine\nECS_CLUSTER=prod\n");
    let jobs = jobs(&instance);
    assert!(jobs.contains(&"StartUnit ecs.service".to_owned()), "{jobs:?}");
    instance.systemd.cloud_final_ends();
}

#[test]
fn queues_an_agent_that_guard_will_judge() {
    let instance = undecided().unit("ecs.service", |unit| unit.guarded());
    run(&instance, &["run", "--no-wait"]);
    assert!(jobs(&instance).contains(&"StartUnit ecs.service".to_owned()), "{:?}", jobs(&instance));
    instance.systemd.cloud_final_ends();
}

#[test]
fn verify_waits_for_what_user_data_names() {
    let instance = undecided().unit("ecs.service", |unit| unit.unit_file_state = "disabled".into());
    run(&instance, &["run", "--no-wait"]);
    let verify = instance.start(&["verify", "--set", "verify.deadline=2s"]);
    // Longer than its deadline: the time of user data is its own.
    std::thread::sleep(Duration::from_secs(3));
    instance.disk.write(CONFIG, "ECS_CLUSTER=prod\n");
    instance.systemd.cloud_final_ends();
    instance.systemd.change_unit("ecs.service", |unit| {
        unit.active_state = "active".into();
        unit.sub_state = "running".into();
    });
    instance.docker.start();
    instance.agent.start();
    let outcome = verify.wait();
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stdout.contains("in cluster `prod`"), "{}", outcome.stdout);
}

#[test]
fn verify_tells_that_user_data_has_named_nothing() {
    let instance = undecided();
    run(&instance, &["run", "--no-wait"]);
    let verify = instance.start(&["verify"]);
    std::thread::sleep(Duration::from_millis(500));
    instance.systemd.cloud_final_ends();
    let outcome = verify.wait();
    assert_eq!(outcome.code, Some(21), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stderr.contains("error: [no-cluster-named]"), "{}", outcome.stderr);
    assert!(instance.disk.text("dev/console").contains("[no-cluster-named]"));
}

#[test]
fn verify_follows_a_run_that_expects_something_else() {
    let instance = undecided();
    run(&instance, &["run", "--no-wait"]);
    let verify = instance.start(&["verify"]);
    std::thread::sleep(Duration::from_millis(500));
    let outcome = instance.run(&["run", "--no-wait", "--cluster", "prod"]);
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    instance.systemd.cloud_final_ends();
    let outcome = verify.wait();
    assert!(outcome.stdout.contains("in cluster `prod`"), "{}\n{}", outcome.stdout, outcome.stderr);
}

#[test]
fn a_script_that_waits_for_the_agent_is_told_by_its_command() {
    let instance = Instance::new()
        .file("dev/console", "")
        .file("proc/4711/cgroup", "0::/system.slice/cloud-final.service\n")
        .file("proc/4711/cmdline", "systemctl\0start\0ecs\0")
        .file("proc/4712/cgroup", "0::/system.slice/cloud-final.service\n")
        .file("proc/4712/cmdline", "/bin/sh\0/var/lib/cloud/instance/scripts/part-001\0");
    instance.systemd.cloud_final_runs();
    let outcome = instance.run(&["run", "--no-wait"]);
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    let outcome = instance.run(&["verify"]);
    assert_eq!(outcome.code, Some(20), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stderr.contains("error: [user-data-deadlock]"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("process 4711 of user data, `systemctl start ecs`"), "{}", outcome.stderr);
    assert!(outcome.duration > Duration::from_secs(10), "it may have set itself a limit: {:?}", outcome.duration);
    assert!(instance.disk.text("dev/console").contains("[user-data-deadlock]"));
    instance.systemd.cloud_final_ends();
}

/// A systemctl that writes down what it is asked.
fn with_systemctl(instance: Instance, verify_is_installed: bool) -> Instance {
    let log = instance.disk.path("systemctl.log");
    let absent = instance.disk.path("run/systemd/system/ecs-bootstrap-verify.service");
    let script = format!(
        "#!/bin/sh\necho \"$*\" >>{}\ncase $* in\n*verify*) {} || [ -e {} ] || exit 5 ;;\nesac\n",
        log.display(),
        verify_is_installed,
        absent.display()
    );
    let instance = instance.file("bin/systemctl", script).file("run/systemd/private", "");
    let program = instance.disk.path("bin/systemctl");
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
    instance
}

#[test]
fn before_there_is_a_bus_jobs_are_queued_by_systemctl() {
    let instance = with_systemctl(Instance::new().without_bus(), true);
    let outcome = instance.run(&["run", "--no-wait"]);
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    assert_eq!(instance.disk.text(CONFIG), "ECS_CLUSTER=prod\n");
    assert_eq!(
        instance.disk.text("systemctl.log").lines().collect::<Vec<_>>(),
        [
            "--no-block start docker.service",
            "--no-block start ecs.service",
            "--no-block start ecs-bootstrap-verify.service"
        ]
    );
}

#[test]
fn before_there_is_a_bus_the_unit_is_written_below_run_too() {
    let instance = with_systemctl(Instance::new().without_bus(), false);
    let outcome = instance.run(&["run"]);
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(instance.disk.text("run/systemd/system/ecs-bootstrap-verify.service").contains("ExecStart="));
    assert_eq!(instance.disk.text("systemctl.log").matches("ecs-bootstrap-verify").count(), 2);
}

#[test]
fn before_there_is_a_bus_waiting_is_refused() {
    let instance = with_systemctl(Instance::new().without_bus(), true);
    let outcome = instance.run(&["run", "--wait"]);
    assert_eq!(outcome.code, Some(12), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stderr.contains("[systemd-unreachable]"), "{}", outcome.stderr);
}

#[test]
fn before_there_is_a_bus_cloud_inits_own_files_say_whether_user_data_may_still_speak() {
    let early = || with_systemctl(Instance::new().without_bus().without_tags().tag("Name", "web"), true);
    run(&early().file("run/cloud-init/status.json", "{}"), &["run"]);
    let ended = early().file("run/cloud-init/status.json", "{}").file("run/cloud-init/result.json", "{}");
    let outcome = ended.run(&["run"]);
    assert_eq!(outcome.code, Some(21), "{}\n{}", outcome.stdout, outcome.stderr);
}
