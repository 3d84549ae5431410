//! How a rollout ends: completed, failed, stuck, superseded or deleted; its messages, and what is rolled back.

use super::{Site, writes};
use crate::support::rollout::{Course, Stopped, error};
use serde_json::json;

const NO_MEMORY: &str = "(service web) was unable to place a task because no container instance met all of its \
                         requirements. The closest matching (container-instance 0123) has insufficient memory available.";
const NO_IMAGE: &str =
    "CannotPullContainerError: manifest for web:2 not found: manifest unknown: Requested image not found";

/// A service that runs `web:1`, and the course of its next deployment.
fn next(course: Course) -> Site {
    let mut site = Site::new();
    site.deployed("1");
    site.set("TAG", "2");
    site.ecs.change(|host_clients| host_clients.courses.push_back(course));
    site
}

#[test]
fn a_rollout_without_memory_is_rolled_back_with_its_cause() {
    let site = next(Course::Stuck(NO_MEMORY.into()));
    let outcome = site.deploy("deploy", &["--timeout", "4s"]);
    outcome.ends(
        30,
        &[
            "error: [insufficient-memory] no instance has enough free memory",
            "seen: service event: (service web) was unable to place a task",
            "remedy: lower `memory`",
            "rolling back to web:1",
            "rolled back to web:1 as ecs-svc/",
        ],
    );
    assert_eq!(site.image().0, "web:1");
    assert_eq!(writes(&site), ["RegisterTaskDefinition", "UpdateService", "UpdateService"]);
}

#[test]
fn without_a_rollback_the_time_limit_has_its_own_code() {
    let site = next(Course::Stuck(NO_MEMORY.into()));
    let outcome = site.deploy("deploy", &["--timeout", "3s", "--no-rollback"]);
    outcome.ends(32, &["[insufficient-memory]", "nothing was rolled back: the service is left as it is"]);
    assert_eq!(site.image().0, "web:2");
    let site = next(Course::Completes(1000));
    site.deploy("deploy", &["--timeout", "3s", "--no-rollback"]).ends(32, &["[too-slow]", "2 pending"]);
}

#[test]
fn a_rollback_restores_the_members_that_the_deployment_changed() {
    let site = next(Course::Stuck(NO_MEMORY.into()));
    let outcome = site.deploy("deploy", &["--timeout", "3s", "--one-small-instance", "--desired-count", "3"]);
    outcome.ends(30, &["rolled back to web:1"]);
    let back = site.ecs.bodies("UpdateService").pop().unwrap();
    assert_eq!(back["desiredCount"], 2);
    assert_eq!(back["deploymentConfiguration"], json!({"maximumPercent": 200, "minimumHealthyPercent": 100}));
}

#[test]
fn a_failed_first_deployment_is_not_rolled_back() {
    let site = Site::new();
    site.ecs.change(|host_clients| {
        let task = Stopped::not_started(NO_IMAGE);
        host_clients.courses.push_back(Course::Fails { at: 2, task });
    });
    let outcome = site.deploy("deploy", &["--circuit-breaker"]);
    outcome.ends(33, &["[image-not-found]", "nothing was rolled back: the service is new", "tasks failed to start"]);
    assert_eq!(writes(&site), ["RegisterTaskDefinition", "CreateService"]);
}

#[test]
fn the_rollback_of_the_circuit_breaker_is_awaited_and_reported() {
    let site = next(Course::Fails { at: 2, task: Stopped::not_started(NO_IMAGE) });
    let outcome = site.deploy("deploy", &["--circuit-breaker", "--json"]);
    outcome.ends(30, &["stopped: Task failed to start", NO_IMAGE]);
    let json = outcome.json();
    assert_eq!((&json["result"], &json["cause"]["id"]), (&json!("rolled-back"), &json!("image-not-found")));
    assert!(json["rolled_back_to"].as_str().unwrap().ends_with("web:1"), "{json:#}");
    assert!(json["aftermath"].as_str().unwrap().starts_with("ECS has rolled back to web:1"), "{json:#}");
    assert_eq!(json["stopped_tasks"][0]["containers"][0]["reason"], NO_IMAGE);
    // ECS rolled back, so ecs-rollout did not.
    assert_eq!(writes(&site), ["RegisterTaskDefinition", "UpdateService"]);
}

#[test]
fn ecs_rollout_does_not_roll_back_before_the_circuit_breaker_does() {
    let site = next(Course::Fails { at: 1, task: Stopped::exited(1) });
    site.ecs.change(|host_clients| host_clients.rollback_after = 2);
    let outcome = site.deploy("deploy", &["--circuit-breaker"]);
    outcome.ends(30, &["[container-exited]", "ECS has rolled back to web:1"]);
    assert_eq!(writes(&site), ["RegisterTaskDefinition", "UpdateService"]);
}

#[test]
fn ecs_rollout_rolls_back_after_a_circuit_breaker_without_rollback() {
    let site = next(Course::Fails { at: 1, task: Stopped::exited(1) });
    let breaker = json!({"deploymentCircuitBreaker": {"enable": true, "rollback": false}});
    let service =
        json!({"cluster": "prod", "serviceName": "web", "desiredCount": 2, "deploymentConfiguration": breaker});
    site.write("service.json", &service);
    let outcome = site.deploy("deploy", &[]);
    outcome.ends(30, &["[container-exited]", "rolled back to web:1"]);
    assert_eq!(writes(&site), ["RegisterTaskDefinition", "UpdateService", "UpdateService"]);
}

#[test]
fn a_container_exit_is_shown_with_its_code_and_its_last_log_lines() {
    let site = next(Course::Fails { at: 1, task: Stopped::exited(1) });
    site.ecs.change(|host_clients| {
        // The id of the first task that will stop is one of these.
        for id in 0..40 {
            let lines = vec!["starting\n".to_owned(), "panic: no DB_URL \u{1b}[31m\n".to_owned()];
            host_clients.logs.insert(format!("/ecs/web:ecs/web/{id:032x}"), lines);
        }
    });
    let outcome = site.deploy("deploy", &["--circuit-breaker"]);
    outcome.ends(
        30,
        &[
            "container `web` of task",
            "exited with code 1",
            "seen: log: starting",
            "seen: log: panic: no DB_URL \\u{1b}[31m",
        ],
    );
    assert!(!outcome.stderr.contains('\u{1b}'), "a log line controls the terminal");
}

#[test]
fn a_log_that_cannot_be_read_does_not_hide_the_cause() {
    let site = next(Course::Fails { at: 1, task: Stopped::exited(137) });
    let outcome = site.deploy("deploy", &["--circuit-breaker"]);
    outcome.ends(30, &["[container-exited]", "exited with code 137", "The specified log stream does not exist."]);
}

#[test]
fn each_reason_of_a_stopped_task_is_diagnosed() {
    for (task, id) in [
        (Stopped::not_started(NO_IMAGE), "image-not-found"),
        (
            Stopped {
                container_reason: "OutOfMemoryError: Container killed due to memory usage".into(),
                ..Stopped::exited(137)
            },
            "out-of-memory",
        ),
        (Stopped::by_ecs("Task failed ELB health checks in (target-group arn:aws:x)"), "target-unhealthy"),
        (Stopped::by_ecs("Task failed container health checks"), "container-unhealthy"),
        (
            Stopped::not_started(
                "ResourceInitializationError: unable to pull secrets or registry auth: AccessDeniedException",
            ),
            "secret-denied",
        ),
        (Stopped::exited(0), "container-ended"),
    ] {
        let site = next(Course::Fails { at: 1, task });
        let outcome = site.deploy("deploy", &["--circuit-breaker"]);
        outcome.ends(30, &[&format!("error: [{id}]")]);
    }
}

#[test]
fn a_deployment_of_another_caller_is_reported_and_not_rolled_back() {
    let site = next(Course::Superseded(2));
    let outcome = site.deploy("deploy", &[]);
    outcome.ends(34, &["[superseded]", "replaced web:2"]);
    assert_eq!(writes(&site), ["RegisterTaskDefinition", "UpdateService"]);
}

#[test]
fn a_service_deleted_during_the_rollout_is_reported() {
    let site = next(Course::Deleted(2));
    site.deploy("deploy", &[]).ends(33, &["[service-deleted]", "CloudTrail"]);
}

#[test]
fn a_failed_rollback_has_its_own_code() {
    let site = next(Course::Stuck(NO_MEMORY.into()));
    site.ecs.change(|host_clients| host_clients.courses.push_back(Course::Stuck(NO_MEMORY.into())));
    let outcome = site.deploy("deploy", &["--timeout", "3s"]);
    outcome.ends(
        31,
        &["error: [insufficient-memory]", "the rollback did not complete within the time limit: ECS continues web:1"],
    );
    let site = next(Course::Stuck(NO_MEMORY.into()));
    site.ecs.fail_after(
        "UpdateService",
        1,
        error("AccessDeniedException", "not authorized to perform: ecs:UpdateService"),
    );
    let outcome = site.deploy("deploy", &["--timeout", "3s"]);
    outcome.ends(
        31,
        &["error: [insufficient-memory]", "also: [caller-denied]", "the rollback failed: the service stays at"],
    );
}

#[test]
fn the_same_revision_is_not_a_rollback_target() {
    let mut site = Site::new();
    site.deployed("1");
    site.ecs.change(|host_clients| host_clients.courses.push_back(Course::Stuck(NO_MEMORY.into())));
    let outcome = site.deploy("deploy", &["--force-new-deployment", "--timeout", "3s"]);
    outcome.ends(32, &["nothing was rolled back: the service already ran this revision before"]);
    assert_eq!(writes(&site), ["UpdateService"]);
}

#[test]
fn a_deregistered_revision_is_not_a_rollback_target() {
    let site = next(Course::Stuck(NO_MEMORY.into()));
    site.ecs.change(|host_clients| host_clients.families.get_mut("web").unwrap()[0]["status"] = json!("INACTIVE"));
    let outcome = site.deploy("deploy", &["--timeout", "3s"]);
    outcome.ends(32, &["nothing was rolled back: web:1 is deregistered"]);
}

#[test]
fn credentials_that_expire_during_the_rollout_are_reported() {
    let site = next(Course::Completes(5));
    let expired = "The security token included in the request is expired";
    // One poll for the plan and one of the rollout succeed; then the credentials are expired.
    site.ecs.fail_after("DescribeServices", 2, error("ExpiredTokenException", expired));
    let outcome = site.deploy("deploy", &[]);
    outcome.ends(37, &["[no-credentials]", expired, "continues, but is no longer watched"]);
    assert_eq!(writes(&site), ["RegisterTaskDefinition", "UpdateService"]);
}

#[test]
fn a_throttled_poll_does_not_end_the_watch() {
    let site = next(Course::Completes(3));
    site.ecs.fail("ListTasks", vec![error("ThrottlingException", "Rate exceeded"); 8]);
    site.deploy("deploy", &[]).ends(0, &["deployed web:2"]);
}

#[test]
fn without_permission_to_list_tasks_it_warns_once_and_continues() {
    let site = next(Course::Completes(3));
    site.ecs.fail("ListTasks", vec![error("AccessDeniedException", "not authorized to perform: ecs:ListTasks"); 8]);
    let outcome = site.deploy("deploy", &[]);
    outcome.ends(0, &["warning: stopped tasks cannot be read: ecs:ListTasks: denied"]);
    assert_eq!(outcome.stderr.matches("stopped tasks cannot be read").count(), 1);
}

#[test]
fn at_a_terminal_one_line_shows_the_progress_and_disappears() {
    let site = next(Course::Completes(3));
    let session =
        site.at_a_terminal("deploy --task-definition task.json --service-definition service.json --vars-from TAG");
    // It is redrawn in place, with the events above it.
    let drawn = session.matches("web:2 as ecs-svc/").count();
    assert!(drawn > 3, "drawn {drawn} times: {session:?}");
    assert!(session.contains("0 of 2 running, 2 pending"), "{session:?}");
    let end = session.rfind("\u{1b}[2K").expect("the line is cleared");
    let last = &session[end..];
    assert!(last.contains("deployed web:2") && !last.contains("ecs-svc"), "{last:?}");
    // Without a terminal, each change is printed as a line.
    let site = next(Course::Completes(3));
    let outcome = site.deploy("deploy", &[]);
    assert_eq!(outcome.stderr.matches("0 of 2 running, 2 pending").count(), 1, "{outcome:#?}");
    assert!(!outcome.stderr.contains('\u{1b}'), "{outcome:#?}");
}
