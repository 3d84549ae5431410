//! One-off tasks: `deploy --before` and `run`. What is sent, what decides, and what becomes of the service.

use super::{DEPLOY, Outcome, Site, writes};
use crate::support::rollout::error;
use crate::support::rollout::tasks::TaskCourse;
use serde_json::{Value, json};

const MIGRATE: &str = r#"["migrate", "up"]"#;

/// A service that runs `web:1`, the input for `web:2`, and the course of the next task.
fn next(course: TaskCourse) -> Site {
    let mut site = Site::new();
    site.deployed("1");
    site.set("TAG", "2");
    site.ecs.change(|world| world.one_offs.courses.push_back(course));
    site
}

fn before(site: &Site, more: &[&str]) -> Outcome {
    site.deploy("deploy", &[&["--before", MIGRATE], more].concat())
}

/// The number of tasks that were started.
fn tasks(site: &Site) -> usize {
    site.ecs.read(|world| world.one_offs.started.len())
}

#[track_caller]
fn is_not_deployed(site: &Site) {
    assert_eq!(writes(site), ["RegisterTaskDefinition", "RunTask"]);
    assert_eq!(site.image().0, "web:1");
}

#[test]
fn a_task_of_the_new_revision_runs_before_the_service_is_updated() {
    let site = next(TaskCourse::exits(&[("web", 0)]));
    site.ecs.change(|world| world.one_offs.log = vec!["migrating".into(), "done\n".into()]);
    let outcome = before(&site, &["--json"]);
    outcome.ends(
        0,
        &["starting a task of web:2: `web` with another command", "web: migrating", "web: done", "of web:2 succeeded"],
    );
    assert_eq!(writes(&site), ["RegisterTaskDefinition", "RunTask", "UpdateService", "TagResource"]);
    let body = &site.ecs.bodies("RunTask")[0];
    assert!(body["taskDefinition"].as_str().unwrap().ends_with("task-definition/web:2"), "{body:#}");
    let container = json!({"name": "web", "command": ["migrate", "up"]});
    assert_eq!(body["overrides"], json!({"containerOverrides": [container]}));
    let task = &outcome.json()["task"];
    assert_eq!((&task["last_status"], &task["task_definition"]), (&json!("STOPPED"), &json!("web:2")));
    let expected =
        json!([{"name": "web", "decides": true, "exit_code": 0, "reason": null, "log": ["migrating", "done"]}]);
    assert_eq!(task["containers"], expected);
}

#[test]
fn the_service_is_not_updated_if_the_task_fails() {
    let site = next(TaskCourse::exits(&[("web", 3)]));
    site.ecs.change(|world| world.one_offs.log = vec!["no such table".into()]);
    let outcome = before(&site, &[]);
    outcome.ends(
        41,
        &[
            "error: [container-exited]",
            "exited with code 3",
            "seen: log: no such table",
            "web:2 is registered, but not deployed",
        ],
    );
    is_not_deployed(&site);
    // The revision exists now, so only the task and the update are left.
    site.ecs.forget_calls();
    site.ecs.change(|world| world.one_offs.courses.push_back(TaskCourse::exits(&[("web", 3)])));
    let json = before(&site, &["--json"]).json();
    assert_eq!((&json["result"], &json["exit_code"]), (&json!("task-failed"), &json!(41)));
    assert_eq!(json["aftermath"], "web:2 is not deployed");
    assert_eq!(json["task"]["containers"][0]["exit_code"], 3);
    assert_eq!(writes(&site), ["RunTask"]);
    before(&site, &[]).ends(0, &["deployed web:2"]);
}

#[test]
fn the_task_runs_before_a_service_is_created_and_not_if_there_is_nothing_to_do() {
    let site = Site::new();
    before(&site, &[]).ends(0, &["of web:1 succeeded", "deployed web:1"]);
    assert_eq!(writes(&site), ["RegisterTaskDefinition", "RunTask", "CreateService", "TagResource"]);
    before(&site, &[]).ends(0, &["unchanged"]);
    assert_eq!(tasks(&site), 1);
    before(&site, &["--force-new-deployment"]).ends(0, &["deployed web:1"]);
    assert_eq!(tasks(&site), 2);
}

#[test]
fn a_lost_answer_of_run_task_starts_no_second_task() {
    let site = next(TaskCourse::exits(&[("web", 0)]));
    site.ecs.change(|world| world.one_offs.lost_answers = 5);
    before(&site, &[]).ends(0, &["deployed web:2"]);
    let bodies = site.ecs.bodies("RunTask");
    assert!(bodies.len() >= 6 && bodies.iter().all(|body| *body == bodies[0]), "{bodies:#?}");
    assert_eq!(tasks(&site), 1);
}

#[test]
fn a_sidecar_that_is_stopped_with_the_task_does_not_decide() {
    let log = json!({"logDriver": "awslogs", "options": {"awslogs-group": "/ecs/web", "awslogs-stream-prefix": "ecs"}});
    let task = json!({"family": "web", "containerDefinitions": [
        {"name": "proxy", "image": "proxy:1", "memory": 128},
        {"name": "web", "image": "web:${TAG}", "memory": 128, "logConfiguration": log}]});
    let overrides = r#"{"containerOverrides": [{"name": "web", "command": ["migrate"]}]}"#;
    for (codes, code) in [([("proxy", 143), ("web", 0)], 0), ([("proxy", 0), ("web", 137)], 41)] {
        let site = Site::new();
        site.write("task.json", &task);
        site.ecs.change(|world| world.one_offs.courses.push_back(TaskCourse::exits(&codes)));
        site.deploy("deploy", &["--before", overrides]).ends(code, &[]);
    }
    // Without overrides, each essential container decides.
    let site = Site::new();
    site.write("task.json", &task);
    let exits = TaskCourse::exits(&[("proxy", 143), ("web", 0)]);
    site.ecs.change(|world| world.one_offs.courses.push_back(exits));
    site.deploy("deploy", &["--before", "{}"]).ends(41, &["container `proxy` of task", "exited with code 143"]);
}

#[test]
fn each_reason_has_its_cause() {
    const ENDED: &str = "Essential container in task exited";
    let not_found = "CannotPullContainerError: manifest for web:2 not found: manifest unknown";
    let killed =
        json!([{"name": "web", "exitCode": 137, "reason": "OutOfMemoryError: Container killed due to memory usage"}]);
    let stopped = json!([{"name": "web", "exitCode": 0}]);
    for (course, id) in [
        (TaskCourse::ends("TaskFailedToStart", not_found, json!([{"name": "web"}])), "image-not-found"),
        (TaskCourse::ends("EssentialContainerExited", ENDED, killed), "out-of-memory"),
        (TaskCourse::ends("UserInitiated", "Task stopped by user", stopped), "task-stopped"),
        (TaskCourse::ends("EssentialContainerExited", ENDED, json!([{"name": "web"}])), "task-failed"),
        (TaskCourse::NotPlaced("RESOURCE:MEMORY"), "insufficient-memory"),
        (TaskCourse::NotPlaced("AGENT"), "agent-disconnected"),
    ] {
        let site = next(course);
        before(&site, &[]).ends(41, &[&format!("error: [{id}]"), "web:2 is registered, but not deployed"]);
        is_not_deployed(&site);
    }
}

#[test]
fn errors_of_run_task_have_their_causes() {
    let site = next(TaskCourse::stays("RUNNING"));
    let empty = "No Container Instances were found in your cluster.";
    site.ecs.fail("RunTask", [error("InvalidParameterException", empty)]);
    before(&site, &[]).ends(41, &["[no-instances]", empty]);
    let denied = "User: x is not authorized to perform: ecs:RunTask";
    site.ecs.fail("RunTask", [error("AccessDeniedException", denied)]);
    let outcome = before(&site, &["--json"]);
    outcome.ends(37, &["caller-denied", denied]);
    assert_eq!((&outcome.json()["result"], &outcome.json()["task"]), (&json!("refused"), &Value::Null));
    assert_eq!((tasks(&site), site.image().0), (0, "web:1".to_owned()));
}

#[test]
fn a_task_that_is_not_shown_at_first_and_throttled_polls_do_not_end_the_watch() {
    let site = next(TaskCourse::exits(&[("web", 0)]).after_missing(3));
    site.ecs.fail("DescribeTasks", vec![error("ThrottlingException", "Rate exceeded"); 4]);
    before(&site, &[]).ends(0, &["ECS does not show the task yet", "deployed web:2"]);
}

#[test]
fn a_log_that_cannot_be_read_is_reported_once_and_decides_nothing() {
    let site = next(TaskCourse::exits(&[("web", 0)]));
    let denied = error("AccessDeniedException", "not authorized to perform: logs:GetLogEvents");
    site.ecs.fail_after("GetLogEvents", 0, denied);
    let outcome = before(&site, &[]);
    outcome.ends(0, &["deployed web:2"]);
    assert_eq!(outcome.stderr.matches("warning: log stream `ecs/web/").count(), 1, "{outcome:#?}");
    // Another log driver is named, but none of its options.
    let site = next(TaskCourse::exits(&[("web", 1)]));
    let log = json!({"logDriver": "splunk", "options": {"splunk-token": "hunter2", "splunk-url": "https://x"}});
    let container = json!({"name": "web", "image": "web:3", "memory": 128, "logConfiguration": log});
    site.write("task.json", &json!({"family": "web", "containerDefinitions": [container]}));
    before(&site, &["--no-verify"]).ends(41, &["the log driver `splunk` sends the log elsewhere"]);
}

#[test]
fn only_the_last_lines_of_a_long_log_are_shown() {
    let site = next(TaskCourse::exits(&[("web", 1)]));
    site.ecs.change(|world| {
        world.one_offs.log = (0..50_000).map(|line| format!("line {line}")).collect();
        world.one_offs.lines_per_poll = 10_000;
    });
    let outcome = before(&site, &["--json"]);
    outcome.ends(41, &["earlier lines may be left out"]);
    assert!(outcome.stderr.lines().count() < 400, "{}", outcome.stderr.lines().count());
    let log = outcome.json()["task"]["containers"][0]["log"].clone();
    assert_eq!((log.as_array().unwrap().len(), &log[19]), (20, &json!("line 79999")));
}

#[test]
fn each_line_that_is_logged_between_two_polls_is_shown_once() {
    let site = next(TaskCourse::exits(&[("web", 0)]));
    site.ecs.change(|world| world.one_offs.lines_per_poll = 30);
    let outcome = before(&site, &[]);
    for line in 0..90 {
        assert_eq!(outcome.stderr.matches(&format!("web: line {line}\n")).count(), 1, "{line}: {outcome:#?}");
    }
}

#[test]
fn at_the_time_limit_a_task_that_has_started_goes_on_unless_asked() {
    let site = next(TaskCourse::stays("RUNNING"));
    let outcome = before(&site, &["--before-timeout", "1s"]);
    outcome.ends(32, &["[task-too-slow]", "is RUNNING", "web:2 is registered, but not deployed", "goes on"]);
    assert!(outcome.stderr.contains("task arn:aws:ecs:eu-west-1:111122223333:task/prod/"), "{outcome:#?}");
    is_not_deployed(&site);
    let site = next(TaskCourse::stays("RUNNING"));
    let outcome = before(&site, &["--before-timeout", "1s", "--before-stop-on-timeout", "--json"]);
    outcome.ends(32, &["task-too-slow", "SIGTERM"]);
    assert_eq!(outcome.json()["result"], "time-limit");
    assert_eq!(writes(&site), ["RegisterTaskDefinition", "RunTask", "StopTask"]);
}

#[test]
fn at_the_time_limit_a_task_that_has_not_started_is_stopped() {
    for status in ["PROVISIONING", "PENDING"] {
        let site = next(TaskCourse::stays(status));
        let outcome = before(&site, &["--before-timeout", "1s"]);
        outcome.ends(32, &["[task-not-started]", &format!("is {status}"), "which had not started"]);
        assert_eq!(writes(&site), ["RegisterTaskDefinition", "RunTask", "StopTask"]);
    }
    let site = next(TaskCourse::stays("PROVISIONING"));
    site.ecs.fail("StopTask", [error("AccessDeniedException", "not authorized to perform: ecs:StopTask")]);
    before(&site, &["--before-timeout", "1s"]).ends(32, &["it could not be stopped: ", "ecs:StopTask"]);
}

#[test]
fn a_task_that_outlives_the_container_that_decides_is_reported() {
    let shows = json!({"lastStatus": "RUNNING", "containers": [{"name": "web", "lastStatus": "STOPPED", "exitCode": 0},
        {"name": "proxy", "lastStatus": "RUNNING"}]});
    let site = next(TaskCourse::Shows(vec![shows]));
    let outcome = before(&site, &["--json"]);
    outcome.ends(0, &["deployed web:2"]);
    assert!(outcome.json()["notes"].to_string().contains("still runs"), "{outcome:#?}");
}

#[test]
fn a_task_that_ecs_stops_does_not_still_run() {
    let ended = |status: &str| {
        json!({"lastStatus": status, "desiredStatus": "RUNNING",
               "containers": [{"name": "web", "lastStatus": "STOPPED", "exitCode": 0}]})
    };
    let steps = ["RUNNING", "DEPROVISIONING", "DEPROVISIONING", "DEPROVISIONING", "STOPPED"].map(ended);
    let site = next(TaskCourse::Shows(steps.to_vec()));
    let outcome = before(&site, &["--json"]);
    outcome.ends(0, &["deployed web:2"]);
    assert!(!outcome.json()["notes"].to_string().contains("still runs"), "{outcome:#?}");
}

#[test]
fn values_of_the_overrides_are_never_printed() {
    let overrides = r#"{"containerOverrides": [{"name": "web", "command": ["migrate", "--password=hunter2"],
        "environment": [{"name": "DATABASE_URL", "value": "hunter2"}]}]}"#;
    for (course, limit, code) in [
        (TaskCourse::exits(&[("web", 0)]), "1m", 0),
        (TaskCourse::exits(&[("web", 1)]), "1m", 41),
        (TaskCourse::stays("RUNNING"), "1s", 32),
        (TaskCourse::NotPlaced("RESOURCE:CPU"), "1m", 41),
    ] {
        for more in [&[][..], &["--json"]] {
            let site = next(course.clone());
            let arguments = [&["--before", overrides, "--before-timeout", limit], more].concat();
            let outcome = site.deploy("deploy", &arguments);
            outcome.ends(code, &["`web` with another command, environment"]);
            assert!(!format!("{outcome:?}").contains("hunter2"), "{outcome:#?}");
            let sent = &site.ecs.bodies("RunTask")[0]["overrides"]["containerOverrides"][0]["environment"][0]["value"];
            assert_eq!(sent, "hunter2");
        }
    }
}

#[test]
fn invalid_overrides_are_refused_before_any_change() {
    let site = next(TaskCourse::exits(&[("web", 0)]));
    for (overrides, expected) in [
        ("{\"containerOverrides\": [{\"name\": \"web\", \"comand\": []}]}", "did you mean `command`?"),
        ("{\"containerOverrides\": ", "`--before`: not valid JSON"),
        ("[]", "a list of strings that is not empty"),
        ("{\"containerOverrides\": [{\"name\": \"wep\"}]}", "no container `wep`"),
    ] {
        site.deploy("deploy", &["--before", overrides]).ends(35, &["[bad-input]", expected]);
    }
    for (text, hint) in [
        ("absent.json", "`absent.json` cannot be read"),
        ("migrate", "it is a list, `--before '[\"migrate\"]'`"),
        ("php artisan migrate", "it is a list, `--before '[\"php\", \"artisan\", \"migrate\"]'`"),
    ] {
        site.deploy("deploy", &["--before", text]).ends(35, &["[bad-option]", hint]);
    }
    assert_eq!(writes(&site), [""; 0]);
    site.deploy("deploy", &["--before-stop-on-timeout"]).ends(2, &["--before"]);
}

#[test]
fn the_overrides_may_be_a_file_with_variables() {
    let site = next(TaskCourse::exits(&[("web", 0)])).variable("STEPS", "7");
    let text = r#"{"containerOverrides": [{"name": "web", "command": ["migrate", "${STEPS}"]}]}"#;
    std::fs::write(site.folder.path().join("migrate.json"), text).unwrap();
    site.deploy("deploy", &["--before", "migrate.json"]).ends(0, &["deployed web:2"]);
    let command = &site.ecs.bodies("RunTask")[0]["overrides"]["containerOverrides"][0]["command"];
    assert_eq!(*command, json!(["migrate", "7"]));
}

#[test]
fn the_task_has_the_network_and_the_capacity_providers_of_the_service() {
    let site = Site::new();
    let network = json!({"awsvpcConfiguration": {
        "subnets": ["subnet-1"], "securityGroups": ["sg-1"], "assignPublicIp": "DISABLED"}});
    let strategy = json!([{"capacityProvider": "main", "weight": 1, "base": 0}]);
    let container = json!({"name": "web", "image": "web:${TAG}", "memory": 128});
    let task = json!({"family": "web", "networkMode": "awsvpc", "containerDefinitions": [container]});
    site.write("task.json", &task);
    let service = json!({"cluster": "prod", "serviceName": "web", "desiredCount": 2, "networkConfiguration": network,
        "capacityProviderStrategy": strategy, "propagateTags": "SERVICE", "tags": [{"key": "team", "value": "a"}]});
    site.write("service.json", &service);
    before(&site, &["--no-verify"]).ends(0, &["deployed web:1"]);
    site.run(&["run", "--cluster", "prod", "--service", "web", "--", "report"]).ends(0, &["of web:1 succeeded"]);
    for body in site.ecs.bodies("RunTask") {
        assert_eq!((&body["networkConfiguration"], &body["capacityProviderStrategy"]), (&network, &strategy));
        assert_eq!(body["tags"], json!([{"key": "team", "value": "a"}]));
    }
    site.run(&["run", "--cluster", "prod", "--task-definition", "web"])
        .ends(35, &["[bad-option]", "awsvpc", "name one with `--service`"]);
}

#[test]
fn run_runs_the_revision_of_the_service_and_nothing_else_changes() {
    let mut site = Site::new();
    site.deployed("1");
    const RUN: [&str; 5] = ["run", "--cluster", "prod", "--service", "web"];
    let outcome = site.run(&[&RUN[..], &["--json", "--", "report", "--month", "11"]].concat());
    outcome.ends(0, &[]);
    let json = outcome.json();
    assert_eq!((&json["result"], &json["registered"]), (&json!("ran"), &json!(false)));
    assert_eq!(writes(&site), ["RunTask"]);
    let command = &site.ecs.bodies("RunTask")[0]["overrides"]["containerOverrides"][0]["command"];
    assert_eq!(*command, json!(["report", "--month", "11"]));
    let text = site.run(&RUN);
    text.ends(0, &[]);
    assert!(text.stdout.contains("of web:1 succeeded: `web` exited with code 0"), "{text:#?}");
    site.ecs.change(|world| world.one_offs.courses.push_back(TaskCourse::exits(&[("web", 7)])));
    let outcome = site.run(&[&RUN[..], &["--json"]].concat());
    outcome.ends(41, &["container-exited"]);
    assert_eq!(outcome.json()["result"], "task-failed");
    site.run(&["run", "--cluster", "prod", "--task-definition", "web:1"]).ends(0, &["of web:1 succeeded"]);
    site.run(&["run", "--cluster", "prod", "--task-definition", "web:9"]).ends(36, &["[revision-not-found]"]);
    site.run(&["run", "--cluster", "prod", "--service", "wep"]).ends(36, &["[service-not-found]"]);
    site.run(&["run", "--cluster", "prod"]).ends(2, &["--service"]);
    site.run(&[&RUN[..], &["--container", "web"]].concat()).ends(2, &["COMMAND"]);
    site.run(&[&RUN[..], &["--container", "wep", "--", "x"]].concat()).ends(35, &["no container `wep`"]);
}

#[test]
fn after_a_signal_the_task_goes_on_and_its_arn_is_reported() {
    let site = next(TaskCourse::stays("RUNNING"));
    let running = site.start(&[&DEPLOY[..], &["--before", MIGRATE, "--json"]].concat());
    site.wait_for_call("DescribeTasks");
    let outcome = running.end_with(&["TERM"]);
    outcome.ends(40, &["interrupted by SIGTERM: ECS continues task arn:aws:ecs:", "no rollout was started"]);
    let changes = outcome.json()["changes"].clone();
    assert!(changes[0] == "registered web:2" && changes[1].as_str().unwrap().starts_with("started task arn:"));
    is_not_deployed(&site);
}

#[test]
fn an_answer_whose_types_are_not_those_of_the_sdk_is_read() {
    // ECS has `cpu` of a container as text, moto as a number.
    let container = json!({"name": "web", "lastStatus": "STOPPED", "exitCode": 0, "cpu": 0});
    let end = json!({"lastStatus": "STOPPED", "desiredStatus": "STOPPED", "stopCode": "EssentialContainerExited",
        "containers": [container]});
    let site = next(TaskCourse::Shows(vec![end]));
    before(&site, &[]).ends(0, &["of web:2 succeeded", "deployed web:2"]);
}
