//! The verification before a deployment: what refuses it, the look-alikes that do not, and calls that fail.

/// Calls that are denied, fail, or have no answer.
mod failing_calls;
/// Faults and look-alikes.
mod rows;

use super::{Outcome, Site, writes};
use crate::support::rollout::account::Account;
use rows::{LOOK_ALIKES, NOTES, REFUSED};
use serde_json::{Value, json};

const ROLE: &str = "arn:aws:iam::111122223333:role/task";
const IMAGE: &str = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/web:1";
const SECRET: &str = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:db-AbCdEf";
const GROUP: &str = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web/0123456789abcdef";

/// The operations of the verification of [`definitions`], with the IAM action that each one needs.
const OPERATIONS: [(&str, &str); 11] = [
    ("GetRole", "iam:GetRole"),
    ("BatchGetImage", "ecr:BatchGetImage"),
    ("DescribeLogGroups", "logs:DescribeLogGroups"),
    ("DescribeSecret", "secretsmanager:DescribeSecret"),
    ("DescribeParameters", "ssm:DescribeParameters"),
    ("DescribeTargetGroups", "elasticloadbalancing:DescribeTargetGroups"),
    ("DescribeSubnets", "ec2:DescribeSubnets"),
    ("DescribeSecurityGroups", "ec2:DescribeSecurityGroups"),
    ("DescribeClusters", "ecs:DescribeClusters"),
    ("ListContainerInstances", "ecs:ListContainerInstances"),
    ("DescribeContainerInstances", "ecs:DescribeContainerInstances"),
];

/// Changes the task definition, the service and the account.
pub(super) type Change = fn(&mut Value, &mut Value, &mut Account);

/// A service that needs something of every service of AWS that is verified.
fn definitions() -> (Value, Value) {
    let log = json!({"logDriver": "awslogs", "options": {
        "awslogs-group": "/ecs/web", "awslogs-region": "eu-west-1", "awslogs-stream-prefix": "ecs"}});
    let task = json!({
        "family": "web", "networkMode": "awsvpc", "taskRoleArn": ROLE, "executionRoleArn": "execution",
        "containerDefinitions": [{
            "name": "web", "image": IMAGE, "memory": 128, "portMappings": [{"containerPort": 80, "hostPort": 80}],
            "logConfiguration": log,
            "secrets": [
                {"name": "A", "valueFrom": format!("{SECRET}:password::")},
                {"name": "B", "valueFrom": "/prod/token"},
                {"name": "C", "valueFrom": "arn:aws:ssm:eu-west-1:111122223333:parameter/plain"},
            ],
        }],
    });
    let network =
        json!({"subnets": ["subnet-a", "subnet-b"], "securityGroups": ["sg-a"], "assignPublicIp": "DISABLED"});
    let service = json!({
        "cluster": "prod", "serviceName": "web", "desiredCount": 2, "launchType": "EC2",
        "networkConfiguration": {"awsvpcConfiguration": network},
        "loadBalancers": [{"targetGroupArn": GROUP, "containerName": "web", "containerPort": 80}],
    });
    (task, service)
}

/// The definitions and the account after a change.
pub(super) fn site(change: Change) -> Site {
    let site = Site::new();
    let (mut task, mut service) = definitions();
    site.ecs.change(|world| change(&mut task, &mut service, &mut world.account));
    site.write("task.json", &task);
    site.write("service.json", &service);
    site
}

fn unchanged(_: &mut Value, _: &mut Value, _: &mut Account) {}

/// Runs `check` with each row, some rows at the same time, because most of them wait for a second look.
fn each<T: Sync>(rows: &[T], check: impl Fn(&T) + Sync) {
    for some in rows.chunks(8) {
        std::thread::scope(|scope| some.iter().for_each(|row| drop(scope.spawn(|| check(row)))));
    }
}

#[track_caller]
fn has_no_note(name: &str, outcome: &Outcome) {
    assert!(!outcome.stdout.contains("note: ") && !outcome.stderr.contains("note: "), "{name}: {outcome:#?}");
}

#[test]
fn a_deployment_that_would_fail_is_refused_with_its_cause_and_changes_nothing() {
    each(REFUSED, |(cause, evidence, change)| {
        let site = site(*change);
        let outcome = site.deploy("deploy", &[]);
        outcome.ends(
            35,
            &[&format!("error: [{cause}]"), evidence, "remedy: ", "nothing was registered or deployed; `--no-verify`"],
        );
        assert!(!outcome.stderr.contains("also: "), "{cause}: {outcome:#?}");
        assert!(!outcome.stderr.contains("note: "), "{cause}: {outcome:#?}");
        assert_eq!(writes(&site), [""; 0], "{cause}");
    });
}

#[test]
fn a_deployment_that_only_looks_as_if_it_would_fail_is_not_refused() {
    each(LOOK_ALIKES, |(name, change)| {
        let outcome = site(*change).deploy("plan", &[]);
        assert_eq!(outcome.code, 0, "{name}: {outcome:#?}");
        let notes = ["the service is created with one task"];
        if !notes.iter().any(|note| outcome.stdout.contains(note)) {
            has_no_note(name, &outcome);
        }
    });
}

#[test]
fn what_is_not_certain_is_a_note() {
    each(NOTES, |(name, note, change)| {
        let outcome = site(*change).deploy("plan", &[]);
        assert_eq!(outcome.code, 0, "{name}: {outcome:#?}");
        assert!(outcome.stdout.lines().any(|line| line.starts_with("note: ") && line.contains(note)), "{outcome:#?}");
    });
}

#[test]
fn something_that_was_just_created_may_be_shown_late() {
    each(&OPERATIONS[..8], |(operation, _)| {
        let site = site(unchanged);
        // The parameters are on the second page, and two roles are read.
        let calls = if ["DescribeParameters", "GetRole"].contains(operation) { 2 } else { 1 };
        site.ecs.change(|world| world.account.late = [(*operation, calls)].into());
        let outcome = site.deploy("plan", &[]);
        assert_eq!(outcome.code, 0, "{operation}: {outcome:#?}");
        has_no_note(operation, &outcome);
    });
}

#[test]
fn all_causes_are_shown_at_once_and_in_a_fixed_order() {
    let site = site(|_, service, account| {
        account.absent = ["task", "execution", "web:1", "/ecs/web", "subnet-a"].map(str::to_owned).into();
        service["loadBalancers"][0]["containerPort"] = json!(81);
    });
    let ids = ["role-absent", "image-absent", "log-group-absent", "load-balancer-port", "subnet-absent"];
    for command in ["deploy", "plan"] {
        let outcome = site.deploy(command, &[]);
        assert_eq!(outcome.code, 35, "{outcome:#?}");
        let shown = outcome.stderr.lines().filter(|line| line.starts_with("error: ") || line.starts_with("also: "));
        let shown: Vec<&str> = shown.map(|line| line.split(['[', ']']).nth(1).unwrap()).collect();
        assert_eq!(shown, ids);
        assert!(outcome.stderr.contains("task role") && outcome.stderr.contains("execution role"), "{outcome:#?}");
    }
    let outcome = site.deploy("deploy", &["--json"]).json();
    assert_eq!((&outcome["result"], &outcome["registered"]), (&json!("refused"), &json!(false)));
    assert_eq!((&outcome["cause"]["id"], outcome["also"].as_array().unwrap().len()), (&json!(ids[0]), 4));
    let plan = site.deploy("plan", &["--json"]);
    assert_eq!((plan.code, &plan.json()["exit_code"], &plan.json()["result"]), (35, &json!(35), &json!("planned")));
    let causes = plan.json()["causes"].as_array().unwrap().clone();
    assert!(causes.iter().map(|cause| &cause["id"]).eq(&ids), "{causes:?}");
    assert_eq!(writes(&site), [""; 0]);
}

#[test]
fn no_verify_skips_all_checks() {
    let site = site(|_, _, account| account.absent = ["task", "web:1", "/ecs/web"].map(str::to_owned).into());
    site.deploy("plan", &["--no-verify"]).ends(0, &["create the service"]);
    site.deploy("deploy", &["--no-verify"]).ends(0, &["deployed web:1"]);
    let calls = site.ecs.calls();
    assert!(!calls.iter().any(|call| OPERATIONS.iter().any(|(operation, _)| call == operation)), "{calls:?}");
}

#[test]
fn a_plan_without_a_change_makes_no_call_of_the_verification() {
    let site = site(unchanged);
    site.deploy("deploy", &[]).ends(0, &["deployed web:1"]);
    site.ecs.change(|world| world.account.absent = ["task", "web:1"].map(str::to_owned).into());
    for command in ["plan", "deploy"] {
        site.ecs.forget_calls();
        site.deploy(command, &[]).ends(0, &["nothing differs"]);
        let calls = site.ecs.calls();
        assert!(!calls.iter().any(|call| OPERATIONS.iter().any(|(operation, _)| call == operation)), "{calls:?}");
        assert!(calls.len() <= 4, "{calls:?}");
    }
    // An update verifies the revision that is kept, and the members that the service keeps.
    let (task, mut service) = definitions();
    site.write("task.json", &task);
    service["desiredCount"] = json!(3);
    service.as_object_mut().unwrap().remove("networkConfiguration");
    site.write("service.json", &service);
    site.ecs.change(|world| world.account.absent = ["subnet-a"].map(str::to_owned).into());
    site.deploy("plan", &[]).ends(35, &["keep web:1", "[subnet-absent]"]);
}

#[test]
fn an_empty_cluster_does_not_refuse_the_update_of_a_service() {
    let site = site(unchanged);
    site.deploy("deploy", &[]).ends(0, &["deployed web:1"]);
    site.ecs.change(|world| world.account.instances = Some(Vec::new()));
    let (mut task, _) = definitions();
    task["containerDefinitions"][0]["memory"] = json!(129);
    site.write("task.json", &task);
    site.deploy("plan", &[]).ends(0, &["update the service", "note: the cluster `prod` has no container instance"]);
}

#[test]
fn a_value_of_a_secret_is_never_read() {
    let site = site(unchanged);
    site.deploy("deploy", &[]).ends(0, &["deployed web:1"]);
    let reads = ["GetSecretValue", "BatchGetSecretValue", "GetParameter", "GetParameters"];
    assert!(!site.ecs.calls().iter().any(|call| reads.contains(&call.as_str())), "{:?}", site.ecs.calls());
}
