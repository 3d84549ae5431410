//! Generates services as ECS describes them: the members that a user may have set, in any combination, and beside them
//! the defaults and reports that ECS adds (ECS API Reference, "Service", "Deployment", "TaskDefinition"). The tests of
//! `init` in tests/it use this file too.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

const PREFIX: &str = "arn:aws:ecs:eu-west-1:111122223333";
const REVISION: &str = "arn:aws:ecs:eu-west-1:111122223333:task-definition/web:7";

/// A described service with the answer of DescribeTaskDefinition for what it runs.
pub(crate) fn described() -> impl Strategy<Value = (Value, Value)> {
    (service(), task_definition())
}

/// Text that a user may write, with references to variables, quotes and backslashes.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9 ./:_-]{0,12}",
        "[${}A-Z:?\\\\\"'\n é-]{1,10}",
        Just("${HOME}".to_owned()),
        Just("$${HOME:-/root}".to_owned()),
    ]
}

/// Some of these members.
fn some_of(members: Vec<(&'static str, Value)>) -> impl Strategy<Value = Vec<(&'static str, Value)>> {
    let most = members.len();
    subsequence(members, 0..=most)
}

fn add(to: &mut Value, members: Vec<(&'static str, Value)>) {
    members.into_iter().for_each(|(name, value)| to[name] = value);
}

fn container_members() -> Vec<(&'static str, Value)> {
    vec![
        ("cpu", json!(128)),
        ("memoryReservation", json!(64)),
        ("essential", json!(false)),
        ("entryPoint", json!(["sh", "-c"])),
        ("user", json!("1000:1000")),
        ("links", json!(["other"])),
        ("privileged", json!(true)),
        ("readonlyRootFilesystem", json!(false)),
        ("stopTimeout", json!(30)),
        ("startTimeout", json!(0)),
        ("workingDirectory", json!("")),
        ("interactive", json!(false)),
        ("extraHosts", json!([{"hostname": "db", "ipAddress": "10.0.0.1"}])),
        ("dependsOn", json!([{"containerName": "c1", "condition": "START"}])),
        ("environmentFiles", json!([{"type": "s3", "value": "arn:aws:s3:::b/x.env"}])),
        (
            "ulimits",
            json!([{"name": "nofile", "softLimit": 1, "hardLimit": 2}, {"name": "core", "softLimit": 0, "hardLimit": 0}]),
        ),
        ("resourceRequirements", json!([{"type": "GPU", "value": "1"}])),
        ("repositoryCredentials", json!({"credentialsParameter": "arn:aws:secretsmanager:eu-west-1:1:secret:x"})),
        ("restartPolicy", json!({"enabled": true, "ignoredExitCodes": [0], "restartAttemptPeriod": 300})),
        ("systemControls", json!([{"namespace": "net.core.somaxconn", "value": "1024"}])),
        (
            "linuxParameters",
            json!({"initProcessEnabled": true, "tmpfs": [], "devices": [], "capabilities": {"add": [], "drop": ["ALL"]}}),
        ),
        ("healthCheck", json!({"command": ["CMD", "true"], "interval": 30, "timeout": 5, "retries": 3})),
        (
            "healthCheck",
            json!({"command": ["CMD-SHELL", "x || exit 1"], "interval": 10, "timeout": 5, "retries": 3, "startPeriod": 60}),
        ),
        (
            "logConfiguration",
            json!({"logDriver": "awslogs", "options": {"awslogs-group": "/ecs/web", "mode": "non-blocking"}, "secretOptions": []}),
        ),
        ("firelensConfiguration", json!({"type": "fluentbit", "options": {"enable-ecs-log-metadata": "true"}})),
        (
            "secrets",
            json!([{"name": "Z", "valueFrom": "arn:aws:ssm:eu-west-1:1:parameter/z"}, {"name": "A", "valueFrom": "/a"}]),
        ),
        ("mountPoints", json!([{"sourceVolume": "data", "containerPath": "/data", "readOnly": false}])),
        ("volumesFrom", json!([{"sourceContainer": "c1", "readOnly": true}])),
        ("versionConsistency", json!("disabled")),
    ]
}

fn container(index: usize) -> impl Strategy<Value = Value> {
    let ports = select(vec![
        json!([]),
        json!([{"containerPort": 80, "hostPort": 0, "protocol": "tcp"}]),
        json!([{"containerPort": 80, "hostPort": 80, "protocol": "tcp", "name": "http", "appProtocol": "http"},
               {"containerPort": 53, "hostPort": 53, "protocol": "udp"}]),
    ]);
    let environment = proptest::collection::vec(("[A-Z_]{1,6}", text()), 0..4);
    let labels = proptest::collection::btree_map("[a-z./~-]{1,6}", text(), 0..3);
    (some_of(container_members()), ports, environment, labels, proptest::collection::vec(text(), 0..3)).prop_map(
        move |(members, ports, environment, labels, command)| {
            let environment: Vec<Value> =
                environment.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
            let mut container = json!({
                "name": format!("c{index}"), "image": "host:5000/team/web:7", "cpu": 0, "memory": 128, "essential": true,
                "environment": environment, "portMappings": ports, "mountPoints": [], "volumesFrom": [],
                "systemControls": [], "command": command, "dockerLabels": labels,
            });
            add(&mut container, members);
            container
        },
    )
}

fn task_definition() -> impl Strategy<Value = Value> {
    let members = vec![
        ("taskRoleArn", json!("arn:aws:iam::111122223333:role/team/web")),
        ("executionRoleArn", json!("arn:aws:iam::111122223333:role/exec")),
        ("networkMode", json!("awsvpc")),
        ("networkMode", json!("host")),
        ("networkMode", json!("bridge")),
        ("requiresCompatibilities", json!(["FARGATE", "EC2"])),
        ("cpu", json!("256")),
        ("memory", json!("512")),
        ("pidMode", json!("task")),
        ("ipcMode", json!("none")),
        ("ephemeralStorage", json!({"sizeInGiB": 30})),
        ("runtimePlatform", json!({"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"})),
        ("enableFaultInjection", json!(false)),
        ("placementConstraints", json!([{"type": "memberOf", "expression": "attribute:ecs.os-type == linux"}])),
        (
            "proxyConfiguration",
            json!({"type": "APPMESH", "containerName": "c0", "properties": [{"name": "ProxyIngressPort", "value": "1"}]}),
        ),
        (
            "volumes",
            json!([
                {"name": "data", "efsVolumeConfiguration": {"fileSystemId": "fs-1", "rootDirectory": "/",
                    "transitEncryption": "ENABLED", "authorizationConfig": {"accessPointId": "fsap-1", "iam": "DISABLED"}}},
                {"name": "host", "host": {"sourcePath": "/var/data"}},
                {"name": "empty", "host": {}},
                {"name": "docker", "dockerVolumeConfiguration": {"scope": "shared", "autoprovision": true, "driver": "local"}},
                {"name": "ebs", "configuredAtLaunch": true},
            ]),
        ),
    ];
    let containers = (1..4_usize).prop_flat_map(|count| (0..count).map(container).collect::<Vec<_>>());
    (some_of(members), containers).prop_map(|(members, containers)| {
        let mut task = json!({
            "taskDefinitionArn": REVISION, "family": "web", "revision": 7, "status": "ACTIVE", "volumes": [],
            "containerDefinitions": containers, "placementConstraints": [], "compatibilities": ["EC2", "EXTERNAL"],
            "requiresAttributes": [{"name": "x"}], "registeredAt": 1.0, "registeredBy": "arn:aws:iam::1:user/x",
        });
        add(&mut task, members);
        let tags = json!([{"key": "team", "value": "${a}"}, {"key": "ecs-rollout:build", "value": "6"},
            {"key": "aws:cloudformation:stack-name", "value": "x"}]);
        json!({"taskDefinition": task, "tags": tags})
    })
}

fn service_members() -> Vec<(&'static str, Value)> {
    let network = json!({"awsvpcConfiguration": {"subnets": ["subnet-2", "subnet-1"], "securityGroups": ["sg-1"],
        "assignPublicIp": "DISABLED"}});
    let strategy = json!([{"capacityProvider": "FARGATE_SPOT", "weight": 2, "base": 0},
        {"capacityProvider": "FARGATE", "weight": 1, "base": 1}]);
    let group = "arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/web/1";
    let blue_green = json!({"targetGroupArn": group, "containerName": "c0", "containerPort": 80, "advancedConfiguration": {
        "alternateTargetGroupArn": group, "productionListenerRule": "arn:r", "roleArn": "arn:aws:iam::1:role/ecs"}});
    vec![
        ("networkConfiguration", network),
        ("capacityProviderStrategy", strategy),
        ("launchType", json!("FARGATE")),
        ("launchType", json!("EXTERNAL")),
        ("platformVersion", json!("LATEST")),
        ("platformVersion", json!("1.4.0")),
        ("platformFamily", json!("Linux")),
        ("loadBalancers", json!([{"targetGroupArn": group, "containerName": "c0", "containerPort": 80}])),
        ("loadBalancers", json!([{"loadBalancerName": "classic", "containerName": "c0", "containerPort": 80}])),
        ("loadBalancers", json!([blue_green])),
        ("healthCheckGracePeriodSeconds", json!(0)),
        ("healthCheckGracePeriodSeconds", json!(60)),
        ("roleArn", json!("arn:aws:iam::1:role/ecsServiceRole")),
        ("roleArn", json!("arn:aws:iam::1:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS")),
        ("serviceRegistries", json!([{"registryArn": "arn:aws:servicediscovery:eu-west-1:1:service/srv-1"}])),
        ("schedulingStrategy", json!("DAEMON")),
        ("placementConstraints", json!([{"type": "distinctInstance"}])),
        (
            "placementStrategy",
            json!([{"type": "spread", "field": "instanceId"}, {"type": "binpack", "field": "MEMORY"}]),
        ),
        ("enableExecuteCommand", json!(true)),
        ("enableECSManagedTags", json!(true)),
        ("propagateTags", json!("TASK_DEFINITION")),
        ("availabilityZoneRebalancing", json!("ENABLED")),
        ("availabilityZoneRebalancing", json!("DISABLED")),
        ("deploymentController", json!({"type": "ECS"})),
        ("currentServiceDeployment", json!("arn:x")),
        ("aMemberOfANewerEcs", json!({"a": 1})),
        (
            "deploymentConfiguration",
            json!({"deploymentCircuitBreaker": {"enable": true, "rollback": true}, "maximumPercent": 100,
                "minimumHealthyPercent": 0, "alarms": {"alarmNames": ["a"], "enable": true, "rollback": false}}),
        ),
        (
            "deploymentConfiguration",
            json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 10, "maximumPercent": 200,
                "minimumHealthyPercent": 100, "lifecycleHooks": [{"hookTargetArn": "arn:l", "roleArn": "arn:r",
                    "lifecycleStages": ["POST_TEST_TRAFFIC_SHIFT"]}]}),
        ),
    ]
}

fn service() -> impl Strategy<Value = Value> {
    let of_deployment = vec![
        (
            "serviceConnectConfiguration",
            json!({"enabled": true, "namespace": "arn:ns", "services": [{"portName": "http", "clientAliases": [{"port": 80}]}]}),
        ),
        ("serviceConnectConfiguration", json!({"enabled": false})),
        (
            "volumeConfigurations",
            json!([{"name": "ebs", "managedEBSVolume": {"encrypted": false, "volumeType": "gp3", "sizeInGiB": 20,
                "roleArn": "arn:aws:iam::1:role/ebs"}}]),
        ),
        ("vpcLatticeConfigurations", json!([{"roleArn": "arn:r", "targetGroupArn": "arn:t", "portName": "http"}])),
        ("serviceConnectResources", json!([{"discoveryName": "x"}])),
    ];
    (some_of(service_members()), some_of(of_deployment), 0..5_u32).prop_map(|(members, of_deployment, count)| {
        let mut deployment = json!({"id": "ecs-svc/1", "status": "PRIMARY", "taskDefinition": REVISION, "createdAt": 1.0,
            "desiredCount": count, "runningCount": count, "rolloutState": "COMPLETED"});
        add(&mut deployment, of_deployment);
        let mut service = json!({
            "serviceArn": format!("{PREFIX}:service/prod/web"), "serviceName": "web", "status": "ACTIVE",
            "clusterArn": format!("{PREFIX}:cluster/prod"), "taskDefinition": REVISION, "desiredCount": count,
            "runningCount": count, "pendingCount": 0, "deployments": [deployment], "events": [], "createdAt": 1.0,
            "createdBy": "arn:aws:iam::1:role/x", "loadBalancers": [], "serviceRegistries": [], "launchType": "EC2",
            "placementConstraints": [], "placementStrategy": [], "schedulingStrategy": "REPLICA",
            "enableECSManagedTags": false, "propagateTags": "NONE", "enableExecuteCommand": false,
            "deploymentConfiguration": {"deploymentCircuitBreaker": {"enable": false, "rollback": false},
                "maximumPercent": 200, "minimumHealthyPercent": 100, "strategy": "ROLLING", "bakeTimeInMinutes": 0},
            "tags": [{"key": "team", "value": "${a}"}, {"key": "aws:cloudformation:stack-id", "value": "x"}],
        });
        add(&mut service, members);
        service
    })
}
