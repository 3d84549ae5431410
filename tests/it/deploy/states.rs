//! The service as it is found: absent, active, draining, inactive, of another kind; and what is changed of it.

use super::{Site, writes};
use crate::support::rollout::{Course, error};
use serde_json::json;

#[test]
fn creates_a_service_that_is_absent() {
    let site = Site::new();
    let outcome = site.deploy("deploy", &["--build", "17", "--commit", "0123abc"]);
    outcome.ends(0, &["create the service: there is none of this name", "deployed web:1 (build 17)", "2 of 2 running"]);
    assert_eq!(writes(&site), ["RegisterTaskDefinition", "CreateService", "TagResource"]);
    let tags = &site.ecs.bodies("RegisterTaskDefinition")[0]["tags"];
    assert_eq!(
        *tags,
        json!([{"key": "ecs-deploy:build", "value": "17"}, {"key": "ecs-deploy:commit", "value": "0123abc"}])
    );
    let body = &site.ecs.bodies("CreateService")[0];
    assert_eq!((&body["cluster"], &body["serviceName"]), (&json!("prod"), &json!("web")));
    assert_eq!(body["clientToken"].as_str().map(str::len), Some(32));
    assert_eq!(site.ecs.bodies("TagResource")[0]["tags"][0]["key"], "ecs-deploy:stable");
}

#[test]
fn a_second_run_changes_nothing_and_says_so() {
    let mut site = Site::new();
    site.deployed("1");
    let outcome = site.deploy("deploy", &["--build", "18"]);
    outcome.ends(0, &["unchanged: service `web` runs web:1 as wanted"]);
    assert_eq!(writes(&site), [""; 0]);
    assert_eq!(site.deploy("deploy", &["--json"]).json()["result"], "unchanged");
}

#[test]
fn updates_a_service_to_a_new_revision_and_shows_the_difference() {
    let mut site = Site::new();
    site.deployed("1");
    site.set("TAG", "2");
    let outcome = site.deploy("deploy", &[]);
    outcome
        .ends(0, &["-      \"image\": \"web:1\"", "+      \"image\": \"web:2\"", "deployed web:2", "go back to web:1"]);
    assert_eq!(writes(&site), ["RegisterTaskDefinition", "UpdateService", "TagResource"]);
    let body = &site.ecs.bodies("UpdateService")[0];
    assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["cluster", "service", "taskDefinition"]);
    assert_eq!(site.image(), ("web:2".to_owned(), 2));
}

#[test]
fn plan_says_the_same_and_changes_nothing() {
    let mut site = Site::new();
    site.deployed("1");
    site.set("TAG", "2");
    let outcome = site.deploy("plan", &[]);
    outcome.ends(0, &["+      \"image\": \"web:2\"", "update the service", "revision web:1 -> a new one"]);
    let json = site.deploy("plan", &["--json"]).json();
    assert_eq!((&json["result"], &json["action"]), (&json!("planned"), &json!("update")));
    assert_eq!(json["task_definition"]["action"], "register");
    assert!(json["rollback"]["to"].as_str().unwrap().ends_with("task-definition/web:1"), "{json:#}");
    assert_eq!(writes(&site), [""; 0]);
}

#[test]
fn creates_again_what_was_deleted_by_hand() {
    let mut site = Site::new();
    site.deployed("1");
    site.ecs.change(|world| {
        world.delete("web");
        world.drains_for = 0;
        world.services.get_mut("web").unwrap().shown["status"] = json!("INACTIVE");
    });
    let outcome = site.deploy("deploy", &[]);
    outcome.ends(0, &["was deleted (INACTIVE)", "deployed web:1"]);
    assert_eq!(writes(&site), ["CreateService"]);
}

#[test]
fn waits_for_a_draining_service_to_end_and_creates_it() {
    let mut site = Site::new();
    site.deployed("1");
    site.ecs.change(|world| world.delete("web"));
    let outcome = site.deploy("deploy", &[]);
    outcome.ends(0, &["drains: it is created anew", "waiting for its end", "deployed web:1"]);
    assert_eq!(writes(&site), ["CreateService"]);
    site.ecs.change(|world| {
        world.drains_for = 1000;
        world.delete("web");
    });
    site.deploy("deploy", &["--timeout", "4s"]).ends(32, &["[still-draining]", "remedy: "]);
}

#[test]
fn a_create_that_ecs_does_not_take_yet_is_made_again() {
    let site = Site::new();
    let draining = "Unable to Start a service that is still Draining.";
    site.ecs.fail("CreateService", vec![error("InvalidParameterException", draining); 2]);
    site.deploy("deploy", &[]).ends(0, &["deployed web:1"]);
}

#[test]
fn answers_from_before_the_call_are_no_verdict() {
    let mut site = Site::new();
    site.ecs.change(|world| world.stale_looks = 3);
    site.deploy("deploy", &[]).ends(0, &["ECS does not show the service yet", "deployed web:1"]);
    site.set("TAG", "2");
    let outcome = site.deploy("deploy", &[]);
    outcome.ends(0, &["ECS does not show the deployment yet", "deployed web:2"]);
    assert_eq!(site.image(), ("web:2".to_owned(), 2));
}

#[test]
fn leaves_the_desired_count_alone_where_auto_scaling_owns_it() {
    let mut site = Site::new();
    site.deployed("1");
    site.ecs.change(|world| {
        world.is_scaled = true;
        world.services.get_mut("web").unwrap().shown["desiredCount"] = json!(5);
    });
    site.set("TAG", "2");
    let outcome = site.deploy("deploy", &[]);
    outcome.ends(0, &["the desired count stays 5, not 2: Application Auto Scaling decides it", "5 of 5 running"]);
    assert!(site.ecs.bodies("UpdateService")[0].get("desiredCount").is_none());
}

#[test]
fn changes_the_desired_count_where_nobody_owns_it_and_waits_for_it() {
    let mut site = Site::new();
    site.deployed("1");
    // The first looks show the count of before, which was reached.
    site.ecs.change(|world| world.stale_looks = 2);
    let outcome = site.deploy("deploy", &["--desired-count", "4"]);
    outcome.ends(0, &["desiredCount 2 -> 4", "4 of 4 running"]);
    assert_eq!(writes(&site), ["UpdateService"]);
    assert_eq!(site.ecs.bodies("UpdateService")[0]["desiredCount"], 4);
}

#[test]
fn refuses_to_guess_who_owns_the_desired_count() {
    let mut site = Site::new();
    site.deployed("1");
    let denied = "User: x is not authorized to perform: application-autoscaling:DescribeScalableTargets";
    site.ecs.fail("DescribeScalableTargets", [error("AccessDeniedException", denied)]);
    site.deploy("deploy", &["--desired-count", "4"]).ends(37, &["[caller-denied]", "is not known", denied]);
    assert_eq!(writes(&site), [""; 0]);
    // Nobody asks where no question arises.
    site.deploy("deploy", &[]).ends(0, &["unchanged"]);
}

#[test]
fn a_daemon_service_has_no_count() {
    let site = Site::new();
    site.write("service.json", &json!({"cluster": "prod", "serviceName": "web"}));
    let outcome = site.deploy("deploy", &["--daemon"]);
    outcome.ends(0, &["deployed web:1"]);
    let body = &site.ecs.bodies("CreateService")[0];
    assert_eq!((&body["schedulingStrategy"], body.get("desiredCount")), (&json!("DAEMON"), None));
    site.ecs.forget_calls();
    site.deploy("deploy", &["--daemon"]).ends(0, &["unchanged"]);
    site.deploy("deploy", &["--service", "web", "--daemon", "--desired-count", "2"]).ends(2, &["--desired-count"]);
    site.write("service.json", &json!({"cluster": "prod", "serviceName": "web", "desiredCount": 2}));
    site.deploy("deploy", &["--daemon"]).ends(35, &["[bad-input]", "a daemon service has no desired count"]);
}

#[test]
fn what_an_update_does_not_take_is_refused_before_anything_is_registered() {
    let mut site = Site::new();
    site.deployed("1");
    site.set("TAG", "2");
    let service =
        json!({"cluster": "prod", "serviceName": "web", "schedulingStrategy": "DAEMON", "launchType": "FARGATE"});
    site.write("service.json", &service);
    let outcome = site.deploy("deploy", &[]);
    outcome.ends(
        35,
        &["[cannot-be-changed]", "schedulingStrategy \"REPLICA\" -> \"DAEMON\"", "launchType null -> \"FARGATE\""],
    );
    assert_eq!(writes(&site), [""; 0]);
}

#[test]
fn a_service_of_code_deploy_is_not_ours() {
    let mut site = Site::new();
    site.deployed("1");
    site.ecs.change(|world| {
        world.services.get_mut("web").unwrap().shown["deploymentController"] = json!({"type": "CODE_DEPLOY"});
    });
    site.deploy("deploy", &[]).ends(35, &["[other-controller]", "`CODE_DEPLOY`"]);
}

#[test]
fn one_small_instance_stops_the_old_task_first_and_says_what_that_risks() {
    let mut site = Site::new();
    site.deployed("1");
    site.set("TAG", "2");
    let outcome = site.deploy("deploy", &["--one-small-instance"]);
    outcome.ends(0, &["the service is down meanwhile", "deployed web:2"]);
    let body = &site.ecs.bodies("UpdateService")[0];
    let expected = json!({"minimumHealthyPercent": 0, "maximumPercent": 100});
    assert_eq!(body["deploymentConfiguration"], expected);
    site.ecs.forget_calls();
    site.deploy("deploy", &["--one-small-instance"]).ends(0, &["unchanged"]);
    site.deploy("deploy", &["--one-small-instance", "--maximum-percent", "200"]).ends(2, &["cannot be used with"]);
}

#[test]
fn a_moved_tag_is_pulled_when_a_new_deployment_is_forced() {
    let mut site = Site::new();
    site.deployed("1");
    site.deploy("deploy", &["--force-new-deployment"]).ends(0, &["a new deployment, as asked", "deployed web:1"]);
    assert_eq!(writes(&site), ["UpdateService"]);
    assert_eq!(site.ecs.bodies("UpdateService")[0]["forceNewDeployment"], true);
}

#[test]
fn a_rollout_that_goes_on_is_watched_and_one_that_failed_is_begun_again() {
    let mut site = Site::new();
    site.deployed("1");
    site.set("TAG", "2");
    site.ecs.change(|world| world.courses.push_back(Course::Completes(5)));
    site.deploy("deploy", &["--no-wait"]).ends(0, &["begun: web:2", "its end is not waited for"]);
    site.ecs.forget_calls();
    site.deploy("deploy", &[]).ends(0, &["watch web:2 as ecs-svc/", "deployed web:2"]);
    assert_eq!(writes(&site), ["TagResource"]);
    site.ecs.change(|world| {
        world.services.get_mut("web").unwrap().shown["deployments"][0]["rolloutState"] = json!("FAILED");
    });
    site.deploy("deploy", &[]).ends(0, &["has failed", "deployed web:2"]);
}

#[test]
fn a_deployment_in_progress_is_told_to_whoever_takes_its_place() {
    let mut site = Site::new();
    site.deployed("1");
    site.set("TAG", "2");
    site.ecs.change(|world| world.courses.push_back(Course::Completes(50)));
    site.deploy("deploy", &["--no-wait"]).ends(0, &[]);
    site.set("TAG", "3");
    let outcome = site.deploy("deploy", &[]);
    outcome.ends(0, &["of web:2 is in progress", "takes its place", "go back to web:1", "deployed web:3"]);
}

#[test]
fn tags_of_the_service_are_added_and_those_of_the_revision_count() {
    let mut site = Site::new();
    site.deployed("1");
    let tags = json!([{"key": "team", "value": "a"}]);
    site.write("service.json", &json!({"cluster": "prod", "serviceName": "web", "desiredCount": 2, "tags": tags}));
    site.deploy("deploy", &[]).ends(0, &["unchanged"]);
    assert_eq!(site.ecs.bodies("TagResource")[0]["tags"], tags);
    site.ecs.forget_calls();
    site.deploy("deploy", &[]).ends(0, &["unchanged"]);
    assert_eq!(writes(&site), [""; 0]);
}
