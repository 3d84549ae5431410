//! `rollback`, `status`, `explain` and `generate`.

use super::{Site, writes};
use crate::support::rollout::{Course, Stopped, error};
use serde_json::json;

const SERVICE: [&str; 4] = ["--cluster", "prod", "--service", "web"];

fn run(site: &Site, command: &str, more: &[&str]) -> super::Outcome {
    site.run(&[&[command], &SERVICE[..], more].concat())
}

#[test]
fn rolls_back_to_the_newest_older_revision_that_was_stable() {
    let mut site = Site::new();
    site.deployed("1");
    site.set("TAG", "2");
    site.ecs.change(|host_clients| host_clients.courses.push_back(Course::Fails { at: 1, task: Stopped::exited(1) }));
    site.deploy("deploy", &["--circuit-breaker"]).ends(30, &[]);
    site.deployed("3");
    let outcome = run(&site, "rollback", &[]);
    outcome.ends(0, &["rolling back from web:3 to web:1", "rolled back: service `web` runs web:1"]);
    assert_eq!(writes(&site), ["UpdateService"]);
    run(&site, "rollback", &["--to", "3"]).ends(0, &["rolled back: service `web` runs web:3"]);
    run(&site, "rollback", &["--to", "web:3"]).ends(0, &["unchanged: service `web` already runs web:3"]);
    let json = run(&site, "rollback", &["--to", "2", "--json"]).json();
    assert_eq!((&json["result"], &json["exit_code"]), (&json!("rolled-back"), &json!(0)));
}

#[test]
fn without_a_stable_older_revision_it_lists_the_older_ones() {
    let mut site = Site::new();
    site.deployed("1");
    run(&site, "rollback", &[]).ends(36, &["[no-older-revision]", "there is no ACTIVE revision older than web:1"]);
    site.ecs.change(|host_clients| host_clients.families.get_mut("web").unwrap()[0]["tags"] = json!([]));
    site.deployed("2");
    // The service itself did not run it either.
    site.ecs.change(|world| world.service_deployments.clear());
    run(&site, "rollback", &[]).ends(36, &["[no-older-revision]", "older ACTIVE revisions: web:1", "--to REVISION"]);
    run(&site, "rollback", &["--to", "9"]).ends(36, &["[revision-not-found]", "`web:9`"]);
    site.ecs.change(|host_clients| host_clients.families.get_mut("web").unwrap()[0]["status"] = json!("INACTIVE"));
    run(&site, "rollback", &["--to", "1"]).ends(36, &["[revision-not-found]"]);
}

#[test]
fn the_first_rollback_of_a_service_uses_the_deployments_of_the_service() {
    // Another tool deployed the service, so no revision has a tag.
    let without_tags = |site: &Site| {
        site.ecs
            .change(|world| world.families.get_mut("web").unwrap().iter_mut().for_each(|one| one["tags"] = json!([])));
    };
    let history = || {
        let mut site = Site::new();
        site.deployed("1");
        site.deployed("2");
        site.set("TAG", "3");
        site.ecs.change(|world| world.courses.push_back(Course::Fails { at: 1, task: Stopped::exited(1) }));
        site.deploy("deploy", &["--circuit-breaker"]).ends(30, &[]);
        site.deployed("4");
        without_tags(&site);
        site
    };
    let site = history();
    let outcome = run(&site, "rollback", &["--json"]);
    outcome.ends(0, &["rolling back from web:4 to web:2: the last completed deployment of the service"]);
    assert_eq!(
        outcome.json()["notes"],
        json!(["the last completed deployment of the service (ListServiceDeployments)"])
    );
    // A revision that was deregistered cannot be deployed.
    let site = history();
    site.ecs.change(|world| world.families.get_mut("web").unwrap()[1]["status"] = json!("INACTIVE"));
    run(&site, "rollback", &[]).ends(0, &["rolling back from web:4 to web:1"]);
    // Without permission the older revisions are listed.
    let site = history();
    site.ecs.fail("ListServiceDeployments", [error("AccessDeniedException", "not authorized to perform: ecs:x")]);
    let denied = "the deployments of the service cannot be read: ecs:ListServiceDeployments: denied";
    run(&site, "rollback", &[]).ends(36, &["[no-older-revision]", denied, "--to REVISION", "changed: nothing"]);
    // If the call fails, the tag decides.
    let mut site = Site::new();
    (1..=2).for_each(|number| site.deployed(&number.to_string()));
    site.ecs.fail("ListServiceDeployments", vec![error("InternalFailure", "not implemented"); 50]);
    run(&site, "rollback", &[]).ends(0, &["rolling back from web:2 to web:1: the newest older revision with the tag"]);
    // While a rollout is in progress, the deployment before it still runs.
    let mut site = history();
    site.set("TAG", "5");
    site.ecs.change(|world| world.courses.push_back(Course::Completes(1000)));
    site.deploy("deploy", &["--no-wait"]).ends(0, &[]);
    without_tags(&site);
    run(&site, "rollback", &[]).ends(0, &["rolling back from web:5 to web:4", "which still runs"]);
}

#[test]
fn the_newest_stable_revision_is_chosen_whatever_the_order_of_the_list() {
    let mut site = Site::new();
    (1..=11).for_each(|number| site.deployed(&number.to_string()));
    site.ecs.change(|world| {
        world.service_deployments.clear();
        world.ignores_sort = true;
    });
    run(&site, "rollback", &[]).ends(0, &["rolling back from web:11 to web:10"]);
}

#[test]
fn a_service_whose_primary_deployment_runs_another_revision_is_not_stable() {
    let mut site = Site::new();
    site.deployed("1");
    site.deployed("2");
    site.ecs.change(|world| {
        let web = &mut world.services.get_mut("web").unwrap().shown;
        web["deployments"][0]["taskDefinition"] = json!("arn:aws:ecs:eu-west-1:111122223333:task-definition/web:1");
    });
    let text = "the PRIMARY deployment runs web:1, not the revision of the service";
    run(&site, "status", &[]).ends(39, &["is not stable: web:2", text, "PRIMARY web:1"]);
    assert_eq!(run(&site, "status", &["--json"]).json()["result"], "not-stable");
}

#[test]
fn the_plan_of_a_deployment_says_with_which_option_nothing_is_rolled_back() {
    for (option, text) in [
        ("--no-wait", "if the rollout fails, ecs-rollout rolls nothing back: `--no-wait`"),
        ("--no-rollback", "if the rollout fails, ecs-rollout rolls nothing back: `--no-rollback`"),
        ("--no-verify", "if the rollout fails, roll back to web:1"),
    ] {
        let mut site = Site::new();
        site.deployed("1");
        site.set("TAG", "2");
        let outcome = site.deploy("deploy", &[option]);
        outcome.ends(0, &[text]);
        assert_eq!(outcome.stderr.matches("if the rollout fails").count(), 1, "{outcome:#?}");
    }
}

#[test]
fn a_failed_rollback_has_a_cause() {
    let mut site = Site::new();
    site.deployed("1");
    site.deployed("2");
    let event = "(service web) was unable to place a task because no container instance met all of its requirements. \
                 Reason: No Container Instances were found in your cluster.";
    site.ecs.change(|host_clients| host_clients.courses.push_back(Course::Stuck(event.into())));
    run(&site, "rollback", &["--timeout", "3s"]).ends(32, &["[no-instances]"]);
}

#[test]
fn the_exit_code_of_status_says_if_the_service_is_stable() {
    let mut site = Site::new();
    site.deployed("1");
    run(&site, "status", &[]).ends(0, &["service `web` of cluster `prod` is stable: web:1, 2 of 2 tasks running"]);
    site.set("TAG", "2");
    site.ecs.change(|host_clients| host_clients.courses.push_back(Course::Completes(50)));
    site.deploy("deploy", &["--no-wait"]).ends(0, &[]);
    run(&site, "status", &[]).ends(39, &["is not stable", "PRIMARY web:2 as ecs-svc/", "IN_PROGRESS", "ACTIVE web:1"]);
    let json = run(&site, "status", &["--json"]).json();
    assert_eq!((&json["result"], &json["deployments"][1]["status"]), (&json!("not-stable"), &json!("ACTIVE")));
}

#[test]
fn explain_has_every_cause_and_generate_has_every_option() {
    let site = Site::new();
    let list = site.run(&["explain"]);
    list.ends(0, &["image-not-found  the image does not exist in the registry"]);
    for line in list.stdout.lines() {
        let id = line.split_whitespace().next().unwrap();
        site.run(&["explain", id]).ends(0, &["remedy: ", "symptoms: ", "source: "]);
    }
    site.run(&["explain", "image-not-fuond"]).ends(2, &["did you mean `image-not-found`?"]);
    let page = site.run(&["generate", "man"]);
    let text = page.stdout.replace("\\-", "-");
    for word in ["--one-small-instance", "rollback", "image-not-found", "--task-definition", "30"] {
        assert!(text.contains(word), "{word}");
    }
    for shell in ["bash", "zsh", "fish"] {
        site.run(&["generate", shell]).ends(0, &["ecs-rollout"]);
    }
}
