//! What is a difference: an unchanged definition is deployed once, a changed member is deployed as that member, and
//! nothing that ECS does to a definition is taken for a change.

use super::{Site, writes};
use crate::support::rollout::Course;
use serde_json::{Value, json};

/// A service with a launch type, after its first deployment.
fn deployed_with(task: &Value, service: &Value) -> Site {
    let site = Site::new().without_verification();
    with(&site, task, service);
    site.deploy("deploy", &[]).ends(0, &["deployed web:1"]);
    site.ecs.forget_calls();
    site
}

/// Writes the two files: the given members, and what each definition needs.
fn with(site: &Site, task: &Value, service: &Value) {
    let mut all_of_task =
        json!({"family": "web", "containerDefinitions": [{"name": "web", "image": "web:1", "memory": 128}]});
    let mut all_of_service = json!({"cluster": "prod", "serviceName": "web", "desiredCount": 2});
    for (all, more) in [(&mut all_of_task, task), (&mut all_of_service, service)] {
        more.as_object().unwrap().iter().for_each(|(name, value)| all[name] = value.clone());
    }
    site.write("task.json", &all_of_task);
    site.write("service.json", &all_of_service);
}

#[track_caller]
fn nothing_to_do(site: &Site) {
    site.ecs.forget_calls();
    site.deploy("deploy", &[]).ends(0, &["unchanged: service `web` already runs"]);
    assert_eq!(writes(site), [""; 0]);
}

#[track_caller]
fn updated(site: &Site) -> Value {
    site.ecs.bodies("UpdateService").pop().expect("the service was updated")
}

/// A task definition with everything that ECS defaults, rewrites or reorders.
fn rich_task() -> Value {
    json!({
        "taskRoleArn": "web", "executionRoleArn": "/team/ecs", "cpu": "0.5 vCPU", "memory": "1GB", "networkMode": "host",
        "requiresCompatibilities": ["FARGATE", "EC2"],
        "runtimePlatform": {"cpuArchitecture": "ARM64"},
        "volumes": [
            {"name": "scratch", "dockerVolumeConfiguration": {}},
            {"name": "data", "efsVolumeConfiguration": {"fileSystemId": "fs-1", "authorizationConfig": {"accessPointId": "a"}}},
            {"name": "a", "host": {"sourcePath": ""}},
        ],
        "proxyConfiguration": {"containerName": "envoy", "properties": [
            {"name": "ProxyIngressPort", "value": "1"}, {"name": "AppPorts", "value": ""}]},
        "containerDefinitions": [
            {"name": "web", "image": "web:1", "memory": 64, "user": "", "command": [], "dependsOn": [
                {"containerName": "envoy", "condition": "HEALTHY"}, {"containerName": "db", "condition": "START"}],
             "portMappings": [{"containerPort": 8443}, {"containerPort": 80}],
             "mountPoints": [{"sourceVolume": "data", "containerPath": "/z"}, {"sourceVolume": "a", "containerPath": "/a"}],
             "volumesFrom": [{"sourceContainer": "envoy"}, {"sourceContainer": "db"}],
             "restartPolicy": {"enabled": true},
             "healthCheck": {"command": ["CMD", "true"]},
             "environment": [{"name": "B", "value": "2"}, {"name": "A", "value": ""}]},
            {"name": "envoy", "image": "envoy:1", "memory": 64, "essential": false},
            {"name": "db", "image": "db:1", "memory": 64, "linuxParameters": {"capabilities": {"add": ["B", "A"]}}},
        ],
    })
}

fn rich_service() -> Value {
    json!({
        "role": "ecsServiceRole", "propagateTags": "NONE", "enableExecuteCommand": false, "platformVersion": "LATEST",
        "placementStrategy": [{"type": "spread", "field": "host"}, {"type": "binpack", "field": "memory"}],
        "placementConstraints": [{"type": "memberOf", "expression": "x"}, {"type": "distinctInstance"}],
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-2", "subnet-1"]}},
        "loadBalancers": [
            {"targetGroupArn": "arn:b", "containerName": "web", "containerPort": 80},
            {"targetGroupArn": "arn:a", "containerName": "web", "containerPort": 8443}],
        "deploymentConfiguration": {"deploymentCircuitBreaker": {"enable": true, "rollback": true}},
        "serviceConnectConfiguration": {"enabled": true, "namespace": "internal", "services": [{"portName": "http"}]},
        "monitoring": {"metricConfigurations": [{"metricNames": ["CPUUtilization"], "resolutionSeconds": 20}]},
        "tags": [{"key": "b", "value": "2"}, {"key": "a", "value": ""}],
    })
}

#[test]
fn an_unchanged_definition_is_deployed_once() {
    let site = deployed_with(&rich_task(), &rich_service());
    nothing_to_do(&site);
    // Another revision is described with another order and other defaults.
    for image in ["web:2", "web:3", "web:4", "web:5"] {
        let mut task = rich_task();
        task["containerDefinitions"][0]["image"] = json!(image);
        with(&site, &task, &rich_service());
        site.deploy("deploy", &[]).ends(0, &[&format!("+      \"image\": \"{image}\"")]);
        nothing_to_do(&site);
    }
}

#[test]
fn a_member_that_ecs_does_not_return_is_compared_by_its_hash() {
    let site = deployed_with(&json!({}), &rich_service());
    nothing_to_do(&site);
    let mut service = rich_service();
    service["monitoring"]["metricConfigurations"][0]["resolutionSeconds"] = json!(60);
    with(&site, &json!({}), &service);
    site.deploy("deploy", &[]).ends(0, &["monitoring changes (ECS does not return it; compared by its hash)"]);
    assert_eq!(updated(&site)["monitoring"], service["monitoring"]);
    nothing_to_do(&site);
    // A definition without the member leaves it as it is, and its hash too.
    with(&site, &json!({}), &json!({}));
    nothing_to_do(&site);
    with(&site, &json!({}), &service);
    nothing_to_do(&site);
    // It is set back to what it was before.
    service["monitoring"] = json!({"metricConfigurations": []});
    with(&site, &json!({}), &service);
    site.deploy("deploy", &[]).ends(0, &["monitoring changes"]);
    assert_eq!(updated(&site)["monitoring"], service["monitoring"]);
    nothing_to_do(&site);
    // A service of another tool has no hash.
    let site = deployed_with(&json!({}), &json!({}));
    with(&site, &json!({}), &rich_service());
    site.deploy("deploy", &[]).ends(0, &["monitoring changes"]);
    nothing_to_do(&site);
}

#[test]
fn a_reversed_placement_strategy_is_a_difference() {
    let site = deployed_with(&json!({}), &rich_service());
    let mut service = rich_service();
    service["placementStrategy"].as_array_mut().unwrap().reverse();
    service["placementConstraints"].as_array_mut().unwrap().reverse();
    with(&site, &json!({}), &service);
    let outcome = site.deploy("deploy", &[]);
    outcome.ends(0, &["placementStrategy[0].type \"spread\" -> \"binpack\"", "only for tasks that start after this"]);
    assert!(updated(&site).get("placementConstraints").is_none());
    nothing_to_do(&site);
}

#[test]
fn after_a_rollback_deploying_what_runs_does_nothing() {
    let mut site = Site::new().without_verification();
    site.deployed("1");
    site.set("TAG", "2");
    site.ecs.change(|world| world.courses.push_back(Course::Stuck("(service web) was unable to place a task.".into())));
    assert_ne!(site.deploy("deploy", &["--timeout", "3s"]).code, 0);
    assert_eq!(site.image(), ("web:1".to_owned(), 2));
    site.set("TAG", "1");
    site.ecs.forget_calls();
    site.deploy("deploy", &["--build", "99"]).ends(0, &["unchanged: service `web` already runs web:1"]);
    assert_eq!(writes(&site), [""; 0]);
    // The newest revision is used again too.
    site.set("TAG", "2");
    site.deploy("deploy", &[]).ends(0, &["revision web:1 -> web:2", "deployed web:2"]);
    assert_eq!(writes(&site)[0], "UpdateService");
}

#[test]
fn members_of_a_newer_ecs_are_refused_or_sent_with_a_warning() {
    let (task, service) = (
        json!({"newer": {"a": [1]}, "containerDefinitions": [
            {"name": "web", "image": "web:1", "memory": 128, "unreturnedMode": "x"}]}),
        json!({"newerMode": "x", "unreturnedTop": ["x"], "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["a"], "unreturned": 1}}}),
    );
    let site = Site::new().without_verification();
    with(&site, &task, &service);
    site.deploy("deploy", &[]).ends(35, &["`newer` is not a member of the ECS API", "`--allow-unknown`"]);
    assert_eq!(site.ecs.calls(), [""; 0]);
    let outcome = site.deploy("deploy", &["--allow-unknown"]);
    outcome.ends(0, &["note: `task.json`: `newer` is not a member of the ECS API; it is sent as it is", "`newerMode`"]);
    assert_eq!(site.ecs.bodies("RegisterTaskDefinition")[0]["newer"], json!({"a": [1]}));
    assert_eq!(site.ecs.bodies("CreateService")[0]["newerMode"], "x");
    let unchanged = |site: &Site| {
        site.ecs.forget_calls();
        site.deploy("deploy", &["--allow-unknown"]).ends(0, &["unchanged"]);
        assert_eq!(writes(site), [""; 0]);
    };
    unchanged(&site);
    for (pointer, file) in
        [("/newer/a/0", true), ("/containerDefinitions/0/unreturnedMode", true), ("/newerMode", false)]
    {
        let (mut task, mut service) = (task.clone(), service.clone());
        *(if file { &mut task } else { &mut service }).pointer_mut(pointer).unwrap() = json!("other");
        with(&site, &task, &service);
        let outcome = site.deploy("deploy", &["--allow-unknown"]);
        outcome.ends(0, &["deployed"]);
        assert_eq!(outcome.code, 0, "{pointer}");
        unchanged(&site);
    }
    site.deploy("plan", &["--allow-unknown", "--desired-count", "x"]).ends(2, &[]);
}

#[test]
fn force_is_honoured_with_other_differences_and_while_a_rollout_is_in_progress() {
    let mut site = Site::new().without_verification();
    site.deployed("1");
    let outcome = site.deploy("deploy", &["--force-new-deployment", "--desired-count", "3"]);
    outcome.ends(0, &["desiredCount 2 -> 3", "a new deployment, because of `--force-new-deployment`"]);
    assert_eq!((&updated(&site)["forceNewDeployment"], &updated(&site)["desiredCount"]), (&json!(true), &json!(3)));
    site.set("TAG", "2");
    site.ecs.change(|world| world.courses.push_back(Course::Completes(50)));
    site.deploy("deploy", &["--no-wait", "--force-new-deployment"]).ends(0, &["started web:2"]);
    assert_eq!(updated(&site)["forceNewDeployment"], true, "a new revision too");
    site.ecs.forget_calls();
    site.deploy("deploy", &["--force-new-deployment", "--desired-count", "3"])
        .ends(0, &["this deployment replaces it"]);
    assert_eq!(updated(&site)["forceNewDeployment"], true, "not only watched");
}

#[test]
fn a_changed_capacity_provider_strategy_is_forced_forward_and_back() {
    let strategy = |provider: &str| json!({"capacityProviderStrategy": [{"capacityProvider": provider, "weight": 1}]});
    let site = deployed_with(&json!({}), &json!({}));
    with(&site, &json!({}), &strategy("main"));
    let outcome = site.deploy("deploy", &[]);
    outcome.ends(0, &["capacityProviderStrategy null -> [{", "which ECS requires"]);
    assert_eq!(updated(&site)["forceNewDeployment"], true);
    nothing_to_do(&site);
    with(&site, &json!({}), &strategy("spot"));
    site.deploy("deploy", &[]).ends(0, &["capacityProviderStrategy[0].capacityProvider \"main\" -> \"spot\""]);
    nothing_to_do(&site);
    // A failed change is rolled back in the same way.
    with(&site, &json!({}), &strategy("other"));
    site.ecs.change(|world| world.courses.push_back(Course::Stuck("(service web) was unable to place a task.".into())));
    site.deploy("deploy", &["--timeout", "3s"]).ends(30, &["rolled back to web:1"]);
    let back = updated(&site);
    assert_eq!(back["capacityProviderStrategy"][0]["capacityProvider"], "spot");
    assert_eq!(back["forceNewDeployment"], true);
    // Back to the launch type.
    with(&site, &json!({}), &json!({"launchType": "EC2"}));
    site.deploy("deploy", &[]).ends(0, &["launchType null -> \"EC2\"", "gets back the launch type"]);
    assert_eq!(updated(&site)["capacityProviderStrategy"], json!([]));
    nothing_to_do(&site);
}

#[test]
fn a_rollback_removes_what_was_absent_before() {
    let site = deployed_with(&json!({}), &json!({}));
    let more = json!({
        "capacityProviderStrategy": [{"capacityProvider": "main", "weight": 1}],
        "placementStrategy": [{"type": "random"}],
        "loadBalancers": [{"targetGroupArn": "arn:a", "containerName": "web", "containerPort": 80}],
        "healthCheckGracePeriodSeconds": 30,
        "serviceConnectConfiguration": {"enabled": true, "namespace": "internal"},
        "deploymentConfiguration": {"deploymentCircuitBreaker": {"enable": true, "rollback": false}, "minimumHealthyPercent": 50},
    });
    with(&site, &json!({}), &more);
    site.ecs.change(|world| world.courses.push_back(Course::Stuck("(service web) was unable to place a task.".into())));
    site.deploy("deploy", &["--timeout", "3s"]).ends(30, &["rolled back to web:1"]);
    let back = updated(&site);
    for (member, expected) in [
        ("capacityProviderStrategy", json!([])),
        ("placementStrategy", json!([])),
        ("loadBalancers", json!([])),
        ("healthCheckGracePeriodSeconds", json!(0)),
        ("serviceConnectConfiguration", json!({"enabled": false})),
        ("forceNewDeployment", json!(true)),
    ] {
        assert_eq!(back[member], expected, "{member}");
    }
    let configuration = &back["deploymentConfiguration"];
    assert_eq!(configuration["deploymentCircuitBreaker"]["enable"], false, "{configuration:#}");
    assert_eq!(configuration["minimumHealthyPercent"], 100);
    with(&site, &json!({}), &json!({}));
    nothing_to_do(&site);
}

#[test]
fn a_partial_object_is_completed_with_what_the_service_has() {
    let network = |part: Value| json!({"networkConfiguration": {"awsvpcConfiguration": part}});
    let whole = json!({"subnets": ["subnet-1"], "securityGroups": ["sg-1"], "assignPublicIp": "ENABLED"});
    let site = deployed_with(&json!({}), &network(whole.clone()));
    for part in
        [json!({"subnets": ["subnet-1"]}), json!({"securityGroups": ["sg-1"]}), json!({"assignPublicIp": "ENABLED"})]
    {
        with(&site, &json!({}), &network(part));
        nothing_to_do(&site);
    }
    for (member, value) in
        [("subnets", json!(["subnet-2"])), ("securityGroups", json!(["sg-2"])), ("assignPublicIp", json!("DISABLED"))]
    {
        let site = deployed_with(&json!({}), &network(whole.clone()));
        with(&site, &json!({}), &network(json!({member: value})));
        site.deploy("deploy", &[]).ends(0, &[&format!("networkConfiguration.awsvpcConfiguration.{member}")]);
        let mut expected = whole.clone();
        expected[member] = value;
        assert_eq!(updated(&site)["networkConfiguration"]["awsvpcConfiguration"], expected);
        nothing_to_do(&site);
    }
    // The other objects.
    let breaker = json!({"deploymentConfiguration": {"deploymentCircuitBreaker": {"enable": true, "rollback": true}}});
    let site = deployed_with(&json!({}), &breaker);
    with(&site, &json!({}), &json!({"deploymentConfiguration": {"minimumHealthyPercent": 50}}));
    site.deploy("deploy", &[]).ends(0, &["deploymentConfiguration.minimumHealthyPercent 100 -> 50"]);
    assert_eq!(updated(&site)["deploymentConfiguration"]["deploymentCircuitBreaker"]["enable"], true);
}

#[test]
fn a_new_service_with_a_partial_network_configuration_gets_a_note() {
    let site = Site::new().without_verification();
    with(&site, &json!({}), &json!({"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}}));
    site.deploy("plan", &[]).ends(
        0,
        &[
            "`networkConfiguration` has no `securityGroups`: ECS uses the default group of the VPC",
            "`networkConfiguration` has no `assignPublicIp`: ECS uses `DISABLED`",
        ],
    );
}

#[test]
fn a_task_definition_that_is_too_large_is_refused_by_plan() {
    let site = Site::new().without_verification();
    let with_value = |bytes: usize| {
        let container = json!({"name": "web", "image": "web:1", "memory": 128,
                               "environment": [{"name": "BIG", "value": "x".repeat(bytes)}]});
        json!({"family": "web", "containerDefinitions": [container]})
    };
    let own = with_value(0).to_string().len();
    for (bytes, code) in [(65_536 - own, 0), (65_536 - own + 1, 35)] {
        site.write("task.json", &with_value(bytes));
        site.deploy("plan", &[])
            .ends(code, if code == 0 { &[] } else { &["has 65537 bytes", "at most 65536 (64 KiB)"] });
    }
    site.deploy("deploy", &[]).ends(35, &["[bad-input]", "the largest container is `web`"]);
    assert_eq!(writes(&site), [""; 0]);
}

#[test]
fn values_of_log_options_are_not_shown_when_they_change() {
    let connect = |token: &str| {
        json!({"serviceConnectConfiguration": {"enabled": true, "namespace": "internal", "logConfiguration": {
            "logDriver": "splunk", "options": {"splunk-token": token}}}})
    };
    let site = deployed_with(&json!({}), &connect("hunter1"));
    with(&site, &json!({}), &connect("hunter2"));
    let outcome = site.deploy("plan", &[]);
    outcome.ends(0, &["logConfiguration.options.splunk-token \"<hidden>\" -> \"<hidden>\" (hidden values differ)"]);
    assert!(!format!("{outcome:?}").contains("hunter"), "{outcome:#?}");
}

#[test]
fn a_plan_of_an_unchanged_service_makes_few_calls_one_after_another() {
    let mut site = Site::new().without_verification();
    site.deployed("1");
    site.deploy("plan", &[]).ends(0, &["leave the service unchanged: nothing differs"]);
    let calls = site.ecs.calls();
    assert!(calls.len() <= 4, "{calls:?}");
}
