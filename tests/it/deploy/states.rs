//! The service before a deployment: absent, active, draining, inactive, or of another type; and what the deployment
//! changes.

use super::{Site, writes};
use crate::support::rollout::{Course, error};
use serde_json::json;

#[test]
fn creates_a_service_that_is_absent() {
    let site = Site::new();
    let outcome = site.deploy("deploy", &["--build", "17", "--commit", "0123abc"]);
    outcome.ends(
        0,
        &["create the service: there is no service of this name", "deployed web:1 (build 17)", "2 of 2 running"],
    );
    assert_eq!(writes(&site), ["RegisterTaskDefinition", "CreateService", "TagResource"]);
    let tags = &site.ecs.bodies("RegisterTaskDefinition")[0]["tags"];
    assert_eq!(
        *tags,
        json!([{"key": "ecs-rollout:build", "value": "17"}, {"key": "ecs-rollout:commit", "value": "0123abc"}])
    );
    let body = &site.ecs.bodies("CreateService")[0];
    assert_eq!((&body["cluster"], &body["serviceName"]), (&json!("prod"), &json!("web")));
    assert_eq!(body["clientToken"].as_str().map(str::len), Some(32));
    assert_eq!(site.ecs.bodies("TagResource")[0]["tags"][0]["key"], "ecs-rollout:stable");
}

#[test]
fn a_second_run_reports_no_change() {
    let mut site = Site::new();
    site.deployed("1");
    let outcome = site.deploy("deploy", &["--build", "18"]);
    outcome.ends(0, &["unchanged: service `web` already runs web:1"]);
    assert_eq!(writes(&site), [""; 0]);
    assert_eq!(site.deploy("deploy", &["--json"]).json()["result"], "unchanged");
}

#[test]
fn updates_a_service_to_a_new_revision_and_shows_the_diff() {
    let mut site = Site::new();
    site.deployed("1");
    site.set("TAG", "2");
    let outcome = site.deploy("deploy", &[]);
    outcome.ends(
        0,
        &["-      \"image\": \"web:1\"", "+      \"image\": \"web:2\"", "deployed web:2", "roll back to web:1"],
    );
    assert_eq!(writes(&site), ["RegisterTaskDefinition", "UpdateService", "TagResource"]);
    let body = &site.ecs.bodies("UpdateService")[0];
    assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["cluster", "service", "taskDefinition"]);
    assert_eq!(site.image(), ("web:2".to_owned(), 2));
}

#[test]
fn plan_prints_the_same_and_changes_nothing() {
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
fn creates_a_service_again_that_was_deleted_by_hand() {
    let mut site = Site::new();
    site.deployed("1");
    site.ecs.change(|host_clients| {
        host_clients.delete("web");
        host_clients.drains_for = 0;
        host_clients.services.get_mut("web").unwrap().shown["status"] = json!("INACTIVE");
    });
    let outcome = site.deploy("deploy", &[]);
    outcome.ends(0, &["was deleted (INACTIVE)", "deployed web:1"]);
    assert_eq!(writes(&site), ["CreateService"]);
}

#[test]
fn waits_until_a_deleted_service_has_drained_and_creates_it() {
    let mut site = Site::new();
    site.deployed("1");
    site.ecs.change(|host_clients| host_clients.delete("web"));
    let outcome = site.deploy("deploy", &[]);
    outcome.ends(
        0,
        &[
            "is draining; it is created again after that",
            "waiting until the deleted service has drained",
            "deployed web:1",
        ],
    );
    assert_eq!(writes(&site), ["CreateService"]);
    site.ecs.change(|host_clients| {
        host_clients.drains_for = 1000;
        host_clients.delete("web");
    });
    site.deploy("deploy", &["--timeout", "4s"]).ends(32, &["[still-draining]", "remedy: "]);
}

#[test]
fn create_is_retried_while_the_old_service_drains() {
    let site = Site::new();
    let draining = "Unable to Start a service that is still Draining.";
    site.ecs.fail("CreateService", vec![error("InvalidParameterException", draining); 2]);
    site.deploy("deploy", &[]).ends(0, &["deployed web:1"]);
}

#[test]
fn answers_from_before_the_deployment_decide_nothing() {
    let mut site = Site::new();
    site.ecs.change(|host_clients| host_clients.stale_polls = 3);
    site.deploy("deploy", &[]).ends(0, &["ECS does not show the service yet", "deployed web:1"]);
    site.set("TAG", "2");
    let outcome = site.deploy("deploy", &[]);
    outcome.ends(0, &["ECS does not show the deployment yet", "deployed web:2"]);
    assert_eq!(site.image(), ("web:2".to_owned(), 2));
}

#[test]
fn keeps_the_desired_count_if_auto_scaling_controls_it() {
    let mut site = Site::new();
    site.deployed("1");
    site.ecs.change(|host_clients| {
        host_clients.is_scaled = true;
        host_clients.services.get_mut("web").unwrap().shown["desiredCount"] = json!(5);
    });
    site.set("TAG", "2");
    let outcome = site.deploy("deploy", &[]);
    outcome.ends(0, &["the desired count stays 5, not 2: Application Auto Scaling controls it", "5 of 5 running"]);
    assert!(site.ecs.bodies("UpdateService")[0].get("desiredCount").is_none());
}

#[test]
fn changes_the_desired_count_and_waits_for_the_tasks() {
    let mut site = Site::new();
    site.deployed("1");
    // The first polls still show the old count, which is reached.
    site.ecs.change(|host_clients| host_clients.stale_polls = 2);
    let outcome = site.deploy("deploy", &["--desired-count", "4"]);
    outcome.ends(0, &["desiredCount 2 -> 4", "4 of 4 running"]);
    assert_eq!(writes(&site), ["UpdateService"]);
    assert_eq!(site.ecs.bodies("UpdateService")[0]["desiredCount"], 4);
}

#[test]
fn an_unknown_controller_of_the_desired_count_is_an_error() {
    let mut site = Site::new();
    site.deployed("1");
    let denied = "User: x is not authorized to perform: application-autoscaling:DescribeScalableTargets";
    site.ecs.fail("DescribeScalableTargets", [error("AccessDeniedException", denied)]);
    site.deploy("deploy", &["--desired-count", "4"]).ends(37, &["[caller-denied]", "cannot find out whether", denied]);
    assert_eq!(writes(&site), [""; 0]);
    // Without a change of the desired count, the call is not made.
    site.deploy("deploy", &[]).ends(0, &["unchanged"]);
}

#[test]
fn a_daemon_service_has_no_desired_count() {
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
    site.deploy("deploy", &["--daemon"]).ends(35, &["[bad-input]", "a daemon service cannot have a desired count"]);
}

#[test]
fn a_change_that_update_service_does_not_accept_is_refused_before_registration() {
    let mut site = Site::new();
    site.deployed("1");
    site.set("TAG", "2");
    let service =
        json!({"cluster": "prod", "serviceName": "web", "schedulingStrategy": "DAEMON", "launchType": "FARGATE"});
    site.write("service.json", &service);
    let outcome = site.deploy("deploy", &[]);
    outcome.ends(
        35,
        &["[cannot-be-changed]", "schedulingStrategy \"REPLICA\" -> \"DAEMON\"", "launchType \"EC2\" -> \"FARGATE\""],
    );
    assert_eq!(writes(&site), [""; 0]);
}

#[test]
fn a_service_of_code_deploy_is_refused() {
    let mut site = Site::new();
    site.deployed("1");
    site.ecs.change(|host_clients| {
        host_clients.services.get_mut("web").unwrap().shown["deploymentController"] = json!({"type": "CODE_DEPLOY"});
    });
    site.deploy("deploy", &[]).ends(35, &["[other-controller]", "`CODE_DEPLOY`"]);
}

#[test]
fn one_small_instance_stops_the_old_task_first_and_notes_the_risk() {
    let mut site = Site::new();
    site.deployed("1");
    site.set("TAG", "2");
    let outcome = site.deploy("deploy", &["--one-small-instance"]);
    outcome.ends(0, &["the service is down in between", "deployed web:2"]);
    let body = &site.ecs.bodies("UpdateService")[0];
    let expected = json!({"minimumHealthyPercent": 0, "maximumPercent": 100});
    assert_eq!(body["deploymentConfiguration"], expected);
    site.ecs.forget_calls();
    site.deploy("deploy", &["--one-small-instance"]).ends(0, &["unchanged"]);
    site.deploy("deploy", &["--one-small-instance", "--maximum-percent", "200"]).ends(2, &["cannot be used with"]);
}

#[test]
fn a_forced_deployment_starts_although_nothing_differs() {
    let mut site = Site::new();
    site.deployed("1");
    site.deploy("deploy", &["--force-new-deployment"])
        .ends(0, &["a new deployment, because of `--force-new-deployment`", "deployed web:1"]);
    assert_eq!(writes(&site), ["UpdateService"]);
    assert_eq!(site.ecs.bodies("UpdateService")[0]["forceNewDeployment"], true);
}

#[test]
fn a_rollout_in_progress_is_watched_and_a_failed_one_is_started_again() {
    let mut site = Site::new();
    site.deployed("1");
    site.set("TAG", "2");
    site.ecs.change(|host_clients| host_clients.courses.push_back(Course::Completes(5)));
    site.deploy("deploy", &["--no-wait"]).ends(0, &["started web:2", "not waiting for the rollout"]);
    site.ecs.forget_calls();
    site.deploy("deploy", &[]).ends(0, &["watch web:2 as ecs-svc/", "deployed web:2"]);
    assert_eq!(writes(&site), ["TagResource"]);
    site.ecs.change(|host_clients| {
        host_clients.services.get_mut("web").unwrap().shown["deployments"][0]["rolloutState"] = json!("FAILED");
    });
    site.deploy("deploy", &[]).ends(0, &["failed", "deployed web:2"]);
}

#[test]
fn replacing_a_deployment_in_progress_is_noted() {
    let mut site = Site::new();
    site.deployed("1");
    site.set("TAG", "2");
    site.ecs.change(|host_clients| host_clients.courses.push_back(Course::Completes(50)));
    site.deploy("deploy", &["--no-wait"]).ends(0, &[]);
    site.set("TAG", "3");
    let outcome = site.deploy("deploy", &[]);
    outcome.ends(0, &["web:2 as ecs-svc/", "is in progress", "replaces it", "roll back to web:1", "deployed web:3"]);
}

#[test]
fn missing_tags_are_added_to_the_service_once() {
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
