//! SIGINT, SIGTERM and SIGHUP in each phase: what is printed, and what is changed afterwards.

use std::time::Duration;

use super::{DEPLOY, Site, writes};
use crate::support::rollout::{Course, error};
use serde_json::json;

const NO_MEMORY: &str = "(service web) was unable to place a task because no container instance met all of its \
                         requirements. The closest matching (container-instance 0123) has insufficient memory available.";

/// A service that runs `web:1`, and the course of its next deployment.
fn next(course: Course) -> Site {
    let mut site = Site::new();
    site.deployed("1");
    site.set("TAG", "2");
    site.ecs.change(|world| world.courses.push_back(course));
    site
}

#[test]
fn each_signal_before_a_change_reports_that_nothing_was_changed() {
    for signal in ["INT", "TERM", "HUP"] {
        let site = next(Course::Completes(2));
        site.ecs.hang_after("DescribeServices", 0);
        let run = site.start(&DEPLOY);
        site.wait_for_call("DescribeServices");
        let outcome = run.end_with(&[signal]);
        outcome.ends(40, &[&format!("interrupted by SIG{signal}: nothing was changed"), "changed: nothing"]);
        assert_eq!(writes(&site), [""; 0]);
    }
}

#[test]
fn after_the_registration_the_revision_is_named() {
    let site = next(Course::Completes(2));
    site.ecs.fail("UpdateService", vec![error("ThrottlingException", "Rate exceeded"); 99]);
    let run = site.start(&[&DEPLOY[..], &["--json"]].concat());
    site.wait_for_call("UpdateService");
    // The calls of the SDK are repeated within the first attempt.
    let outcome = run.end_with(&["TERM"]);
    outcome.ends(40, &["no rollout was started"]);
    let json = outcome.json();
    assert_eq!((&json["result"], &json["registered"]), (&json!("interrupted"), &json!(true)));
    assert_eq!(json["changes"], json!(["registered web:2"]));
}

#[test]
fn during_the_rollout_it_says_what_continues_and_how_to_go_on() {
    let site = next(Course::Completes(1000));
    let run = site.start(&[&DEPLOY[..], &["--region", "eu-west-1"]].concat());
    site.wait_for_call("ListTasks");
    let outcome = run.end_with(&["INT"]);
    outcome.ends(
        40,
        &[
            "interrupted by SIGINT: ECS continues web:2 as ecs-svc/",
            "(0 of 2 running, 2 pending); nothing was rolled back; go on with `ecs-rollout wait --cluster prod \
             --service web --region eu-west-1`",
            "changed: registered web:2; updated service `web` with web:2",
        ],
    );
    assert_eq!(writes(&site), ["RegisterTaskDefinition", "UpdateService"]);
}

#[test]
fn during_a_rollback_it_says_that_ecs_continues_the_rollback() {
    let site = next(Course::Stuck(NO_MEMORY.into()));
    site.ecs.change(|world| world.courses.push_back(Course::Completes(1000)));
    let run = site.start(&[&DEPLOY[..], &["--timeout", "2s", "--json"]].concat());
    site.wait_until(|site| writes(site).len() == 3);
    let outcome = run.end_with(&["TERM"]);
    outcome.ends(40, &["ECS continues the rollback to web:1 as ecs-svc/"]);
    let json = outcome.json();
    let expected = ["registered web:2", "updated service `web` with web:2", "updated service `web` with web:1"];
    assert_eq!(json["changes"], json!(expected));
}

#[test]
fn the_answer_of_a_call_in_flight_is_awaited_and_no_other_call_is_made() {
    let site = next(Course::Completes(2));
    site.ecs.change(|world| {
        world.delays.insert("RegisterTaskDefinition", Duration::from_secs(2));
    });
    let run = site.start(&DEPLOY);
    site.wait_for_call("RegisterTaskDefinition");
    let outcome = run.end_with(&["TERM"]);
    outcome.ends(40, &["no rollout was started", "changed: registered web:2"]);
    assert_eq!(writes(&site), ["RegisterTaskDefinition"]);
}

#[test]
fn a_call_in_flight_without_an_answer_is_reported_as_open() {
    for signals in [&["TERM"][..], &["TERM", "TERM"]] {
        let site = next(Course::Completes(2));
        site.ecs.hang_after("UpdateService", 0);
        let run = site.start(&DEPLOY);
        site.wait_for_call("UpdateService");
        let outcome = run.end_with(signals);
        outcome.ends(
            40,
            &[
                "it is not known whether ECS accepted the last change of service `web`; go on with",
                "UpdateService may have been carried out: its answer did not arrive",
            ],
        );
    }
}

#[test]
fn commands_that_change_nothing_end_by_a_signal_too() {
    for command in ["plan", "status", "wait", "rollback"] {
        let site = next(Course::Completes(2));
        site.ecs.hang_after("DescribeServices", 0);
        let service = ["--cluster", "prod", "--service", "web", "--json"];
        let plan = [&["plan"], &DEPLOY[1..], &["--json"]].concat();
        let other = [&[command], &service[..]].concat();
        let run = site.start(if command == "plan" { &plan } else { &other });
        site.wait_for_call("DescribeServices");
        let json = run.end_with(&["TERM"]).json();
        assert_eq!((&json["exit_code"], &json["changes"]), (&json!(40), &json!([])), "{command}");
    }
}
