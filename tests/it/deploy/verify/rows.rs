//! Faults that refuse a deployment, look-alikes that do not, and what is only noted. Each row changes the definitions of
//! `definitions`, or the account.

use super::{Change, GROUP, IMAGE, ROLE, SECRET, unchanged};
use crate::support::rollout::account::{Account, index, instance};
use serde_json::{Value, json};

fn on_fargate(task: &mut Value, service: &mut Value) {
    service["launchType"] = json!("FARGATE");
    (task["cpu"], task["memory"]) = (json!("256"), json!("512"));
}

pub(super) fn with_strategy(service: &mut Value, account: &mut Account, scales: bool) {
    service.as_object_mut().unwrap().remove("launchType");
    service["capacityProviderStrategy"] = json!([{"capacityProvider": "main", "weight": 1}]);
    account.cluster = json!({"capacityProviders": ["main"]});
    let status = if scales { "ENABLED" } else { "DISABLED" };
    account.providers = vec![json!({"name": "main", "status": "ACTIVE", "autoScalingGroupProvider": {
        "autoScalingGroupArn": "arn:asg", "managedScaling": {"status": status}}})];
}

/// The cause, a part of its evidence, and the change that causes it.
pub(super) const REFUSED: &[(&str, &str, Change)] = &[
    ("role-absent", "execution role `execution`", |_, _, account| {
        account.absent.insert("execution".into());
    }),
    ("role-absent", "task role `arn:aws:iam::111122223333:role/task`", |_, _, account| {
        account.absent.insert("task".into());
    }),
    ("role-absent", "there is `arn:aws:iam::111122223333:role/x/task`", |_, _, account| {
        account.role_arns.insert("task".into(), "arn:aws:iam::111122223333:role/x/task".into());
    }),
    ("role-not-assumable", "allows `ec2.amazonaws.com`", |_, _, account| {
        let statement = json!({"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"},
            "Action": "sts:AssumeRole"});
        account.trust.insert("task".into(), json!({"Statement": [statement]}));
    }),
    ("execution-role-required", "container `web` uses `arn:aws:secretsmanager", |task, _, _| {
        task.as_object_mut().unwrap().remove("executionRoleArn");
    }),
    ("execution-role-required", "logs to awslogs on Fargate", |task, service, _| {
        on_fargate(task, service);
        task.as_object_mut().unwrap().remove("executionRoleArn");
        task["containerDefinitions"][0].as_object_mut().unwrap().remove("secrets");
    }),
    ("image-absent", IMAGE, |_, _, account| {
        account.absent.insert("web:1".into());
    }),
    ("image-absent", IMAGE, |_, _, account| {
        account.absent.insert("web".into());
    }),
    ("image-absent", IMAGE, |_, _, account| {
        account.absent.insert("web:1".into());
        account.cached = vec!["we".into(), "web/sub".into()];
    }),
    ("image-other-platform", "is for linux/arm64, but the tasks run on linux/amd64", |_, _, account| {
        account.manifests.insert("web:1".into(), index(&["linux/arm64", "unknown/unknown"]));
    }),
    ("image-other-platform", "is for linux/amd64, but the tasks run on linux/arm64", |task, service, account| {
        on_fargate(task, service);
        task["runtimePlatform"] = json!({"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"});
        account.manifests.insert("web:1".into(), index(&["linux/amd64"]));
    }),
    ("log-group-absent", "log group `/ecs/web` of container `web`", |_, _, account| {
        account.absent.insert("/ecs/web".into());
    }),
    ("secret-absent", "secret:db-AbCdEf` of container `web` does not exist", |_, _, account| {
        account.absent.insert(SECRET.into());
    }),
    ("secret-absent", "scheduled for deletion", |_, _, account| {
        account.secrets.insert(SECRET.into(), json!({"DeletedDate": 1.7e9}));
    }),
    ("secret-absent", "no version with the staging label `AWSPREVIOUS`", |task, _, _| {
        task["containerDefinitions"][0]["secrets"][0]["valueFrom"] = json!(format!("{SECRET}::AWSPREVIOUS:"));
    }),
    ("secret-absent", "secret `login`", |task, _, account| {
        task["containerDefinitions"][0]["repositoryCredentials"] = json!({"credentialsParameter": "login"});
        account.absent.insert("login".into());
    }),
    (
        "secret-absent",
        "secret `arn:aws:secretsmanager:eu-west-1:111122223333:secret:log-AbCdEf`",
        |task, _, account| {
            let secret = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:log-AbCdEf";
            task["containerDefinitions"][0]["logConfiguration"]["secretOptions"] =
                json!([{"name": "x", "valueFrom": secret}]);
            account.absent.insert(secret.into());
        },
    ),
    ("parameter-absent", "parameter `/prod/token`", |_, _, account| {
        account.absent.insert("/prod/token".into());
    }),
    ("parameter-absent", "parameter/plain`", |_, _, account| {
        account.absent.extend(["plain".into(), "/plain".into()]);
    }),
    ("target-group-absent", "target group `web`", |_, _, account| {
        account.absent.insert(GROUP.into());
    }),
    ("target-group-type", "target type `instance`, but the network mode is `awsvpc`", |_, _, account| {
        account.target_groups.insert(GROUP.into(), ("instance", "vpc-1", true));
    }),
    ("target-group-type", "target type `ip`, but the network mode is `bridge`", |task, service, _| {
        task.as_object_mut().unwrap().remove("networkMode");
        service.as_object_mut().unwrap().remove("networkConfiguration");
    }),
    ("target-group-vpc", "is in `vpc-2`, but the subnets are in `vpc-1`", |_, _, account| {
        account.target_groups.insert(GROUP.into(), ("ip", "vpc-2", true));
    }),
    ("target-group-unattached", "no load balancer forwards to the target group `web`", |_, _, account| {
        account.target_groups.insert(GROUP.into(), ("ip", "vpc-1", false));
    }),
    ("load-balancer-port", "port 81 of container `web`", |_, service, _| {
        service["loadBalancers"][0]["containerPort"] = json!(81);
    }),
    ("load-balancer-port", "container `app`", |_, service, _| {
        service["loadBalancers"][0]["containerName"] = json!("app");
    }),
    ("subnet-absent", "`subnet-b`", |_, _, account| {
        account.absent.insert("subnet-b".into());
    }),
    ("security-group-absent", "`sg-a`", |_, _, account| {
        account.absent.insert("sg-a".into());
    }),
    ("network-in-two-vpcs", "`subnet-a` is in `vpc-1`, `subnet-b` is in `vpc-2`", |_, _, account| {
        account.vpcs.insert("subnet-b".into(), "vpc-2");
    }),
    ("network-in-two-vpcs", "security group `sg-a` is in `vpc-2`", |_, _, account| {
        account.vpcs.insert("sg-a".into(), "vpc-2");
    }),
    ("cluster-not-active", "FAILED", |_, _, account| account.cluster = json!({"status": "FAILED"})),
    ("capacity-provider-absent", "`spot`", |_, service, account| {
        with_strategy(service, account, true);
        service["capacityProviderStrategy"][0]["capacityProvider"] = json!("spot");
    }),
    ("capacity-provider-absent", "`FARGATE_SPOT`", |task, service, account| {
        on_fargate(task, service);
        with_strategy(service, account, true);
        service["capacityProviderStrategy"][0]["capacityProvider"] = json!("FARGATE_SPOT");
    }),
    ("cluster-empty", "the cluster `prod` has no container instance", |_, _, account| account.instances = Some(vec![])),
    ("cluster-empty", "of the capacity provider `main`", |_, service, account| {
        with_strategy(service, account, false);
        let mut other = instance("0123");
        other["capacityProviderName"] = json!("other");
        account.instances = Some(vec![other]);
    }),
    ("task-too-large", "it has 4000 MiB of memory, and the task needs 5000", |task, _, _| {
        task["containerDefinitions"][0]["memory"] = json!(5000);
    }),
    ("task-too-large", "it has 2048 CPU units, and the task needs 4096", |task, _, _| task["cpu"] = json!("4 vCPU")),
    ("task-too-large", "its port 22/tcp is in use", |task, service, account| {
        task["networkMode"] = json!("bridge");
        task["containerDefinitions"][0]["portMappings"][0]["hostPort"] = json!(22);
        service.as_object_mut().unwrap().remove("networkConfiguration");
        account.target_groups.insert(GROUP.into(), ("instance", "vpc-1", true));
    }),
    ("task-too-large", "attribute `com.amazonaws.ecs.capability.logging-driver.splunk`", |task, _, _| {
        task["containerDefinitions"][0]["logConfiguration"] = json!({"logDriver": "splunk"});
    }),
    ("task-too-large", "it has 0 GPUs, and the task needs 1", |task, _, _| {
        task["containerDefinitions"][0]["resourceRequirements"] = json!([{"type": "GPU", "value": "1"}]);
    }),
    ("fargate-size", "`cpu` 256 and `memory` 4096", |task, service, _| {
        on_fargate(task, service);
        task["memory"] = json!("4 GB");
    }),
];

/// A name, and a change that looks like one above and must not refuse the deployment.
pub(super) const LOOK_ALIKES: &[(&str, Change)] = &[
    ("everything exists", unchanged),
    ("a trust policy with a list and a condition", |_, _, account| {
        let statement = json!({"Effect": "Allow", "Action": ["sts:TagSession", "sts:AssumeRole"],
            "Principal": {"Service": ["ec2.amazonaws.com", "ecs-tasks.amazonaws.com"]},
            "Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:ecs:us-east-1:999999999999:*"}}});
        account.trust.insert("task".into(), json!({"Statement": statement}));
    }),
    ("a role with a path", |task, _, account| {
        task["taskRoleArn"] = json!("arn:aws:iam::111122223333:role/x/task");
        account.role_arns.insert("task".into(), "arn:aws:iam::111122223333:role/x/task".into());
    }),
    ("no execution role, and nothing that needs one", |task, _, _| {
        task.as_object_mut().unwrap().remove("executionRoleArn");
        task["containerDefinitions"][0].as_object_mut().unwrap().remove("secrets");
    }),
    ("an image of a pull-through cache", |_, _, account| {
        account.absent.insert("hub/web:1".into());
        account.cached = vec!["hub".into()];
    }),
    ("an image of a single platform, which its manifest does not name", |_, _, account| {
        account.manifests.insert("web:1".into(), json!({"config": {}, "layers": []}));
    }),
    ("an image of the 32-bit architecture", |_, _, account| {
        account.manifests.insert("web:1".into(), index(&["linux/386"]));
    }),
    ("instances of both architectures", |_, _, account| {
        let mut arm64 = instance("4567");
        arm64["attributes"][3]["value"] = json!("arm64");
        account.instances = Some(vec![instance("0123"), arm64]);
        account.manifests.insert("web:1".into(), index(&["linux/arm64"]));
    }),
    ("an image of another registry", |task, _, account| {
        task["containerDefinitions"][0]["image"] = json!("docker.io/library/web:1");
        account.absent.insert("library/web:1".into());
    }),
    ("a log group that awslogs creates", |task, _, account| {
        task["containerDefinitions"][0]["logConfiguration"]["options"]["awslogs-create-group"] = json!("true");
        account.absent.insert("/ecs/web".into());
    }),
    ("a log group of another driver", |task, _, account| {
        task["containerDefinitions"][0]["logConfiguration"]["logDriver"] = json!("awsfirelens");
        account.absent.insert("/ecs/web".into());
    }),
    ("a secret of another region", |task, _, account| {
        let arn = "arn:aws:secretsmanager:us-east-1:111122223333:secret:db-AbCdEf";
        task["containerDefinitions"][0]["secrets"][0]["valueFrom"] = json!(arn);
        account.absent.insert(SECRET.into());
    }),
    ("a version by its id, without a label", |task, _, account| {
        task["containerDefinitions"][0]["secrets"][0]["valueFrom"] = json!(format!("{SECRET}:::0123"));
        account.secrets.insert(SECRET.into(), json!({"VersionIdsToStages": {"0123": ["old"]}}));
    }),
    ("a parameter whose name begins with a slash, by its ARN", |_, _, account| {
        account.absent.insert("plain".into());
    }),
    ("a public parameter", |task, _, account| {
        task["containerDefinitions"][0]["secrets"][1]["valueFrom"] = json!("/aws/service/x");
        account.absent.insert("/aws/service/x".into());
    }),
    ("the second target group of a blue/green deployment, which has no rule yet", |_, service, account| {
        let other = GROUP.replace("/web/", "/green/");
        service["loadBalancers"][0]["advancedConfiguration"] = json!({"alternateTargetGroupArn": other,
            "productionListenerRule": "arn:rule", "roleArn": ROLE});
        account.target_groups.insert(other, ("ip", "vpc-1", false));
    }),
    ("a port in a range", |task, service, _| {
        task["containerDefinitions"][0]["portMappings"] = json!([{"containerPortRange": "80-90"}]);
        service["loadBalancers"][0]["containerPort"] = json!(85);
    }),
    ("a security group of another VPC that is associated", |_, _, account| {
        account.vpcs.insert("sg-a".into(), "vpc-2");
        account.associated = vec!["sg-a".into()];
    }),
    ("an empty cluster that ECS scales", |_, service, account| {
        with_strategy(service, account, true);
        account.instances = Some(vec![]);
    }),
    ("an empty cluster whose default strategy scales", |_, service, account| {
        with_strategy(service, account, true);
        service.as_object_mut().unwrap().remove("capacityProviderStrategy");
        account.cluster["defaultCapacityProviderStrategy"] = json!([{"capacityProvider": "main"}]);
        account.instances = Some(vec![]);
    }),
    ("instances that are older than the capacity provider of their group", |_, service, account| {
        with_strategy(service, account, false);
    }),
    ("an empty cluster and a daemon", |_, service, account| {
        service.as_object_mut().unwrap().remove("desiredCount");
        service["schedulingStrategy"] = json!("DAEMON");
        account.instances = Some(vec![]);
    }),
    ("an empty cluster and no task", |_, service, account| {
        service["desiredCount"] = json!(0);
        account.instances = Some(vec![]);
    }),
    ("an empty cluster and Fargate", |task, service, account| {
        on_fargate(task, service);
        account.instances = Some(vec![]);
    }),
    ("managed instances, which belong to their cluster", |_, service, account| {
        with_strategy(service, account, true);
        account.cluster = json!({});
        account.providers = vec![json!({"name": "main", "status": "ACTIVE", "managedInstancesProvider": {},
            "cluster": "arn:aws:ecs:eu-west-1:111122223333:cluster/prod"})];
        account.instances = Some(vec![]);
    }),
    ("one large instance behind many small ones", |task, _, account| {
        let mut all: Vec<Value> = (0..25).map(|id| instance(&format!("{id:04}"))).collect();
        all[24]["registeredResources"][1]["integerValue"] = json!(9000);
        all[24]["remainingResources"][1]["integerValue"] = json!(9000);
        account.instances = Some(all);
        task["containerDefinitions"][0]["memory"] = json!(8000);
    }),
    ("a reservation that fits, with a limit that does not", |task, _, _| {
        task["containerDefinitions"][0]["memoryReservation"] = json!(100);
        task["containerDefinitions"][0]["memory"] = json!(9000);
    }),
    ("a host port that the network mode ignores", |task, _, _| {
        task["containerDefinitions"][0]["portMappings"] = json!([{"containerPort": 80}, {"containerPort": 22}]);
    }),
];

/// A name, a part of the note, and a change that cannot be judged, or that may go wrong.
pub(super) const NOTES: &[(&str, &str, Change)] = &[
    ("a role of another account", "not verified: task role", |task, _, account| {
        task["taskRoleArn"] = json!("arn:aws:iam::999999999999:role/task");
        account.absent.insert("task".into());
    }),
    ("a secret of another account", "not verified: secret", |task, _, account| {
        let arn = "arn:aws:secretsmanager:eu-west-1:999999999999:secret:db-AbCdEf";
        task["containerDefinitions"][0]["secrets"][0]["valueFrom"] = json!(arn);
        account.absent.insert(arn.into());
    }),
    ("a parameter of another account", "not verified: parameter", |task, _, account| {
        let arn = "arn:aws:ssm:eu-west-1:999999999999:parameter/shared";
        task["containerDefinitions"][0]["secrets"][1]["valueFrom"] = json!(arn);
        account.absent.insert("shared".into());
    }),
    ("no room now", "it has 100 free MiB of memory", |_, _, account| {
        let mut full = instance("0123");
        full["remainingResources"][1]["integerValue"] = json!(100);
        account.instances = Some(vec![full]);
    }),
    ("a disconnected agent", "its agent is not connected", |_, _, account| {
        let mut one = instance("0123");
        one["agentConnected"] = json!(false);
        account.instances = Some(vec![one]);
    }),
    ("an instance that is draining", "its status is DRAINING", |_, _, account| {
        let mut one = instance("0123");
        one["status"] = json!("DRAINING");
        account.instances = Some(vec![one]);
    }),
    ("too large for what is registered, with scaling", "needs another type of instance", |task, service, account| {
        with_strategy(service, account, true);
        let mut one = instance("0123");
        one["capacityProviderName"] = json!("main");
        account.instances = Some(vec![one]);
        task["containerDefinitions"][0]["memory"] = json!(5000);
    }),
    ("more instances than are read", "none of the 200 container instances", |task, _, account| {
        account.instances = Some((0..201).map(|id| instance(&format!("{id:04}"))).collect());
        task["containerDefinitions"][0]["memory"] = json!(5000);
    }),
];
