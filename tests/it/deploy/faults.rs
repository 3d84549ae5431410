//! A failure of each call: the text and the JSON document say exactly what was changed.

use super::{DEPLOY, Site};
use crate::support::rollout::{Course, Fault, error};
use serde_json::{Value, json};

fn denied() -> Fault {
    error("AccessDeniedException", "User: x is not authorized to perform this action")
}

/// The state of the account that `changes` must describe.
fn account(site: &Site) -> Vec<String> {
    site.ecs.read(|world| {
        let revisions = world.families.get("web").map_or(0, Vec::len);
        let service = world.services.get("web");
        let runs = service.map(|service| service.shown["taskDefinition"].as_str().unwrap().to_owned());
        vec![revisions.to_string(), runs.unwrap_or_default(), service.map_or(0, |one| one.tasks.len()).to_string()]
    })
}

#[test]
fn a_failure_of_each_call_says_exactly_what_was_changed() {
    const CALLS: [&str; 7] = [
        "DescribeServices",
        "DescribeTaskDefinition",
        "RegisterTaskDefinition",
        "UpdateService",
        "CreateService",
        "TagResource",
        "ListTasks",
    ];
    std::thread::scope(|scope| {
        for exists in [true, false] {
            for call in CALLS {
                scope.spawn(move || (0..3).for_each(|succeed_first| check(exists, call, succeed_first)));
            }
        }
    });
}

/// Deploys `web:2` while the call `call` is denied after `succeed_first` calls.
fn check(exists: bool, call: &'static str, succeed_first: usize) {
    let mut site = Site::new();
    if exists {
        site.deployed("1");
        site.set("TAG", "2");
    }
    let tags = json!([{"key": "team", "value": "a"}]);
    site.write("service.json", &json!({"cluster": "prod", "serviceName": "web", "desiredCount": 2, "tags": tags}));
    site.ecs.change(|world| world.courses.push_back(Course::Completes(2)));
    let before = account(&site);
    site.ecs.fail_after(call, succeed_first, denied());
    let outcome = site.deploy("deploy", &["--json"]);
    let json = outcome.json();
    let case = format!("exists: {exists}, {call} fails after {succeed_first}: {json:#}");
    let changes: Vec<&str> = json["changes"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    let after = account(&site);
    let has = |text: &str| changes.iter().any(|change| change.contains(text));
    assert_eq!(has("registered web:"), before[0] != after[0], "{case}");
    assert_eq!(json["registered"], json!(before[0] != after[0]), "{case}");
    assert_eq!(has("updated service `web`") || has("created service `web`"), before[1] != after[1], "{case}");
    assert!(!has("may have"), "{case}");
    let is_deployed = json["deployment"] != Value::Null;
    assert_eq!(is_deployed, before[1] != after[1], "{case}");
    let text = format!("{} {}", json["text"], json["aftermath"]);
    assert!(outcome.code == 0 || !text.contains("nothing was changed") || changes.is_empty(), "{case}");
    if has("registered") && before[1] == after[1] {
        assert!(text.contains("is registered, but not deployed"), "{case}");
    }
}

#[test]
fn a_call_without_an_answer_may_have_been_carried_out() {
    let mut site = Site::new();
    site.deployed("1");
    site.set("TAG", "2");
    site.ecs.fail("UpdateService", vec![(500, "ServerException".into(), "no".into()); 99]);
    let run = site.start(&DEPLOY);
    site.wait_until(|site| site.ecs.bodies("UpdateService").len() >= 4);
    run.end_with(&["INT"]).ends(40, &["changed: registered web:2; UpdateService may have been carried out"]);
}

#[test]
fn text_and_document_say_that_a_revision_was_registered_although_ecs_rejects_the_change() {
    let mut site = Site::new();
    site.deployed("1");
    site.set("TAG", "2");
    site.ecs.fail("UpdateService", [error("InvalidParameterException", "no such load balancer")]);
    let outcome = site.deploy("deploy", &[]);
    outcome.ends(35, &["[not-accepted]", "web:2 is registered, but not deployed", "changed: registered web:2"]);
}
