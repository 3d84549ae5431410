//! `init`: from an existing service to a plan without differences with two commands; and what it refuses to write.

use super::existing::{self, Existing};
use super::{Outcome, Site, writes};
use serde_json::{Value, json};

const INIT: [&str; 5] = ["init", "--cluster", "prod", "--service", "web"];

fn init(site: &Site, more: &[&str]) -> Outcome {
    site.run(&[&INIT[..], more].concat())
}

/// A site without files, on whose simulated API the service exists.
fn with(existing: &Existing) -> Site {
    let site = Site::new().variable("HOME", "/replaced").variable("X", "replaced");
    existing.create(&site);
    for name in ["task.json", "service.json"] {
        std::fs::remove_file(site.folder.path().join(name)).unwrap();
    }
    site
}

fn first() -> Existing {
    existing::all().remove(0)
}

fn read(site: &Site, name: &str) -> String {
    std::fs::read_to_string(site.folder.path().join(name)).unwrap()
}

fn read_json(site: &Site, name: &str) -> Value {
    serde_json::from_str(&read(site, name)).unwrap()
}

/// Asserts that `plan`, as `init` proposes it, has nothing to do.
#[track_caller]
fn plans_nothing(site: &Site, name: &str) {
    let plan = site.run(&["plan", "--task-definition", "task-definition.json", "--service-definition", "service.json"]);
    plan.ends(0, &["nothing differs\nleave the service unchanged: nothing differs\n"]);
    assert!(!plan.stdout.contains("register"), "{name}: {plan:#?}");
}

#[test]
fn a_plan_with_the_files_of_any_existing_service_has_nothing_to_do() {
    for existing in existing::all() {
        let site = with(&existing);
        let outcome = init(&site, &[]);
        outcome.ends(0, &["wrote ./task-definition.json\nwrote ./service.json\nthe service runs web:1\n"]);
        let next =
            "next: ecs-rollout plan --task-definition ./task-definition.json --service-definition ./service.json";
        assert!(outcome.stdout.ends_with(&format!("{next}\n")), "{}: {outcome:#?}", existing.name);
        plans_nothing(&site, existing.name);
        assert_eq!(writes(&site), [""; 0]);
    }
}

#[test]
fn a_plan_with_the_files_of_any_generated_service_has_nothing_to_do() {
    for (service, answer) in existing::described(60) {
        let site = with(&first());
        site.ecs.change(|host_clients| host_clients.describe_as(service.clone(), answer.clone()));
        init(&site, &[]).ends(0, &["the service runs web:7\n"]);
        plans_nothing(&site, &format!("{service:#} {answer:#}"));
    }
}

#[test]
fn the_files_have_the_order_of_the_api_and_no_defaults() {
    let site = with(&first());
    init(&site, &[]).ends(0, &[]);
    let expected = r#"{
  "family": "web",
  "containerDefinitions": [
    {
      "name": "web",
      "image": "host:5000/team/web:1",
      "memory": 128
    }
  ]
}
"#;
    assert_eq!(read(&site, "task-definition.json"), expected);
    let service = read_json(&site, "service.json");
    let names: Vec<&String> = service.as_object().unwrap().keys().collect();
    assert!(
        names.iter().all(|name| ["cluster", "deploymentConfiguration", "desiredCount", "launchType", "serviceName"]
            .contains(&name.as_str())),
        "{names:?}"
    );
    assert!(read(&site, "service.json").starts_with("{\n  \"cluster\": \"prod\",\n  \"serviceName\": \"web\",\n"));
}

#[test]
fn a_file_with_other_content_is_replaced_only_by_force() {
    let site = with(&first());
    init(&site, &["--dir", "a/b"]).ends(0, &["wrote a/b/task-definition.json", "wrote a/b/service.json"]);
    let before = read(&site, "a/b/service.json");
    init(&site, &["--dir", "a/b"]).ends(0, &["a/b/task-definition.json is unchanged", "a/b/service.json is unchanged"]);
    let json = init(&site, &["--dir", "a/b", "--json"]).json();
    assert_eq!((&json["result"], &json["files"][1]["result"]), (&json!("unchanged"), &json!("unchanged")));
    std::fs::remove_file(site.folder.path().join("a/b/task-definition.json")).unwrap();
    std::fs::write(site.folder.path().join("a/b/service.json"), "mine").unwrap();
    let outcome = init(&site, &["--dir", "a/b"]);
    outcome.ends(35, &["[file-exists]", "`a/b/service.json` exists with other content", "nothing was written"]);
    assert!(!site.folder.path().join("a/b/task-definition.json").exists());
    assert_eq!(read(&site, "a/b/service.json"), "mine");
    init(&site, &["--dir", "a/b", "--json"]).ends(35, &["\"id\": \"file-exists\""]);
    init(&site, &["--dir", "a/b", "--force"]).ends(0, &["replaced a/b/service.json"]);
    assert_eq!(read(&site, "a/b/service.json"), before);
    let names = std::fs::read_dir(site.folder.path().join("a/b")).unwrap();
    assert_eq!(names.count(), 2, "a temporary file is left");
    // A folder with the name of the file cannot be written.
    std::fs::create_dir_all(site.folder.path().join("c/task-definition.json")).unwrap();
    init(&site, &["--dir", "c"]).ends(35, &["`c/task-definition.json` cannot be read"]);
}

#[test]
fn the_permissions_and_the_link_of_a_replaced_file_are_kept() {
    use std::os::unix::fs::PermissionsExt;
    let site = with(&first());
    let path = |name: &str| site.folder.path().join(name);
    std::fs::write(path("elsewhere.json"), "mine").unwrap();
    std::fs::set_permissions(path("elsewhere.json"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink("elsewhere.json", path("service.json")).unwrap();
    init(&site, &["--force"]).ends(0, &["replaced ./service.json"]);
    assert!(std::fs::symlink_metadata(path("service.json")).unwrap().is_symlink());
    let mode = std::fs::metadata(path("elsewhere.json")).unwrap().permissions().mode();
    assert_eq!((mode & 0o777, read_json(&site, "elsewhere.json")["serviceName"].clone()), (0o600, json!("web")));
}

#[test]
fn values_that_may_be_secret_are_named_and_kept() {
    let mut existing = first();
    existing.task["containerDefinitions"][0]["environment"] =
        json!([{"name": "DB_PASS", "value": "hunter2"}, {"name": "MODE", "value": "x"}]);
    let site = with(&existing);
    let outcome = init(&site, &[]);
    outcome.ends(0, &["has the values of 2 environment variables", "may be secret: `DB_PASS` of container `web`"]);
    assert!(!outcome.stdout.contains("hunter2") && read(&site, "task-definition.json").contains("hunter2"));
}

#[test]
fn the_desired_count_is_left_out_if_auto_scaling_controls_it_or_may_control_it() {
    let site = with(&first());
    site.ecs.change(|host_clients| host_clients.is_scaled = true);
    init(&site, &[]).ends(0, &["`desiredCount` is left out", "Application Auto Scaling controls it"]);
    assert_eq!(read_json(&site, "service.json").get("desiredCount"), None);
    plans_nothing(&site, "scaled");
    let site = with(&first());
    let denied = crate::support::rollout::error("AccessDeniedException", "not authorized");
    site.ecs.fail("DescribeScalableTargets", [denied]);
    init(&site, &[]).ends(0, &["`desiredCount` is left out", "could not be found out", "not authorized"]);
    plans_nothing(&site, "not known");
}

#[test]
fn a_service_that_ecs_rollout_cannot_deploy_has_only_a_task_definition() {
    for controller in ["CODE_DEPLOY", "EXTERNAL"] {
        let site = with(&first());
        site.ecs.change(|host_clients| {
            let shown = &mut host_clients.services.get_mut("web").unwrap().shown;
            shown["deploymentController"] = json!({"type": controller});
            let arn = shown.as_object_mut().unwrap().remove("taskDefinition");
            shown["deployments"] = json!([]);
            shown["taskSets"] = json!([{"status": "PRIMARY", "taskDefinition": arn}]);
        });
        let outcome = init(&site, &[]);
        outcome.ends(0, &["wrote ./task-definition.json", "`service.json` is not written", controller]);
        assert!(!outcome.stdout.contains("next:") && !site.folder.path().join("service.json").exists());
        assert_eq!(init(&site, &["--json"]).json()["next"], Value::Null);
    }
}

#[test]
fn a_service_that_is_absent_or_deleted_is_refused() {
    let site = Site::new();
    init(&site, &[]).ends(36, &["[service-not-found]", "`web` in cluster `prod`"]);
    init(&site, &["--cluster", "x"]).ends(2, &["--cluster"]);
    for status in ["INACTIVE", "DRAINING"] {
        let site = with(&first());
        site.ecs.change(|host_clients| {
            host_clients.delete("web");
            host_clients.services.get_mut("web").unwrap().shown["status"] = json!(status);
        });
        init(&site, &[]).ends(36, &["[service-not-found]", status]);
        assert!(!site.folder.path().join("task-definition.json").exists());
    }
}

#[test]
fn a_deregistered_task_definition_is_written_with_a_note() {
    let site = with(&first());
    site.ecs.change(|host_clients| host_clients.families.get_mut("web").unwrap()[0]["status"] = json!("INACTIVE"));
    init(&site, &[]).ends(0, &["web:1 is deregistered (INACTIVE): the next deployment registers a new revision of it"]);
    let files = ["--task-definition", "task-definition.json", "--service-definition", "service.json"];
    site.run(&[&["deploy"][..], &files].concat()).ends(0, &["deployed web:2"]);
}

#[test]
fn the_output_of_describe_services_is_accepted_as_a_service_definition() {
    for existing in existing::all() {
        let site = with(&existing);
        init(&site, &[]).ends(0, &[]);
        let shown = site.ecs.read(|host_clients| host_clients.services["web"].shown.clone());
        for document in [shown.clone(), json!({"services": [shown], "failures": []}), json!({"service": shown})] {
            // Its values are not references, but the file is still filled in.
            let document: Value = serde_json::from_str(&document.to_string().replace("${", "$${")).unwrap();
            site.write("described.json", &document);
            let plan = site.run(&[
                "plan",
                "--task-definition",
                "task-definition.json",
                "--service-definition",
                "described.json",
            ]);
            let text = "ignored members of the service that only ECS can set: clusterArn";
            plan.ends(0, &["leave the service unchanged: nothing differs", &text[..text.len() - 10]]);
        }
    }
    let site = with(&first());
    let shown = site.ecs.read(|host_clients| host_clients.services["web"].shown.clone());
    let mut other = shown.clone();
    other["serviceName"] = json!("other");
    site.write("described.json", &json!({"services": [other, shown], "failures": []}));
    init(&site, &[]).ends(0, &[]);
    let plan = ["plan", "--task-definition", "task-definition.json", "--service-definition", "described.json"];
    site.run(&plan).ends(35, &["`described.json`: it describes 2 services; choose one with `--service`: other, web"]);
    site.run(&[&plan[..], &["--service", "web"]].concat()).ends(0, &["leave the service unchanged"]);
    site.write("described.json", &json!({"services": [], "failures": [{"arn": "x", "reason": "MISSING"}]}));
    site.run(&plan).ends(35, &["it describes no service, but failures", "MISSING"]);
}
