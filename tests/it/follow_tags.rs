//! `derive.attributes-follow`: attributes of the container instance follow the instance's tags, without a new instance.
//!
//! In: an instance that a run made ready, and changes of its tags. Out: the attributes in ECS, and the calls.

use crate::support::aws::Fault;
use crate::support::{Instance, Outcome};
use serde_json::Value;

const ON: &str = "derive.attributes-follow=true";
const KEYS: &str = "derive.attributes=team,stack";
const STATE: &str = "var/lib/ecs-bootstrap/attributes.json";
const TIMER: &str = "StartUnit ecs-bootstrap-watch.timer";

fn run(instance: &Instance, settings: &[&str]) -> Outcome {
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let outcome = instance.run(&["run", "--wait"].into_iter().chain(settings).collect::<Vec<_>>());
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    outcome
}

fn tag(instance: &Instance, key: &str, value: Option<&str>) {
    instance.imds.change(|imds| {
        let tags = imds.tags.as_mut().expect("tags in instance metadata");
        match value {
            Some(value) => drop(tags.insert(key.to_owned(), value.to_owned())),
            None => drop(tags.remove(key)),
        }
    });
}

/// An instance with the tag `team=a` that a run with these settings made ready.
fn ready(settings: &[&str]) -> Instance {
    let instance = Instance::new();
    tag(&instance, "team", Some("a"));
    run(&instance, settings);
    instance
}

fn check(instance: &Instance) -> Outcome {
    let outcome = instance.run(&["watch"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    outcome
}

fn attribute(instance: &Instance, name: &str) -> Option<String> {
    let state = instance.aws.state();
    let state = state.lock().unwrap();
    state.container_instances.last().expect("it has registered").attributes.get(name).cloned()
}

fn changes(instance: &Instance) -> (usize, usize) {
    (instance.aws.count("PutAttributes"), instance.aws.count("DeleteAttributes"))
}

/// How many entries of the journal contain this text.
fn logged(instance: &Instance, text: &str) -> usize {
    let has = |entry: &std::collections::BTreeMap<String, String>| entry.values().any(|value| value.contains(text));
    instance.journal.entries().iter().filter(|entry| has(entry)).count()
}

/// The next check may call ECS again after a call that failed.
fn let_it_call(instance: &Instance) {
    let mut state: Value = serde_json::from_str(&instance.disk.text(STATE)).unwrap();
    state["calls_at"] = 0.into();
    instance.disk.write(STATE, state.to_string());
}

#[test]
fn a_changed_a_new_and_a_removed_tag_change_the_attributes_of_the_registered_instance() {
    let instance = ready(&[KEYS, ON, "agent.ECS_INSTANCE_ATTRIBUTES={\"own\":\"x\"}"]);
    assert!(instance.systemd.calls().iter().any(|call| call == TIMER), "{:?}", instance.systemd.calls());
    check(&instance);
    assert_eq!(changes(&instance), (0, 0), "the agent has registered the attributes");
    tag(&instance, "team", Some("b"));
    tag(&instance, "stack", Some("blue"));
    tag(&instance, "Name", Some("web"));
    check(&instance);
    assert_eq!(logged(&instance, "stack=blue, team=b"), 1);
    assert_eq!(attribute(&instance, "team").as_deref(), Some("b"));
    assert_eq!(attribute(&instance, "stack").as_deref(), Some("blue"));
    tag(&instance, "team", None);
    check(&instance);
    assert_eq!(attribute(&instance, "team"), None);
    assert_eq!(attribute(&instance, "own").as_deref(), Some("x"), "it is set by hand");
    assert_eq!(attribute(&instance, "Name"), None, "it is not in the list");
    assert_eq!(changes(&instance), (1, 1));
    let requests = instance.aws.requests().len();
    for _ in 0..3 {
        check(&instance);
    }
    assert_eq!(instance.aws.requests().len(), requests, "without a change no API is called");
    // The changed tag is not a fault of the registration.
    let verify = instance.run(&["verify"]);
    assert_eq!(verify.code, Some(0), "{verify:?}");
    assert!(!verify.stdout.contains("attributes-not-applied"), "{verify:?}");
}

#[test]
fn off_makes_no_request_and_starts_no_timer() {
    let instance = ready(&[KEYS]);
    assert!(!instance.systemd.calls().iter().any(|call| call.contains("watch")));
    tag(&instance, "team", Some("b"));
    let (aws, imds) = (instance.aws.requests().len(), instance.imds.requests().len());
    check(&instance);
    assert_eq!((instance.aws.requests().len(), instance.imds.requests().len()), (aws, imds));
    assert_eq!(attribute(&instance, "team").as_deref(), Some("a"));
    assert!(instance.disk.read(STATE).is_none());
    assert!(!instance.disk.text("run/ecs-bootstrap/plan.json").contains("\"follow\""));
}

#[test]
fn a_tag_that_was_changed_while_the_instance_was_off_is_followed_at_the_next_boot() {
    let instance = ready(&[KEYS, ON]);
    check(&instance);
    tag(&instance, "team", Some("b"));
    let next_boot = "0f0f0f0f-0000-4000-8000-000000000001\n";
    instance.disk.write("proc/sys/kernel/random/boot_id", next_boot);
    // The agent keeps its registration, and ECS the attribute of before: `auto` waits for the new one.
    let wait = "ready.attributes=auto";
    let settings = [KEYS, ON, wait].into_iter().flat_map(|setting| ["--set", setting]);
    let running = instance.start(&["run", "--wait"].into_iter().chain(settings).collect::<Vec<_>>());
    crate::daemons::wait_until_it_waits_for(&instance, "the attributes `team=b`");
    check(&instance);
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(attribute(&instance, "team").as_deref(), Some("b"));
    assert!(!outcome.stdout.contains("note:"), "{outcome:?}");
}

#[test]
fn a_call_that_fails_is_repeated_later_and_noted() {
    for (operation, change) in
        [("PutAttributes", Some("b")), ("DeleteAttributes", None), ("DescribeContainerInstances", Some("b"))]
    {
        let instance = ready(&[KEYS, ON]);
        instance.aws.fail(operation, Fault::denied(&format!("ecs:{operation}")));
        tag(&instance, "team", change);
        check(&instance);
        let called = instance.aws.count(operation);
        for _ in 0..3 {
            check(&instance);
        }
        assert_eq!(logged(&instance, "do not follow the tags"), 1, "reported once");
        assert_eq!(instance.aws.count(operation), called, "{operation} is not called in each check");
        if operation != "DescribeContainerInstances" {
            let verify = instance.run(&["verify"]);
            assert!(verify.stdout.contains("[attributes-not-followed]"), "{verify:?}");
            assert!(verify.stdout.contains(&format!("ecs:{operation}: denied")), "{verify:?}");
        }
        instance.aws.change(|aws| aws.faults.clear());
        let_it_call(&instance);
        check(&instance);
        assert_eq!(attribute(&instance, "team").as_deref(), change, "{operation}");
        let verify = instance.run(&["verify"]);
        assert!(!verify.stdout.contains("attributes-not-followed"), "{verify:?}");
    }
}

#[test]
fn an_error_of_instance_metadata_changes_nothing() {
    let instance = ready(&[KEYS, ON]);
    check(&instance);
    tag(&instance, "team", Some("b"));
    instance.imds.change(|imds| imds.tags = None);
    check(&instance);
    instance.imds.change(|imds| imds.fault = crate::support::imds::Fault::FailsNext(100, 500));
    check(&instance);
    assert_eq!(attribute(&instance, "team").as_deref(), Some("a"));
    assert_eq!(changes(&instance), (0, 0));
}

#[test]
fn damaged_state_costs_one_call() {
    let instance = ready(&[KEYS, ON]);
    check(&instance);
    let described = instance.aws.count("DescribeContainerInstances");
    instance.disk.write(STATE, "{");
    check(&instance);
    assert_eq!((instance.aws.count("DescribeContainerInstances"), changes(&instance)), (described + 1, (0, 0)));
}

#[test]
fn a_new_registration_gets_the_attributes_of_the_tags() {
    let instance = ready(&[KEYS, ON]);
    check(&instance);
    tag(&instance, "team", Some("b"));
    check(&instance);
    // ecs.config has the value of the boot until the next run.
    // ECS gives the new registration another ARN.
    instance.aws.change(|aws| aws.container_instances[0].instance_id = "i-of-before".into());
    let reset = instance.run(&["reset-agent", "--yes"]);
    assert_eq!(reset.code, Some(0), "{reset:?}");
    let verify = instance.run(&["verify"]);
    assert_eq!(verify.code, Some(0), "{verify:?}");
    assert_eq!(attribute(&instance, "team").as_deref(), Some("a"));
    check(&instance);
    assert_eq!(attribute(&instance, "team").as_deref(), Some("b"));
}

#[test]
fn a_setting_that_has_no_effect_is_a_warning() {
    let instance = Instance::new();
    instance.imds.change(|imds| imds.tags = None);
    for (settings, why) in [
        (vec!["--set", ON, "--set", KEYS, "--cluster", "prod"], "the tags are not in instance metadata"),
        (vec!["--set", ON, "--cluster", "prod"], "`derive.attributes` has no tag"),
    ] {
        let outcome = instance.run(&["plan"].into_iter().chain(settings).collect::<Vec<_>>());
        assert!(outcome.stderr.contains("attributes-do-not-follow"), "{outcome:?}");
        assert!(outcome.stderr.contains(why), "{outcome:?}");
    }
}
