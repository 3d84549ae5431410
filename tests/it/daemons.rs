//! `ready.daemons`: no task with the placement constraint is placed on the instance before the daemons run.
//!
//! In: a simulated cluster with services and a scheduler. Out: when tasks were placed, the verdict, and the calls.

use crate::support::aws::Fault;
use crate::support::aws::tasks::{PlacedTask, Service};
use crate::support::{Instance, Outcome};
use std::time::{Duration, Instant};

const CONSTRAINT: &str = "attribute:ecs-bootstrap.tasks == allowed";
const ALL_DAEMONS: &str = "ready.daemons=all";
/// The calls that only this setting makes.
const CALLS: [&str; 6] = [
    "ListServices",
    "DescribeServices",
    "DescribeTaskDefinition",
    "ListContainerInstances",
    "DescribeTasks",
    "PutAttributes",
];

/// An instance whose cluster has these services.
pub(crate) fn with(services: impl IntoIterator<Item = Service>) -> Instance {
    let instance = Instance::new();
    instance.aws.change(|aws| aws.services = services.into_iter().collect());
    instance
}

fn run(instance: &Instance, settings: &[&str]) -> Outcome {
    instance.run_and_wait(settings)
}

fn placed(instance: &Instance, service: &str) -> Option<PlacedTask> {
    let state = instance.aws.state();
    let mut state = state.lock().unwrap();
    state.schedule();
    state.tasks.iter().find(|task| task.service.name == service).cloned()
}

fn attributes(instance: &Instance) -> Vec<String> {
    let state = instance.aws.state();
    let state = state.lock().unwrap();
    let set = state.put_attributes.iter().filter(|(name, _)| name == "ecs-bootstrap.tasks");
    set.map(|(_, value)| value.clone()).collect()
}

#[test]
fn ordinary_tasks_are_placed_when_the_slowest_daemon_is_healthy() {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let slow = Service { starts_after: seconds(2), healthy_after: Some(seconds(1)), ..Service::daemon("mesh") };
    let instance = with([Service::daemon("log"), slow, Service::replica("web", Some(CONSTRAINT))]);
    let outcome = run(&instance, &[ALL_DAEMONS]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stdout.contains("its agent is connected; daemons run: `log`, `mesh`\n"), "{}", outcome.stdout);
    let (web, mesh) = (placed(&instance, "web").expect("a task"), placed(&instance, "mesh").unwrap());
    let after = web.placed - mesh.placed;
    assert!(after >= Duration::from_secs(3), "placed {after:?} after the daemon");
    assert_eq!(attributes(&instance), ["allowed"]);
    // ECS is asked again for changes and for the health, and not in a loop.
    for (call, most) in
        [("ListServices", 1), ("DescribeServices", 1), ("DescribeTaskDefinition", 2), ("DescribeTasks", 6)]
    {
        assert!((1..=most).contains(&instance.aws.count(call)), "{call}: {}", instance.aws.count(call));
    }
    let everything = format!("{outcome:?}{}", instance.disk.text("run/ecs-bootstrap/status.json"));
    assert!(!everything.contains("secret-of-a-task"));
    let doctor = instance.run(&["doctor", "-vv", "--set", ALL_DAEMONS]);
    assert!(!format!("{doctor:?}").contains("secret-of-a-task"));
    let status: serde_json::Value = serde_json::from_str(&instance.disk.text("run/ecs-bootstrap/status.json")).unwrap();
    assert_eq!(status["daemons"][1]["name"], "mesh");
    assert_eq!(status["daemons"][1]["detail"], "its task runs and is healthy");
}

#[test]
fn a_task_is_not_placed_while_a_daemon_is_stuck() {
    let stuck = Service { starts_after: None, ..Service::daemon("mesh") };
    for (at_deadline, code, is_placed) in [("fail", 13, false), ("allow", 0, true)] {
        let instance = with([Service::daemon("log"), stuck.clone(), Service::replica("web", Some(CONSTRAINT))]);
        let at_deadline = format!("ready.at-deadline={at_deadline}");
        let begun = Instant::now();
        let outcome = run(&instance, &[ALL_DAEMONS, "ready.deadline=3s", &at_deadline]);
        assert_eq!(outcome.code, Some(code), "{outcome:?}");
        assert!(begun.elapsed() >= Duration::from_secs(3));
        assert!(format!("{outcome:?}").contains("`mesh`: its task is PENDING"), "{outcome:?}");
        assert_eq!(placed(&instance, "web").is_some(), is_placed, "{at_deadline}");
    }
}

#[test]
fn off_makes_no_call_and_leaves_no_trace() {
    let instance = with([Service::daemon("log")]);
    let outcome = run(&instance, &[]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    for call in CALLS {
        assert_eq!(instance.aws.count(call), 0, "{call}");
    }
    for file in ["run/ecs-bootstrap/plan.json", "run/ecs-bootstrap/status.json"] {
        let text = instance.disk.text(file);
        assert!(!text.contains("daemons") && !text.contains("\"ready\":"), "{text}");
    }
}

#[test]
fn daemons_that_place_no_task_here_are_not_waited_for() {
    let elsewhere = Service { constraint: Some("attribute:zone == b".into()), ..Service::daemon("zone-b") };
    let deleted = Service { status: "DRAINING", ..Service::daemon("old") };
    let here = Service { constraint: Some("attribute:zone == a".into()), ..Service::daemon("zone-a") };
    let instance = with([elsewhere, deleted, here]);
    let outcome = run(&instance, &[ALL_DAEMONS, "agent.ECS_INSTANCE_ATTRIBUTES={\"zone\":\"a\"}"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stdout.contains("daemons run: `zone-a`\n"), "{}", outcome.stdout);
}

#[test]
fn a_cluster_without_daemons_allows_tasks_at_once() {
    let instance = with([Service::replica("web", Some(CONSTRAINT))]);
    assert_eq!(run(&instance, &[ALL_DAEMONS]).code, Some(0));
    assert!(placed(&instance, "web").is_some());
}

/// A reboot: /run is empty, the boot has another id, the agent is gone, and the attributes stay. ECS and the agent report the
/// tasks of the earlier boot as running for another two seconds.
fn reboot(instance: &Instance) {
    instance.agent.stop();
    for unit in ["docker.service", "ecs.service"] {
        instance.systemd.change_unit(unit, |unit| unit.active_state = "inactive".into());
    }
    std::fs::remove_dir_all(instance.disk.path("run/ecs-bootstrap")).unwrap();
    instance.disk.write("proc/sys/kernel/random/boot_id", "77777777-7a53-4f0a-9d6c-0d6d4f4b6f01\n");
    instance.disk.write("proc/uptime", "30.00 1.00\n");
    instance.aws.change(|aws| {
        for task in &mut aws.tasks {
            task.placed -= Duration::from_secs(60);
            task.stopped = Some(Instant::now() + Duration::from_secs(4));
        }
    });
    instance.agent.change(|agent| agent.register_delay = Duration::from_secs(1));
}

#[test]
fn after_a_reboot_tasks_are_held_until_the_daemons_run_again() {
    let slow = Service { starts_after: Some(Duration::from_secs(1)), ..Service::daemon("mesh") };
    let instance = with([slow, Service::replica("web", Some(CONSTRAINT))]);
    assert_eq!(run(&instance, &[ALL_DAEMONS]).code, Some(0));
    assert!(placed(&instance, "web").is_some());
    // The same boot: nothing is held again, also if the agent restarts.
    assert_eq!(run(&instance, &[ALL_DAEMONS]).code, Some(0));
    assert_eq!(run(&instance, &[ALL_DAEMONS, "agent.ECS_LOGLEVEL=warn"]).code, Some(0));
    assert_eq!(attributes(&instance), ["allowed"]);
    reboot(&instance);
    let outcome = run(&instance, &[ALL_DAEMONS]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(attributes(&instance), ["allowed", "held", "allowed"]);
    // The tasks of the earlier boot neither count as daemons nor as tasks that were placed too early.
    assert!(!outcome.stdout.contains("task-not-held"), "{}", outcome.stdout);
    let state = instance.aws.state();
    let mut state = state.lock().unwrap();
    state.schedule();
    let last = |name: &str| state.tasks.iter().rfind(|task| task.service.name == name).unwrap().placed;
    assert!(last("web") - last("mesh") >= Duration::from_secs(1), "{:?}", state.tasks);
}

#[test]
fn a_verification_that_begins_late_after_a_reboot_does_not_trust_the_earlier_boot() {
    let instance = with([Service { starts_after: Some(Duration::from_secs(1)), ..Service::daemon("mesh") }]);
    assert_eq!(run(&instance, &[ALL_DAEMONS]).code, Some(0));
    reboot(&instance);
    instance.agent.change(|agent| agent.register_delay = Duration::ZERO);
    instance.docker.start();
    for unit in ["docker.service", "ecs.service"] {
        instance.systemd.change_unit(unit, |unit| unit.active_state = "active".into());
    }
    instance.agent.start();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(run(&instance, &[ALL_DAEMONS]).code, Some(0));
    assert_eq!(attributes(&instance), ["allowed", "held", "allowed"]);
}

#[test]
fn a_wrong_answer_of_the_agent_does_not_hold_the_tasks_of_a_ready_instance() {
    let instance = with([Service::daemon("mesh")]);
    assert_eq!(run(&instance, &[ALL_DAEMONS]).code, Some(0));
    instance.agent.change(|agent| agent.garbage_introspection = true);
    // Otherwise the description of the container instance says that this boot has allowed tasks.
    instance.aws.fail("DescribeContainerInstances", Fault::error(500, "ServerException", "Service Unavailable."));
    let outcome = run(&instance, &[ALL_DAEMONS, "verify.deadline=3s"]);
    assert_ne!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(attributes(&instance), ["allowed"]);
}

#[test]
fn a_daemon_whose_task_requires_a_missing_attribute_is_not_waited_for() {
    let gpu = Service { requires: vec!["ecs.capability.gpu"], ..Service::daemon("gpu-exporter") };
    let instance = with([gpu, Service::daemon("log")]);
    let outcome = run(&instance, &[ALL_DAEMONS]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stdout.contains("daemons run: `log`\n"), "{}", outcome.stdout);
    let named = run(
        &with([Service { requires: vec!["ecs.capability.gpu"], ..Service::daemon("gpu-exporter") }]),
        &["ready.daemons=gpu-exporter", "ready.deadline=2s"],
    );
    assert!(named.stderr.contains("requires the attribute `ecs.capability.gpu`"), "{named:?}");
}

#[test]
fn many_daemons_are_read_in_pages() {
    let instance = with((0..120).map(|number| Service::daemon(&format!("daemon-{number}"))));
    let outcome = run(&instance, &[ALL_DAEMONS]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    for (call, times) in [("ListServices", 2), ("DescribeServices", 12), ("DescribeTaskDefinition", 120)] {
        assert_eq!(instance.aws.count(call), times, "{call}");
    }
    assert!((2..=6).contains(&instance.aws.count("DescribeTasks")), "{}", instance.aws.count("DescribeTasks"));
}

#[test]
fn throttled_calls_are_repeated_and_what_was_learnt_is_kept() {
    let constraint = Some("ec2InstanceId == i-0123456789abcdef0".to_owned());
    let service = |name: &str| Service { constraint: constraint.clone(), ..Service::daemon(name) };
    let instance = with(["daemon-0", "daemon-1", "daemon-2"].map(service));
    let throttled = || Fault::error(400, "ThrottlingException", "Rate exceeded");
    instance.aws.fail_first("ListContainerInstances", 1, throttled());
    instance.aws.fail_first("DescribeTasks", 1, throttled());
    instance.aws.fail_first("PutAttributes", 1, throttled());
    let outcome = run(&instance, &[ALL_DAEMONS, "ready.deadline=60s"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(instance.aws.count("DescribeTaskDefinition"), 3);
}

#[test]
fn doctor_names_a_daemon_that_does_not_run() {
    let stuck = Service { starts_after: None, ..Service::daemon("mesh") };
    let instance = with([Service::daemon("log"), stuck]);
    let setting = ["--set", ALL_DAEMONS];
    assert_eq!(run(&instance, &[ALL_DAEMONS, "ready.deadline=2s"]).code, Some(13));
    let doctor = instance.run(&[&["doctor"], &setting[..]].concat());
    assert_eq!(doctor.code, Some(13), "{doctor:?}");
    assert!(doctor.stdout.contains("[daemons-not-running]"), "{doctor:?}");
    assert!(doctor.stdout.contains("`mesh`: its task is PENDING"), "{doctor:?}");
    // The daemon starts, and the verification runs again.
    instance.aws.change(|aws| {
        aws.services.iter_mut().for_each(|service| service.starts_after = Some(Duration::ZERO));
        aws.tasks.iter_mut().for_each(|task| task.service.starts_after = Some(Duration::ZERO));
    });
    assert_eq!(run(&instance, &[ALL_DAEMONS]).code, Some(0));
    let doctor = instance.run(&[&["doctor"], &setting[..]].concat());
    assert_eq!(doctor.code, Some(0), "{doctor:?}");
    assert!(doctor.stdout.contains("daemons run: `log`, `mesh`"), "{doctor:?}");
}

/// Waits until the verdict is that the registered instance waits for `what`.
pub(crate) fn wait_until_it_waits_for(instance: &Instance, what: &str) {
    let expected = format!("waiting: the instance is registered, and waits for {what}");
    let begun = Instant::now();
    loop {
        let status = std::fs::read_to_string(instance.disk.path("run/ecs-bootstrap/status.json")).unwrap_or_default();
        let status: serde_json::Value = serde_json::from_str(&status).unwrap_or_default();
        let text = status["text"].as_str().unwrap_or_default();
        if text == expected {
            assert_eq!(status["verdict"], "waiting");
            assert!(status["container_instance_arn"].is_string(), "{status}");
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(40), "{text}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn while_it_waits_status_says_for_what() {
    let stuck = Service { starts_after: None, ..Service::daemon("mesh") };
    let instance = with([stuck]);
    let running = instance.start(&["run", "--wait", "--set", ALL_DAEMONS, "--set", "ready.deadline=20s"]);
    wait_until_it_waits_for(&instance, "the daemons `mesh` (its task is PENDING)");
    instance.aws.change(|aws| aws.tasks.iter_mut().for_each(|task| task.service.starts_after = Some(Duration::ZERO)));
    assert_eq!(running.wait().code, Some(0));
}
