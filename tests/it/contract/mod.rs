//! Runs the AWS calls against a moto server, a simulator of AWS that other people wrote, and the reader of MIME messages
//! against cloud-init.
//!
//! In: a moto server with clusters and instances. Out: assertions on the results of the client, and on the plan of the
//! real binary. The simulators of this repository show only what its authors believe about AWS. The tests fail without
//! a moto server and cloud-init: `tests/run contract` installs them, and no other tier runs this module.

#![allow(clippy::unwrap_used, reason = "helpers of tests; clippy knows only functions marked as tests")]

mod adoption;
mod cloud_init;
/// The verification before a deployment.
mod verification;

use crate::deploy::Site;
use crate::support::Instance;
use crate::support::imds::Imds;
use crate::support::moto::{ACCOUNT, Moto, REGION};
use ecs_bootstrap::boundary::aws::{Aws, AwsErrorKind, AwsOptions, MetricUnit, MetricValue, Transition, is_absent};
use ecs_bootstrap::boundary::imds::{Address, Imds as ImdsClient};
use ecs_bootstrap::retry::Deadline;
use std::time::{Duration, SystemTime};

/// The product's AWS client, with the credentials of the simulated instance's role.
fn client(moto: &Moto, imds: &Imds) -> Aws {
    let imds = ImdsClient::new(Address::from_environment(Some(&imds.endpoint()), None));
    let mut options = AwsOptions::new(REGION);
    options.endpoint_url = Some(moto.endpoint().to_owned());
    moto.block_on(Aws::new(imds, &options)).unwrap()
}

fn deadline() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

/// An instance that exists in moto. Its metadata is from the simulator, and the AWS endpoint is moto.
fn instance_in(moto: &Moto, tags: &[(&str, &str)]) -> Instance {
    let id = moto.run_instance(tags);
    let instance = Instance::new().without_imds_tags().env("AWS_ENDPOINT_URL", moto.endpoint());
    instance.imds.change(|imds| {
        imds.instance_id = id;
        imds.account = ACCOUNT.into();
        imds.region = REGION.into();
    });
    instance
}

fn plan(instance: &Instance, arguments: &[&str]) -> serde_json::Value {
    let outcome = instance.run(&[&["plan", "--json"], arguments].concat());
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    serde_json::from_str(&outcome.stdout).unwrap()
}

#[test]
fn reads_the_tags_of_its_own_instance_only() {
    let (moto, imds) = (Moto::start(), Imds::start());
    let id = moto.run_instance(&[("ecs-bootstrap:cluster", "prod"), ("Name", "web 1 = ü"), ("empty", "")]);
    moto.run_instance(&[("ecs-bootstrap:cluster", "other")]);
    let tags = moto.block_on(client(&moto, &imds).instance_tags(&id, deadline())).unwrap();
    let expected = [("Name", "web 1 = ü"), ("ecs-bootstrap:cluster", "prod"), ("empty", "")];
    assert!(tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).eq(expected), "{tags:?}");
}

#[test]
fn lists_and_describes_clusters_and_reports_the_missing_one() {
    let (moto, imds) = (Moto::start(), Imds::start());
    moto.create_cluster("prod", &[("stage", "prod"), ("team", "a")]);
    moto.create_cluster("dev", &[]);
    let aws = client(&moto, &imds);
    let mut arns = moto.block_on(aws.list_clusters(deadline())).unwrap();
    arns.sort();
    let arn = |name| format!("arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/{name}");
    assert_eq!(arns, [arn("dev"), arn("prod")]);
    let asked = [arn("prod"), "dev".into(), "nosuch".into()];
    let described = moto.block_on(aws.describe_clusters(&asked, deadline())).unwrap();
    let prod = described.clusters.iter().find(|cluster| cluster.name == "prod").unwrap();
    assert_eq!((prod.arn.as_str(), prod.status.as_str()), (arn("prod").as_str(), "ACTIVE"));
    assert!(prod.tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).eq([("stage", "prod"), ("team", "a")]));
    let dev = described.clusters.iter().find(|cluster| cluster.name == "dev").unwrap();
    assert!(dev.tags.is_empty());
    assert_eq!(described.clusters.len(), 2);
    assert!(matches!(described.missing.as_slice(), [one] if one.ends_with("nosuch")), "{:?}", described.missing);
}

#[test]
fn finds_a_container_instance_once_it_is_registered() {
    let (moto, imds) = (Moto::start(), Imds::start());
    moto.create_cluster("prod", &[]);
    let id = moto.run_instance(&[("Name", "web")]);
    let arn = moto.register("prod", &id, ("stack", "blue"));
    let aws = client(&moto, &imds);
    let found = moto.block_on(aws.container_instance("prod", &arn, deadline())).unwrap().unwrap();
    assert_eq!((found.arn.as_str(), found.status.as_str()), (arn.as_str(), "ACTIVE"));
    assert!(found.agent_connected);
    assert_eq!(found.ec2_instance_id.as_deref(), Some(id.as_str()));
    assert_eq!(found.attributes.get("stack").map(String::as_str), Some("blue"));
    let absent = arn.replace(arn.rsplit('/').next().unwrap(), "0123456789abcdef0123456789abcdef");
    assert_eq!(moto.block_on(aws.container_instance("prod", &absent, deadline())).unwrap(), None);
}

#[test]
fn changes_attributes_and_reads_the_account_setting_of_trunking() {
    let (moto, imds) = (Moto::start(), Imds::start());
    moto.create_cluster("prod", &[]);
    let arn = moto.register("prod", &moto.run_instance(&[("Name", "web")]), ("stack", "blue"));
    let aws = client(&moto, &imds);
    let attributes = || {
        let described = moto.block_on(aws.container_instance("prod", &arn, deadline())).unwrap().unwrap();
        let own = |name: &str| described.attributes.get(name).cloned();
        (own("stack"), own("team"))
    };
    let put = [("stack", "green"), ("team", "a")];
    moto.block_on(aws.put_attributes("prod", &arn, &put, deadline())).unwrap();
    assert_eq!(attributes(), (Some("green".into()), Some("a".into())));
    // The value must not be sent (Amazon ECS API Reference, DeleteAttributes). moto 5.2 deletes only with the value; that it
    // refuses another target shows that it reads the request.
    moto.block_on(aws.delete_attributes("prod", &arn, &["team"], deadline())).unwrap();
    let absent = arn.replace(arn.rsplit('/').next().unwrap(), "0123456789abcdef0123456789abcdef");
    let refused = moto.block_on(aws.delete_attributes("prod", &absent, &["team"], deadline())).unwrap_err();
    assert!(refused.to_string().contains("ecs:DeleteAttributes"), "{refused}");
    assert!(!moto.block_on(aws.is_trunking_on(deadline())).unwrap());
    moto.call("PutAccountSetting", &serde_json::json!({"name": "awsvpcTrunking", "value": "enabled"}));
    assert!(moto.block_on(aws.is_trunking_on(deadline())).unwrap());
}

#[test]
fn reads_secrets_parameters_objects_and_the_tokens_of_registries() {
    let (moto, imds) = (Moto::start(), Imds::start());
    let aws = client(&moto, &imds);
    let secret = serde_json::json!({"Name": "team/hub", "SecretString": "of-a-secret"});
    let created = moto.json("secretsmanager", "secretsmanager.CreateSecret", &secret);
    for id in ["team/hub", created["ARN"].as_str().unwrap()] {
        assert_eq!(moto.block_on(aws.secret_value(id, None, deadline())).unwrap(), "of-a-secret");
    }
    let parameter = serde_json::json!({"Name": "/team/hub", "Type": "SecureString", "Value": "of-a-parameter"});
    moto.json("ssm", "AmazonSSM.PutParameter", &parameter);
    assert_eq!(moto.block_on(aws.parameter_value("/team/hub", Some(REGION), deadline())).unwrap(), "of-a-parameter");
    moto.put_object("my-bucket", "fleet%2B1/ecs.config", "[not json]");
    let object = moto.block_on(aws.object("my-bucket", "fleet+1/ecs.config", deadline())).unwrap();
    assert_eq!(String::from_utf8(object).unwrap(), "[not json]");
    for error in [
        moto.block_on(aws.secret_value("gone", None, deadline())).unwrap_err(),
        moto.block_on(aws.parameter_value("gone", None, deadline())).unwrap_err(),
        moto.block_on(aws.object("my-bucket", "gone", deadline())).unwrap_err(),
        moto.block_on(aws.object("gone-bucket", "gone", deadline())).unwrap_err(),
    ] {
        assert!(is_absent(&error), "{error}");
    }
    let (user, password) = moto.block_on(aws.ecr_login(REGION, deadline())).unwrap();
    assert!(user == "AWS" && !password.is_empty());
}

#[test]
fn reads_the_images_of_a_task_definition() {
    let (moto, imds) = (Moto::start(), Imds::start());
    let secret = serde_json::json!({"credentialsParameter": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:x"});
    let task = serde_json::json!({"family": "web", "containerDefinitions": [
        {"name": "main", "image": "nginx:1", "memory": 64},
        {"name": "private", "image": "registry.example.com/app:1", "memory": 64, "repositoryCredentials": secret}]});
    let registered = moto.call("RegisterTaskDefinition", &task);
    let arn = registered["taskDefinition"]["taskDefinitionArn"].as_str().unwrap().to_owned();
    let images = moto.block_on(client(&moto, &imds).task_images(&arn, deadline())).unwrap();
    assert_eq!(images, ["nginx:1"], "of the other one only the task execution role has the credentials");
}

#[test]
fn starts_a_task_on_a_container_instance() {
    let (moto, imds) = (Moto::start(), Imds::start());
    moto.create_cluster("prod", &[]);
    let arn = moto.register("prod", &moto.run_instance(&[("Name", "web")]), ("stack", "blue"));
    let container = serde_json::json!([{"name": "main", "image": "web", "memory": 64, "cpu": 0}]);
    moto.call("RegisterTaskDefinition", &serde_json::json!({"family": "web", "containerDefinitions": container}));
    let aws = client(&moto, &imds);
    let task = moto.block_on(aws.start_task("prod", &arn, "web", deadline())).unwrap().unwrap();
    let described = moto.block_on(aws.placed_tasks("prod", std::slice::from_ref(&task), deadline())).unwrap();
    assert_eq!(described.len(), 1, "{task}");
    let refused = moto.block_on(aws.start_task("prod", &arn, "nosuch", deadline())).unwrap_err();
    assert!(refused.to_string().contains("ecs:StartTask"), "{refused}");
}

#[test]
fn drains_and_deregisters_a_container_instance_also_with_a_task() {
    let (moto, imds) = (Moto::start(), Imds::start());
    moto.create_cluster("prod", &[]);
    let arn = moto.register("prod", &moto.run_instance(&[("Name", "web")]), ("stack", "blue"));
    let container = serde_json::json!([{"name": "main", "image": "web", "memory": 64, "cpu": 0}]);
    moto.call("RegisterTaskDefinition", &serde_json::json!({"family": "web", "containerDefinitions": container}));
    let aws = client(&moto, &imds);
    assert_eq!(moto.block_on(aws.count_tasks("prod", &arn, deadline())).unwrap(), 0);
    moto.block_on(aws.start_task("prod", &arn, "web", deadline())).unwrap().unwrap();
    assert_eq!(moto.block_on(aws.count_tasks("prod", &arn, deadline())).unwrap(), 1);
    moto.block_on(aws.set_draining("prod", &arn, deadline())).unwrap().unwrap();
    let status = || {
        let described = moto.block_on(aws.container_instance("prod", &arn, deadline())).unwrap();
        described.map(|one| one.status)
    };
    assert_eq!(status().as_deref(), Some("DRAINING"));
    moto.block_on(aws.deregister("prod", &arn, deadline())).unwrap();
    assert!(status().is_none_or(|status| status == "INACTIVE"));
    let refused = moto.block_on(aws.deregister("nosuch", &arn, deadline())).unwrap_err();
    assert!(refused.to_string().contains("ecs:DeregisterContainerInstance"), "{refused}");
}

#[test]
fn reads_the_hooks_of_a_group_by_their_transition() {
    let (moto, imds) = (Moto::start(), Imds::start());
    let call = |action: &str, parameters: &[(&str, &str)]| {
        let fixed = [("Action", action), ("Version", "2011-01-01"), ("AutoScalingGroupName", "fleet")];
        moto.query("autoscaling", &[&fixed[..], parameters].concat())
    };
    let launch = [("LaunchConfigurationName", "fleet"), ("ImageId", "ami-12c6146b"), ("InstanceType", "m5.large")];
    call("CreateLaunchConfiguration", &launch);
    let group = [
        ("LaunchConfigurationName", "fleet"),
        ("MinSize", "0"),
        ("MaxSize", "0"),
        ("AvailabilityZones.member.1", "eu-west-1a"),
    ];
    call("CreateAutoScalingGroup", &group);
    for (name, transition, timeout) in [("ready", "LAUNCHING", "60"), ("drain", "TERMINATING", "300")] {
        let transition = format!("autoscaling:EC2_INSTANCE_{transition}");
        let hook =
            [("LifecycleHookName", name), ("LifecycleTransition", transition.as_str()), ("HeartbeatTimeout", timeout)];
        call("PutLifecycleHook", &hook);
    }
    let aws = client(&moto, &imds);
    for (transition, name, timeout) in [(Transition::Launching, "ready", 60), (Transition::Terminating, "drain", 300)] {
        let found = moto.block_on(aws.lifecycle_hooks("fleet", transition, deadline())).unwrap();
        let found: Vec<_> = found.iter().map(|hook| (hook.name.as_str(), hook.heartbeat_timeout.as_secs())).collect();
        assert_eq!(found, [(name, timeout)]);
    }
}

#[test]
fn reads_the_endpoints_that_the_agent_connects_to() {
    let (moto, imds) = (Moto::start(), Imds::start());
    moto.create_cluster("prod", &[]);
    let arn = moto.register("prod", &moto.run_instance(&[("Name", "web")]), ("stack", "blue"));
    let aws = client(&moto, &imds);
    let found = moto.block_on(aws.poll_endpoint("prod", &arn, deadline())).unwrap();
    // moto returns the same endpoints for every instance.
    assert_eq!(found.endpoint.as_deref(), Some("http://localhost"));
    assert_eq!(found.telemetry.as_deref(), Some("http://localhost"));
    assert!(aws.clock_ahead().is_some_and(|ahead| ahead.abs() < 60), "{:?}", aws.clock_ahead());
}

#[test]
fn reads_daemons_and_their_tasks_and_sets_an_attribute() {
    let (moto, imds) = (Moto::start(), Imds::start());
    moto.create_cluster("prod", &[]);
    let arn = moto.register("prod", &moto.run_instance(&[("Name", "web")]), ("stack", "blue"));
    let ecs = |operation: &str, body: serde_json::Value| {
        moto.json("ecs", &format!("AmazonEC2ContainerServiceV20141113.{operation}"), &body);
    };
    let container = |check| {
        serde_json::json!([{"name": "main", "image": "mesh", "memory": 64, "cpu": 0, "essential": true,
            "environment": [], "mountPoints": [], "volumesFrom": [], "healthCheck": check}])
    };
    let check = serde_json::json!({"command": ["CMD", "true"]});
    let constraint = serde_json::json!([{"type": "memberOf", "expression": "attribute:stack == blue"}]);
    let mesh = serde_json::json!({"family": "mesh", "containerDefinitions": container(check),
        "placementConstraints": constraint});
    ecs("RegisterTaskDefinition", mesh);
    ecs(
        "RegisterTaskDefinition",
        serde_json::json!({"family": "web", "containerDefinitions": [
        {"name": "main", "image": "web", "memory": 64}]}),
    );
    for (name, strategy) in [("mesh", "DAEMON"), ("web", "REPLICA")] {
        let body = serde_json::json!({"cluster": "prod", "serviceName": name, "taskDefinition": name, "desiredCount": 0,
            "schedulingStrategy": strategy});
        ecs("CreateService", body);
    }
    ecs("StartTask", serde_json::json!({"cluster": "prod", "taskDefinition": "mesh", "containerInstances": [arn]}));
    let aws = client(&moto, &imds);
    assert_eq!(moto.block_on(aws.daemon_services("prod", deadline())).unwrap(), ["mesh"]);
    let names = ["mesh".to_owned(), "web".to_owned(), "nosuch".to_owned()];
    let services = moto.block_on(aws.services("prod", &names, deadline())).unwrap();
    let [mesh, web] = &services[..] else { panic!("{services:?}") };
    assert!(mesh.is_daemon && mesh.is_active && !web.is_daemon, "{services:?}");
    // moto returns the constraints of a task definition, and not those of a service.
    let requirements = moto.block_on(aws.task_requirements(&mesh.task_definition, deadline())).unwrap();
    assert!(requirements.has_health_check, "{requirements:?}");
    assert_eq!(requirements.constraints, ["attribute:stack == blue"]);
    let requirements = moto.block_on(aws.task_requirements(&web.task_definition, deadline())).unwrap();
    assert!(!requirements.has_health_check, "{requirements:?}");
    let tasks = moto.block_on(moto.ecs().list_tasks().cluster("prod").send()).unwrap();
    let tasks = moto.block_on(aws.placed_tasks("prod", tasks.task_arns(), deadline())).unwrap();
    let [task] = &tasks[..] else { panic!("{tasks:?}") };
    // moto moves a task to its next status at each call.
    assert!(task.service.is_none() && !task.status.is_empty(), "{task:?}");
    let attributes = [("ecs-bootstrap.tasks", "allowed"), ("ecs-bootstrap.boot", "5b2c2b7e-1")];
    moto.block_on(aws.put_attributes("prod", &arn, &attributes, deadline())).unwrap();
    let found = moto.block_on(aws.container_instance("prod", &arn, deadline())).unwrap().unwrap();
    assert_eq!(found.attributes.get("ecs-bootstrap.tasks").map(String::as_str), Some("allowed"));
}

#[test]
fn stores_a_metric_with_its_dimensions() {
    let (moto, imds) = (Moto::start(), Imds::start());
    let dimensions = [("ClusterName", "prod"), ("ImageId", "ami-12c6146b"), ("InstanceType", "m5.large")];
    let value = Duration::from_millis(12_345);
    let metric = MetricValue {
        namespace: "ecs-bootstrap",
        name: "LaunchToReady",
        dimensions: &dimensions,
        value: MetricUnit::Seconds(value),
    };
    moto.block_on(client(&moto, &imds).put_metric(metric, deadline())).unwrap();
    let mut query = vec![
        ("Action".to_owned(), "GetMetricStatistics".to_owned()),
        ("Version".to_owned(), "2010-08-01".to_owned()),
        ("Namespace".to_owned(), "ecs-bootstrap".to_owned()),
        ("MetricName".to_owned(), "LaunchToReady".to_owned()),
        ("Period".to_owned(), "3600".to_owned()),
        ("Statistics.member.1".to_owned(), "Sum".to_owned()),
    ];
    let hour = Duration::from_secs(3600);
    for (name, time) in [("StartTime", SystemTime::now() - hour), ("EndTime", SystemTime::now() + hour)] {
        query.push((name.to_owned(), humantime::format_rfc3339_seconds(time).to_string()));
    }
    for (number, (name, value)) in (1..).zip(dimensions) {
        query.push((format!("Dimensions.member.{number}.Name"), name.to_owned()));
        query.push((format!("Dimensions.member.{number}.Value"), value.to_owned()));
    }
    let query: Vec<_> = query.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let found = moto.query("monitoring", &query);
    assert!(found.contains("<Sum>12.345</Sum>") && found.contains("<Unit>Seconds</Unit>"), "{found}");
}

#[test]
fn keeps_the_error_code_of_the_service() {
    let (moto, imds) = (Moto::start(), Imds::start());
    let arn = format!("arn:aws:ecs:{REGION}:{ACCOUNT}:container-instance/nosuch/0123456789abcdef0123456789abcdef");
    let aws = client(&moto, &imds);
    let error = moto.block_on(aws.container_instance("nosuch", &arn, deadline())).unwrap_err();
    let AwsErrorKind::Service { code, status, .. } = &error.kind else { panic!("{error}") };
    assert_eq!((code.as_deref(), *status), (Some("ClusterNotFoundException"), 400));
}

#[test]
fn plans_the_cluster_of_the_instance_tag() {
    let moto = Moto::start();
    moto.create_cluster("prod", &[]);
    moto.create_cluster("dev", &[]);
    let instance = instance_in(&moto, &[("ecs-bootstrap:cluster", "dev"), ("Name", "web")]);
    let plan = plan(&instance, &[]);
    assert_eq!(plan["cluster"]["value"], "dev");
    assert_eq!(plan["cluster"]["source"]["kind"], "instance-tag");
    assert!(plan["ecs_config"]["text"].as_str().unwrap().contains("ECS_CLUSTER=dev\n"), "{plan:#}");
}

#[test]
fn plans_the_only_cluster_with_the_tags() {
    let moto = Moto::start();
    moto.create_cluster("prod-a", &[("stage", "prod"), ("team", "a")]);
    moto.create_cluster("prod-b", &[("stage", "prod"), ("team", "b")]);
    moto.create_cluster("dev-b", &[("stage", "dev"), ("team", "b")]);
    let instance = instance_in(&moto, &[("Name", "web")]);
    let plan = plan(&instance, &["--set", "tags.wait=0s", "--cluster-tag", "stage=prod", "--cluster-tag", "team=b"]);
    assert_eq!(plan["cluster"]["value"], "prod-b");
    assert_eq!(plan["cluster"]["source"]["kind"], "cluster-tags");
    assert!(plan["ecs_config"]["text"].as_str().unwrap().contains("ECS_CLUSTER=prod-b\n"), "{plan:#}");
}

/// The status and the image of the service `web` in the cluster `prod`.
fn service(moto: &Moto) -> (String, String) {
    let ecs = moto.ecs();
    let described = moto.block_on(ecs.describe_services().cluster("prod").services("web").send()).unwrap();
    let service = &described.services()[0];
    let revision = service.task_definition().unwrap();
    let described = moto.block_on(ecs.describe_task_definition().task_definition(revision).send()).unwrap();
    let image = described.task_definition().unwrap().container_definitions()[0].image().unwrap().to_owned();
    (service.status().unwrap().to_owned(), image)
}

/// Creates what the verification before a deployment looks for: a container instance of the cluster, and the log group.
fn create_what_is_verified(moto: &Moto) {
    moto.register("prod", &moto.run_instance(&[("Name", "web")]), ("stack", "blue"));
    moto.json("logs", "Logs_20140328.CreateLogGroup", &serde_json::json!({"logGroupName": "/ecs/web"}));
}

#[test]
fn deploys_updates_rolls_back_and_recreates_a_deleted_service() {
    let moto = Moto::with(&[("MOTO_ECS_SERVICE_RUNNING", "2")]);
    moto.create_cluster("prod", &[]);
    create_what_is_verified(&moto);
    let mut site = Site::new().at(moto.endpoint());
    let deploy = |site: &Site, more: &[&str]| site.deploy("deploy", &[&["--timeout", "20s"], more].concat());
    deploy(&site, &["--build", "1"]).ends(0, &["create the service", "deployed web:1 (build 1)"]);
    assert_eq!(service(&moto), ("ACTIVE".to_owned(), "web:1".to_owned()));
    deploy(&site, &["--build", "2"]).ends(0, &["unchanged: service `web` already runs web:1 (build 1)"]);
    site.set("TAG", "2");
    deploy(&site, &["--build", "3"]).ends(0, &["+      \"image\": \"web:2\"", "deployed web:2"]);
    assert_eq!(service(&moto), ("ACTIVE".to_owned(), "web:2".to_owned()));
    let rollback = ["rollback", "--cluster", "prod", "--service", "web", "--timeout", "20s"];
    site.run(&rollback).ends(0, &["rolling back from web:2 to web:1 (build 1)", "runs web:1 (build 1)"]);
    assert_eq!(service(&moto).1, "web:1");
    let delete = moto.ecs().delete_service().cluster("prod").service("web").force(true);
    moto.block_on(delete.send()).unwrap();
    assert_eq!(service(&moto).0, "INACTIVE");
    deploy(&site, &[]).ends(0, &["was deleted (INACTIVE)", "keep web:2", "deployed web:2"]);
    assert_eq!(service(&moto), ("ACTIVE".to_owned(), "web:2".to_owned()));
}

#[test]
fn a_missing_cluster_and_a_missing_service_are_reported() {
    let moto = Moto::start();
    let site = Site::new().at(moto.endpoint());
    site.deploy("deploy", &[]).ends(36, &["[cluster-not-found]"]);
    moto.create_cluster("prod", &[]);
    site.run(&["status", "--cluster", "prod", "--service", "web"]).ends(36, &["[service-not-found]"]);
}
