//! The tables: they name only members that exist, decide the order of every list, and mean what their sources say.

use super::*;

fn all_rules() -> [(&'static str, &'static Members, &'static [Rule]); 2] {
    [
        ("task definition", schema::task_definition(), super::super::task_definition::RULES),
        ("service", schema::service(), super::super::service::RULES),
    ]
}

#[test]
fn each_row_is_about_a_member_of_the_sdk_and_has_a_source() {
    for (what, members, rules) in all_rules() {
        for rule in rules {
            assert!(members.get(rule.path).is_some(), "{what}: {} is not a member of the SDK", rule.path);
            assert!(rule.source.len() > 5, "{what}: {}", rule.path);
        }
    }
}

#[test]
fn the_table_says_of_each_list_whether_its_order_has_a_meaning() {
    for (what, members, rules) in all_rules() {
        for (path, _) in members.iter().filter(|(_, kind)| *kind == MemberType::List) {
            let rows = rules.iter().filter(|rule| rule.path == path);
            let decides = rows.filter(|rule| matches!(rule.effect, Effect::Ordered | Effect::Unordered(_))).count();
            assert_eq!(decides, 1, "{what}: the order of {path}");
        }
    }
}

#[test]
fn each_member_of_the_sdk_is_compared() {
    // One value at each place of an otherwise equal document, so that no member is forgotten.
    for normalizer in [of_task_definition(), of_service()] {
        for (path, kind) in normalizer.members.iter() {
            if path.starts_with("tags") || path.ends_with("[]") || path.ends_with("{}") {
                continue;
            }
            let value = match kind {
                MemberType::Boolean => json!(normalizer.default(path) != Some(json!(true))),
                MemberType::Integer | MemberType::Decimal => json!(77),
                MemberType::Text | MemberType::Any => json!("77"),
                MemberType::List | MemberType::Map | MemberType::Object => continue,
            };
            let document = nested(path, value);
            let name = path.split(['.', '[']).next().unwrap();
            let mut with = document[name].clone();
            if name == "serviceConnectConfiguration" {
                with["enabled"] = json!(true);
            }
            if path.ends_with("environment[].name") {
                continue; // A variable without a value is dropped.
            }
            assert_ne!(normalizer.member(name, &with), Value::Null, "{path}");
        }
    }
}

/// A document that has only this member.
fn nested(path: &str, value: Value) -> Value {
    path.rsplit('.').fold(value, |value, name| match name.strip_suffix("[]") {
        Some(name) => json!({name: [value]}),
        None => json!({name: value}),
    })
}

#[test]
fn members_that_describe_services_lacks_are_compared_by_their_hashes() {
    let top = schema::service().iter().map(|(path, _)| path).filter(|path| !path.contains(['.', '[', '{']));
    let names: Vec<_> = top.filter(|path| hidden::is_never_returned(path)).collect();
    assert_eq!(names, ["gatewayConnectors", "monitoring"], "compared by their hashes");
}

#[test]
fn a_reversed_list_is_a_difference_only_if_its_order_has_a_meaning() {
    let service = |name: &str, list: Value| of_service().member(name, &list);
    let spread = json!({"type": "spread", "field": "attribute:ecs.availability-zone"});
    let binpack = json!({"type": "binpack", "field": "memory"});
    assert_ne!(
        service("placementStrategy", json!([spread, binpack])),
        service("placementStrategy", json!([binpack, spread]))
    );
    let constraints = [json!({"type": "distinctInstance"}), json!({"type": "memberOf", "expression": "x"})];
    assert_eq!(
        service("placementConstraints", json!(constraints)),
        service("placementConstraints", json!([constraints[1], constraints[0]]))
    );
    let container =
        |name: &str, list: Value| task_definition(&json!({"containerDefinitions": [{"name": "web", name: list}]}));
    for name in ["command", "entryPoint", "dnsServers", "dnsSearchDomains"] {
        assert_ne!(container(name, json!(["a", "b"])), container(name, json!(["b", "a"])), "{name}");
    }
    let files = |a: &str, b: &str| json!([{"type": "s3", "value": a}, {"type": "s3", "value": b}]);
    assert_ne!(container("environmentFiles", files("a", "b")), container("environmentFiles", files("b", "a")));
    let hosts = |a: &str, b: &str| json!([{"hostname": "db", "ipAddress": a}, {"hostname": "db", "ipAddress": b}]);
    assert_ne!(container("extraHosts", hosts("1", "2")), container("extraHosts", hosts("2", "1")));
    for name in ["links", "dockerSecurityOptions"] {
        assert_eq!(container(name, json!(["a", "b"])), container(name, json!(["b", "a"])), "{name}");
    }
}

#[test]
fn other_spellings_of_the_same_value_are_equal() {
    let task = |name: &str, value: &str| task_definition(&json!({name: value}))[name].clone();
    for (name, spellings) in [
        ("cpu", &["256", "0.25 vCPU", ".25vcpu", " 256 ", "0.25 VCPU"][..]),
        ("cpu", &["1024", "1 vCPU", "1vcpu"]),
        ("memory", &["512", "0.5 GB", "0.5GB", ".5 gb"]),
    ] {
        for spelling in spellings {
            assert_eq!(task(name, spelling), task(name, spellings[0]), "{spelling}");
        }
    }
    let strategy =
        |field: &str, kind: &str| of_service().member("placementStrategy", &json!([{"type": kind, "field": field}]));
    assert_eq!(strategy("host", "spread"), strategy("instanceId", "spread"));
    assert_eq!(strategy("MEMORY", "binpack"), strategy("memory", "binpack"));
    assert_ne!(strategy("cpu", "binpack"), strategy("memory", "binpack"));
    assert_eq!(strategy("", "random"), strategy("cpu", "random"));
    let arn = "arn:aws:iam::111122223333:role/team/web";
    for (named, same) in [("team/web", true), ("/team/web", true), (arn, true), ("web", false), ("other", false)] {
        assert_eq!(is_same_role(named, arn), same, "{named}");
    }
    assert!(is_same_role(
        "AWSServiceRoleForECS",
        "arn:aws:iam::1:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS"
    ));
}

#[test]
fn empty_forms_are_equal_to_an_absent_member_except_where_empty_is_a_value() {
    let with = |more: Value| {
        let mut container = json!({"name": "web"});
        more.as_object().unwrap().iter().for_each(|(name, value)| container[name] = value.clone());
        task_definition(&json!({"containerDefinitions": [container]}))
    };
    for more in [
        json!({"command": []}),
        json!({"linuxParameters": {}}),
        json!({"linuxParameters": {"capabilities": {"add": [], "drop": null}}}),
        json!({"user": ""}),
        json!({"user": null}),
        json!({"logConfiguration": null}),
        json!({"dockerLabels": {}}),
        json!({"mountPoints": [{}]}),
        json!({"restartPolicy": {"enabled": false}}),
        json!({"environment": [{"name": "A"}]}),
    ] {
        assert_eq!(with(more.clone()), with(json!({})), "{more}");
    }
    for more in [
        json!({"environment": [{"name": "A", "value": ""}]}),
        json!({"dockerLabels": {"a": ""}}),
        json!({"command": [""]}),
        json!({"essential": false}),
    ] {
        assert_ne!(with(more.clone()), with(json!({})), "{more}");
    }
}

#[test]
fn a_member_that_the_sdk_does_not_know_is_compared_as_far_as_ecs_returns_it() {
    let task = |more: Value| json!({"family": "web", "containerDefinitions": [{"name": "web", "newer": more}]});
    let without = json!({"family": "web", "containerDefinitions": [{"name": "web"}]});
    let hashes = |task: &Value| hidden::Hashes::of_task_definition(task);
    let equal = |desired: &Value, actual: &Value, tag: Option<&str>| {
        let (remembered, hashes) = (hidden::Hashes::read(tag), hashes(desired));
        let normalized = task_definition(desired);
        of_task_definition()
            .reconcile(&normalized, &task_definition(actual), "", &|path| remembered.remember(path, &hashes))
            .is_equal()
    };
    let (one, two) = (task(json!({"a": [1, 2]})), task(json!({"a": [2, 1]})));
    assert!(equal(&one, &one, None), "ECS returns it");
    assert!(!equal(&one, &two, None), "nothing is known of it, not even that its order has no meaning");
    assert!(equal(&without, &one, None), "a default of a newer ECS");
    assert!(!equal(&one, &without, None), "it was never sent");
    let tag = hashes(&one).tag().unwrap();
    assert!(equal(&one, &without, Some(&tag)), "ECS does not return it, and it was sent: {tag}");
    assert!(!equal(&two, &without, Some(&tag)));
    assert_eq!(hidden::Hashes::read(Some(&tag)).removed(&hashes(&without)), ["containerDefinitions[].newer"]);
}

#[test]
fn the_tag_of_many_members_is_not_too_long_and_still_remembers_them() {
    let many = |value: u32| {
        let members = (0..30).map(|index| (format!("aVeryLongMemberName{index}"), json!(value)));
        Value::Object(members.collect())
    };
    let (hashes, other) = (hidden::Hashes::of_task_definition(&many(1)), hidden::Hashes::of_task_definition(&many(2)));
    let tag = hashes.tag().unwrap();
    assert!(tag.len() <= 256, "{tag}");
    let read = hidden::Hashes::read(Some(&tag));
    assert!(read.remember("aVeryLongMemberName3", &hashes));
    assert!(!read.remember("aVeryLongMemberName3", &other));
}
