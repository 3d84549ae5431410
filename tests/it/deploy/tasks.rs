//! The commands `tasks` and `logs`.

use super::{Site, writes};
use crate::support::rollout::error;
use serde_json::{Value, json};

const SERVICE: [&str; 4] = ["--cluster", "prod", "--service", "web"];

/// A service with one running and one stopped task.
fn site() -> Site {
    let mut site = Site::new();
    site.deployed("1");
    site.ecs.change(|world| {
        let arn = |id: &str| format!("arn:aws:ecs:eu-west-1:111122223333:task/prod/{id}");
        let revision = world.families["web"][0]["taskDefinitionArn"].clone();
        let running = json!({"taskArn": arn("aaaaaaaa1111"), "taskDefinitionArn": revision, "lastStatus": "RUNNING",
            "desiredStatus": "RUNNING", "healthStatus": "HEALTHY", "createdAt": 1_790_000_000.5,
            "startedAt": 1_790_000_010.0, "containers": [{"name": "web", "lastStatus": "RUNNING"}]});
        let stopped = json!({"taskArn": arn("bbbbbbbb2222"), "taskDefinitionArn": revision, "lastStatus": "STOPPED",
            "desiredStatus": "STOPPED", "stopCode": "EssentialContainerExited", "createdAt": 1_790_000_000.0,
            "stoppedReason": "Essential container in task exited", "stoppedAt": 1_790_000_060.0,
            "containers": [{"name": "web", "lastStatus": "STOPPED", "exitCode": 1}]});
        world.services.get_mut("web").unwrap().tasks = vec![stopped, running];
    });
    site
}

fn run(site: &Site, command: &str, more: &[&str]) -> super::Outcome {
    site.run(&[&[command], &SERVICE[..], more].concat())
}

#[test]
fn tasks_lists_running_and_stopped_tasks_with_exit_codes_and_the_cause() {
    let site = site();
    let outcome = run(&site, "tasks", &[]);
    outcome.ends(
        0,
        &[
            "1 tasks, and 1 that stopped in the last hour",
            "aaaaaaaa1111  web:1  RUNNING, HEALTHY, started 2026-09-21T",
            "bbbbbbbb2222  web:1  STOPPED, stopped 2026-09-21T",
            "`web` exited with code 1",
            "cause: [container-exited]",
        ],
    );
    let json = run(&site, "tasks", &["--json"]).json();
    let shown = |index: usize, member: &str| json["tasks"][index][member].clone();
    assert_eq!((shown(0, "last_status"), shown(0, "stopped_at")), (json!("RUNNING"), Value::Null));
    assert_eq!(shown(1, "containers")[0]["exit_code"], 1);
    assert_eq!(json["causes"][0]["id"], "container-exited");
    assert_eq!(writes(&site), [""; 0]);
    site.run(&["tasks", "--cluster", "prob", "--service", "web"]).ends(36, &["[cluster-not-found]"]);
}

#[test]
fn logs_shows_the_last_lines_of_the_running_tasks_or_of_the_named_one() {
    let site = site();
    site.ecs.change(|world| {
        let lines = |words: &str| (0..100).map(|line| format!("{words} {line}\u{1b}[0m\n")).collect::<Vec<_>>();
        world.logs.insert("/ecs/web:ecs/web/aaaaaaaa1111".into(), lines("running"));
        world.logs.insert("/ecs/web:ecs/web/bbbbbbbb2222".into(), lines("stopped"));
    });
    let outcome = run(&site, "logs", &["--lines", "3"]);
    outcome.ends(0, &["aaaaaaaa web: running 99\\u{1b}[0m\n"]);
    assert_eq!(outcome.stdout.lines().count(), 3, "{outcome:#?}");
    run(&site, "logs", &["--task", "bbbbbbbb2222"]).ends(0, &["bbbbbbbb web: stopped 99"]);
    let json = run(&site, "logs", &["--json"]).json();
    assert_eq!(
        (&json["logs"][0]["group"], &json["logs"][0]["stream"]),
        (&json!("/ecs/web"), &json!("ecs/web/aaaaaaaa1111"))
    );
    assert_eq!(json["logs"][0]["lines"].as_array().unwrap().len(), 50);
    run(&site, "logs", &["--task", "none"]).ends(36, &["[task-not-found]"]);
    run(&site, "logs", &["--container", "none"]).ends(36, &["[task-not-found]"]);
    run(&site, "logs", &["--lines", "0"]).ends(2, &["--lines"]);
}

#[test]
fn a_log_that_cannot_be_read_is_a_warning() {
    let site = site();
    site.ecs.fail("GetLogEvents", [error("AccessDeniedException", "not authorized to perform: logs:GetLogEvents")]);
    let outcome = run(&site, "logs", &[]);
    outcome.ends(0, &["warning: `web` of task aaaaaaaa1111: log stream `ecs/web/aaaaaaaa1111`", "cannot be read"]);
    run(&site, "logs", &["--json"]).ends(0, &["The specified log stream does not exist."]);
}
