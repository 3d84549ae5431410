//! Services that exist before ecs-rollout is used, as ECS describes them: for the simulated API, and what of them moto
//! knows.

#[path = "../../../src/bin/ecs-rollout/init/generated.rs"]
mod generated;

use super::Site;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

/// Generated services as ECS describes them, each with the answer of DescribeTaskDefinition for what it runs; the same
/// ones at each run.
pub(crate) fn described(count: usize) -> Vec<(Value, Value)> {
    let mut runner = TestRunner::deterministic();
    let strategy = generated::described();
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

/// A service, as the bodies of RegisterTaskDefinition and CreateService.
pub(crate) struct Existing {
    pub(crate) name: &'static str,
    pub(crate) task: Value,
    pub(crate) service: Value,
}

/// A service `web` with these members of the task definition, of its container, and of the service.
fn existing(name: &'static str, task: Value, container: Value, service: Value) -> Existing {
    let with = |mut base: Value, more: &Value| {
        more.as_object().unwrap().iter().for_each(|(member, value)| base[member] = value.clone());
        base
    };
    let container = with(json!({"name": "web", "image": "host:5000/team/web:1", "memory": 128}), &container);
    let base = json!({"family": "web", "containerDefinitions": [container]});
    let service = with(json!({"cluster": "prod", "serviceName": "web", "desiredCount": 2}), &service);
    Existing { name, task: with(base, &task), service }
}

/// Services of each kind.
pub(crate) fn all() -> Vec<Existing> {
    let group = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/web/0123456789abcdef";
    let ports = json!({"portMappings": [{"containerPort": 80, "name": "http"}]});
    let balanced = json!({"targetGroupArn": group, "containerName": "web", "containerPort": 80});
    let efs = json!({"volumes": [{"name": "data", "efsVolumeConfiguration": {
        "fileSystemId": "fs-1", "transitEncryption": "ENABLED", "authorizationConfig": {"iam": "ENABLED"}}}]});
    let advanced = json!({"alternateTargetGroupArn": group, "productionListenerRule": "arn:x", "roleArn": "arn:y"});
    let blue_green = json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 10});
    vec![
        existing("plain", json!({}), json!({}), json!({})),
        existing(
            "variables of the container itself",
            json!({"tags": [{"key": "team", "value": "a"}]}),
            json!({"command": ["sh", "-c", "echo ${HOME} $${HOME:-x} \\${TAG} $HOME"], "dockerLabels": {"a/b": "${X"},
                   "environment": [{"name": "B", "value": "${TAG}"}, {"name": "A", "value": "\"\n$"}]}),
            json!({"tags": [{"key": "team", "value": "${a}"}]}),
        ),
        existing(
            "capacity providers",
            json!({}),
            json!({}),
            json!({"capacityProviderStrategy": [{"capacityProvider": "main", "weight": 1, "base": 0}]}),
        ),
        existing("load balancer", json!({}), ports.clone(), json!({"loadBalancers": [balanced]})),
        existing(
            "classic load balancer",
            json!({}),
            ports.clone(),
            json!({"loadBalancers": [{"loadBalancerName": "web", "containerName": "web", "containerPort": 80}],
                   "role": "arn:aws:iam::123456789012:role/ecsServiceRole"}),
        ),
        existing(
            "service connect",
            json!({}),
            ports.clone(),
            json!({"serviceConnectConfiguration": {"enabled": true, "namespace": "prod", "services": [{
                "portName": "http", "clientAliases": [{"port": 80, "dnsName": "web"}]}]}}),
        ),
        existing(
            "service registry",
            json!({}),
            ports.clone(),
            json!({"serviceRegistries": [{
                "registryArn": "arn:aws:servicediscovery:eu-west-1:1:service/srv-1",
                "containerName": "web",
                "containerPort": 80,
            }]}),
        ),
        existing("daemon", json!({"networkMode": "host"}), ports.clone(), json!({"schedulingStrategy": "DAEMON"})),
        existing(
            "placement",
            json!({"placementConstraints": [{"type": "memberOf", "expression": "attribute:a == b"}]}),
            json!({}),
            json!({"placementConstraints": [{"type": "distinctInstance"}],
                   "placementStrategy": [{"type": "spread", "field": "attribute:ecs.availability-zone"}]}),
        ),
        existing("EFS", efs, json!({"mountPoints": [{"sourceVolume": "data", "containerPath": "/data"}]}), json!({})),
        existing(
            "EBS",
            json!({"volumes": [{"name": "ebs", "configuredAtLaunch": true}]}),
            json!({}),
            json!({"volumeConfigurations": [{"name": "ebs", "managedEBSVolume": {"roleArn": "arn:x", "sizeInGiB": 20}}]}),
        ),
        existing(
            "Fargate",
            json!({"networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512",
                   "runtimePlatform": {"cpuArchitecture": "ARM64"}, "ephemeralStorage": {"sizeInGiB": 30}}),
            ports.clone(),
            json!({"launchType": "FARGATE", "platformVersion": "1.4.0", "healthCheckGracePeriodSeconds": 60}),
        ),
        existing(
            "blue/green",
            json!({}),
            ports,
            json!({"deploymentConfiguration": blue_green, "loadBalancers": [{"targetGroupArn": group,
                   "containerName": "web", "containerPort": 80, "advancedConfiguration": advanced}]}),
        ),
        existing(
            "all switches",
            json!({"pidMode": "task", "enableFaultInjection": true}),
            json!({"secrets": [{"name": "B", "valueFrom": "/b"}, {"name": "A", "valueFrom": "/a"}],
                   "healthCheck": {"command": ["CMD", "true"], "startPeriod": 10}, "stopTimeout": 5}),
            json!({"enableExecuteCommand": true, "enableECSManagedTags": true, "propagateTags": "SERVICE",
                   "availabilityZoneRebalancing": "DISABLED", "deploymentConfiguration": {
                       "maximumPercent": 100, "minimumHealthyPercent": 0,
                       "deploymentCircuitBreaker": {"enable": true, "rollback": true}}}),
        ),
    ]
}

impl Existing {
    /// Creates it in the simulated API, and lets the API describe it as ECS does: `role` as `roleArn`, some members only
    /// at the deployment, and members that only ECS sets.
    pub(crate) fn create(&self, site: &Site) {
        site.ecs.change(|host_clients| host_clients.create_existing(&self.task, &self.service));
        site.ecs.change(|host_clients| {
            let shown = &mut host_clients.services.get_mut("web").unwrap().shown;
            let members = shown.as_object_mut().unwrap();
            let role = members.remove("role").unwrap_or_else(|| {
                json!("arn:aws:iam::1:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS")
            });
            members.insert("roleArn".to_owned(), role);
            for name in ["serviceConnectConfiguration", "volumeConfigurations"] {
                if let Some(value) = shown.as_object_mut().unwrap().remove(name) {
                    shown["deployments"][0][name] = value;
                }
            }
            for (name, value) in [
                ("createdBy", json!("arn:aws:iam::1:role/x")),
                ("platformVersion", json!("LATEST")),
                ("platformFamily", json!("Linux")),
                ("placementStrategy", json!([])),
                ("loadBalancers", json!([])),
                ("aMemberOfANewerEcs", json!(1)),
            ] {
                if shown[name].is_null() {
                    shown[name] = value;
                }
            }
            let mut tags = shown["tags"].as_array().cloned().unwrap_or_default();
            tags.push(json!({"key": "aws:cloudformation:stack-name", "value": "x"}));
            shown["tags"] = json!(tags);
        });
    }
}
