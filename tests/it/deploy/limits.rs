//! The time limit of a rollout: what it includes, when it passes, and what happens then.

use std::time::{Duration, Instant};

use super::{DEPLOY, Outcome, Site, writes};
use crate::support::rollout::{Course, Stopped, error};
use serde_json::{Value, json};

const NO_MEMORY: &str = "(service web) was unable to place a task because no container instance met all of its \
                         requirements. The closest matching (container-instance 0123) has insufficient memory available.";
const SERVICE: [&str; 4] = ["--cluster", "prod", "--service", "web"];

/// A service that runs `web:1` with this `deploymentConfiguration`, and the course of its next deployment.
fn next_with(configuration: &Value, course: Course) -> Site {
    let mut site = Site::new();
    let service = json!({"cluster": "prod", "serviceName": "web", "desiredCount": 2,
        "deploymentConfiguration": configuration});
    site.write("service.json", &service);
    site.deployed("1");
    site.set("TAG", "2");
    site.ecs.change(|world| world.courses.push_back(course));
    site
}

fn next(course: Course) -> Site {
    next_with(&json!({"maximumPercent": 200, "minimumHealthyPercent": 100}), course)
}

/// A blue/green service with this bake time.
fn blue_green(minutes: u32, course: Course) -> Site {
    let configuration = json!({"maximumPercent": 200, "minimumHealthyPercent": 100, "strategy": "BLUE_GREEN",
        "bakeTimeInMinutes": minutes});
    next_with(&configuration, course)
}

fn in_bake_time(polls: usize) -> Course {
    let stages = ["PRE_SCALE_UP", "SCALE_UP", "PRODUCTION_TRAFFIC_SHIFT"].into_iter();
    Course::Staged { stages: stages.chain(std::iter::repeat_n("BAKE_TIME", polls)).collect(), at_end: "SUCCESSFUL" }
}

/// Runs `deploy`, and returns the time that it took.
fn timed(site: &Site, more: &[&str]) -> (Outcome, Duration) {
    let start = Instant::now();
    (site.deploy("deploy", more), start.elapsed())
}

#[test]
fn the_time_limit_is_neither_early_nor_late() {
    let site = next(Course::Completes(1000));
    for limit in ["3s", "4"] {
        let (outcome, took) = timed(&site, &["--timeout", limit]);
        outcome.ends(32, &["[too-slow]"]);
        let limit = Duration::from_secs(limit.trim_end_matches('s').parse().unwrap());
        assert!(took >= limit, "{limit:?} {took:?}");
        // The upper bound is far below the next poll and the deadline of a call, and allows for a busy host.
        assert!(took < limit + Duration::from_secs(5), "{limit:?} {took:?}");
    }
}

#[test]
fn a_call_that_hangs_does_not_delay_the_time_limit() {
    for operation in ["DescribeServices", "ListTasks"] {
        let site = next(Course::Completes(1000));
        // DescribeServices is called once for the plan and once for the rollout.
        site.ecs.hang_after(operation, 2);
        let (outcome, took) = timed(&site, &["--timeout", "4s"]);
        outcome.ends(32, &["[too-slow]", "nothing was rolled back: nothing has failed"]);
        assert!(took >= Duration::from_secs(4) && took < Duration::from_secs(14), "{operation}: {took:?}");
        assert_eq!(writes(&site), ["RegisterTaskDefinition", "UpdateService"], "{operation}");
    }
}

#[test]
fn wait_counts_its_first_call_too() {
    let site = next(Course::Completes(1000));
    site.deploy("deploy", &["--no-wait"]).ends(0, &[]);
    for (operation, calls) in [("DescribeServices", 0), ("DescribeServices", 1), ("DescribeTaskDefinition", 0)] {
        site.ecs.change(|world| world.hangs.clear());
        site.ecs.hang_after(operation, calls);
        let start = Instant::now();
        site.run(&[&["wait"], &SERVICE[..], &["--timeout", "3", "--json"]].concat()).ends(32, &["too-slow"]);
        let took = start.elapsed();
        assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(13), "{operation} {calls}: {took:?}");
    }
}

#[test]
fn a_slow_rollout_without_a_failure_is_not_rolled_back() {
    let site = next(Course::Completes(1000));
    let outcome = site.deploy("deploy", &["--timeout", "3s"]);
    outcome.ends(
        32,
        &[
            "nothing was rolled back: nothing has failed; ECS continues web:2 as ecs-svc/",
            "go on with `ecs-rollout wait --cluster prod --service web`",
            "or roll back with `ecs-rollout rollback --cluster prod --service web`",
            "changed: registered web:2; updated service `web` with web:2",
        ],
    );
    assert_eq!(site.image().0, "web:2");
    let site = next(Course::Completes(1000));
    site.deploy("deploy", &["--timeout", "3s", "--rollback-on-timeout"])
        .ends(30, &["[too-slow]", "rolled back to web:1"]);
    assert_eq!(site.image().0, "web:1");
    site.deploy("deploy", &["--rollback-on-timeout", "--no-rollback"]).ends(2, &["cannot be used with"]);
}

#[test]
fn a_rollout_whose_tasks_cannot_be_placed_is_rolled_back_at_the_time_limit() {
    let site = next(Course::Stuck(NO_MEMORY.into()));
    site.deploy("deploy", &["--timeout", "3s"]).ends(30, &["[insufficient-memory]", "rolled back to web:1"]);
}

#[test]
fn time_limits_that_make_no_sense_are_refused() {
    let site = Site::new();
    for (limit, text) in
        [("0", "at least 1s"), ("0s", "at least 1s"), ("100000days", "at most 30 days"), ("soon", "number of seconds")]
    {
        site.deploy("deploy", &["--timeout", limit]).ends(2, &["--timeout", text]);
    }
    assert_eq!(site.ecs.calls(), [""; 0]);
}

#[test]
fn the_bake_time_is_added_and_a_healthy_deployment_in_it_is_never_rolled_back() {
    let site = blue_green(5, in_bake_time(4));
    let outcome = site.deploy("deploy", &["--timeout", "2s"]);
    outcome.ends(
        0,
        &["the time limit is 5m 2s: 2s and 5m bake time", "stage PRE_SCALE_UP", "stage BAKE_TIME", "deployed web:2"],
    );
    assert_eq!(outcome.stderr.matches("s  stage BAKE_TIME").count(), 1, "{outcome:#?}");
    assert_eq!(writes(&site), ["RegisterTaskDefinition", "UpdateService", "TagResource"]);
    // At the limit it is still in its bake time.
    let site = blue_green(0, Course::Staged { stages: vec!["BAKE_TIME"; 1000], at_end: "SUCCESSFUL" });
    let outcome = site.deploy("deploy", &["--timeout", "5s"]);
    outcome.ends(32, &["[too-slow]", "seen: stage BAKE_TIME", "nothing has failed", "ECS continues web:2"]);
    assert_eq!(writes(&site), ["RegisterTaskDefinition", "UpdateService"]);
}

#[test]
fn tasks_that_failed_before_a_healthy_bake_time_do_not_cause_a_rollback() {
    let site = blue_green(0, Course::Staged { stages: vec!["BAKE_TIME"; 1000], at_end: "SUCCESSFUL" });
    let run = site.start(&[&DEPLOY[..], &["--timeout", "8s"]].concat());
    site.wait_for_call("UpdateService");
    site.ecs.change(|world| {
        let service = world.services.get_mut("web").unwrap();
        let id = service.shown["deployments"][0]["id"].clone();
        service.tasks.extend((0..4).map(|number| {
            json!({"taskArn": format!("task/early{number}"), "startedBy": id, "lastStatus": "STOPPED",
                   "stopCode": "EssentialContainerExited", "stoppedReason": "Essential container in task exited",
                   "containers": [{"name": "web", "exitCode": 1}]})
        }));
    });
    run.end().ends(32, &["task early3 stopped", "[too-slow]", "also: [container-exited]", "nothing has failed"]);
    assert_eq!(writes(&site), ["RegisterTaskDefinition", "UpdateService"]);
}

#[test]
fn the_steps_of_canary_and_linear_deployments_are_added() {
    for (configuration, text) in [
        (
            json!({"strategy": "CANARY", "bakeTimeInMinutes": 3,
                   "canaryConfiguration": {"canaryPercent": 5.0, "canaryBakeTimeInMinutes": 7}}),
            "the time limit is 10m 9s: 9s and 7m canary and 3m bake time",
        ),
        (
            json!({"strategy": "LINEAR", "bakeTimeInMinutes": 1,
                   "linearConfiguration": {"stepPercent": 25.0, "stepBakeTimeInMinutes": 2}}),
            "the time limit is 7m 9s: 9s and 6m linear steps and 1m bake time",
        ),
        (
            json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0, "lifecycleHooks": [
                {"targetType": "PAUSE", "lifecycleStages": ["POST_SCALE_UP"],
                 "timeoutConfiguration": {"timeoutInMinutes": 20}}]}),
            "the time limit is 20m 9s: 9s and 20m lifecycle hooks",
        ),
    ] {
        let site = next_with(&configuration, in_bake_time(1));
        site.deploy("deploy", &["--timeout", "9s"]).ends(0, &[text, "deployed web:2"]);
    }
}

#[test]
fn the_time_of_a_hook_without_a_limit_is_added_while_it_runs() {
    let configuration = json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0, "lifecycleHooks": [
        {"hookTargetArn": "arn:aws:lambda:eu-west-1:111122223333:function:check", "roleArn": "r",
         "lifecycleStages": ["POST_SCALE_UP"]}]});
    let stages = [vec!["SCALE_UP"], vec!["POST_SCALE_UP:check"; 5]].concat();
    let site = next_with(&configuration, Course::Staged { stages, at_end: "SUCCESSFUL" });
    let (outcome, took) = timed(&site, &["--timeout", "4s"]);
    outcome.ends(
        0,
        &[
            "the time limit is 4s; the time that lifecycle hooks take is added",
            "stage POST_SCALE_UP, waits for the lifecycle hook check",
            "deployed web:2",
        ],
    );
    assert!(took > Duration::from_secs(6), "{took:?}");
}

#[test]
fn a_rollback_of_a_blue_green_deployment_by_ecs_is_reported() {
    for (at_end, code, text) in [
        ("ROLLBACK_SUCCESSFUL", 30, "ECS has rolled back to web:1"),
        ("ROLLBACK_FAILED", 31, "ECS started a rollback, which did not complete: web:1"),
    ] {
        let stages = vec!["SCALE_UP", "BAKE_TIME", "BAKE_TIME"];
        let site = blue_green(1, Course::Staged { stages, at_end });
        site.deploy("deploy", &["--timeout", "60s"]).ends(code, &[text, "ROLLBACK_IN_PROGRESS"]);
        assert_eq!(writes(&site), ["RegisterTaskDefinition", "UpdateService"], "{at_end}");
    }
}

#[test]
fn without_permission_for_service_deployments_it_warns_once_and_continues() {
    let site = blue_green(1, in_bake_time(3));
    let denied = error("AccessDeniedException", "not authorized to perform: ecs:ListServiceDeployments");
    site.ecs.fail("ListServiceDeployments", vec![denied; 9]);
    let outcome = site.deploy("deploy", &[]);
    outcome.ends(0, &["warning: the stages of the deployment cannot be read", "deployed web:2"]);
    assert_eq!(outcome.stderr.matches("the stages of the deployment cannot be read").count(), 1);
}

#[test]
fn a_crash_loop_without_a_circuit_breaker_ends_early_and_is_rolled_back() {
    let site = next(Course::Fails { at: u32::MAX, task: Stopped::exited(1) });
    let (outcome, took) = timed(&site, &["--timeout", "10m"]);
    outcome.ends(30, &["[container-exited]", "crash loop: 3 tasks failed and none is running", "rolled back to web:1"]);
    assert!(took < Duration::from_secs(120), "{took:?}");
    let site = next(Course::Fails { at: u32::MAX, task: Stopped::exited(1) });
    let outcome = site.deploy("deploy", &["--timeout", "10m", "--no-rollback"]);
    outcome.ends(33, &["nothing was rolled back: the service is left as it is; ECS continues web:2"]);
}

#[test]
fn polls_that_fail_do_not_end_the_watch_before_the_time_limit() {
    let site = next(Course::Completes(2));
    let faults = std::iter::repeat_n(error("ThrottlingException", "Rate exceeded"), 12);
    site.ecs.change(|world| {
        let faults = [None, None].into_iter().chain(faults.map(Some));
        world.faults.insert("DescribeServices", faults.collect());
    });
    site.deploy("deploy", &["--timeout", "2m"]).ends(0, &["deployed web:2"]);
    let site = next(Course::Completes(1000));
    site.ecs.fail_after("DescribeServices", 2, (503, "ServiceUnavailableException".into(), "no".into()));
    site.deploy("deploy", &["--timeout", "8s"]).ends(32, &["[too-slow]", "the last poll failed"]);
}

#[test]
fn wait_watches_the_newest_deployment_and_changes_nothing() {
    let wait = |site: &Site, more: &[&str]| site.run(&[&["wait"], &SERVICE[..], more].concat());
    let site = next(Course::Completes(4));
    site.deploy("deploy", &["--no-wait"]).ends(0, &["started web:2"]);
    site.ecs.forget_calls();
    wait(&site, &[]).ends(0, &["watching web:2 as ecs-svc/", "stable: service `web` runs web:2, 2 of 2 running"]);
    let json = wait(&site, &["--json"]).json();
    assert_eq!((&json["result"], &json["changes"]), (&json!("stable"), &json!([])));
    site.run(&["wait", "--cluster", "prod", "--service", "none"]).ends(36, &["[service-not-found]"]);
    let courses = [
        (Course::Stuck(NO_MEMORY.into()), 32, "[insufficient-memory]"),
        (Course::Fails { at: u32::MAX, task: Stopped::exited(1) }, 33, "[container-exited]"),
        (Course::Superseded(4), 34, "[superseded]"),
        (Course::Deleted(4), 33, "[service-deleted]"),
        (Course::Completes(1000), 32, "[too-slow]"),
    ];
    std::thread::scope(|scope| {
        for (course, code, text) in courses {
            scope.spawn(move || {
                let site = next(course);
                site.deploy("deploy", &["--no-wait"]).ends(0, &[]);
                site.ecs.forget_calls();
                wait(&site, &["--timeout", "20s"]).ends(code, &[text, "changed: nothing"]);
                assert_eq!(writes(&site), [""; 0]);
            });
        }
    });
}
