//! `ready.attributes`: the instance is ready when its container instance has the attributes.
//!
//! In: a simulated cluster, an agent, and what another program changes while verify waits. Out: the verdict, and the calls.

use crate::daemons::{wait_until_it_waits_for, with};
use crate::support::aws::Fault;
use crate::support::aws::tasks::Service;
use crate::support::{Instance, Outcome};

const AUTO: &str = "ready.attributes=auto";
/// The agent asks for a trunk interface.
const INTERFACES: &str = "agent.ECS_ENABLE_TASK_ENI=true";
const SOON: &str = "ready.deadline=3s";

fn run(instance: &Instance, settings: &[&str]) -> Outcome {
    instance.run_and_wait(settings)
}

fn said(outcome: &Outcome) -> String {
    format!("{}{}", outcome.stdout, outcome.stderr)
}

/// Sets an attribute of the container instance, as another program does.
fn put(instance: &Instance, name: &str, value: &str) {
    instance.aws.change(|aws| drop(aws.container_instances[0].attributes.insert(name.into(), value.into())));
}

#[test]
fn the_instance_is_ready_when_another_program_has_set_the_attribute() {
    let instance = Instance::new();
    let settings = ["ready.attributes=stack=blue,zone", "ready.deadline=60s"];
    let running = instance.start(&["run", "--wait", "--set", settings[0], "--set", settings[1]]);
    wait_until_it_waits_for(&instance, "the attributes `stack=blue`, `zone`");
    put(&instance, "stack", "green");
    put(&instance, "zone", "a");
    wait_until_it_waits_for(&instance, "the attributes `stack=blue`");
    put(&instance, "stack", "blue");
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(instance.aws.count("ListAccountSettings"), 0, "a named attribute needs no other call");
}

#[test]
fn at_the_deadline_a_missing_attribute_fails_or_is_noted() {
    for (at_deadline, code) in [("fail", 13), ("allow", 0)] {
        let at_deadline = format!("ready.at-deadline={at_deadline}");
        let instance = Instance::new();
        let outcome = run(&instance, &["ready.attributes=stack=blue,zone", SOON, &at_deadline]);
        assert_eq!(outcome.code, Some(code), "{outcome:?}");
        for missing in ["`stack=blue`: the container instance has no such attribute", "`zone`: the container instance"]
        {
            assert!(said(&outcome).contains(missing), "{outcome:?}");
        }
        assert!(said(&outcome).contains("attributes-missing"), "{outcome:?}");
    }
}

#[test]
fn a_healthy_instance_has_what_auto_expects() {
    let instance = Instance::new();
    instance.aws.change(|aws| (aws.is_trunking_on, aws.attaches_trunk, aws.gpus) = (true, true, 2));
    let instance = instance.file("dev/nvidia0", "").file("dev/nvidia1", "").file("dev/nvidiactl", "");
    let attributes = "agent.ECS_INSTANCE_ATTRIBUTES={\"team\":\"a\"}";
    let drivers = "agent.ECS_AVAILABLE_LOGGING_DRIVERS=[\"awslogs\",\"none\"]";
    let outcome = run(&instance, &[AUTO, attributes, drivers]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(!said(&outcome).contains("note:"), "{outcome:?}");
    assert_eq!(instance.aws.count("ListAccountSettings"), 0, "the trunk interface is there");
    assert_eq!(instance.aws.count("DescribeContainerInstances"), 1);
}

#[test]
fn each_attribute_that_auto_expects_is_named_with_its_reason() {
    type Change = fn(&Instance);
    let trunk: Change = |instance| instance.aws.change(|aws| aws.is_trunking_on = true);
    let gpu: Change = |instance| {
        instance.disk.write("dev/nvidia0", "");
        instance.disk.write("dev/nvidia1", "");
        instance.aws.change(|aws| aws.gpus = 1);
    };
    let driver: Change = |instance| instance.agent.change(|agent| agent.unsupported_driver = "splunk");
    let registered: Change = |instance| {
        assert_eq!(instance.run(&["run", "--wait"]).code, Some(0), "the first registration has no attributes");
    };
    for (change, setting, seen, asked) in [
        (trunk, INTERFACES, "`ecs.awsvpc-trunk-id`: the account setting `awsvpcTrunking` is on", 1),
        (gpu, "agent.ECS_LOGLEVEL=info", "`GPUs: 2`: the agent has registered 1", 0),
        (driver, "agent.ECS_AVAILABLE_LOGGING_DRIVERS=[\"splunk\"]", "capability.logging-driver.splunk`", 0),
        (
            registered,
            "agent.ECS_INSTANCE_ATTRIBUTES={\"team\":\"a\"}",
            "`team=a`: the container instance has no such",
            0,
        ),
    ] {
        let instance = Instance::new();
        change(&instance);
        let outcome = run(&instance, &[AUTO, SOON, setting]);
        assert_eq!(outcome.code, Some(13), "{seen} {outcome:?}");
        assert!(said(&outcome).contains("[attributes-missing]") && said(&outcome).contains(seen), "{outcome:?}");
        assert_eq!(instance.aws.count("ListAccountSettings"), asked, "{seen}");
        let doctor = instance.run(&["doctor"]);
        assert_eq!(doctor.code, Some(13), "{doctor:?}");
        assert!(said(&doctor).contains(seen), "{doctor:?}");
    }
}

#[test]
fn what_is_switched_off_is_not_expected() {
    for off in ["derive.gpu=off", "agent.ECS_ENABLE_GPU_SUPPORT=false"] {
        let instance = Instance::new().file("dev/nvidia0", "");
        let outcome = run(&instance, &[AUTO, SOON, off]);
        assert_eq!(outcome.code, Some(0), "{off}: {outcome:?}");
    }
    let outcome = run(&Instance::new(), &[AUTO, SOON, "derive.gpu=on"]);
    assert_eq!(outcome.code, Some(13), "GPUs are switched on, and there is no device: {outcome:?}");
    let instance = Instance::new();
    instance.aws.change(|aws| aws.is_trunking_on = true);
    let outcome = run(&instance, &[AUTO, SOON]);
    assert_eq!(outcome.code, Some(0), "the agent asks for no trunk interface: {outcome:?}");
    assert_eq!(instance.aws.count("ListAccountSettings"), 0);
}

#[test]
fn after_a_ready_verdict_with_a_note_doctor_says_the_same() {
    let instance = Instance::new();
    assert_eq!(run(&instance, &["ready.attributes=zone", SOON, "ready.at-deadline=allow"]).code, Some(0));
    let doctor = instance.run(&["doctor"]);
    assert_eq!(doctor.code, Some(0), "{doctor:?}");
    assert!(said(&doctor).contains("attributes-missing"), "{doctor:?}");
}

#[test]
fn a_second_run_replaces_what_is_waited_for() {
    let instance = Instance::new().file("dev/nvidia0", "");
    let running = instance.start(&["run", "--wait", "--set", "ready.attributes=zone", "--set", "ready.deadline=50s"]);
    wait_until_it_waits_for(&instance, "the attributes `zone`");
    let second = instance.run(&["run", "--no-wait", "--set", AUTO, "--set", "ready.deadline=50s"]);
    assert_eq!(second.code, Some(0), "{second:?}");
    wait_until_it_waits_for(&instance, "the attributes `GPUs: 1`");
    instance.aws.change(|aws| aws.container_instances[0].gpus = 1);
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}

#[test]
fn a_call_that_is_denied_or_fails_is_reported() {
    let window = "verify.window=1s";
    let denied = |operation: &str| Fault::denied(&format!("ecs:{operation}"));
    let broken = Fault::error(500, "ServerException", "Service Unavailable. Please try again later.");
    // The account setting is a note: without it, the trunk interface is not expected.
    for (fault, id) in [(denied("ListAccountSettings"), "attributes-denied"), (broken, "attributes-call-failed")] {
        let instance = Instance::new().aws_fault("ListAccountSettings", fault);
        let outcome = run(&instance, &[AUTO, INTERFACES, window]);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert!(said(&outcome).contains(id), "{outcome:?}");
        let other = if id == "attributes-denied" { "attributes-call-failed" } else { "attributes-denied" };
        assert!(!said(&outcome).contains(other), "{outcome:?}");
    }
    // What is known to be missing is named, also if another call fails.
    let instance = Instance::new().aws_fault("ListAccountSettings", denied("ListAccountSettings"));
    let outcome = run(&instance, &["ready.attributes=auto,zone", INTERFACES, SOON]);
    assert!(said(&outcome).contains("`zone`: the container instance has no such"), "{outcome:?}");
    // Without the description nothing is known.
    let instance = Instance::new().aws_fault("DescribeContainerInstances", denied("DescribeContainerInstances"));
    let outcome = run(&instance, &["ready.attributes=zone", SOON]);
    assert_eq!(outcome.code, Some(22), "{outcome:?}");
    assert!(said(&outcome).contains("[attributes-denied]"), "{outcome:?}");
    let outcome = run(&instance, &["ready.attributes=zone", SOON, "ready.at-deadline=allow"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(said(&outcome).contains("attributes-denied"), "{outcome:?}");
    let doctor = instance.run(&["doctor"]);
    assert_eq!(doctor.code, Some(0), "{doctor:?}");
}

#[test]
fn a_policy_that_is_attached_later_is_enough() {
    let instance = Instance::new();
    instance.imds.change(|imds| imds.pending_time = std::time::SystemTime::now());
    let denied = Fault::denied("ecs:DescribeContainerInstances");
    instance.aws.fail_first("DescribeContainerInstances", 1, denied);
    // A denied call is repeated after a quarter of `verify.deadline` at the latest.
    let attribute = "agent.ECS_INSTANCE_ATTRIBUTES={\"zone\":\"a\"}";
    let outcome = run(&instance, &["ready.attributes=zone", attribute, "ready.deadline=50s", "verify.deadline=8s"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(instance.aws.count("DescribeContainerInstances"), 2);
}

#[test]
fn tasks_are_held_until_the_daemons_run_and_the_attributes_are_there() {
    let settings = ["ready.daemons=all", "ready.attributes=stack=blue"];
    let instance = with([Service::daemon("log")]);
    let running = instance.start(&["run", "--wait", "--set", settings[0], "--set", settings[1]]);
    wait_until_it_waits_for(&instance, "the attributes `stack=blue`");
    assert_eq!(instance.aws.count("PutAttributes"), 0, "no task is allowed");
    put(&instance, "stack", "blue");
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(instance.aws.count("PutAttributes"), 1);
    let instance = Instance::new();
    let outcome = run(&instance, &[settings[0], settings[1], SOON]);
    assert_eq!(outcome.code, Some(13), "{outcome:?}");
    assert!(said(&outcome).contains("[attributes-missing]"), "{outcome:?}");
    assert_eq!(instance.aws.count("PutAttributes"), 0, "no task is allowed");
}

#[test]
fn off_makes_no_call_and_leaves_no_trace() {
    let instance = Instance::new();
    instance.aws.change(|aws| aws.is_trunking_on = true);
    assert_eq!(run(&instance, &[]).code, Some(0));
    assert_eq!(instance.aws.count("ListAccountSettings"), 0);
    assert_eq!(instance.aws.count("DescribeContainerInstances"), 1);
    assert!(!instance.disk.text("run/ecs-bootstrap/plan.json").contains("\"ready\""));
}

#[test]
fn values_that_are_not_attributes_are_refused() {
    for value in [
        "",
        "a b=1",
        "none,stack",
        "auto=1",
        "Auto",
        "ecs-bootstrap.tasks=allowed",
        "stack=blue,stack=green",
        "stack= blue",
        "=x",
        "ä",
    ] {
        let outcome = Instance::new().run(&["plan", "--set", &format!("ready.attributes={value}")]);
        assert_eq!(outcome.code, Some(20), "{value}: {outcome:?}");
    }
    let outcome = Instance::new().run(&["plan", "--set", "ready.attributes=auto, ecs.os-type=linux,a/b=c d"]);
    assert!(said(&outcome).contains("needs the attributes auto, a/b=c d, ecs.os-type=linux"), "{outcome:?}");
}
