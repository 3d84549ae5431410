//! While user data has not ended: what it may still name, what waits for it, and the part of the boot without a bus.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::support::Instance;

const CONFIG: &str = "etc/ecs/ecs.config";

/// Nothing names a cluster, and cloud-final runs.
fn undecided() -> Instance {
    Instance::new().without_tags().tag("Name", "web").file("dev/console", "").user_data_runs()
}

/// The jobs that were asked for, in order.
fn jobs(instance: &Instance) -> Vec<String> {
    let calls = instance.systemd.calls().into_iter();
    calls.filter(|call| call.starts_with("StartUnit ") || call.starts_with("RestartUnit ")).collect()
}

fn run(instance: &Instance, arguments: &[&str]) {
    let outcome = instance.run(arguments);
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stdout.contains("no cluster is named yet"), "{}", outcome.stdout);
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
    instance.user_data_ends();
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
    instance.user_data_ends();
}

#[test]
fn queues_an_agent_that_guard_will_judge() {
    let instance = undecided().unit("ecs.service", |unit| unit.guarded());
    run(&instance, &["run", "--no-wait"]);
    assert!(jobs(&instance).contains(&"StartUnit ecs.service".to_owned()), "{:?}", jobs(&instance));
    instance.user_data_ends();
}

#[test]
fn verify_waits_for_what_user_data_names() {
    let instance = undecided().unit("ecs.service", |unit| unit.unit_file_state = "disabled".into());
    run(&instance, &["run", "--no-wait"]);
    let verify = instance.start(&["verify", "--set", "verify.deadline=2s"]);
    // Longer than its deadline: the time of user data is its own.
    std::thread::sleep(Duration::from_secs(3));
    instance.disk.write(CONFIG, "ECS_CLUSTER=prod\n");
    instance.user_data_ends();
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
    let instance = undecided().user_data("#!/bin/sh\ntrue\n");
    run(&instance, &["run", "--no-wait"]);
    let verify = instance.start(&["verify"]);
    std::thread::sleep(Duration::from_millis(500));
    instance.user_data_ends();
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
    instance.user_data_ends();
    let outcome = verify.wait();
    assert!(outcome.stdout.contains("in cluster `prod`"), "{}\n{}", outcome.stdout, outcome.stderr);
}

#[test]
fn a_script_that_waits_for_the_agent_is_told_while_it_does() {
    let secret = "hunter2";
    let instance = Instance::new()
        .file("dev/console", "")
        .file("proc/4711/cgroup", "0::/system.slice/cloud-final.service\n")
        .file("proc/4711/cmdline", format!("systemctl\0start\0ecs\0{secret}\0"))
        .file("proc/4712/cgroup", "0::/system.slice/cloud-final.service\n")
        .file("proc/4712/cmdline", "/bin/sh\0/var/lib/cloud/instance/scripts/part-001\0")
        .user_data_runs();
    let outcome = instance.run(&["run", "--no-wait"]);
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    let verify = instance.start(&["verify", "--set", "verify.deadline=5s"]);
    let status = || instance.run(&["status"]);
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(status().code, Some(0), "it may have set itself a limit");
    let told = (0..100).find_map(|_| {
        std::thread::sleep(Duration::from_millis(100));
        Some(status()).filter(|outcome| outcome.code == Some(20))
    });
    let told = told.expect("the deadlock is told").stdout;
    let named = told.lines().find_map(|line| line.strip_prefix("error: [")?.split(']').next());
    crate::causes::record("user-data-deadlock", named.unwrap_or("nothing"));
    assert!(told.contains("error: [user-data-deadlock]"), "{told}");
    assert!(told.contains("process 4711 of user data waits: `systemctl start ecs.service`"), "{told}");
    assert!(instance.disk.text("dev/console").contains("[user-data-deadlock]"));
    // It gives up after all: what was told is no longer true.
    std::fs::remove_dir_all(instance.disk.path("proc/4711")).unwrap();
    instance.user_data_ends();
    let outcome = verify.wait();
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    assert_eq!(status().code, Some(0));
}

#[test]
fn user_data_that_does_not_end_is_told_with_what_looks_wrong() {
    let instance = Instance::new().without_role().user_data_runs();
    instance.imds.change(|imds| imds.pending_time = std::time::SystemTime::now());
    assert_eq!(instance.run(&["run", "--no-wait"]).code, Some(0));
    let verify = instance.start(&["verify", "--set", "verify.deadline=1s"]);
    std::thread::sleep(Duration::from_secs(3));
    let status = instance.run(&["status", "--json"]).stdout;
    assert!(status.contains("user data has not ended") && status.contains("no-instance-role"), "{status}");
    instance.user_data_ends();
    assert_eq!(verify.wait().code, Some(22));
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
    let begun = early();
    begun.disk.remove("run/cloud-init/result.json");
    run(&begun, &["run"]);
    // Whoever may be named later is not started before.
    assert_eq!(begun.disk.text("systemctl.log"), "--no-block start ecs-bootstrap-verify.service\n");
    let outcome = early().run(&["run"]);
    assert_eq!(outcome.code, Some(21), "{}\n{}", outcome.stdout, outcome.stderr);
}
