//! Runs while user data has not ended, and runs before systemd has a bus.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::support::Instance;

const CONFIG: &str = "etc/ecs/ecs.config";

/// An instance without a cluster, while cloud-final runs.
fn undecided() -> Instance {
    Instance::new().without_tags().tag("Name", "web").file("dev/console", "").user_data_runs()
}

/// The requested jobs, in order.
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
fn writes_no_cluster_and_starts_no_agent_while_user_data_can_still_name_one() {
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
fn a_cluster_that_user_data_writes_ends_the_wait_for_a_tag() {
    let instance = Instance::new().without_tags().without_imds_tags().ecs_config("# mine\n");
    instance.systemd.cloud_final_runs();
    let running = instance.start(&["run", "--no-wait"]);
    while instance.aws.requests().is_empty() {
        std::thread::yield_now();
    }
    instance.disk.write(CONFIG, "# mine\nECS_CLUSTER=prod\n");
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.duration < Duration::from_secs(20), "`tags.wait` is half a minute: {:?}", outcome.duration);
    assert_eq!(instance.disk.text(CONFIG), "# mine\nECS_CLUSTER=prod\n");
    let jobs = jobs(&instance);
    assert!(jobs.contains(&"StartUnit ecs.service".to_owned()), "{jobs:?}");
    instance.user_data_ends();
}

#[test]
fn queues_the_agent_if_guard_checks_it() {
    let instance = undecided().unit("ecs.service", |unit| unit.guarded());
    run(&instance, &["run", "--no-wait"]);
    assert!(jobs(&instance).contains(&"StartUnit ecs.service".to_owned()), "{:?}", jobs(&instance));
    instance.user_data_ends();
}

#[test]
fn verify_waits_for_the_cluster_that_user_data_names() {
    let instance = undecided().unit("ecs.service", |unit| unit.unit_file_state = "disabled".into());
    run(&instance, &["run", "--no-wait"]);
    let verify = instance.start(&["verify", "--set", "verify.deadline=2s"]);
    // Longer than the deadline, which does not include the time of user data.
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
fn verify_reports_that_user_data_named_no_cluster() {
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
fn verify_uses_the_plan_of_a_later_run() {
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
fn a_script_that_waits_for_the_agent_is_reported_while_it_waits() {
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
    assert_eq!(status().code, Some(0), "the script may have a timeout of its own");
    let report = (0..100).find_map(|_| {
        std::thread::sleep(Duration::from_millis(100));
        Some(status()).filter(|outcome| outcome.code == Some(20))
    });
    let report = report.expect("the deadlock is reported").stdout;
    let named = report.lines().find_map(|line| line.strip_prefix("error: [")?.split(']').next());
    crate::causes::record("user-data-deadlock", named.unwrap_or("nothing"));
    assert!(report.contains("error: [user-data-deadlock]"), "{report}");
    assert!(report.contains("process 4711 of user data is waiting: `systemctl start ecs.service`"), "{report}");
    assert!(instance.disk.text("dev/console").contains("[user-data-deadlock]"));
    // The script stops waiting, so the reported cause no longer applies.
    std::fs::remove_dir_all(instance.disk.path("proc/4711")).unwrap();
    instance.user_data_ends();
    let outcome = verify.wait();
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    assert_eq!(status().code, Some(0));
}

#[test]
fn user_data_that_does_not_end_is_reported_with_the_fault_found_so_far() {
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

/// Adds a fake systemctl that logs its arguments.
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
fn without_a_bus_jobs_are_queued_by_systemctl() {
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
fn without_a_bus_the_unit_is_also_written_below_run() {
    let instance = with_systemctl(Instance::new().without_bus(), false);
    let outcome = instance.run(&["run"]);
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(instance.disk.text("run/systemd/system/ecs-bootstrap-verify.service").contains("ExecStart="));
    assert_eq!(instance.disk.text("systemctl.log").matches("ecs-bootstrap-verify").count(), 2);
}

#[test]
fn without_a_bus_waiting_is_refused() {
    let instance = with_systemctl(Instance::new().without_bus(), true);
    let outcome = instance.run(&["run", "--wait"]);
    assert_eq!(outcome.code, Some(12), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stderr.contains("[systemd-unreachable]"), "{}", outcome.stderr);
}

#[test]
fn without_a_bus_files_of_cloud_init_show_whether_user_data_has_ended() {
    let early = || with_systemctl(Instance::new().without_bus().without_tags().tag("Name", "web"), true);
    let begun = early();
    begun.disk.remove("run/cloud-init/result.json");
    run(&begun, &["run"]);
    // The agent is not started, because user data may still name the cluster.
    assert_eq!(begun.disk.text("systemctl.log"), "--no-block start ecs-bootstrap-verify.service\n");
    let outcome = early().run(&["run"]);
    assert_eq!(outcome.code, Some(21), "{}\n{}", outcome.stdout, outcome.stderr);
}
