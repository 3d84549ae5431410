//! What is kept of a description, and what is left out.

use super::*;

const ACCOUNT: &str = "arn:aws:ecs:eu-west-1:111122223333";

fn described() -> Value {
    json!({
        "serviceArn": format!("{ACCOUNT}:service/prod/web"), "serviceName": "web",
        "clusterArn": format!("{ACCOUNT}:cluster/prod"), "status": "ACTIVE", "desiredCount": 0, "runningCount": 0,
        "launchType": "EC2", "loadBalancers": [], "events": [], "createdAt": 1.0, "taskSets": null,
        "roleArn": "arn:aws:iam::111122223333:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS",
        "schedulingStrategy": "REPLICA", "propagateTags": "NONE", "availabilityZoneRebalancing": "DISABLED",
        "deploymentConfiguration": {"deploymentCircuitBreaker": {"enable": false, "rollback": false},
            "maximumPercent": 100, "minimumHealthyPercent": 0},
        "deployments": [
            {"status": "PRIMARY", "serviceConnectConfiguration": {"enabled": true, "namespace": "ns"},
             "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}},
            {"status": "ACTIVE", "volumeConfigurations": [{"name": "old"}]},
        ],
        "tags": [{"key": "team", "value": "a"}, {"key": "aws:cloudformation:stack-name", "value": "x"},
                 {"key": "ecs-rollout:stable", "value": "x"}],
        "aNewMember": 1,
    })
}

#[test]
fn a_described_service_becomes_the_body_of_create_service() {
    let described = service(&described());
    let expected = json!({
        "cluster": "prod", "serviceName": "web", "desiredCount": 0, "launchType": "EC2", "loadBalancers": [],
        "schedulingStrategy": "REPLICA", "propagateTags": "NONE", "availabilityZoneRebalancing": "DISABLED",
        "deploymentConfiguration": {"deploymentCircuitBreaker": {"enable": false, "rollback": false},
            "maximumPercent": 100, "minimumHealthyPercent": 0},
        "serviceConnectConfiguration": {"enabled": true, "namespace": "ns"},
        "tags": [{"key": "team", "value": "a"}],
    });
    assert_eq!(Value::Object(described.members.clone()), expected);
    assert_eq!(described.unknown, ["aNewMember"]);
    for name in ["serviceArn", "status", "runningCount", "events", "createdAt", "roleArn", "deployments"] {
        assert!(described.read_only.iter().any(|one| one == name), "{name}: {described:?}");
    }
    let members = Value::Object(without_service_defaults(described.members));
    let expected = json!({
        "cluster": "prod", "serviceName": "web", "desiredCount": 0, "launchType": "EC2",
        "availabilityZoneRebalancing": "DISABLED", "tags": [{"key": "team", "value": "a"}],
        "deploymentConfiguration": {"maximumPercent": 100, "minimumHealthyPercent": 0},
        "serviceConnectConfiguration": {"enabled": true, "namespace": "ns"},
    });
    assert_eq!(members, expected);
}

#[test]
fn a_role_is_kept_unless_it_is_service_linked_and_a_strategy_replaces_the_launch_type() {
    let mut raw = described();
    raw["roleArn"] = json!("arn:aws:iam::111122223333:role/classic");
    raw["capacityProviderStrategy"] = json!([{"capacityProvider": "main", "weight": 1, "base": 0}]);
    let members = service(&raw).members;
    assert_eq!(members["role"], "arn:aws:iam::111122223333:role/classic");
    assert!(!members.contains_key("launchType"), "{members:?}");
}

#[test]
fn a_described_revision_becomes_the_body_of_register_task_definition() {
    let answer = json!({
        "taskDefinition": {
            "taskDefinitionArn": format!("{ACCOUNT}:task-definition/web:3"), "revision": 3, "status": "ACTIVE",
            "requiresAttributes": [], "compatibilities": ["EC2"], "registeredAt": 1.0, "registeredBy": "x",
            "deregisteredAt": 2.0, "deleteRequestedAt": 3.0, "family": "web", "volumes": [], "aNewMember": 1,
            "containerDefinitions": [{"name": "web", "cpu": 0, "aNewMember": 2}],
        },
        "tags": [{"key": "team", "value": "a"}, {"key": "ecs-rollout:build", "value": "7"}],
    });
    let described = task_definition(&answer);
    let expected = json!({
        "family": "web", "volumes": [], "aNewMember": 1, "tags": [{"key": "team", "value": "a"}],
        "containerDefinitions": [{"name": "web", "cpu": 0, "aNewMember": 2}],
    });
    assert_eq!(Value::Object(described.members), expected);
    assert!(described.read_only.iter().any(|name| name == "deleteRequestedAt"), "{:?}", described.read_only);
}

#[test]
fn every_form_of_a_described_service_is_accepted_as_a_definition() {
    let (web, mut api) = (described(), described());
    api["serviceName"] = json!("api");
    let both = json!({"services": [web, api], "failures": []});
    let read = |document: &Value, wanted: Option<&str>| {
        let mut notes = Vec::new();
        service_definition(document.clone(), wanted, &mut notes).map(|body| (body["serviceName"].clone(), notes))
    };
    for document in [web.clone(), json!({"service": web}), json!({"services": [web], "failures": []})] {
        let (name, notes) = read(&document, None).unwrap();
        assert_eq!(name, "web");
        assert!(notes[0].starts_with("ignored members of the service that only ECS can set: "), "{notes:?}");
        assert!(notes[1].ends_with("aNewMember"), "{notes:?}");
    }
    assert_eq!(read(&both, Some("api")).unwrap().0, "api");
    assert_eq!(read(&both, Some(&format!("{ACCOUNT}:service/prod/api"))).unwrap().0, "api");
    for (document, wanted, expected) in [
        (both.clone(), None, "it describes 2 services; choose one with `--service`: web, api"),
        (both, Some("nosuch"), "it describes no service `nosuch`, but web, api"),
        (json!({"services": [], "failures": []}), None, "it describes no service"),
        (json!({"services": [], "failures": [{"reason": "MISSING"}]}), None, "MISSING"),
    ] {
        let error = read(&document, wanted).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    let plain = json!({"serviceName": "web", "status": "typo"});
    let mut notes = Vec::new();
    assert_eq!(service_definition(plain.clone(), None, &mut notes), Ok(plain));
    assert!(notes.is_empty());
}

#[test]
fn only_members_that_make_no_difference_are_removed_from_a_task_definition() {
    let task = json!({
        "family": "web", "networkMode": "awsvpc", "volumes": [], "placementConstraints": [], "tags": [{"key": "a"}],
        "containerDefinitions": [{
            "name": "web", "image": "web:1", "cpu": 0, "memory": 128, "essential": true, "mountPoints": [],
            "environment": [{"name": "B", "value": ""}, {"name": "A", "value": "1"}], "secrets": [],
            "portMappings": [{"containerPort": 80, "hostPort": 80, "protocol": "tcp"},
                             {"containerPort": 53, "hostPort": 53, "protocol": "udp"}],
            "dockerLabels": {"a/b~c": ""},
        }],
    });
    let expected = json!({
        "family": "web", "networkMode": "awsvpc", "tags": [{"key": "a"}],
        "containerDefinitions": [{
            "name": "web", "image": "web:1", "memory": 128,
            "environment": [{"name": "A", "value": "1"}, {"name": "B", "value": ""}],
            "portMappings": [{"containerPort": 80}, {"containerPort": 53, "protocol": "udp"}],
            "dockerLabels": {"a/b~c": ""},
        }],
    });
    let small = without_task_definition_defaults(task.clone());
    assert_eq!(small, expected);
    assert_eq!(normalize::task_definition(&small), normalize::task_definition(&task));
}
