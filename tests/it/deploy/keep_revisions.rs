//! `--keep-revisions`: which old revisions are deregistered, and which never.

use super::{Outcome, Site, existing, writes};
use crate::support::rollout::{Course, error};
use serde_json::{Value, json};

/// A site with the revisions `web:1` to `web:{revisions}`; the service runs the newest. None was marked as stable.
fn site(revisions: usize) -> Site {
    let site = Site::new();
    existing::all().remove(0).create(&site);
    site.ecs.change(|host_clients| {
        host_clients.register_more("web", (2..revisions).map(|number| format!("old:{number}")));
        host_clients.register_more("web-admin", ["other:1".to_owned(), "other:2".to_owned()]);
        host_clients.services.get_mut("web").unwrap().shown["deployments"] = json!([]);
    });
    run(&site, &["--image", "web=current"]).ends(0, &[]);
    site.ecs.change(|host_clients| {
        for revision in host_clients.families.get_mut("web").unwrap() {
            revision["tags"] = json!([]);
        }
    });
    site.ecs.forget_calls();
    site
}

fn run(site: &Site, more: &[&str]) -> Outcome {
    site.run(&[&["deploy", "--cluster", "prod", "--service", "web"], more].concat())
}

/// The numbers of the ACTIVE revisions of the family.
fn active(site: &Site, family: &str) -> Vec<i64> {
    site.ecs.read(|host_clients| {
        let revisions = host_clients.families[family].iter().filter(|one| one["status"] == "ACTIVE");
        revisions.map(|one| one["revision"].as_i64().unwrap()).collect()
    })
}

fn arn(number: usize) -> Value {
    json!(format!("arn:aws:ecs:eu-west-1:111122223333:task-definition/web:{number}"))
}

#[test]
fn the_newest_old_revisions_are_kept_and_the_others_deregistered() {
    let site = site(6);
    let outcome = run(&site, &["--image", "web=next", "--keep-revisions", "3"]);
    outcome.ends(0, &["deployed web:7", "deregistered old revisions (`--keep-revisions`): web:1, web:2, web:3"]);
    assert_eq!((active(&site, "web"), active(&site, "web-admin")), (vec![4, 5, 6, 7], vec![1, 2]));
    site.ecs.forget_calls();
    let json = run(&site, &["--image", "web=next", "--keep-revisions", "1", "--json"]).json();
    assert_eq!(json["result"], "unchanged");
    let notes = json["notes"].to_string();
    assert!(notes.contains("deregistered old revisions (`--keep-revisions`): web:4, web:5"), "{notes}");
    assert_eq!(active(&site, "web"), [6, 7]);
    run(&site, &["--image", "web=next", "--keep-revisions", "1"]).ends(0, &["unchanged"]);
    assert_eq!(active(&site, "web"), [6, 7]);
}

#[test]
fn revisions_that_anything_uses_are_never_deregistered() {
    let site = site(8);
    site.ecs.change(|host_clients| {
        // web:7 is the rollback target, web:3 was stable, web:1 runs in a task, and web:2 is that of another service.
        host_clients.families.get_mut("web").unwrap()[2]["tags"] = json!([{"key": "ecs-rollout:stable", "value": "x"}]);
        host_clients.tasks.push(json!({"taskArn": "t", "taskDefinitionArn": arn(1)}));
        let other = json!({"family": "web", "containerDefinitions": [{"name": "web", "image": "x", "memory": 1}]});
        let service = json!({"cluster": "prod", "serviceName": "other", "desiredCount": 0});
        host_clients.create_existing(&other, &service);
        host_clients.families.get_mut("web").unwrap().pop();
        let shown = &mut host_clients.services.get_mut("other").unwrap().shown;
        (shown["taskDefinition"], shown["deployments"]) =
            (arn(2), json!([{"taskDefinition": arn(4), "status": "ACTIVE"}]));
    });
    run(&site, &["--image", "web=next", "--keep-revisions", "1"]).ends(0, &["deployed web:9", "web:5, web:6, web:7\n"]);
    assert_eq!(active(&site, "web"), [1, 2, 3, 4, 8, 9]);
}

#[test]
fn newer_revisions_are_those_of_other_deployments_and_stay() {
    let site = site(3);
    site.ecs.change(|host_clients| {
        let shown = &mut host_clients.services.get_mut("web").unwrap().shown;
        for place in ["/taskDefinition", "/deployments/0/taskDefinition"] {
            *shown.pointer_mut(place).unwrap() = arn(2);
        }
    });
    run(&site, &["--image", "web=old:2", "--keep-revisions", "1"])
        .ends(0, &["unchanged: service `web` already runs web:2"]);
    assert_eq!(active(&site, "web"), [1, 2, 3]);
}

#[test]
fn every_page_of_the_revisions_is_read() {
    let site = site(230);
    let outcome = run(&site, &["--image", "web=next", "--keep-revisions", "2"]);
    outcome.ends(0, &["128 more old revisions are left to the next deployment"]);
    assert_eq!(active(&site, "web"), (101..=231).collect::<Vec<_>>());
    run(&site, &["--image", "web=next", "--keep-revisions", "2"]).ends(0, &["28 more old revisions"]);
    run(&site, &["--image", "web=next", "--keep-revisions", "2"]).ends(0, &[]);
    assert_eq!(active(&site, "web"), [229, 230, 231]);
}

#[test]
fn a_failure_is_only_a_warning() {
    for (operation, expected) in [
        ("ListTaskDefinitions", "warning: `--keep-revisions` deregistered nothing, because a call failed"),
        ("ListServices", "warning: `--keep-revisions` deregistered nothing, because a call failed"),
        ("DeregisterTaskDefinition", "warning: web:1 could not be deregistered"),
    ] {
        let site = site(4);
        site.ecs.fail_after(operation, 0, error("AccessDeniedException", "not authorized to perform: ecs:X"));
        run(&site, &["--image", "web=next", "--keep-revisions", "1"]).ends(0, &["deployed web:5", expected, "ecs:X"]);
        assert_eq!(active(&site, "web"), [1, 2, 3, 4, 5]);
    }
}

#[test]
fn a_deployment_that_fails_deregisters_nothing() {
    let site = site(4);
    site.ecs.change(|host_clients| {
        host_clients.courses.push_back(Course::Stuck("(service web) was unable to place a task.".into()))
    });
    run(&site, &["--image", "web=next", "--keep-revisions", "1", "--timeout", "3s"])
        .ends(30, &["rolled back to web:4"]);
    assert_eq!(active(&site, "web"), [1, 2, 3, 4, 5]);
    assert!(!writes(&site).iter().any(|call| call == "DeregisterTaskDefinition"));
    for arguments in
        [&["--keep-revisions", "0"][..], &["--keep-revisions", "x"], &["--keep-revisions", "1", "--no-wait"]]
    {
        run(&site, arguments).ends(2, &["--keep-revisions"]);
    }
}
