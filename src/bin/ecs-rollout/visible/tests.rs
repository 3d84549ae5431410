use proptest::prelude::*;

use super::hidden::HiddenValues;
use super::*;

/// Members of the model whose values are hidden: they reach the application, or a program that logs for it.
const HIDDEN_MEMBERS: [(Definition, &[&str]); 2] = [
    (
        Definition::Task,
        &[
            "containerDefinitions[].command[]",
            "containerDefinitions[].dockerLabels{}",
            "containerDefinitions[].entryPoint[]",
            "containerDefinitions[].environment[].value",
            "containerDefinitions[].firelensConfiguration.options{}",
            "containerDefinitions[].healthCheck.command[]",
            "containerDefinitions[].logConfiguration.options{}",
            "proxyConfiguration.properties[].value",
            "tags[].value",
            "volumes[].dockerVolumeConfiguration.driverOpts{}",
            "volumes[].dockerVolumeConfiguration.labels{}",
        ],
    ),
    (
        Definition::Service,
        &[
            "clientToken",
            "deploymentConfiguration.lifecycleHooks[].hookDetails",
            "serviceConnectConfiguration.logConfiguration.options{}",
            "serviceConnectConfiguration.services[].clientAliases[].testTrafficRules.header.value.exact",
            "tags[].value",
            "volumeConfigurations[].managedEBSVolume.tagSpecifications[].tags[].value",
        ],
    ),
];

/// A member that a new version of the SDK brings fails this test until it is in one of the lists.
#[test]
fn every_text_member_of_the_model_is_either_shown_or_hidden() {
    for (definition, hidden) in HIDDEN_MEMBERS {
        let members = schema::members(definition);
        let text = members
            .iter()
            .filter(|(_, kind)| matches!(kind, ValueKind::Text | ValueKind::Any))
            .map(|(path, _)| path.as_str());
        let text: BTreeSet<&str> = text.collect();
        assert!(text.len() > 70, "{text:?}");
        let is_key = |path: &&&str| path.ends_with('}') && !path.ends_with("{}");
        let (keys, shown): (Vec<&str>, BTreeSet<&str>) = (
            members::shown(definition).iter().filter(is_key).copied().collect(),
            members::shown(definition).iter().filter(|path| !is_key(path)).copied().collect(),
        );
        let hidden: BTreeSet<&str> = hidden.iter().copied().collect();
        assert_eq!(shown.intersection(&hidden).collect::<Vec<_>>(), [&""; 0]);
        assert_eq!(shown.union(&hidden).copied().collect::<BTreeSet<_>>(), text);
        for key in keys {
            let map = key.rsplit_once('{').map(|(map, _)| format!("{map}{{}}")).unwrap();
            assert!(hidden.contains(map.as_str()), "{key}");
        }
    }
}

#[test]
fn members_that_the_model_does_not_have_are_hidden() {
    let task = json!({
        "family": "web", "newMember": {"a": "s3cret", "b": 12345, "c": [true, null]},
        "containerDefinitions": [{"name": "web", "memory": 128, "essential": true, "password": "s3cret",
            "logConfiguration": {"logDriver": "splunk", "options": {"splunk-token": "s3cret", "awslogs-group": "g"}}}],
    });
    let expected = json!({
        "family": "web", "newMember": {"a": HIDDEN, "b": HIDDEN, "c": [HIDDEN, null]},
        "containerDefinitions": [{"name": "web", "memory": 128, "essential": true, "password": HIDDEN,
            "logConfiguration": {"logDriver": "splunk", "options": {"splunk-token": HIDDEN, "awslogs-group": "g"}}}],
    });
    assert_eq!(shown(Definition::Task, "", &task), expected);
}

#[test]
fn a_change_of_the_service_has_no_hidden_value() {
    let options =
        |token: &str| json!({"logConfiguration": {"logDriver": "splunk", "options": {"splunk-token": token}}});
    let text = change(
        "serviceConnectConfiguration",
        "serviceConnectConfiguration",
        &options("hunter2"),
        &options("hunter3"),
        false,
    );
    assert!(!text.contains("hunter") && text.ends_with("(hidden values differ)"), "{text}");
    assert!(
        change("serviceConnectConfiguration", "serviceConnectConfiguration", &options("hunter2"), &options("x"), true)
            .contains("hunter2")
    );
    assert_eq!(change("desiredCount", "desiredCount", &json!(1), &json!(2), false), "desiredCount 1 -> 2");
    assert_eq!(change("launchType", "launchType", &json!("EC2"), &Value::Null, false), "launchType \"EC2\" -> null");
}

#[test]
fn the_password_of_a_url_is_hidden_in_a_shown_value_too() {
    assert_eq!(without_password("https://ci:hunter2@registry/web"), "https://ci:<hidden>@registry/web");
    for text in ["web:1", "registry:5000/web@sha256:0", "https://host/a@b", "https://user@host"] {
        assert_eq!(without_password(text), text);
    }
}

fn task(environment: &str, command: &str) -> Value {
    json!({"family": "web", "taskDefinitionArn": "arn:aws:ecs:eu-west-1:111122223333:task-definition/web:1",
        "containerDefinitions": [{"name": "web", "image": "repo/web:2024", "command": ["run", command],
            "environment": [{"name": "A", "value": environment}]}]})
}

#[test]
fn messages_have_no_hidden_value_in_any_form() {
    for (value, message, expected) in [
        ("hunter2", "invalid value 'hunter2' for A", "invalid value '<hidden>' for A"),
        ("hunter2", "hunter2000 is another word", "hunter2000 is another word"),
        ("correct-horse", "xcorrect-horsex", "x<hidden>x"),
        ("first line\nsecond line", "bad: first line", "bad: <hidden>"),
        ("a \"quoted\" one", r#"{"value":"a \"quoted\" one"}"#, r#"{"value":"<hidden>"}"#),
        ("postgres://u:hunter2@db/x", "password hunter2 rejected", "password <hidden> rejected"),
        ("correct-horse-battery", "cut at correct-hor...", "cut at <hidden>"),
        ("a&b<correct>", r#"{"A":"a\u0026b\u003ccorrect\u003e"}"#, r#"{"A":"<hidden>"}"#),
        ("web", "service web is fine", "service web is fine"),
        ("eu-west-1", "arn:aws:ecs:eu-west-1:111122223333:x", "arn:aws:ecs:eu-west-1:111122223333:x"),
        ("8080", "port 8080 is in use", "port 8080 is in use"),
        ("error", "level=error", "level=error"),
    ] {
        let hidden = HiddenValues::new(false);
        hidden.learn(Definition::Task, &task(value, ""));
        assert_eq!(hidden.without(message), expected, "{value}");
        assert_eq!(hidden.without_in(&json!([{"a": message}])), json!([{"a": expected}]));
    }
    let hidden = HiddenValues::new(false);
    hidden.learn(Definition::Task, &task("x", "--password=hunter2"));
    let message = "exec: \"--password=hunter2\": executable file not found in $PATH";
    assert_eq!(hidden.without(message), "exec: \"<hidden>\": executable file not found in $PATH");
    assert_eq!(hidden.without("hunter2 is wrong"), "<hidden> is wrong");
}

#[test]
fn a_value_that_is_shown_elsewhere_is_no_secret_and_values_are_shown_on_request() {
    let hidden = HiddenValues::new(false);
    hidden.hide("repo/web:2024");
    hidden.hide("prod-cluster");
    hidden.learn(Definition::Task, &task("2024-token", ""));
    hidden.show("prod-cluster");
    let message = "repo/web:2024 in prod-cluster with 2024-token, task-definition/web:1";
    assert_eq!(hidden.without(message), "repo/web:2024 in prod-cluster with <hidden>, task-definition/web:1");
    let all = HiddenValues::new(true);
    all.learn(Definition::Task, &task("2024-token", ""));
    assert_eq!(all.without(message), message);
}

/// A definition with a text of its own at each place of the model: the definition, the texts that are hidden, and those
/// that are shown.
fn planted(definition: Definition, salt: u32) -> (Value, Vec<String>, Vec<String>) {
    let model = Model::of(definition);
    let mut root = json!({});
    let (mut hidden, mut visible) = (Vec::new(), Vec::new());
    for (number, (path, kind)) in model.members.iter().enumerate() {
        let text = format!("planted-{salt:08x}-{number:03}");
        let value = match kind {
            ValueKind::Number => json!(7),
            ValueKind::Boolean => json!(true),
            ValueKind::Text => json!(text),
            ValueKind::Any => json!({"any": [text]}),
        };
        if matches!(kind, ValueKind::Text | ValueKind::Any) {
            if model.shown.contains(path.as_str()) { visible.push(text) } else { hidden.push(text) }
        }
        let mut place = &mut root;
        for step in path.replace("[]", ".0").replace("{}", ".some-key").split('.') {
            if step == "0" {
                if !place.is_array() {
                    *place = json!([null]);
                }
                place = &mut place[0];
            } else {
                if place.is_null() {
                    *place = json!({});
                }
                place = &mut place[step];
            }
        }
        *place = value;
    }
    (root, hidden, visible)
}

#[test]
fn a_text_at_each_place_of_the_model_is_shown_or_hidden_in_every_form() {
    for (definition, salt) in [(Definition::Task, 1), (Definition::Task, 2), (Definition::Service, 3)] {
        let (before, old_hidden, _) = planted(definition, salt);
        let (after, new_hidden, visible) = planted(definition, salt + 100);
        let form = shown(definition, "", &after).to_string();
        let diff = crate::diff::unified(&before, &after, ("a", "b"), false);
        let members = after.as_object().unwrap().iter();
        let changes: String = members.map(|(name, value)| change(name, name, &before[name], value, false)).collect();
        let values = HiddenValues::new(false);
        values.learn(definition, &before);
        values.learn(definition, &after);
        let message = values.without(&format!("ECS quotes {before} and {after}"));
        for text in old_hidden.iter().chain(&new_hidden) {
            for (place, shown) in [("form", &form), ("changes", &changes), ("message", &message)] {
                assert!(!shown.contains(text.as_str()), "{text} in {place}: {shown}");
            }
            assert!(definition == Definition::Service || !diff.contains(text.as_str()), "{text}: {diff}");
        }
        for text in &visible {
            let place = if definition == Definition::Service { &changes } else { &diff };
            assert!(form.contains(text.as_str()) && place.contains(text.as_str()), "{text}");
        }
    }
}

proptest! {
    #[test]
    fn no_message_contains_a_hidden_value(
        value in "[A-Za-z0-9 \"\\\\\n=/+_-]{8,40}", before in "[ -~]{0,20}", after in "[ -~]{0,20}"
    ) {
        prop_assume!(value.trim().len() >= 8 && !value.starts_with('/'));
        let hidden = HiddenValues::new(false);
        hidden.learn(Definition::Task, &task(&value, ""));
        let text = hidden.without(&format!("{before}{value}{after}"));
        prop_assert!(!text.contains(value.trim()), "{text:?}");
    }
}
