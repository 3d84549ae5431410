//! The verification before a deployment against moto: roles, images, log groups, secrets, parameters, target groups,
//! subnets and container instances that exist, and that do not.

use super::*;
use serde_json::{Value, json};

const REPOSITORY: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/web";

/// The account in moto, and the two definitions that fit it.
struct Account {
    moto: Moto,
    task: Value,
    service: Value,
}

impl Account {
    /// Creates everything that the definitions need.
    fn new() -> Self {
        let moto = Moto::start();
        moto.create_cluster("prod", &[]);
        moto.register("prod", &moto.run_instance(&[("Name", "web")]), ("stack", "blue"));
        role(&moto, "task", "/", "ecs-tasks.amazonaws.com");
        role(&moto, "execution", "/service/", "ecs-tasks.amazonaws.com");
        role(&moto, "instance", "/", "ec2.amazonaws.com");
        let ecr = "AmazonEC2ContainerRegistry_V20150921";
        moto.json("ecr", &format!("{ecr}.CreateRepository"), &json!({"repositoryName": "web"}));
        image(&moto, "1", "arm64");
        image(&moto, "2", "amd64");
        moto.json("logs", "Logs_20140328.CreateLogGroup", &json!({"logGroupName": "/ecs/web"}));
        moto.json("logs", "Logs_20140328.CreateLogGroup", &json!({"logGroupName": "/ecs/web-old"}));
        let secret = moto.json(
            "secretsmanager",
            "secretsmanager.CreateSecret",
            &json!({
            "Name": "db", "SecretString": "value", "ClientRequestToken": "00000000-0000-0000-0000-000000000001"}),
        );
        for name in ["/prod/token", "plain"] {
            let parameter = json!({"Name": name, "Value": "value", "Type": "SecureString"});
            moto.json("ssm", "AmazonSSM.PutParameter", &parameter);
        }
        let network = Network::new(&moto);
        let log = json!({"logDriver": "awslogs", "options": {"awslogs-group": "/ecs/web",
            "awslogs-region": REGION, "awslogs-stream-prefix": "ecs"}});
        let parameter = format!("arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/plain");
        let task = json!({
            "family": "web", "networkMode": "awsvpc", "taskRoleArn": "task",
            "executionRoleArn": format!("arn:aws:iam::{ACCOUNT}:role/service/execution"),
            "containerDefinitions": [{
                "name": "web", "image": format!("{REPOSITORY}:1"), "memory": 128,
                "portMappings": [{"containerPort": 80}], "logConfiguration": log,
                "secrets": [
                    {"name": "A", "valueFrom": format!("{}:key::", secret["ARN"].as_str().unwrap())},
                    {"name": "B", "valueFrom": "/prod/token"},
                    {"name": "C", "valueFrom": parameter},
                ],
            }],
        });
        let service = json!({
            "cluster": "prod", "serviceName": "web", "desiredCount": 1, "launchType": "EC2",
            "networkConfiguration": {"awsvpcConfiguration": {
                "subnets": network.subnets, "securityGroups": [network.group], "assignPublicIp": "DISABLED"}},
            "loadBalancers": [{"targetGroupArn": network.target_group, "containerName": "web", "containerPort": 80}],
        });
        Self { moto, task, service }
    }

    /// Plans the definitions after a change.
    fn plan(&self, change: impl FnOnce(&mut Value, &mut Value)) -> crate::deploy::Outcome {
        let site = Site::new().at(self.moto.endpoint());
        let (mut task, mut service) = (self.task.clone(), self.service.clone());
        change(&mut task, &mut service);
        site.write("task.json", &task);
        site.write("service.json", &service);
        site.deploy("plan", &[])
    }

    #[track_caller]
    fn refuses(&self, cause: &str, evidence: &str, change: impl FnOnce(&mut Value, &mut Value)) {
        let outcome = self.plan(change);
        outcome.ends(35, &[&format!("error: [{cause}]"), evidence]);
        assert!(!outcome.stderr.contains("also: ") && !outcome.stdout.contains("not verified"), "{outcome:#?}");
    }
}

/// A VPC with two subnets, a security group, and a target group behind a load balancer.
struct Network {
    subnets: Vec<String>,
    group: String,
    target_group: String,
}

impl Network {
    fn new(moto: &Moto) -> Self {
        let ec2 = |action: &str, more: &[(&str, &str)], id: &str| {
            let parameters = [&[("Action", action), ("Version", "2016-11-15")], more].concat();
            between(&moto.query("ec2", &parameters), id)
        };
        let elb = |action: &str, more: &[(&str, &str)], id: &str| {
            let parameters = [&[("Action", action), ("Version", "2015-12-01")], more].concat();
            between(&moto.query("elasticloadbalancing", &parameters), id)
        };
        let vpc = ec2("CreateVpc", &[("CidrBlock", "10.1.0.0/16")], "vpcId");
        let subnet = |block: &str, zone: &str| {
            let parameters = [("VpcId", vpc.as_str()), ("CidrBlock", block), ("AvailabilityZone", zone)];
            ec2("CreateSubnet", &parameters, "subnetId")
        };
        let subnets = vec![subnet("10.1.1.0/24", "eu-west-1a"), subnet("10.1.2.0/24", "eu-west-1b")];
        let names = [("GroupName", "web"), ("GroupDescription", "web"), ("VpcId", vpc.as_str())];
        let group = ec2("CreateSecurityGroup", &names, "groupId");
        let members = [("Name", "web"), ("Protocol", "HTTP"), ("Port", "80"), ("VpcId", &vpc), ("TargetType", "ip")];
        let target_group = elb("CreateTargetGroup", &members, "TargetGroupArn");
        let members =
            [("Name", "web"), ("Subnets.member.1", subnets[0].as_str()), ("Subnets.member.2", subnets[1].as_str())];
        let balancer = elb("CreateLoadBalancer", &members, "LoadBalancerArn");
        let members = [
            ("LoadBalancerArn", balancer.as_str()),
            ("Protocol", "HTTP"),
            ("Port", "80"),
            ("DefaultActions.member.1.Type", "forward"),
            ("DefaultActions.member.1.TargetGroupArn", &target_group),
        ];
        elb("CreateListener", &members, "ListenerArn");
        Self { subnets, group, target_group }
    }
}

fn role(moto: &Moto, name: &str, path: &str, service: &str) {
    let statement = json!({"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"});
    let policy = json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
    let (action, version) = (("Action", "CreateRole"), ("Version", "2010-05-08"));
    moto.query("iam", &[action, version, ("RoleName", name), ("Path", path), ("AssumeRolePolicyDocument", &policy)]);
}

/// Puts an image index with one platform.
fn image(moto: &Moto, tag: &str, architecture: &str) {
    let digest = format!("sha256:{}", tag.repeat(64));
    let index = "application/vnd.oci.image.index.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": index, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 100,
        "platform": {"architecture": architecture, "os": "linux"}}]});
    let body = json!({"repositoryName": "web", "imageTag": tag, "imageManifest": manifest.to_string(),
        "imageManifestMediaType": index});
    moto.json("ecr", "AmazonEC2ContainerRegistry_V20150921.PutImage", &body);
}

/// The text of the first element with this name.
fn between(xml: &str, name: &str) -> String {
    let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name} in {xml}"));
    rest.split('<').next().unwrap().to_owned()
}

#[test]
fn what_exists_is_found_and_what_does_not_is_a_cause() {
    let account = Account::new();
    let outcome = account.plan(|_, _| {});
    outcome.ends(0, &["create the service"]);
    assert!(!outcome.stdout.contains("note: "), "{outcome:#?}");
    account.refuses("role-absent", "`nosuch`", |task, _| task["taskRoleArn"] = json!("nosuch"));
    account.refuses("role-absent", "there is `arn:aws:iam::123456789012:role/service/execution`", |task, _| {
        task["executionRoleArn"] = json!(format!("arn:aws:iam::{ACCOUNT}:role/execution"));
    });
    account.refuses("role-not-assumable", "allows `ec2.amazonaws.com`", |task, _| {
        task["taskRoleArn"] = json!("instance");
    });
    for image in [format!("{REPOSITORY}:9"), format!("{REPOSITORY}-other:1")] {
        let outcome = account.plan(|task, _| task["containerDefinitions"][0]["image"] = json!(image));
        // moto 5.2 has no pull-through cache rules, so whether the image would be imported is not known.
        let note = format!("image `{image}`, which does not exist in ECR unless a pull-through cache rule imports it");
        outcome.ends(0, &[&note]);
    }
    account.refuses("image-other-platform", "linux/arm64, but the tasks run on linux/amd64", |task, service| {
        (task["cpu"], task["memory"]) = (json!("256"), json!("512"));
        service["launchType"] = json!("FARGATE");
    });
    let on_fargate = account.plan(|task, service| {
        (task["cpu"], task["memory"]) = (json!("256"), json!("512"));
        task["containerDefinitions"][0]["image"] = json!(format!("{REPOSITORY}:2"));
        service["launchType"] = json!("FARGATE");
    });
    on_fargate.ends(0, &["create the service"]);
    account.refuses("log-group-absent", "`/ecs/we`", |task, _| {
        task["containerDefinitions"][0]["logConfiguration"]["options"]["awslogs-group"] = json!("/ecs/we");
    });
    account.refuses("secret-absent", "secret:nosuch-AbCdEf", |task, _| {
        let arn = format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:nosuch-AbCdEf:key::");
        task["containerDefinitions"][0]["secrets"][0]["valueFrom"] = json!(arn);
    });
    account.refuses("secret-absent", "staging label `AWSPREVIOUS`", |task, _| {
        let arn = &mut task["containerDefinitions"][0]["secrets"][0]["valueFrom"];
        *arn = json!(arn.as_str().unwrap().replace(":key::", ":key:AWSPREVIOUS:"));
    });
    account.refuses("parameter-absent", "`/prod/nosuch`", |task, _| {
        task["containerDefinitions"][0]["secrets"][1]["valueFrom"] = json!("/prod/nosuch");
    });
    account.refuses("target-group-absent", "nosuch", |_, service| {
        let arn = format!("arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:targetgroup/nosuch/0123456789abcdef");
        service["loadBalancers"][0]["targetGroupArn"] = json!(arn);
    });
    account.refuses("target-group-type", "`ip`, but the network mode is `bridge`", |task, service| {
        task["networkMode"] = json!("bridge");
        service.as_object_mut().unwrap().remove("networkConfiguration");
    });
    account.refuses("subnet-absent", "`subnet-0123456789abcdef0`", |_, service| {
        let subnets = &mut service["networkConfiguration"]["awsvpcConfiguration"]["subnets"];
        subnets[1] = json!("subnet-0123456789abcdef0");
    });
    account.refuses("security-group-absent", "`sg-0123456789abcdef0`", |_, service| {
        let groups = &mut service["networkConfiguration"]["awsvpcConfiguration"]["securityGroups"];
        groups[0] = json!("sg-0123456789abcdef0");
    });
    account.refuses("task-too-large", "and the task needs 99999", |task, _| {
        task["containerDefinitions"][0]["memory"] = json!(99999);
    });
    account.moto.create_cluster("empty", &[]);
    account.refuses("cluster-empty", "`empty`", |_, service| service["cluster"] = json!("empty"));
    account.refuses("capacity-provider-absent", "`nosuch`", |_, service| {
        service.as_object_mut().unwrap().remove("launchType");
        service["capacityProviderStrategy"] = json!([{"capacityProvider": "nosuch", "weight": 1}]);
    });
}
