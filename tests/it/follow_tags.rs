//! `derive.attributes-follow`: attributes of the container instance follow the instance's tags, without a new instance.
//!
//! In: an instance that a run made ready, and changes of its tags. Out: the attributes in ECS, and the calls.

use crate::daemons::wait_until_it_waits_for;
use crate::support::aws::Fault;
use crate::support::{Instance, Outcome};
use serde_json::Value;

const ON: &str = "derive.attributes-follow=true";
const KEYS: &str = "derive.attributes=team,stack";
const AUTO: &str = "ready.attributes=auto";
const STATE: &str = "var/lib/ecs-bootstrap/attributes.json";
const TIMER: &str = "StartUnit ecs-bootstrap-watch.timer";

fn run(instance: &Instance, settings: &[&str]) -> Outcome {
    let outcome = instance.run_and_wait(settings);
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

/// Another program sets an attribute.
fn put(instance: &Instance, name: &str, value: &str) {
    instance.aws.change(|aws| drop(aws.container_instances[0].attributes.insert(name.into(), value.into())));
}

fn changes(instance: &Instance) -> (usize, usize) {
    (instance.aws.count("PutAttributes"), instance.aws.count("DeleteAttributes"))
}

/// How many entries of the journal contain this text.
fn logged(instance: &Instance, text: &str) -> usize {
    let has = |entry: &std::collections::BTreeMap<String, String>| entry.values().any(|value| value.contains(text));
    instance.journal.entries().iter().filter(|entry| has(entry)).count()
}

/// Lets the next check call ECS: a new difference waits up to a minute, and a call that failed is repeated later.
fn let_it_call(instance: &Instance) {
    let mut state: Value = serde_json::from_str(&instance.disk.text(STATE)).unwrap();
    state["calls_at"] = 0.into();
    instance.disk.write(STATE, state.to_string());
}

/// The check that sees a change of the tags, and the one that changes the attributes.
fn follow(instance: &Instance) {
    check(instance);
    let_it_call(instance);
    check(instance);
}

#[test]
fn a_changed_a_new_and_a_removed_tag_change_the_attributes_of_the_registered_instance() {
    let keys = "derive.attributes=team,stack,own,ecs-bootstrap.tasks,ecs.ami-id";
    let instance = Instance::new();
    tag(&instance, "team", Some("a"));
    tag(&instance, "own", Some("y"));
    run(&instance, &[keys, ON, "agent.ECS_INSTANCE_ATTRIBUTES={\"own\":\"x\"}"]);
    assert!(instance.systemd.calls().iter().any(|call| call == TIMER), "{:?}", instance.systemd.calls());
    put(&instance, "ecs-bootstrap.tasks", "held");
    put(&instance, "ecs.ami-id", "ami-1");
    follow(&instance);
    assert_eq!(changes(&instance), (0, 0), "the agent has registered the attributes");
    tag(&instance, "team", Some("b"));
    tag(&instance, "stack", Some("blue"));
    tag(&instance, "own", Some("z"));
    tag(&instance, "Name", Some("web"));
    follow(&instance);
    assert_eq!(logged(&instance, "stack=blue, team=b"), 1);
    assert_eq!(attribute(&instance, "team").as_deref(), Some("b"));
    assert_eq!(attribute(&instance, "stack").as_deref(), Some("blue"));
    tag(&instance, "team", None);
    tag(&instance, "stack", Some("a+b"));
    follow(&instance);
    assert_eq!((attribute(&instance, "team"), attribute(&instance, "stack")), (None, None));
    assert_eq!(logged(&instance, "stack, team"), 1, "both are deleted");
    assert_eq!(attribute(&instance, "own").as_deref(), Some("x"), "it is set by hand");
    assert_eq!(attribute(&instance, "Name"), None, "it is not in the list");
    assert_eq!(attribute(&instance, "ecs-bootstrap.tasks").as_deref(), Some("held"));
    assert_eq!(attribute(&instance, "ecs.ami-id").as_deref(), Some("ami-1"));
    assert_eq!(changes(&instance), (1, 1));
    let requests = instance.aws.requests().len();
    let state = instance.disk.read(STATE);
    for _ in 0..3 {
        check(&instance);
    }
    assert_eq!(instance.aws.requests().len(), requests, "without a change no API is called");
    assert_eq!(instance.disk.read(STATE), state);
    // The changed tag is not a fault of the registration.
    let verify = instance.run(&["verify"]);
    assert_eq!(verify.code, Some(0), "{verify:?}");
    assert!(!verify.stdout.contains("attributes-not-applied"), "{verify:?}");
}

#[test]
fn a_difference_of_many_instances_is_not_changed_at_once() {
    let instance = ready(&[KEYS, ON]);
    follow(&instance);
    let mut delays = std::collections::BTreeSet::new();
    for number in 0..8 {
        tag(&instance, "team", Some(&format!("b{number}")));
        check(&instance);
        let state: Value = serde_json::from_str(&instance.disk.text(STATE)).unwrap();
        delays.insert(state["calls_at"].as_u64().unwrap());
        let_it_call(&instance);
    }
    assert!(delays.len() > 3, "{delays:?}");
    let spread = delays.last().unwrap() - delays.first().unwrap();
    assert!(spread < 90, "{delays:?}");
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
    follow(&instance);
    tag(&instance, "team", Some("b"));
    let next_boot = "0f0f0f0f-0000-4000-8000-000000000001\n";
    instance.disk.write("proc/sys/kernel/random/boot_id", next_boot);
    // The agent keeps its registration, and ECS the attribute of before: `auto` waits for the new one.
    instance.aws.fail("PutAttributes", Fault::denied("ecs:PutAttributes"));
    let settings = [KEYS, ON, AUTO].into_iter().flat_map(|setting| ["--set", setting]);
    let running = instance.start(&["run", "--wait"].into_iter().chain(settings).collect::<Vec<_>>());
    wait_until_it_waits_for(&instance, "the attributes `team=b`");
    follow(&instance);
    let doctor = instance.run(&["doctor"]);
    assert!(doctor.stdout.contains("team=b"), "what the tags want is expected, not what ECS has: {doctor:?}");
    instance.aws.change(|aws| aws.faults.clear());
    let_it_call(&instance);
    check(&instance);
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(attribute(&instance, "team").as_deref(), Some("b"));
    assert!(!outcome.stdout.contains("note:"), "{outcome:?}");
}

#[test]
fn a_tag_that_changes_while_verify_waits_is_what_it_waits_for() {
    let instance = Instance::new().file("dev/nvidia0", "");
    tag(&instance, "team", Some("a"));
    let settings = [KEYS, ON, AUTO].into_iter().flat_map(|setting| ["--set", setting]);
    let running = instance.start(&["run", "--wait"].into_iter().chain(settings).collect::<Vec<_>>());
    wait_until_it_waits_for(&instance, "the attributes `GPUs: 1`");
    tag(&instance, "team", Some("b"));
    follow(&instance);
    instance.aws.change(|aws| aws.container_instances[0].gpus = 1);
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(!outcome.stdout.contains("note:"), "{outcome:?}");
}

#[test]
fn a_call_that_fails_is_repeated_later_and_noted() {
    for (operation, change) in
        [("PutAttributes", Some("b")), ("DeleteAttributes", None), ("DescribeContainerInstances", Some("b"))]
    {
        let instance = ready(&[KEYS, ON]);
        if operation != "DescribeContainerInstances" {
            follow(&instance);
        }
        instance.aws.fail(operation, Fault::denied(&format!("ecs:{operation}")));
        tag(&instance, "team", change);
        follow(&instance);
        let called = instance.aws.count(operation);
        for _ in 0..3 {
            check(&instance);
        }
        assert_eq!(logged(&instance, "do not follow the tags"), 1, "reported once");
        assert_eq!(instance.aws.count(operation), called, "{operation} is not called in each check");
        let doctor = instance.run(&["doctor"]);
        assert!(doctor.stdout.contains("[attributes-not-followed]"), "{doctor:?}");
        assert!(doctor.stdout.contains(&format!("ecs:{operation}: denied")), "{doctor:?}");
        instance.aws.change(|aws| aws.faults.clear());
        let_it_call(&instance);
        check(&instance);
        assert_eq!(attribute(&instance, "team").as_deref(), change, "{operation}");
        let doctor = instance.run(&["doctor"]);
        assert!(!doctor.stdout.contains("attributes-not-followed"), "{doctor:?}");
    }
}

#[test]
fn after_a_failed_call_ecs_is_asked_what_it_has() {
    let broken = Fault::error(500, "ServerException", "Service Unavailable. Please try again later.");
    let instance = ready(&[KEYS, ON]);
    follow(&instance);
    instance.aws.fail("PutAttributes", broken);
    tag(&instance, "team", Some("b"));
    follow(&instance);
    // The call was carried out, and its answer was lost. Then the tag is changed back.
    put(&instance, "team", "b");
    instance.aws.change(|aws| aws.faults.clear());
    tag(&instance, "team", Some("a"));
    follow(&instance);
    assert_eq!(attribute(&instance, "team").as_deref(), Some("a"));
    let doctor = instance.run(&["doctor"]);
    assert!(!doctor.stdout.contains("attributes-not-followed"), "{doctor:?}");
    // Someone else deletes the attribute, and then the tag is removed: ECS refuses to delete what does not exist.
    instance.aws.change(|aws| drop(aws.container_instances[0].attributes.remove("team")));
    tag(&instance, "team", None);
    tag(&instance, "stack", Some("blue"));
    follow(&instance);
    let_it_call(&instance);
    check(&instance);
    assert_eq!(attribute(&instance, "stack").as_deref(), Some("blue"));
}

#[test]
fn settings_that_change_in_the_same_boot_are_those_that_count() {
    let instance = ready(&[KEYS, ON]);
    tag(&instance, "stack", Some("blue"));
    follow(&instance);
    // A key that is no longer in the list is not changed any more.
    run(&instance, &["derive.attributes=team", ON]);
    tag(&instance, "stack", Some("green"));
    follow(&instance);
    assert_eq!(attribute(&instance, "stack").as_deref(), Some("blue"));
    let (requests, state) = (instance.aws.requests().len(), instance.disk.read(STATE));
    check(&instance);
    assert_eq!((instance.aws.requests().len(), instance.disk.read(STATE)), (requests, state));
    instance.aws.fail("PutAttributes", Fault::denied("ecs:PutAttributes"));
    tag(&instance, "team", Some("b"));
    follow(&instance);
    let doctor = instance.run(&["doctor"]);
    assert!(doctor.stdout.contains("attributes-not-followed"), "{doctor:?}");
    // Switched off.
    run(&instance, &["derive.attributes=team"]);
    let doctor = instance.run(&["doctor"]);
    assert!(!doctor.stdout.contains("attributes-not-followed"), "{doctor:?}");
    check(&instance);
    assert!(instance.systemd.calls().iter().any(|call| call == "StopUnit ecs-bootstrap-watch.timer"));
}

#[test]
fn metadata_that_is_broken_or_has_no_tags_changes_nothing() {
    use crate::support::http::Reply;
    const TAGS: &str = "/latest/meta-data/tags/instance";
    let instance = ready(&[KEYS, ON]);
    follow(&instance);
    tag(&instance, "stack", Some("blue"));
    let page = |text: &str| Reply::new(200, "text/html", text).into();
    let answers: [(&str, crate::support::http::Answer); 3] = [
        (TAGS, page("<html>\n<p>a proxy answers</p>\n</html>")),
        (TAGS, page(&(0..250).map(|number| format!("key{number}\n")).collect::<String>())),
        ("/latest/meta-data/tags/instance/stack", Reply::new(404, "text/plain", "").into()),
    ];
    for (path, answer) in answers {
        instance.imds.change(|imds| drop(imds.overrides.insert(path.into(), answer)));
        follow_or_not(&instance);
        assert_eq!(changes(&instance), (0, 0), "{path}");
        instance.imds.change(|imds| imds.overrides.clear());
    }
    instance.imds.change(|imds| imds.fault = crate::support::imds::Fault::FailsNext(100, 500));
    follow_or_not(&instance);
    instance.imds.change(|imds| (imds.fault, imds.tags) = (crate::support::imds::Fault::None, None));
    follow_or_not(&instance);
    assert_eq!(attribute(&instance, "team").as_deref(), Some("a"));
    assert_eq!(changes(&instance), (0, 0));
}

fn follow_or_not(instance: &Instance) {
    for _ in 0..2 {
        let_it_call(instance);
        check(instance);
    }
}

#[test]
fn damaged_state_costs_one_call() {
    let instance = ready(&[KEYS, ON]);
    follow(&instance);
    let described = instance.aws.count("DescribeContainerInstances");
    instance.disk.write(STATE, "{");
    follow(&instance);
    assert_eq!((instance.aws.count("DescribeContainerInstances"), changes(&instance)), (described + 1, (0, 0)));
}

#[test]
fn a_new_registration_gets_the_attributes_of_the_tags() {
    let instance = ready(&[KEYS, ON]);
    follow(&instance);
    tag(&instance, "team", Some("b"));
    follow(&instance);
    // ecs.config has the value of the boot until the next run. ECS gives the new registration another ARN.
    instance.aws.change(|aws| aws.container_instances[0].instance_id = "i-of-before".into());
    let reset = instance.run(&["reset-agent", "--yes"]);
    assert_eq!(reset.code, Some(0), "{reset:?}");
    let verify = instance.run(&["verify"]);
    assert_eq!(verify.code, Some(0), "{verify:?}");
    assert_eq!(attribute(&instance, "team").as_deref(), Some("a"));
    follow(&instance);
    assert_eq!(attribute(&instance, "team").as_deref(), Some("b"));
}

#[test]
fn a_setting_that_has_no_effect_is_a_warning() {
    let instance = Instance::new();
    tag(&instance, "team", Some("a"));
    let ten: std::collections::BTreeMap<String, &str> = (0..10).map(|number| (format!("own{number}"), "x")).collect();
    let by_hand = format!("agent.ECS_INSTANCE_ATTRIBUTES={}", serde_json::json!(ten));
    for (settings, why) in [
        (vec![ON], "`derive.attributes` has no tag"),
        (vec![ON, "derive.attributes=ecs.ami-id"], "`derive.attributes` has no tag"),
        (vec![ON, KEYS, &by_hand], "they cannot be merged with those that are set by hand"),
    ] {
        let arguments = settings.iter().flat_map(|setting| ["--set", setting]);
        let outcome = instance.run(&["plan"].into_iter().chain(arguments).collect::<Vec<_>>());
        assert!(outcome.stderr.contains("attributes-do-not-follow"), "{settings:?} {outcome:?}");
        assert!(outcome.stderr.contains(why), "{outcome:?}");
    }
    let instance = instance.setting_file("etc/ecs-bootstrap/config.toml", "[tags]\nsettings = \"none\"\n");
    let outcome = instance.run(&["plan", "--set", ON, "--set", KEYS, "--cluster", "prod"]);
    assert!(outcome.stderr.contains("`tags.settings` is `none`"), "{outcome:?}");
    let instance = instance.setting_file("etc/ecs-bootstrap/config.toml", "");
    instance.imds.change(|imds| imds.tags = None);
    let outcome = instance.run(&["plan", "--set", ON, "--set", KEYS, "--cluster", "prod"]);
    assert!(outcome.stderr.contains("tags in instance metadata are not enabled"), "{outcome:?}");
}
