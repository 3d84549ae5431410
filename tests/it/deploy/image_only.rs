//! `deploy` and `plan` without a task definition: from what the service runs, with another image or other options.

use super::{Outcome, Site, existing, writes};
use crate::support::rollout::error;
use serde_json::{Value, json};

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A site whose service runs `web:1` with members that only a newer ECS knows.
fn site() -> Site {
    let mut existing = existing::all().remove(1);
    existing.task["aMemberOfANewerEcs"] = json!({"a": 1});
    existing.task["containerDefinitions"][0]["anotherNewMember"] = json!([1]);
    let site = Site::new();
    existing.create(&site);
    site
}

fn run(site: &Site, command: &str, more: &[&str]) -> Outcome {
    site.run(&[&[command, "--cluster", "prod", "--service", "web"], more].concat())
}

/// The images of a task definition, sorted: ECS may return the containers in another order.
fn images(body: &Value) -> Vec<&str> {
    let containers = body["containerDefinitions"].as_array().unwrap();
    let mut images: Vec<&str> = containers.iter().map(|one| one["image"].as_str().unwrap()).collect();
    images.sort_unstable();
    images
}

#[test]
fn only_the_image_differs_from_what_the_service_runs() {
    let site = site();
    let running = site.ecs.read(|host_clients| host_clients.families["web"][0].clone());
    run(&site, "plan", &["--image", "web=web:2"]).ends(
        0,
        &[
            "-      \"image\": \"host:5000/team/web:1\"",
            "+      \"image\": \"web:2\"",
            "note: the deployment starts from web:1, which the service runs",
        ],
    );
    assert_eq!(writes(&site), [""; 0]);
    let outcome = run(&site, "deploy", &["--image", "web=web:2", "--build", "7"]);
    outcome.ends(0, &["deployed web:2 (build 7)"]);
    assert_eq!(writes(&site), ["RegisterTaskDefinition", "UpdateService", "TagResource"]);
    let mut expected = running;
    expected["containerDefinitions"][0]["image"] = json!("web:2");
    for member in [
        "taskDefinitionArn",
        "revision",
        "status",
        "requiresAttributes",
        "compatibilities",
        "registeredAt",
        "registeredBy",
    ] {
        expected.as_object_mut().unwrap().remove(member);
    }
    expected["tags"] = json!([{"key": "team", "value": "a"}, {"key": "ecs-rollout:build", "value": "7"}]);
    assert_eq!(site.ecs.bodies("RegisterTaskDefinition")[0], expected);
    let body = &site.ecs.bodies("UpdateService")[0];
    assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["cluster", "service", "taskDefinition"]);
}

#[test]
fn the_same_image_again_has_nothing_to_do() {
    let site = site();
    let same = ["--image", "host:5000/team/web:1"];
    let outcome = run(&site, "deploy", &same);
    outcome.ends(
        0,
        &["unchanged: service `web` already runs web:1", "`--force-new-deployment` starts tasks that pull it"],
    );
    assert_eq!(writes(&site), [""; 0]);
    assert_eq!(run(&site, "deploy", &["--tag", "1", "--json"]).json()["result"], "unchanged");
    let json = run(&site, "plan", &["--image", "web=host:5000/team/web:1", "--json"]).json();
    assert_eq!((&json["action"], &json["task_definition"]["action"]), (&json!("nothing"), &json!("keep")));
    let outcome = run(&site, "deploy", &[&same[..], &["--force-new-deployment"]].concat());
    outcome.ends(0, &["deployed web:1"]);
    assert!(!outcome.stderr.contains("starts tasks that pull it"), "{outcome:#?}");
    assert_eq!(writes(&site), ["UpdateService", "TagResource"]);
}

#[test]
fn it_starts_from_the_running_revision_and_not_from_the_newest() {
    let site = site();
    let others = ["unrelated:1".to_owned(), "unrelated:2".to_owned()];
    site.ecs.change(|host_clients| host_clients.register_more("web", others));
    let unchanged = run(&site, "plan", &["--tag", "1"]);
    unchanged.ends(0, &["keep web:1: nothing differs", "leave the service unchanged"]);
    run(&site, "deploy", &["--tag", "2"]).ends(0, &["deployed web:4"]);
    assert_eq!(images(&site.ecs.bodies("RegisterTaskDefinition")[0]), ["host:5000/team/web:2"]);
    // A revision that a failed deployment has registered is used again.
    let mut again = site.ecs.read(|host_clients| host_clients.families["web"][3].clone());
    again["containerDefinitions"][0]["image"] = json!("host:5000/team/web:3");
    again["taskDefinitionArn"] = json!(again["taskDefinitionArn"].as_str().unwrap().replace("web:4", "web:5"));
    site.ecs.change(|host_clients| host_clients.families.get_mut("web").unwrap().push(again));
    site.ecs.forget_calls();
    run(&site, "deploy", &["--tag", "3"]).ends(0, &["keep web:5", "deployed web:5"]);
    assert_eq!(writes(&site), ["UpdateService"]);
}

#[test]
fn each_form_of_an_image_is_accepted() {
    for (arguments, expected) in [
        (["--image".to_owned(), format!("web=web@{DIGEST}")], format!("web@{DIGEST}")),
        (["--image".to_owned(), "host:5000/x/y:tag".to_owned()], "host:5000/x/y:tag".to_owned()),
        (["--image".to_owned(), "web".to_owned()], "web".to_owned()),
        (["--tag".to_owned(), "web=v2.0-rc_1".to_owned()], "host:5000/team/web:v2.0-rc_1".to_owned()),
    ] {
        let site = site();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        run(&site, "deploy", &arguments).ends(0, &["deployed web:2"]);
        assert_eq!(images(&site.ecs.bodies("RegisterTaskDefinition")[0]), [expected]);
    }
    let site = site();
    for (arguments, code, expected) in [
        (["--image", "wep=web:2"], 35, "`--image wep=...`: the task definition has no such container; it has `web`"),
        (["--tag", "wep=2"], 35, "`--tag wep=...`: the task definition has no such container; it has `web`"),
        (["--image", "web=web:"], 2, "its name, tag or digest is empty or not valid"),
        (["--image", "web="], 2, "the image is empty"),
        (["--tag", "a b"], 2, "`a b` is not a tag"),
    ] {
        run(&site, "deploy", &arguments).ends(code, &[expected]);
    }
    assert_eq!(writes(&site), [""; 0]);
}

#[test]
fn with_several_containers_the_image_needs_a_name_and_the_tag_does_not() {
    let site = Site::new();
    let mut existing = existing::all().remove(0);
    existing.task["containerDefinitions"] = json!([
        {"name": "web", "image": "web:1", "memory": 64}, {"name": "log", "image": "r:1/log:1", "memory": 64}]);
    existing.create(&site);
    let outcome = run(&site, "plan", &["--image", "x:2"]);
    outcome.ends(35, &["write `--image CONTAINER=x:2` with one of `", "`web`", "`log`"]);
    run(&site, "plan", &["--image", "web=x:2", "--tag", "3"]).ends(35, &["container `web` is set twice"]);
    run(&site, "deploy", &["--image", "web=x:2", "--tag", "log=3"]).ends(0, &[]);
    run(&site, "deploy", &["--tag", "4"]).ends(0, &[]);
    let bodies = site.ecs.bodies("RegisterTaskDefinition");
    assert_eq!(bodies.iter().map(images).collect::<Vec<_>>(), [["r:1/log:3", "x:2"], ["r:1/log:4", "x:4"]]);
}

#[test]
fn other_options_need_no_image_and_a_service_definition_can_be_given() {
    let site = site();
    run(&site, "deploy", &["--desired-count", "3"]).ends(0, &["desiredCount 2 -> 3", "3 of 3 running"]);
    run(&site, "deploy", &["--force-new-deployment"]).ends(0, &["a new deployment", "deployed web:1"]);
    site.write("service.json", &json!({"cluster": "prod", "serviceName": "web", "enableExecuteCommand": true}));
    site.run(&["deploy", "--service-definition", "service.json", "--tag", "2"])
        .ends(0, &["enableExecuteCommand false -> true", "revision web:1 -> a new one", "deployed web:2"]);
    assert_eq!(site.ecs.bodies("RegisterTaskDefinition").len(), 1);
}

#[test]
fn without_a_file_a_service_or_a_change_both_ways_are_shown() {
    let site = site();
    for (arguments, expected) in [
        (&["deploy"][..], "the service is not named"),
        (&["plan", "--image", "web=web:2"], "the service is not named"),
        (&["deploy", "--cluster", "prod", "--service", "web"], "no option changes anything"),
        (&["plan", "--cluster", "prod", "--service", "web", "--build", "7"], "no option changes anything"),
    ] {
        site.run(arguments)
            .ends(35, &["[bad-option]", expected, "--task-definition FILE", "--image [CONTAINER=]IMAGE"]);
    }
    site.run(&["deploy", "--service", "web", "--image", "web:2"]).ends(35, &["the cluster is not named"]);
    assert_eq!(site.ecs.calls(), [""; 0]);
}

#[test]
fn a_service_that_does_not_run_or_is_not_deployed_by_ecs_is_refused() {
    let absent = Site::new();
    run(&absent, "deploy", &["--tag", "2"])
        .ends(36, &["[service-not-found]", "to create the service, name both files"]);
    let site = site();
    site.ecs.change(|host_clients| {
        host_clients.services.get_mut("web").unwrap().shown["deploymentController"] = json!({"type": "CODE_DEPLOY"});
    });
    run(&site, "deploy", &["--tag", "2"]).ends(35, &["[other-controller]", "`CODE_DEPLOY`"]);
    site.ecs.change(|host_clients| {
        let shown = &mut host_clients.services.get_mut("web").unwrap().shown;
        shown["deploymentController"] = json!({"type": "EXTERNAL"});
        (shown["taskDefinition"], shown["deployments"]) = (Value::Null, json!([]));
        shown.as_object_mut().unwrap().remove("taskDefinition");
    });
    run(&site, "deploy", &["--tag", "2"]).ends(35, &["[other-controller]", "`EXTERNAL`"]);
    site.ecs.fail("DescribeServices", [error("ClusterNotFoundException", "Cluster not found.")]);
    let outcome = run(&site, "deploy", &["--tag", "2"]);
    outcome.ends(36, &["[cluster-not-found]"]);
    assert!(!outcome.stderr.contains("name both files"), "{outcome:#?}");
    assert_eq!(writes(&site), [""; 0]);
}

#[test]
fn a_deregistered_running_revision_is_registered_again() {
    let site = site();
    site.ecs.change(|host_clients| host_clients.families.get_mut("web").unwrap()[0]["status"] = json!("INACTIVE"));
    run(&site, "deploy", &["--tag", "2"]).ends(0, &["deployed web:2"]);
    assert_eq!(images(&site.ecs.bodies("RegisterTaskDefinition")[0]), ["host:5000/team/web:2"]);
}

#[test]
fn an_unchanged_service_is_planned_with_at_most_four_rounds_of_reads() {
    let site = site();
    run(&site, "plan", &["--tag", "1"]).ends(0, &[]);
    let reads = site.ecs.calls();
    assert!(reads.len() <= 4, "{reads:?}");
}
