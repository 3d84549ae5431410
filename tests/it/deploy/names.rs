//! Names and ARNs: each command accepts both, calls use the cluster of an ARN, and names that contradict each other are
//! refused before any call.

use super::{Site, writes};
use crate::support::rollout::{ACCOUNT, Ecs};
use serde_json::{Value, json};

const SERVICE: &str = "arn:aws:ecs:eu-west-1:111122223333:service/prod/web";
const OLD_FORM: &str = "arn:aws:ecs:eu-west-1:111122223333:service/web";
const CLUSTER: &str = "arn:aws:ecs:eu-west-1:111122223333:cluster/prod";

/// A service definition without names.
fn unnamed() -> Site {
    let site = Site::new();
    site.write("service.json", &json!({"desiredCount": 2}));
    site
}

/// The names of cluster and service in the bodies of an operation.
fn names(ecs: &Ecs, operation: &str) -> Vec<(Value, Value)> {
    let of_body = |body: Value| {
        let service = ["serviceName", "service"].into_iter().find_map(|name| body.get(name).cloned());
        (body["cluster"].clone(), service.unwrap_or_else(|| body["services"][0].clone()))
    };
    ecs.bodies(operation).into_iter().map(of_body).collect()
}

#[test]
fn a_service_is_created_and_updated_by_its_arn() {
    for names_of_service in [&["--service", SERVICE][..], &["--service", OLD_FORM, "--cluster", "prod"]] {
        let site = unnamed();
        site.deploy("plan", names_of_service).ends(0, &["service `web` of cluster `prod` does not exist"]);
        site.deploy("deploy", names_of_service).ends(0, &["deployed web:1", "service `web`"]);
        site.deploy("deploy", &[names_of_service, &["--image", "web=web:2"]].concat()).ends(0, &["deployed web:2"]);
        for operation in ["DescribeServices", "CreateService", "UpdateService"] {
            let found = names(&site.ecs, operation);
            assert!(!found.is_empty() && found.iter().all(|one| *one == (json!(CLUSTER), json!("web"))), "{found:?}");
        }
    }
}

#[test]
fn names_in_the_service_definition_may_be_arns() {
    let site = Site::new();
    site.write("service.json", &json!({"serviceName": SERVICE, "desiredCount": 2}));
    site.deploy("deploy", &[]).ends(0, &["deployed web:1"]);
    assert_eq!(names(&site.ecs, "CreateService"), [(json!(CLUSTER), json!("web"))]);
    site.write("service.json", &json!({"serviceName": SERVICE, "cluster": "test", "desiredCount": 2}));
    site.deploy("plan", &[]).ends(35, &["`serviceName` is a service of the cluster `prod`", "`cluster` names"]);
}

/// The resource id of Application Auto Scaling has names. With an ARN, no target would be found, and the count that
/// it has set would be overwritten.
#[test]
fn the_desired_count_is_kept_for_a_service_that_is_named_by_its_arn() {
    let site = unnamed();
    site.deploy("deploy", &["--service", SERVICE]).ends(0, &[]);
    site.ecs.change(|state| {
        state.is_scaled = true;
        state.services.get_mut("web").unwrap().shown["desiredCount"] = json!(5);
    });
    for name in [SERVICE, "web"] {
        site.deploy("plan", &["--service", name, "--cluster", CLUSTER]).ends(0, &["the desired count stays 5, not 2"]);
    }
    for body in site.ecs.bodies("DescribeScalableTargets") {
        assert_eq!(body["ResourceIds"], json!(["service/prod/web"]));
    }
}

#[test]
fn status_and_rollback_accept_arns() {
    let mut site = Site::new();
    site.deployed("1");
    site.deployed("2");
    for names in [&["--service", SERVICE][..], &["--service", "web", "--cluster", CLUSTER]] {
        site.run(&[&["status"], names].concat()).ends(0, &["service `web` of cluster `prod` is stable"]);
    }
    let revision = format!("arn:aws:ecs:eu-west-1:{ACCOUNT}:task-definition/web:1");
    site.run(&["rollback", "--service", SERVICE, "--to", &revision]).ends(0, &["runs web:1"]);
    site.run(&["rollback", "--service", SERVICE, "--to", "2"]).ends(0, &["runs web:2"]);
    assert!(names(&site.ecs, "UpdateService").iter().all(|one| *one == (json!(CLUSTER), json!("web"))));
}

#[test]
fn a_rollback_to_a_named_revision_of_another_family_is_carried_out() {
    let mut site = Site::new();
    site.deployed("1");
    site.write(
        "other.json",
        &json!({"family": "other", "containerDefinitions": [{"name": "web", "image": "web:0", "memory": 1}]}),
    );
    let other = ["deploy", "--task-definition", "other.json", "--cluster", "prod", "--service", "other"];
    site.run(&other).ends(0, &["deployed other:1"]);
    let names = ["--cluster", "prod", "--service", "web"];
    site.run(&[&["rollback", "--to", "other:1"], &names[..]].concat())
        .ends(0, &["rolling back from web:1 to other:1", "service `web` runs other:1"]);
}

#[test]
fn names_that_contradict_each_other_are_refused_before_any_call() {
    let mut site = Site::new();
    site.deployed("1");
    for (arguments, expected) in [
        (&["--service", SERVICE, "--cluster", "test"][..], "names the cluster `test`"),
        (&["--service", SERVICE, "--region", "us-east-1"], "`--region` is `us-east-1`"),
        (&["--service", "web", "--cluster", CLUSTER, "--region", "us-east-1"], "`--region` is `us-east-1`"),
        (&["--service", "arn:aws:ecs:eu-west-1:111122223333:task-definition/web:1"], "the ARN of a task-definition"),
        (&["--service", "prod/web", "--cluster", "prod"], "neither the name nor the ARN of a service"),
        (&["--service", "web", "--cluster", SERVICE], "the ARN of a service, not of a cluster"),
        (&["--service", OLD_FORM, "--cluster", "arn:aws:ecs:eu-west-1:444455556666:cluster/prod"], "`444455556666`"),
    ] {
        for command in ["plan", "deploy"] {
            site.deploy(command, arguments).ends(35, &["[bad-option]", expected]);
        }
        for command in ["status", "rollback"] {
            site.run(&[&[command], arguments].concat()).ends(35, &["[bad-option]", expected]);
        }
    }
    site.run(&["status", "--service", "web"]).ends(35, &["the cluster is not named"]);
    assert_eq!(site.ecs.calls(), [""; 0]);
    for (revision, expected) in [
        (SERVICE, "the ARN of a service"),
        ("arn:aws:ecs:us-east-1:111122223333:task-definition/web:1", "it is in the region `us-east-1`"),
        ("web:latest", "neither a number nor FAMILY:REVISION"),
    ] {
        site.run(&["rollback", "--service", SERVICE, "--to", revision]).ends(35, &["[bad-option]", expected]);
    }
    let revision = "arn:aws:ecs:eu-west-1:111122223333:task-definition/web:1";
    site.run(&["deploy", "--task-definition", revision]).ends(35, &["a file is expected here", "rollback --to"]);
    assert_eq!(writes(&site), [""; 0]);
}
