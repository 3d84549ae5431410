//! Files, variables and options: what is refused, with its place, before any API call or change.

use super::Site;
use crate::support::rollout::{ACCOUNT, error};
use serde_json::json;

#[test]
fn an_unset_variable_is_named_before_any_call() {
    let site = Site::new();
    std::fs::write(
        site.folder.path().join("task.json"),
        r#"{
  "family": "web",
  "containerDefinitions": [{"name": "web", "image": "web:${NO_SUCH}", "memory": 1}]
}"#,
    )
    .unwrap();
    let outcome = site.deploy("deploy", &[]);
    outcome.ends(35, &["error: [variable-unset]", "`task.json`, line 3, column 58: the variable `NO_SUCH` is not set"]);
    assert_eq!(site.ecs.calls(), [""; 0]);
    site.deploy("plan", &["--var", "NO_SUCH=7"]).ends(0, &["\"image\": \"web:7\""]);
    let site = Site::new().variable("TAG", "");
    site.deploy("deploy", &[]).ends(35, &["the variable `TAG` must be set: the tag of the image"]);
    site.deploy("deploy", &["--json"]).ends(35, &["\"id\": \"variable-unset\"", "\"result\": \"refused\""]);
}

#[test]
fn a_number_may_come_from_a_variable() {
    let site = Site::new().variable("COUNT", "3");
    let text = r#"{"cluster": "prod", "serviceName": "web", "desiredCount": ${COUNT}}"#;
    std::fs::write(site.folder.path().join("service.json"), text).unwrap();
    site.deploy("deploy", &[]).ends(0, &["3 of 3 running"]);
    site.deploy("plan", &["--var", "COUNT=three"]).ends(35, &["`COUNT` is used outside a string"]);
}

#[test]
fn a_typo_is_refused_and_not_ignored() {
    let site = Site::new();
    let container = json!({"name": "web", "image": "web:1", "memmory": 128, "environment": {"A": "1"}});
    site.write("task.json", &json!({"family": "web", "containerDefinitions": [container]}));
    site.deploy("deploy", &[]).ends(
        35,
        &[
            "[bad-input]",
            "seen: `containerDefinitions[0].memmory` is not a member of the ECS API; did you mean `memory`?",
            "seen: `containerDefinitions[0].environment` must be a list, but is an object",
        ],
    );
    assert_eq!(site.ecs.calls(), [""; 0]);
}

#[test]
fn each_invalid_file_is_refused() {
    let site = Site::new();
    for (text, expected) in [
        ("{\"family\": ", "not valid JSON"),
        (r#"{"family": "e", "family": "f"}"#, "`task.json`: the key `family` is there twice at line 1 column 24"),
        (
            r#"{"family": "web", "containerDefinitions": [{"name": "a", "image": "b", "name": "c"}]}"#,
            "the key `name` is there twice in `containerDefinitions[0]` at line 1 column 77",
        ),
        ("{}", "`family` is missing or empty"),
        ("{\"family\": \"web\", \"containerDefinitions\": []}", "`containerDefinitions` is missing or empty"),
        ("[]", "must be an object, but is a list"),
    ] {
        std::fs::write(site.folder.path().join("task.json"), text).unwrap();
        site.deploy("deploy", &[]).ends(35, &["[bad-input]", "`task.json`", expected]);
        site.deploy("deploy", &["--image", "web=web:2"]).ends(35, &["[bad-input]", expected]);
    }
    site.run(&["deploy", "--task-definition", "absent.json"]).ends(35, &["`absent.json` cannot be read"]);
    site.run(&["deploy"])
        .ends(35, &["the service is not named", "--task-definition FILE", "--image [CONTAINER=]IMAGE"]);
    let site = Site::new();
    site.run(&["deploy", "--task-definition", "task.json", "--vars-from", "TAG"])
        .ends(35, &["the cluster is not named; use `--cluster NAME`"]);
    site.deploy("plan", &["--image", "wep=x:1"]).ends(35, &["has no such container; it has `web`"]);
    site.write("service.json", &json!({"cluster": "prod", "serviceName": "web", "taskDefinition": "other:3"}));
    site.deploy("plan", &[]).ends(35, &["`taskDefinition` is `other:3`, but the task definition has the family `web`"]);
}

#[test]
fn an_environment_variable_without_a_value_is_refused() {
    for entry in [json!({"name": "A"}), json!({"name": "A", "value": null})] {
        let site = Site::new();
        let container = json!({"name": "web", "image": "web:1", "memory": 128, "environment": [entry]});
        site.write("task.json", &json!({"family": "web", "containerDefinitions": [container]}));
        let expected =
            "`containerDefinitions[0].environment[0]`, the variable `A`, has no value; an empty value is `\"\"`";
        site.deploy("deploy", &[]).ends(35, &["[bad-input]", "`task.json`", expected]);
        assert_eq!(site.ecs.calls(), [""; 0]);
    }
}

#[test]
fn the_output_of_describe_task_definition_is_accepted() {
    let mut site = Site::new();
    site.deployed("1");
    let described = site.ecs.read(|host_clients| host_clients.families["web"][0].clone());
    site.write("task.json", &json!({"taskDefinition": described, "tags": []}));
    let outcome = site.deploy("deploy", &["--image", "web=web:2"]);
    outcome.ends(
        0,
        &["ignored members of the task definition that only ECS can set: ", "taskDefinitionArn", "deployed web:2"],
    );
    let body = &site.ecs.bodies("RegisterTaskDefinition")[0];
    assert!(body.get("taskDefinitionArn").is_none() && body.get("registeredBy").is_none(), "{body:#}");
}

#[test]
fn secrets_of_the_environment_are_not_shown() {
    let site = Site::new().variable("DB_PASSWORD", "hunter2-and-more");
    let container = json!({"name": "web", "image": "web:1", "memory": 128,
        "environment": [{"name": "DB_PASSWORD", "value": "${DB_PASSWORD}"}]});
    site.write("task.json", &json!({"family": "web", "containerDefinitions": [container]}));
    for arguments in [&["plan"][..], &["plan", "--json"], &["deploy"], &["deploy", "--json"]] {
        let outcome = site.deploy(arguments[0], &arguments[1..]);
        outcome.ends(0, &[]);
        assert!(!format!("{outcome:?}").contains("hunter2"), "{outcome:#?}");
    }
    let sent = &site.ecs.bodies("RegisterTaskDefinition")[0]["containerDefinitions"][0]["environment"][0];
    assert_eq!(sent["value"], "hunter2-and-more");
}

#[test]
fn a_rejection_by_ecs_is_quoted() {
    let site = Site::new();
    site.write("task.json", &json!({"family": "web", "containerDefinitions": [{"name": "web", "image": "web:1"}]}));
    site.deploy("deploy", &[]).ends(35, &["[not-accepted]", "At least one of 'memory' or 'memoryReservation'"]);
}

#[test]
fn missing_permissions_and_missing_resources_have_their_own_codes() {
    let site = Site::new();
    let user = format!("User: arn:aws:sts::{ACCOUNT}:assumed-role/ci/x is not authorized to perform");
    site.ecs.fail("DescribeServices", [error("AccessDeniedException", &format!("{user}: ecs:DescribeServices"))]);
    site.deploy("deploy", &[]).ends(37, &["[caller-denied]", "ecs:DescribeServices"]);
    site.ecs.fail(
        "DescribeServices",
        [error("UnrecognizedClientException", "The security token included in the request is invalid.")],
    );
    site.deploy("deploy", &[]).ends(37, &["[no-credentials]"]);
    site.ecs.fail(
        "RegisterTaskDefinition",
        [error("AccessDeniedException", &format!("{user}: iam:PassRole on resource: x"))],
    );
    site.deploy("deploy", &[]).ends(37, &["[pass-role-denied]", "iam:PassRole"]);
    site.deploy("deploy", &["--cluster", "prob"]).ends(36, &["[cluster-not-found]", "list-clusters"]);
    site.run(&["status", "--cluster", "prod", "--service", "web"]).ends(36, &["[service-not-found]"]);
}

#[test]
fn throttled_calls_are_retried() {
    let site = Site::new();
    for operation in ["DescribeServices", "RegisterTaskDefinition", "CreateService"] {
        site.ecs.fail(operation, vec![error("ThrottlingException", "Rate exceeded"); 4]);
    }
    let outcome = site.deploy("deploy", &[]);
    outcome.ends(0, &["deployed web:1"]);
    // The SDK alone gives up after three attempts.
    assert!(site.ecs.bodies("RegisterTaskDefinition").len() >= 5);
}

#[test]
fn an_unreachable_api_has_its_own_code_and_a_missing_region_is_named() {
    let site = Site::new();
    let closed = {
        let server = crate::support::rollout::Ecs::start();
        server.endpoint()
    };
    let run = |endpoint: &str, region: Option<&str>| {
        let mut command = std::process::Command::new(super::PROGRAM);
        command.args(["status", "--cluster", "prod", "--service", "web"]).env_clear().envs(super::safe(endpoint));
        match region {
            Some(region) => command.env("AWS_REGION", region),
            None => command.env_remove("AWS_REGION"),
        };
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, output) = run(&closed, Some("eu-west-1"));
    assert_eq!(code, Some(38), "{output}");
    assert!(output.contains("[api-unreachable]"), "{output}");
    let (code, output) = run(&site.ecs.endpoint(), None);
    assert_eq!(code, Some(37), "{output}");
    assert!(output.contains("no region is configured"), "{output}");
}

#[test]
fn a_skeleton_of_the_aws_cli_is_accepted_as_far_as_it_is_clear() {
    let site = Site::new();
    let mut task = json!({
        "family": "web", "taskRoleArn": "", "networkMode": "host",
        "containerDefinitions": [{
            "name": "web", "image": "web:1", "memory": 128, "cpu": 0, "links": [""], "privileged": true,
            "dockerLabels": {"KeyName": ""}, "mountPoints": [{"sourceVolume": "", "containerPath": "", "readOnly": true}],
        }],
        "volumes": [{"name": "", "host": {"sourcePath": ""}, "configuredAtLaunch": true}],
    });
    site.write("task.json", &task);
    site.deploy("deploy", &[]).ends(
        35,
        &["[bad-input]", "`--generate-cli-skeleton`", "seen: containerDefinitions[0].privileged, networkMode"],
    );
    task.as_object_mut().unwrap().remove("networkMode");
    task["containerDefinitions"][0].as_object_mut().unwrap().remove("privileged");
    site.write("task.json", &task);
    site.deploy("deploy", &[]).ends(0, &["note: ignored the placeholders of a skeleton: ", "deployed web:1"]);
    let sent = &site.ecs.bodies("RegisterTaskDefinition")[0];
    let expected = json!({"family": "web", "containerDefinitions": [{"name": "web", "image": "web:1", "memory": 128}]});
    assert_eq!(*sent, expected);
}

/// A role that may be left out.
#[test]
fn an_empty_member_is_ignored_with_a_note() {
    let site = Site::new();
    let container =
        json!({"name": "web", "image": "web:1", "memory": 128, "environment": [{"name": "A", "value": ""}]});
    site.write("task.json", &json!({"family": "web", "taskRoleArn": "${ROLE:-}", "containerDefinitions": [container]}));
    site.deploy("deploy", &[]).ends(0, &["note: ignored empty members: taskRoleArn", "deployed web:1"]);
    let sent = &site.ecs.bodies("RegisterTaskDefinition")[0];
    assert!(sent.get("taskRoleArn").is_none(), "{sent:#}");
    assert_eq!(sent["containerDefinitions"][0]["environment"][0]["value"], "");
}
