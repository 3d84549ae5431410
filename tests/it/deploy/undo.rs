//! Blue/green, linear and canary deployments that are still in progress are undone with StopServiceDeployment.

use super::{DEPLOY, Site, writes};
use crate::support::rollout::{Course, Stopped, error};
use serde_json::{Value, json};

const SERVICE: [&str; 4] = ["--cluster", "prod", "--service", "web"];

/// A service with this strategy that runs `web:1`; its next deployment takes this course.
fn staged(strategy: &str, course: Course) -> Site {
    let mut site = Site::new();
    let configuration = json!({"maximumPercent": 200, "minimumHealthyPercent": 100, "strategy": strategy});
    let service = json!({"cluster": "prod", "serviceName": "web", "desiredCount": 2,
        "deploymentConfiguration": configuration});
    site.write("service.json", &service);
    site.deployed("1");
    site.set("TAG", "2");
    site.ecs.change(|world| world.courses.push_back(course));
    site
}

fn in_bake_time() -> Course {
    Course::Staged { stages: vec!["BAKE_TIME"; 1000], at_end: "SUCCESSFUL" }
}

fn crash_loop() -> Course {
    Course::Fails { at: u32::MAX, task: Stopped::exited(1) }
}

fn rollback(site: &Site, more: &[&str]) -> super::Outcome {
    site.run(&[&["rollback"], &SERVICE[..], more].concat())
}

/// A `rollback` while the deployment of `web:2` is in progress.
fn in_progress(strategy: &str) -> Site {
    let site = staged(strategy, in_bake_time());
    site.deploy("deploy", &["--no-wait"]).ends(0, &[]);
    site.ecs.forget_calls();
    site
}

#[test]
fn a_failed_deployment_that_shifts_traffic_is_stopped_and_ecs_rolls_it_back() {
    for strategy in ["BLUE_GREEN", "LINEAR", "CANARY"] {
        let site = staged(strategy, crash_loop());
        let outcome = site.deploy("deploy", &["--timeout", "10m", "--json"]);
        outcome.ends(30, &["stopped web:2", "ECS shifts the traffic back to web:1"]);
        assert_eq!(writes(&site), ["RegisterTaskDefinition", "UpdateService", "StopServiceDeployment"], "{strategy}");
        assert_eq!(site.ecs.bodies("StopServiceDeployment")[0]["stopType"], "ROLLBACK");
        let json = outcome.json();
        assert!(json["rolled_back_to"].as_str().unwrap().ends_with("web:1"), "{json:#}");
        assert_eq!(json["cause"]["id"], "container-exited");
        assert!(json["changes"].to_string().contains("stopped web:2"), "{json:#}");
    }
}

#[test]
fn a_rolling_update_is_rolled_back_with_update_service() {
    let site = staged("ROLLING", crash_loop());
    site.deploy("deploy", &["--timeout", "10m"]).ends(30, &["rolled back to web:1"]);
    assert_eq!(writes(&site), ["RegisterTaskDefinition", "UpdateService", "UpdateService"]);
}

#[test]
fn a_deployment_in_its_bake_time_is_stopped_at_the_time_limit_only_on_request() {
    let site = staged("BLUE_GREEN", in_bake_time());
    let outcome = site.deploy("deploy", &["--timeout", "4s", "--rollback-on-timeout"]);
    outcome.ends(30, &["[too-slow]", "ECS has rolled back to web:1"]);
    assert_eq!(writes(&site).last().unwrap(), "StopServiceDeployment");
}

#[test]
fn settings_that_ecs_does_not_set_back_need_update_service() {
    let site = staged("BLUE_GREEN", crash_loop());
    site.deploy("deploy", &["--timeout", "10m", "--desired-count", "3"]).ends(30, &["rolled back to web:1"]);
    let bodies = site.ecs.bodies("UpdateService");
    assert_eq!(bodies.last().unwrap()["desiredCount"], 2, "{bodies:?}");
    assert!(!writes(&site).contains(&"StopServiceDeployment".to_owned()));
}

#[test]
fn the_command_rollback_stops_a_deployment_that_is_in_progress() {
    for more in [&[] as &[&str], &["--to", "1"]] {
        let site = in_progress("CANARY");
        let outcome = rollback(&site, &[more, &["--json"]].concat());
        outcome.ends(0, &["rolling back from web:2 to web:1", "ECS shifts the traffic back to web:1"]);
        assert_eq!(writes(&site), ["StopServiceDeployment"]);
        let json = outcome.json();
        assert_eq!((&json["result"], &json["action"]), (&json!("rolled-back"), &json!("update")), "{json:#}");
        assert!(json["rolled_back_to"].as_str().unwrap().ends_with("web:1"), "{json:#}");
        rollback(&site, &["--to", "1"]).ends(0, &["unchanged: service `web` already runs web:1"]);
    }
}

#[test]
fn another_revision_than_the_one_before_needs_update_service() {
    let mut site = staged("BLUE_GREEN", Course::Completes(1));
    site.deployed("2");
    site.set("TAG", "3");
    site.ecs.change(|world| world.courses.push_back(in_bake_time()));
    site.deploy("deploy", &["--no-wait"]).ends(0, &[]);
    site.ecs.forget_calls();
    rollback(&site, &["--to", "1"]).ends(0, &["rolled back: service `web` runs web:1"]);
    assert_eq!(writes(&site), ["UpdateService"]);
}

#[test]
fn a_rollback_that_ecs_does_not_complete_is_a_failure() {
    let site = in_progress("BLUE_GREEN");
    site.ecs.change(|world| world.stopped_ends = "ROLLBACK_FAILED");
    rollback(&site, &[]).ends(31, &["ECS started a rollback, which did not complete: web:1"]);
    let site = staged("LINEAR", crash_loop());
    site.ecs.change(|world| world.stopped_ends = "ROLLBACK_FAILED");
    site.deploy("deploy", &["--timeout", "10m"]).ends(31, &["ECS started a rollback, which did not complete: web:1"]);
}

#[test]
fn a_stop_that_is_refused_is_named_and_replaced_by_update_service() {
    let refusals = [
        (
            "StopServiceDeployment",
            error("AccessDeniedException", "not authorized to perform: ecs:StopServiceDeployment"),
        ),
        ("StopServiceDeployment", error("UnsupportedFeatureException", "no rollback here")),
        ("StopServiceDeployment", error("ConflictException", "it has ended")),
        ("DescribeServiceDeployments", error("AccessDeniedException", "not authorized to perform: ecs:x")),
    ];
    for (operation, refusal) in refusals {
        let site = in_progress("BLUE_GREEN");
        let message = refusal.2.clone();
        site.ecs.fail(operation, [refusal]);
        let warning = "ECS cannot stop the deployment, so UpdateService deploys the older revision again";
        rollback(&site, &[]).ends(0, &[warning, &message, "rolled back: service `web` runs web:1"]);
        assert_eq!(writes(&site).last().unwrap(), "UpdateService", "{message}");
    }
}

#[test]
fn a_throttled_stop_is_repeated() {
    let site = in_progress("BLUE_GREEN");
    site.ecs.fail("StopServiceDeployment", vec![error("ThrottlingException", "Rate exceeded"); 4]);
    rollback(&site, &[]).ends(0, &["rolled back: service `web` runs web:1"]);
    assert!(!writes(&site).contains(&"UpdateService".to_owned()));
}

#[test]
fn a_stop_without_an_answer_is_not_followed_by_another_change() {
    let site = staged("BLUE_GREEN", in_bake_time());
    site.ecs.fail("StopServiceDeployment", vec![(500, "ServerException".to_owned(), "internal".to_owned()); 99]);
    let outcome = site.deploy("deploy", &["--timeout", "4s", "--rollback-on-timeout"]);
    let unanswered = "StopServiceDeployment may have been carried out: its answer did not arrive";
    outcome.ends(31, &["also: [api-failed]", "it is not known whether ECS accepted the rollback", unanswered]);
    assert_eq!(site.ecs.bodies("UpdateService").len(), 1, "{:?}", writes(&site));
}

#[test]
fn a_signal_after_the_stop_says_what_ecs_continues() {
    let site = staged("BLUE_GREEN", crash_loop());
    let run = site.start(&[&DEPLOY[..], &["--timeout", "10m", "--json"]].concat());
    site.wait_for_call("StopServiceDeployment");
    let json: Value = run.end_with(&["TERM"]).json();
    assert_eq!(json["exit_code"], 40, "{json:#}");
    assert!(!json.to_string().contains("nothing was rolled back"), "{json:#}");
}
