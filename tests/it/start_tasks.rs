//! `start-tasks`: tasks are started on an instance that is ready, once in each boot.
//!
//! In: an instance, and tasks that its agent knows. Out: the calls, and the notes of the verdict.

use crate::support::aws::Fault;
use crate::support::{Instance, Outcome};
use std::time::Instant;

const TASKS: &str = "start-tasks=log-router,mesh:3";

fn run(instance: &Instance, settings: &[&str]) -> Outcome {
    let outcome = instance.run_and_wait(settings);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    outcome
}

/// The families of the tasks that were started and have not ended.
fn tasks(instance: &Instance) -> Vec<String> {
    let state = instance.aws.state();
    let state = state.lock().unwrap();
    let running = state.tasks.iter().filter(|task| task.status() != "STOPPED");
    running.map(|task| task.service.name.clone()).collect()
}

#[test]
fn each_task_is_started_once_in_each_boot() {
    let instance = Instance::new();
    let outcome = run(&instance, &["start-tasks=log-router,mesh:1"]);
    assert!(!outcome.stdout.contains("note:"), "{outcome:?}");
    assert_eq!(tasks(&instance), ["log-router", "mesh"]);
    let request =
        instance.aws.requests().into_iter().map(|request| String::from_utf8_lossy(&request.body).into_owned());
    let starts: Vec<String> = request.filter(|body| body.contains("startedBy")).collect();
    assert!(
        starts[1].contains("\"taskDefinition\":\"mesh:1\"") && starts[1].contains("\"cluster\":\"prod\""),
        "{starts:?}"
    );
    // The verification runs again in the same boot.
    assert_eq!(instance.run(&["verify"]).code, Some(0));
    assert_eq!(instance.aws.count("StartTask"), 2);
    // A task that ends is not started again in this boot.
    instance.aws.change(|aws| aws.tasks[0].stopped = Some(Instant::now()));
    assert_eq!(instance.run(&["verify"]).code, Some(0));
    assert_eq!(instance.aws.count("StartTask"), 2);
    // After a reboot the agent may report a task of before as running.
    instance.disk.write("proc/sys/kernel/random/boot_id", "0f0f0f0f-0000-4000-8000-000000000001\n");
    assert_eq!(instance.run(&["verify"]).code, Some(0));
    assert_eq!(instance.aws.count("StartTask"), 4);
    assert_eq!(tasks(&instance), ["mesh", "log-router", "mesh"]);
    assert_eq!(instance.run(&["verify"]).code, Some(0));
    assert_eq!(instance.aws.count("StartTask"), 4);
    // Without the record, only what the agent says counts.
    instance.disk.write("var/lib/ecs-bootstrap/started-tasks.json", "{");
    assert_eq!(instance.run(&["verify"]).code, Some(0));
    assert_eq!(instance.aws.count("StartTask"), 4);
}

#[test]
fn a_task_of_the_definition_that_runs_is_enough() {
    // The simulated agent has the task `web:3`.
    let instance = Instance::new().agent_behaves(|agent| agent.tasks = vec![(1, "RUNNING")]);
    run(&instance, &["start-tasks=web"]);
    run(&instance, &["start-tasks=web:3"]);
    assert_eq!(instance.aws.count("StartTask"), 0);
    run(&instance, &["start-tasks=web:4"]);
    assert_eq!(instance.aws.count("StartTask"), 1);
}

#[test]
fn a_task_that_is_not_started_is_a_note() {
    let instance = Instance::new();
    instance.aws.change(|aws| aws.start_failure = Some("RESOURCE:MEMORY"));
    let outcome = run(&instance, &[TASKS]);
    for seen in ["note: [task-not-started]", "`log-router`: ecs:StartTask: RESOURCE:MEMORY", "`mesh:3`: ecs:StartTask"]
    {
        assert!(outcome.stdout.contains(seen), "{outcome:?}");
    }
    let instance = Instance::new().aws_fault("StartTask", Fault::denied("ecs:StartTask"));
    let outcome = run(&instance, &[TASKS]);
    assert!(outcome.stdout.contains("`log-router`: ecs:StartTask: denied"), "{outcome:?}");
    assert_eq!(instance.aws.count("StartTask"), 2, "a denied call is not repeated");
}

#[test]
fn a_call_whose_answer_was_lost_starts_no_second_task() {
    let broken = Fault::error(500, "ServerException", "Service Unavailable. Please try again later.");
    let instance = Instance::new();
    instance.aws.fail_first("StartTask", 1, broken);
    run(&instance, &["start-tasks=log-router"]);
    assert_eq!(tasks(&instance), ["log-router"]);
    // The task that the lost call started is known to the agent before the call is repeated.
    let instance = Instance::new().aws_fault("StartTask", Fault::Half);
    let running = instance.start(&["run", "--wait", "--set", "start-tasks=web"]);
    while instance.aws.count("StartTask") == 0 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    instance.agent.change(|agent| agent.tasks = vec![(1, "PENDING")]);
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(!outcome.stdout.contains("task-not-started"), "{outcome:?}");
    assert_eq!(instance.aws.count("StartTask"), 1);
}

#[test]
fn a_reason_that_passes_is_waited_for() {
    let instance = Instance::new();
    instance.aws.change(|aws| aws.start_failure = Some("AGENT"));
    let running = instance.start(&["run", "--wait", "--set", "start-tasks=log-router"]);
    while instance.aws.count("StartTask") == 0 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    instance.aws.change(|aws| aws.start_failure = None);
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(!outcome.stdout.contains("task-not-started"), "{outcome:?}");
    assert_eq!(tasks(&instance), ["log-router"]);
}

#[test]
fn two_verifications_at_the_same_time_start_one_task() {
    let instance = Instance::new();
    run(&instance, &["derive.spot=off"]);
    let second = ["run", "--no-wait", "--set", "start-tasks=log-router"];
    assert_eq!(instance.run(&second).code, Some(0));
    let verifications = [instance.start(&["verify"]), instance.start(&["verify"]), instance.start(&["verify"])];
    for verification in verifications {
        assert_eq!(verification.wait().code, Some(0));
    }
    assert_eq!(instance.aws.count("StartTask"), 1);
}

#[test]
fn a_start_that_takes_long_loses_no_ready_verdict() {
    let broken = Fault::error(500, "ServerException", "Service Unavailable. Please try again later.");
    let instance = Instance::new().aws_fault("StartTask", broken);
    let begun = Instant::now();
    let outcome = run(&instance, &["start-tasks=log-router", "verify.deadline=5s"]);
    assert!(outcome.stdout.contains("note: [task-not-started]"), "{outcome:?}");
    assert!(
        begun.elapsed() > std::time::Duration::from_secs(13),
        "later than the watchdog of the verification would allow"
    );
}

#[test]
fn off_and_not_ready_make_no_call() {
    let instance = Instance::new();
    run(&instance, &[]);
    assert_eq!(instance.aws.count("StartTask"), 0);
    assert!(!instance.disk.text("run/ecs-bootstrap/plan.json").contains("start_tasks"));
    let outcome = instance.run(&[
        "run",
        "--wait",
        "--set",
        TASKS,
        "--set",
        "ready.attributes=zone",
        "--set",
        "ready.deadline=2s",
    ]);
    assert_eq!((outcome.code, instance.aws.count("StartTask")), (Some(13), 0), "{outcome:?}");
}

#[test]
fn values_that_are_no_task_definitions_are_refused() {
    for value in [
        "a b",
        "web,web:3",
        "web:latest",
        "web:1:2",
        ":1",
        "arn:aws:iam::1:role/x",
        "arn:aws:ecs:eu-west-1:1:service/web",
        "a/b",
    ] {
        let outcome = Instance::new().run(&["plan", "--set", &format!("start-tasks={value}")]);
        assert_eq!(outcome.code, Some(20), "{value}: {outcome:?}");
    }
    let arn = "start-tasks=arn:aws:ecs:eu-west-1:111122223333:task-definition/web:3, log-router";
    let outcome = Instance::new().run(&["plan", "--set", arn]);
    assert!(
        outcome.stdout.contains("is ready: arn:aws:ecs:eu-west-1:111122223333:task-definition/web:3, log-router"),
        "{outcome:?}"
    );
}
