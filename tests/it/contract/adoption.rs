//! Services that exist in moto before ecs-rollout is used: two commands to a plan without differences, one for another
//! image.

use super::{create_what_is_verified, service};
use crate::deploy::Site;
use crate::deploy::existing::{self, Existing};
use crate::support::moto::Moto;
use serde_json::{Value, json};

const INIT: [&str; 5] = ["init", "--cluster", "prod", "--service", "web"];
const PLAN: [&str; 5] = ["plan", "--task-definition", "task-definition.json", "--service-definition", "service.json"];

/// Creates the service by the calls of another program: with the files of the test, without ecs-rollout.
fn create(moto: &Moto, existing: &Existing, number: usize) -> String {
    let name = format!("web-{number}");
    let (mut task, mut body) = (existing.task.clone(), existing.service.clone());
    (task["family"], body["serviceName"]) = (json!(name), json!(name));
    moto.call("RegisterTaskDefinition", &task);
    body["taskDefinition"] = json!(name);
    if body["networkConfiguration"].is_null() && task["networkMode"] == "awsvpc" {
        body["networkConfiguration"] = moto.network_configuration();
    }
    // moto needs a desired count for a daemon service too; ECS refuses it.
    moto.call("CreateService", &body);
    name
}

#[test]
fn from_any_existing_service_to_a_plan_without_differences_with_two_commands() {
    let moto = Moto::with(&[("MOTO_ECS_SERVICE_RUNNING", "2")]);
    moto.create_cluster("prod", &[]);
    for (number, existing) in existing::all().iter().enumerate() {
        let name = create(&moto, existing, number);
        let site = Site::new().at(moto.endpoint());
        site.run(&["init", "--cluster", "prod", "--service", &name, "--force"]).ends(0, &["next: ecs-rollout plan"]);
        let plan = site.run(&PLAN);
        plan.ends(0, &["leave the service unchanged: nothing differs"]);
        assert!(plan.stdout.contains(&format!("keep {name}:1: nothing differs")), "{}: {plan:#?}", existing.name);
        let described =
            moto.call("DescribeServices", &json!({"cluster": "prod", "services": [name], "include": ["TAGS"]}));
        let described: Value = serde_json::from_str(&described.to_string().replace("${", "$${")).unwrap();
        site.write("service.json", &described);
        site.run(&PLAN).ends(0, &["leave the service unchanged: nothing differs", "that only ECS can set: "]);
    }
}

#[test]
fn the_files_of_any_generated_task_definition_that_moto_accepts_make_no_difference() {
    let moto = Moto::with(&[("MOTO_ECS_SERVICE_RUNNING", "2")]);
    moto.create_cluster("prod", &[]);
    let mut accepted = 0;
    for (number, (_, mut answer)) in existing::described(80).into_iter().enumerate() {
        let name = format!("web-{number}");
        let mut task = answer["taskDefinition"].take();
        let read_only = [
            "taskDefinitionArn",
            "revision",
            "status",
            "requiresAttributes",
            "compatibilities",
            "registeredAt",
            "registeredBy",
        ];
        read_only.iter().for_each(|member| drop(task.as_object_mut().unwrap().remove(*member)));
        task["family"] = json!(name);
        task["tags"] = json!([{"key": "team", "value": "${a}"}]);
        if moto.try_call("RegisterTaskDefinition", &task).is_err() {
            continue;
        }
        accepted += 1;
        let mut body = json!({"cluster": "prod", "serviceName": name, "desiredCount": 2, "taskDefinition": name});
        if task["networkMode"] == "awsvpc" {
            body["networkConfiguration"] = moto.network_configuration();
        }
        moto.call("CreateService", &body);
        let site = Site::new().at(moto.endpoint());
        site.run(&["init", "--cluster", "prod", "--service", &name, "--force"]).ends(0, &["next: ecs-rollout plan"]);
        let keep = format!("keep {name}:1: nothing differs");
        site.run(&PLAN).ends(0, &[&keep, "leave the service unchanged: nothing differs"]);
    }
    assert!(accepted > 40, "{accepted}");
}

#[test]
fn a_service_that_was_updated_to_a_short_revision_name_has_nothing_to_do() {
    let moto = Moto::with(&[("MOTO_ECS_SERVICE_RUNNING", "2")]);
    moto.create_cluster("prod", &[]);
    for image in ["web:1", "web:2"] {
        let container = json!({"name": "web", "image": image, "memory": 64});
        moto.call("RegisterTaskDefinition", &json!({"family": "web", "containerDefinitions": [container]}));
    }
    moto.call(
        "CreateService",
        &json!({"cluster": "prod", "serviceName": "web", "desiredCount": 2, "taskDefinition": "web:1"}),
    );
    moto.call("UpdateService", &json!({"cluster": "prod", "service": "web", "taskDefinition": "web:2"}));
    let site = Site::new().at(moto.endpoint());
    site.run(&[&INIT[..], &["--force"]].concat()).ends(0, &["the service runs web:2"]);
    site.run(&PLAN).ends(0, &["keep web:2: nothing differs", "leave the service unchanged: nothing differs"]);
    let image_only = ["plan", "--cluster", "prod", "--service", "web", "--tag", "2"];
    site.run(&image_only).ends(0, &["leave the service unchanged: nothing differs"]);
}

#[test]
fn one_command_deploys_another_image_and_keeps_two_old_revisions() {
    let moto = Moto::with(&[("MOTO_ECS_SERVICE_RUNNING", "2")]);
    moto.create_cluster("prod", &[]);
    create_what_is_verified(&moto);
    let site = Site::new().at(moto.endpoint());
    site.deploy("deploy", &["--timeout", "20s"]).ends(0, &["deployed web:1"]);
    let deploy = |more: &[&str]| {
        site.run(&[&["deploy", "--cluster", "prod", "--service", "web", "--timeout", "20s"], more].concat())
    };
    for number in 2..6 {
        let image = format!("host:5000/team/web:{number}");
        deploy(&["--image", &image, "--keep-revisions", "2"]).ends(0, &[&format!("deployed web:{number}")]);
        assert_eq!(service(&moto).1, image);
        deploy(&["--tag", &number.to_string()]).ends(0, &["unchanged"]);
    }
    let listed = moto.call("ListTaskDefinitions", &json!({"familyPrefix": "web"}));
    let numbers = listed["taskDefinitionArns"].as_array().unwrap().iter();
    let numbers: Vec<_> = numbers.map(|arn| arn.as_str().unwrap().rsplit(':').next().unwrap()).collect();
    // moto's deployment keeps its first revision.
    assert_eq!(numbers, ["1", "3", "4", "5"]);
    site.run(&[&INIT[..], &["--force"]].concat()).ends(0, &["the service runs web:5"]);
    site.run(&PLAN).ends(0, &["keep web:5: nothing differs", "leave the service unchanged"]);
}
