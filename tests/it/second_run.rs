//! Runs after another run, in parallel and inside user data: unneeded work is skipped, and no run waits for itself.

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::{Instance, Outcome};

const VERIFY: &str = "ecs-bootstrap-verify.service";
const VERIFY_TEXT: &str = "run/systemd/system/ecs-bootstrap-verify.service";

fn ready(instance: &Instance) -> Outcome {
    let outcome = instance.run(&["run", "--wait"]);
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stdout.starts_with("ready: "), "{}", outcome.stdout);
    outcome
}

fn handed_over(instance: &Instance, arguments: &[&str]) {
    let outcome = instance.run(arguments);
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stdout.contains(VERIFY), "{}", outcome.stdout);
}

/// The requested jobs, in order.
fn jobs(instance: &Instance) -> Vec<String> {
    let calls = instance.systemd.calls().into_iter();
    calls.filter(|call| call.starts_with("StartUnit ") || call.starts_with("RestartUnit ")).collect()
}

/// Inode, times and content of the written files, which show whether a file was written again.
fn marks(instance: &Instance) -> Vec<(u64, i64, i64, Vec<u8>)> {
    let files = ["etc/ecs/ecs.config", "var/lib/ecs-bootstrap/written.json"];
    let mark = |path: &str| {
        let about = instance.disk.path(path).metadata().unwrap();
        (about.ino(), about.mtime(), about.mtime_nsec(), instance.disk.read(path).unwrap())
    };
    files.map(mark).into()
}

fn untag(instance: &Instance, key: &str) {
    instance.imds.change(|imds| drop(imds.tags.as_mut().unwrap().remove(key)));
    instance.aws.change(|aws| aws.instance_tags.values_mut().for_each(|tags| drop(tags.remove(key))));
}

#[test]
fn a_second_run_writes_nothing_starts_nothing_and_reports_the_same() {
    let instance = Instance::new().tag("ecs-bootstrap:ECS_LOGLEVEL", "debug").ecs_config("# mine\n");
    let first = ready(&instance);
    assert_eq!(jobs(&instance), ["StartUnit docker.service", "StartUnit ecs.service"]);
    let before = marks(&instance);
    instance.systemd.forget_calls();
    let second = ready(&instance);
    assert_eq!(marks(&instance), before);
    assert_eq!(jobs(&instance), Vec::<String>::new());
    assert_eq!(second.stdout.lines().next(), first.stdout.lines().next());
}

#[test]
fn a_verified_and_unchanged_instance_is_not_verified_again() {
    let instance = Instance::new();
    ready(&instance);
    let status = instance.disk.read("run/ecs-bootstrap/status.json").unwrap();
    instance.systemd.forget_calls();
    let again = instance.run(&["run", "--no-wait"]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(again.stdout.starts_with("ready: "), "{}", again.stdout);
    assert_eq!(jobs(&instance), Vec::<String>::new());
    assert_eq!(instance.disk.read("run/ecs-bootstrap/status.json").unwrap(), status);
}

#[test]
fn a_second_run_with_derived_keys_writes_nothing() {
    let settings = "[derive]\nreserved-memory = \"auto\"\nspot = \"on\"\nattributes = [\"stack\"]\n[agent]\n\
                    HTTP_PROXY = \"http://u:p@127.0.0.1:3128\"\nECS_ENGINE_AUTH_TYPE = \"docker\"\n\
                    ECS_ENGINE_AUTH_DATA = '{}'\n";
    let instance = Instance::new()
        .tag("stack", "web")
        .setting_file("etc/ecs-bootstrap/config.toml", settings)
        .ecs_config("ECS_INSTANCE_ATTRIBUTES={\"disk\":\"ssd\"}\n");
    ready(&instance);
    let before = marks(&instance);
    let text = instance.disk.text("etc/ecs/ecs.config");
    assert!(text.contains("ECS_INSTANCE_ATTRIBUTES={\"disk\":\"ssd\",\"stack\":\"web\"}\n"), "{text}");
    assert_eq!(instance.disk.path("etc/ecs/ecs.config").metadata().unwrap().mode() & 0o777, 0o600);
    instance.systemd.forget_calls();
    ready(&instance);
    assert_eq!((marks(&instance), jobs(&instance)), (before, Vec::new()));
}

#[test]
fn an_image_of_a_configured_instance_does_not_join_its_cluster() {
    let instance = Instance::new().tag("Name", "web");
    handed_over(&instance, &["run", "--no-wait"]);
    untag(&instance, "ecs-bootstrap:cluster");
    instance.imds.change(|imds| imds.instance_id = "i-0fedcba9876543210".into());
    assert_eq!(instance.run(&["plan"]).code, Some(21));
    let instance = instance.cluster("dev", &[]).tag("ecs-bootstrap:cluster", "dev");
    handed_over(&instance, &["run", "--no-wait"]);
    assert_eq!(instance.disk.text("etc/ecs/ecs.config"), "ECS_CLUSTER=dev\n");
}

#[test]
fn a_changed_cluster_leaves_the_registered_agent_and_is_reported() {
    let instance = Instance::new().cluster("stage", &[]);
    ready(&instance);
    instance.systemd.forget_calls();
    let instance = instance.tag("ecs-bootstrap:cluster", "stage");
    let outcome = instance.run(&["run", "--wait", "--set", "verify.deadline=10s"]);
    // The agent refuses to start with a cluster other than the saved one, so a restart would only stop it.
    assert_eq!((outcome.code, jobs(&instance)), (Some(21), Vec::new()), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stderr.contains("the expected cluster is `stage`"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("ecs-bootstrap reset-agent --yes"), "{}", outcome.stderr);
    assert!(instance.run(&["plan"]).stdout.contains("it has registered in cluster `prod`"));
}

#[test]
fn a_changed_tag_is_written_and_restarts_the_agent_once() {
    let instance = Instance::new();
    ready(&instance);
    instance.systemd.forget_calls();
    let instance = instance.tag("ecs-bootstrap:ECS_LOGLEVEL", "debug");
    ready(&instance);
    assert_eq!(instance.disk.text("etc/ecs/ecs.config"), "ECS_CLUSTER=prod\nECS_LOGLEVEL=debug\n");
    assert_eq!(jobs(&instance), ["RestartUnit ecs.service"]);
    ready(&instance);
    assert_eq!(jobs(&instance), ["RestartUnit ecs.service"]);
}

#[test]
fn the_same_cluster_by_arn_changes_nothing() {
    let instance = Instance::new();
    ready(&instance);
    let before = marks(&instance);
    instance.systemd.forget_calls();
    let arn = "arn:aws:ecs:eu-west-1:111122223333:cluster/prod";
    let instance = instance.tag("ecs-bootstrap:cluster", arn);
    ready(&instance);
    assert_eq!((marks(&instance), jobs(&instance)), (before, Vec::new()));
}

#[test]
fn the_key_of_a_removed_tag_is_removed() {
    let instance = Instance::new().tag("ecs-bootstrap:ECS_LOGLEVEL", "debug");
    ready(&instance);
    untag(&instance, "ecs-bootstrap:ECS_LOGLEVEL");
    ready(&instance);
    assert_eq!(instance.disk.text("etc/ecs/ecs.config"), "ECS_CLUSTER=prod\n");
}

#[test]
fn without_its_only_tag_a_run_is_refused_and_the_agent_not_touched() {
    let instance = Instance::new().tag("Name", "web");
    ready(&instance);
    untag(&instance, "ecs-bootstrap:cluster");
    instance.systemd.forget_calls();
    let before = marks(&instance);
    let outcome = instance.run(&["run", "--wait"]);
    assert_eq!(outcome.code, Some(21), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stderr.contains("[user-data-absent]"), "{}", outcome.stderr);
    assert_eq!((marks(&instance), jobs(&instance)), (before, Vec::new()));
}

#[test]
fn an_agent_that_runs_with_the_same_configuration_is_not_restarted() {
    let instance = Instance::new().ecs_config("# mine\nECS_CLUSTER=prod\n");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(1);
    for unit in ["docker.service", "ecs.service"] {
        instance.systemd.change_unit(unit, |unit| {
            unit.active_state = "active".into();
            unit.sub_state = "running".into();
            unit.exec_main_start = u64::try_from(now.as_micros()).unwrap();
        });
    }
    instance.docker.start();
    instance.agent.start();
    ready(&instance);
    assert_eq!(jobs(&instance), Vec::<String>::new());
    assert_eq!(instance.disk.text("etc/ecs/ecs.config"), "# mine\nECS_CLUSTER=prod\n");
}

#[test]
fn a_cluster_line_that_user_data_appended_is_removed() {
    let instance = Instance::new();
    ready(&instance);
    let text = instance.disk.text("etc/ecs/ecs.config");
    instance.disk.write("etc/ecs/ecs.config", format!("{text}ECS_CLUSTER=other\nECS_CLUSTER=other\n"));
    ready(&instance);
    assert_eq!(instance.disk.text("etc/ecs/ecs.config"), "ECS_CLUSTER=prod\n");
}

#[test]
fn hands_over_to_the_installed_unit() {
    let instance = Instance::new().unit(VERIFY, |unit| unit.load_state = "loaded".into());
    handed_over(&instance, &["run", "--no-wait"]);
    assert_eq!(jobs(&instance).last().unwrap(), &format!("StartUnit {VERIFY}"));
    assert_eq!(instance.disk.read(VERIFY_TEXT), None);
    assert_eq!(instance.disk.text("etc/ecs/ecs.config"), "ECS_CLUSTER=prod\n");
}

#[test]
fn writes_the_unit_below_run_if_it_is_not_installed() {
    let instance = Instance::new();
    let outcome = instance.run(&["run", "--no-wait"]);
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    // A hardened unit may not see the path of this test's binary, so the run warns.
    let log = format!("{}{:?}", outcome.stderr, instance.journal.entries());
    assert!(log.contains("install it in /usr/bin or /opt"), "{log}");
    let text = instance.disk.text(VERIFY_TEXT);
    let runs = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let program = runs.strip_suffix(" verify --https-only").unwrap();
    assert!(program.starts_with('/') && program.ends_with("/ecs-bootstrap"), "{text}");
    assert_eq!(jobs(&instance).iter().filter(|job| job.ends_with(VERIFY)).count(), 2, "{:?}", jobs(&instance));
}

#[test]
fn without_a_terminal_hands_over_by_default() {
    let instance = Instance::new();
    handed_over(&instance, &[]);
    handed_over(&instance, &["run"]);
    let plan: serde_json::Value = serde_json::from_str(&instance.disk.text("run/ecs-bootstrap/plan.json")).unwrap();
    assert_eq!(plan["expectation"]["cluster"], "prod");
    let outcome = instance.run(&["verify"]);
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stdout.starts_with("ready: "), "{}", outcome.stdout);
    assert_eq!(instance.run(&["status"]).code, Some(0));
}

#[test]
fn does_not_wait_inside_the_unit_that_the_agent_waits_for() {
    let in_user_data = || {
        let instance = Instance::new();
        instance.systemd.cloud_final_runs();
        instance.systemd.change(|systemd| systemd.caller = Some("cloud-final.service".into()));
        instance
    };
    let waiting = in_user_data();
    let outcome = waiting.run(&["run", "--wait"]);
    assert_eq!(outcome.code, Some(24), "{}\n{}", outcome.stdout, outcome.stderr);
    for part in ["[start-blocked]", "`cloud-final.service`", "remedy: "] {
        assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
    }
    assert_eq!(jobs(&waiting), ["StartUnit docker.service", "StartUnit ecs.service"]);
    let not_waiting = in_user_data();
    handed_over(&not_waiting, &["run"]);
    assert_ne!(not_waiting.systemd.unit("ecs.service").unwrap().active_state, "active");
    not_waiting.systemd.cloud_final_ends();
    let outcome = not_waiting.run(&["verify"]);
    assert!(outcome.stdout.starts_with("ready: "), "{}\n{}", outcome.stdout, outcome.stderr);
}

#[test]
fn does_not_wait_for_a_unit_between_its_own_unit_and_the_agents() {
    let instance = Instance::new()
        .unit("between.service", |unit| {
            unit.load_state = "loaded".into();
            unit.after = vec!["cloud-final.service".into()];
        })
        .unit("ecs.service", |unit| {
            unit.after = vec!["between.service".into()];
            unit.wants.push("between.service".into());
        });
    instance.systemd.cloud_final_runs();
    instance.systemd.change(|systemd| systemd.caller = Some("cloud-final.service".into()));
    let outcome = instance.run(&["run", "--wait"]);
    assert_eq!(outcome.code, Some(24), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stderr.contains("[start-blocked]"), "{}", outcome.stderr);
}

#[test]
fn waits_in_another_unit_while_user_data_runs() {
    let instance = Instance::new();
    instance.systemd.cloud_final_runs();
    let running = instance.start(&["run", "--wait"]);
    while jobs(&instance).len() < 2 {
        std::thread::yield_now();
    }
    instance.systemd.cloud_final_ends();
    let outcome = running.wait();
    assert!(outcome.stdout.starts_with("ready: "), "{}\n{}", outcome.stdout, outcome.stderr);
}

#[test]
fn of_two_parallel_runs_one_does_the_work() {
    let instance = Instance::new().imds_delay(Duration::from_millis(50));
    let runs = [instance.start(&["run", "--wait"]), instance.start(&["run", "--wait"])];
    for run in runs {
        let outcome = run.wait();
        assert!(outcome.stdout.starts_with("ready: "), "{}\n{}", outcome.stdout, outcome.stderr);
    }
    assert_eq!(jobs(&instance), ["StartUnit docker.service", "StartUnit ecs.service"]);
    assert_eq!(instance.disk.text("etc/ecs/ecs.config"), "ECS_CLUSTER=prod\n");
}

#[test]
fn a_killed_run_does_not_block_the_next_one() {
    let instance = Instance::new().imds_delay(Duration::from_millis(50)).ecs_config("# mine\n");
    let running = instance.start(&["run", "--wait"]);
    while instance.imds.requests().is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(running.kill().signal, Some(9));
    assert_eq!(instance.disk.text("etc/ecs/ecs.config"), "# mine\n");
    ready(&instance);
}

#[test]
fn status_reports_a_refused_run() {
    let instance = Instance::new().without_tags().tag("Name", "web");
    assert_eq!(instance.run(&["run"]).code, Some(21));
    let status = instance.run(&["status", "--json"]);
    let document: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!((status.code, document["cause"]["id"].as_str()), (Some(21), Some("user-data-absent")));
    assert!(!instance.disk.text("etc/ecs/ecs.config").contains("ECS_CLUSTER"));
}

#[test]
fn the_cluster_of_a_command_line_is_kept_until_another_one_is_given() {
    // User data runs only at the first boot; the units in the image run at every boot.
    let instance = Instance::new().without_tags().tag("Name", "web").cluster("other", &[]);
    let run = |arguments: &[&str]| {
        let outcome = instance.run(arguments);
        assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
        instance.disk.text("etc/ecs/ecs.config")
    };
    assert_eq!(run(&["run", "--no-wait", "--cluster", "prod", "--set", "agent.ECS_LOGLEVEL=debug"]).lines().count(), 2);
    let before = marks(&instance);
    assert_eq!(run(&["run", "--no-wait"]), "ECS_CLUSTER=prod\n", "only the cluster stays");
    assert_ne!(marks(&instance), before);
    let before = marks(&instance);
    run(&["run", "--no-wait"]);
    assert_eq!(marks(&instance), before);
    let plan = instance.run(&["plan"]).stdout;
    assert!(plan.contains("command line `--cluster` of an earlier run of this instance"), "{plan}");
    assert_eq!(run(&["run", "--no-wait", "--cluster", "other"]), "ECS_CLUSTER=other\n");
    // On another instance with a copy of this disk, the old cluster is ignored.
    instance.imds.change(|imds| imds.instance_id = "i-0fedcba9876543210".to_owned());
    assert_eq!(instance.run(&["run", "--no-wait"]).code, Some(21));
}

#[test]
fn a_failed_call_does_not_remove_the_cluster_of_an_earlier_run() {
    let instance = Instance::new().without_imds_tags();
    assert_eq!(instance.run(&["run", "--no-wait"]).code, Some(0));
    assert_eq!(instance.disk.text("etc/ecs/ecs.config"), "ECS_CLUSTER=prod\n");
    let denied = crate::support::aws::Fault::error(403, "UnauthorizedOperation", "not authorized");
    let instance = instance.aws_fault("DescribeTags", denied).user_data_runs();
    let outcome = instance.run(&["run", "--no-wait", "--set", "tags.wait=1s"]);
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    assert_eq!(instance.disk.text("etc/ecs/ecs.config"), "ECS_CLUSTER=prod\n");
    let log = format!("{:?}", instance.journal.entries());
    assert!(log.contains("the cluster is unchanged"), "{log}");
    instance.user_data_ends();
}
