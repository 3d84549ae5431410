//! Signals to CloudFormation and Auto Scaling: the stack, the wait condition, the launch hook, the health of the
//! instance, and its tags. Without the settings for them, no signal is sent.

use crate::support::aws::{Fault, State};
use crate::support::http::lock;
use crate::support::{Instance, Outcome};
use std::time::{Duration, Instant};

const ID: &str = "i-0123456789abcdef0";
const STACK: &str = "arn:aws:cloudformation:eu-west-1:111122223333:stack/fleet/0f0f";
pub(crate) const CLOUDFORMATION: &str = "signal.cloudformation=true";
const LIFECYCLE: &str = "signal.lifecycle=true";

/// An instance of an Auto Scaling group of a stack. The stack and a launch hook wait for it.
pub(crate) fn of_stack() -> Instance {
    waited_for(Instance::new())
}

/// Puts the instance into an Auto Scaling group of a stack. The stack and a launch hook wait for it.
pub(crate) fn waited_for(instance: Instance) -> Instance {
    instance.imds.change(|imds| {
        let tags = imds.tags.as_mut().unwrap();
        for (key, value) in [
            ("aws:cloudformation:stack-id", STACK),
            ("aws:cloudformation:logical-id", "Group"),
            ("aws:autoscaling:groupName", "fleet"),
        ] {
            tags.insert(key.into(), value.into());
        }
        imds.target_lifecycle_state = Some("InService".into());
    });
    instance.aws.change(|aws| {
        aws.waiting.resources.insert((STACK.into(), "Group".into()), true);
        aws.waiting.hooks = vec![("ready".into(), 30)];
        aws.waiting.hook_waits = true;
        aws.waiting.others_in_service = 2;
    });
    instance
}

pub(crate) fn run(instance: &Instance, settings: &[&str]) -> Outcome {
    let mut arguments = vec!["run", "--wait"];
    settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
    instance.run(&arguments)
}

pub(crate) fn aws_state<T>(instance: &Instance, read: impl FnOnce(&State) -> T) -> T {
    read(&lock(&instance.aws.state()))
}

fn signals(instance: &Instance) -> Vec<(String, String, String)> {
    aws_state(instance, |state| state.waiting.signals.clone())
}

#[track_caller]
pub(crate) fn reports(outcome: &Outcome, code: i32, texts: &[&str]) {
    assert_eq!(outcome.code, Some(code), "{outcome:#?}");
    for text in texts {
        assert!(outcome.stdout.contains(text) || outcome.stderr.contains(text), "no `{text}` in {outcome:#?}");
    }
}

#[test]
fn with_signals_off_no_signal_call_is_made() {
    let instance = of_stack();
    reports(&run(&instance, &[]), 0, &["ready: "]);
    let verdict = std::fs::read_to_string(instance.disk.path("/run/ecs-bootstrap/status.json")).unwrap();
    assert!(!verdict.contains("signals"), "{verdict}");
    for operation in [
        "SignalResource",
        "DescribeLifecycleHooks",
        "RecordLifecycleActionHeartbeat",
        "CompleteLifecycleAction",
        "CreateTags",
        "SetInstanceHealth",
        "DescribeAutoScalingGroups",
        "PutMetricData",
    ] {
        assert_eq!(instance.aws.count(operation), 0, "{operation}");
    }
    assert_eq!(instance.aws.count("DescribeTags"), 0);
    let asked: Vec<_> = instance.imds.requests().into_iter().map(|request| request.path).collect();
    assert!(!asked.iter().any(|path| path.contains("aws:")), "{asked:?}");
    assert!(!instance.disk.path("/var/lib/ecs-bootstrap/signals.json").exists());
}

#[test]
fn a_ready_instance_signals_success_once_for_the_resource_in_its_tags() {
    let instance = of_stack();
    reports(
        &run(&instance, &[CLOUDFORMATION]),
        0,
        &["ready: ", "signal: SUCCESS to cloudformation, sent: resource `Group`"],
    );
    assert_eq!(signals(&instance), [("Group".into(), ID.into(), "SUCCESS".into())]);
    let status = instance.run(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(
        (&status["signals"][0]["status"], &status["signals"][0]["outcome"]),
        (&"SUCCESS".into(), &"sent".into())
    );
    // The next boot: /run is empty, but the record in /var/lib still exists.
    std::fs::remove_dir_all(instance.disk.path("/run/ecs-bootstrap")).unwrap();
    reports(&run(&instance, &[CLOUDFORMATION]), 0, &["cloudformation, already"]);
    assert_eq!(instance.aws.count("SignalResource"), 1);
}

#[test]
fn the_stack_name_tag_wins_over_the_stack_id_tag() {
    let instance = of_stack();
    instance.imds.change(|imds| {
        imds.tags.as_mut().unwrap().insert("aws:cloudformation:stack-name".into(), "fleet".into());
    });
    instance.aws.change(|aws| {
        aws.waiting.resources.insert(("fleet".into(), "Group".into()), true);
    });
    reports(&run(&instance, &[CLOUDFORMATION]), 0, &["sent: resource `Group` of stack `fleet`"]);
}

#[test]
fn a_copy_of_the_disk_signals_for_its_own_instance() {
    let instance = of_stack();
    reports(&run(&instance, &[CLOUDFORMATION]), 0, &["sent"]);
    instance.imds.change(|imds| imds.instance_id = "i-0fedcba9876543210".into());
    // Without this, the saved state of the other instance's agent would be the cause.
    let _ = std::fs::remove_dir_all(instance.disk.path("/var/lib/ecs/data"));
    let outcome = run(&instance, &[CLOUDFORMATION, "verify.deadline=1s"]);
    assert!(format!("{outcome:?}").contains("cloudformation, sent"), "{outcome:#?}");
    assert_eq!(signals(&instance).len(), 2);
}

#[test]
fn settings_for_stack_and_resource_win_over_tags() {
    let instance = of_stack();
    instance.aws.change(|aws| {
        aws.waiting.resources.insert(("web".into(), "Instance".into()), true);
    });
    let outcome = run(&instance, &[CLOUDFORMATION, "signal.stack=web", "signal.resource=Instance"]);
    reports(&outcome, 0, &["resource `Instance` of stack `web`"]);
    assert_eq!(signals(&instance), [("Instance".into(), ID.into(), "SUCCESS".into())]);
}

#[test]
fn user_data_can_switch_signals_on_and_tags_cannot() {
    let document = "#ecs-bootstrap\n[signal]\ncloudformation = true\n";
    let instance = of_stack().user_data(document);
    reports(&run(&instance, &[]), 0, &["SUCCESS to cloudformation, sent"]);
    let instance = of_stack().tag("ecs-bootstrap:signal.cloudformation", "true");
    run(&instance, &[]);
    assert_eq!(instance.aws.count("SignalResource"), 0);
}

#[test]
fn without_tags_in_metadata_they_are_read_from_ec2_and_without_tags_the_remedy_is_shown() {
    let instance = of_stack().without_imds_tags();
    instance.aws.change(|aws| {
        let tags = [
            ("ecs-bootstrap:cluster", "prod"),
            ("aws:cloudformation:stack-id", STACK),
            ("aws:cloudformation:logical-id", "Group"),
        ];
        let tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned()));
        aws.instance_tags.insert(ID.into(), tags.into());
    });
    reports(&run(&instance, &[CLOUDFORMATION]), 0, &["SUCCESS to cloudformation, sent"]);
    let instance = Instance::new();
    let outcome = run(&instance, &[CLOUDFORMATION]);
    reports(
        &outcome,
        0,
        &["warning: signal: SUCCESS to cloudformation, failed", "set `signal.stack` and `signal.resource`"],
    );
    assert_eq!(instance.aws.count("SignalResource"), 0);
}

#[test]
fn a_failed_instance_signals_failure() {
    let instance = of_stack().without_cluster("prod");
    reports(
        &run(&instance, &[CLOUDFORMATION]),
        21,
        &["[cluster-not-found]", "signal: FAILURE to cloudformation, sent"],
    );
    assert_eq!(signals(&instance), [("Group".into(), ID.into(), "FAILURE".into())]);
    // A signal cannot be revoked, so a later successful boot does not send another one.
    instance.aws.change(|aws| aws.add_cluster("prod", &[]));
    reports(&run(&instance, &[CLOUDFORMATION]), 0, &["cloudformation, already", "(FAILURE)"]);
}

#[test]
fn a_run_without_a_plan_signals_failure_unless_user_data_can_still_repair_it() {
    let stopped = || of_stack().tag("ecs-bootstrap:cluster", "not a cluster!");
    let instance = stopped();
    let outcome = run(&instance, &[CLOUDFORMATION]);
    assert!(outcome.code.is_some_and(|code| code >= 20), "{outcome:#?}");
    assert_eq!(signals(&instance).len(), 1, "{outcome:#?}");
    // No signal either if it is unknown whether user data has ended, as in `bootcmd`.
    for instance in [stopped().user_data_runs(), stopped().without_bus()] {
        run(&instance, &[CLOUDFORMATION]);
        assert_eq!(signals(&instance), []);
    }
}

#[test]
fn a_throttled_or_broken_signal_is_sent_again() {
    for fault in [
        Fault::error(400, "Throttling", "Rate exceeded"),
        Fault::error(503, "ServiceUnavailable", ""),
        Fault::Half,
        Fault::denied("cloudformation:SignalResource"),
    ] {
        let instance = of_stack();
        instance.aws.fail_first("SignalResource", 4, fault.clone());
        reports(&run(&instance, &[CLOUDFORMATION]), 0, &["SUCCESS to cloudformation, sent"]);
        assert!(!signals(&instance).is_empty(), "{fault:?}");
    }
}

/// Each signal is retried for up to a minute. One that hangs must not delay the others.
#[test]
fn signals_end_within_ten_seconds_of_the_deadline() {
    let ends = |fault: Fault| {
        let instance = of_stack().agent_behaves(|agent| agent.never_registers = true);
        let instance =
            ["SignalResource", "CreateTags"].into_iter().fold(instance, |one, call| one.aws_fault(call, fault.clone()));
        let settings = [CLOUDFORMATION, LIFECYCLE, "signal.instance-tags=true", "verify.deadline=2s"];
        let outcome = run(&instance, &settings);
        reports(&outcome, 13, &["to cloudformation, failed", "to launch-hook, left", "to instance-tags, failed"]);
        assert!(outcome.duration < Duration::from_secs(12), "{:?}", outcome.duration);
    };
    std::thread::scope(|scope| {
        for fault in [Fault::Silent, Fault::error(503, "ServiceUnavailable", "")] {
            scope.spawn(move || ends(fault));
        }
    });
}

#[test]
fn a_signal_that_cannot_be_sent_is_reported_and_does_not_change_the_verdict() {
    let instance = of_stack();
    instance.aws.change(|aws| aws.waiting.resources.clear());
    let outcome = run(&instance, &[CLOUDFORMATION]);
    reports(
        &outcome,
        0,
        &[
            "ready: ",
            "warning: signal: SUCCESS to cloudformation, failed",
            "does not exist",
            "allow the instance's role `cloudformation:SignalResource`",
        ],
    );
    assert!(!instance.disk.path("/var/lib/ecs-bootstrap/signals.json").exists(), "no signal was accepted");
}

#[test]
fn a_stack_that_does_not_wait_is_not_an_error_and_is_not_signalled_again() {
    let instance = of_stack();
    instance.aws.change(|aws| {
        aws.waiting.resources.insert((STACK.into(), "Group".into()), false);
    });
    reports(
        &run(&instance, &[CLOUDFORMATION]),
        0,
        &["signal: SUCCESS to cloudformation, not-waiting", "cannot be signaled"],
    );
    reports(&run(&instance, &[CLOUDFORMATION]), 0, &["already"]);
    assert_eq!(instance.aws.count("SignalResource"), 1);
}

#[test]
fn a_wait_condition_gets_the_cause_and_its_url_is_never_shown() {
    let instance = of_stack().without_cluster("prod");
    let url = format!("{}/handle?X-Amz-Signature=5ecretsignature&Expires=1", instance.aws.endpoint());
    let setting = format!("signal.wait-url={url}");
    let outcome = run(&instance, &[&setting]);
    reports(&outcome, 21, &["signal: FAILURE to wait-condition, sent"]);
    let conditions = aws_state(&instance, |state| state.waiting.conditions.clone());
    assert_eq!(conditions.len(), 1);
    let body: serde_json::Value = serde_json::from_str(&conditions[0].0).unwrap();
    assert_eq!((&body["Status"], &body["UniqueId"]), (&"FAILURE".into(), &ID.into()));
    assert!(body["Reason"].as_str().unwrap().starts_with("[cluster-not-found] "), "{body}");
    assert_eq!(conditions[0].1.as_deref(), Some(""), "the URL was signed without a content type");
    let request = instance.aws.requests().into_iter().find(|request| request.method == "PUT").unwrap();
    assert_eq!(request.path, "/handle?X-Amz-Signature=5ecretsignature&Expires=1");
    assert_eq!(request.header("authorization"), None);
    run(&instance, &[&setting]);
    assert_eq!(aws_state(&instance, |state| state.waiting.conditions.len()), 1, "once");
    for output in [
        format!("{outcome:?}"),
        format!("{:?}", instance.run(&["plan", "--json", "--set", &setting])),
        format!("{:?}", instance.run(&["status", "--json"])),
        format!("{:?}", instance.run(&["doctor", "--json", "--set", &setting])),
        format!("{:?}", instance.journal.entries()),
        std::fs::read_to_string(instance.disk.path("/run/ecs-bootstrap/status.json")).unwrap(),
        std::fs::read_to_string(instance.disk.path("/var/lib/ecs-bootstrap/signals.json")).unwrap(),
    ] {
        assert!(!output.contains("5ecretsignature"), "{output}");
    }
    let wrong = run(&instance, &["signal.wait-url=5ecretsignature"]);
    reports(&wrong, 20, &["`signal.wait-url` takes the presigned `https` URL"]);
    assert!(!format!("{wrong:?}").contains("5ecretsignature"), "{wrong:#?}");
}

#[test]
fn the_launch_hook_is_kept_waiting_and_then_completed() {
    let instance = of_stack().agent_behaves(|agent| agent.register_delay = Duration::from_millis(1500));
    reports(
        &run(&instance, &[LIFECYCLE]),
        0,
        &["signal: CONTINUE to launch-hook, sent: hook `ready` of group `fleet`"],
    );
    aws_state(&instance, |state| {
        assert_eq!(state.waiting.completed, ["CONTINUE"]);
        assert!(state.waiting.heartbeats >= 1, "{}", state.waiting.heartbeats);
    });
    reports(&run(&instance, &[LIFECYCLE]), 0, &["launch-hook, not-waiting"]);
}

#[test]
fn a_hook_is_abandoned_only_for_a_fault_of_this_host() {
    let broken = |others| {
        let instance = of_stack().unit("docker.service", |unit| unit.load_state = "masked".into());
        instance.aws.change(|aws| aws.waiting.others_in_service = others);
        instance
    };
    let instance = broken(2);
    reports(&run(&instance, &[LIFECYCLE]), 24, &["signal: ABANDON to launch-hook, sent"]);
    assert_eq!(aws_state(&instance, |state| state.waiting.completed.clone()), ["ABANDON"]);
    let instance = broken(0);
    reports(
        &run(&instance, &[LIFECYCLE]),
        24,
        &["ABANDON to launch-hook, left", "no other instance of the group is in service"],
    );
    assert_eq!(instance.aws.count("CompleteLifecycleAction"), 0);
    // A fault that a replacement would have too.
    let instance = of_stack().without_cluster("prod");
    reports(
        &run(&instance, &[LIFECYCLE]),
        21,
        &["launch-hook, left", "a replacement would fail in the same way", "ABANDON"],
    );
    assert_eq!(instance.aws.count("CompleteLifecycleAction"), 0);
    assert_eq!(instance.aws.count("DescribeAutoScalingGroups"), 0);
}

#[test]
fn a_throttled_hook_is_still_completed() {
    let instance = of_stack();
    for operation in ["RecordLifecycleActionHeartbeat", "CompleteLifecycleAction"] {
        instance.aws.fail_first(operation, 2, Fault::error(400, "Throttling", "Rate exceeded"));
    }
    reports(&run(&instance, &[LIFECYCLE]), 0, &["CONTINUE to launch-hook, sent"]);
    let instance = of_stack();
    instance.aws.fail("CompleteLifecycleAction", Fault::error(400, "ValidationError", "something else"));
    let outcome = run(&instance, &[LIFECYCLE]);
    reports(
        &outcome,
        0,
        &[
            "ready: ",
            "launch-hook, failed",
            "something else",
            "allow the instance's role `autoscaling:CompleteLifecycleAction`",
        ],
    );
}

#[test]
fn an_instance_that_enters_a_warm_pool_continues_at_once() {
    let instance = of_stack();
    instance.imds.change(|imds| imds.target_lifecycle_state = Some("Warmed:Stopped".into()));
    let running = instance.start(&["run", "--wait", "--set", LIFECYCLE, "--set", CLOUDFORMATION]);
    let until = Instant::now() + Duration::from_secs(20);
    while aws_state(&instance, |state| state.waiting.completed.is_empty()) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    running.kill();
    assert_eq!(aws_state(&instance, |state| state.waiting.completed.clone()), ["CONTINUE"]);
    // The instance has not registered, so the stack gets no signal.
    assert_eq!(signals(&instance), []);
}

#[test]
fn an_instance_without_a_group_has_no_hook() {
    let instance = of_stack();
    instance.imds.change(|imds| imds.target_lifecycle_state = None);
    let outcome = run(&instance, &[LIFECYCLE]);
    reports(&outcome, 0, &["ready: "]);
    assert!(!format!("{outcome:?}").contains("launch-hook"), "{outcome:#?}");
    assert_eq!(instance.aws.count("DescribeLifecycleHooks"), 0);
}

#[test]
fn with_several_hooks_a_setting_must_name_one() {
    let instance = of_stack();
    instance.aws.change(|aws| aws.waiting.hooks.push(("other".into(), 60)));
    reports(
        &run(&instance, &[LIFECYCLE]),
        0,
        &["launch-hook, failed", "several launch hooks", "name one with `signal.hook`"],
    );
    reports(&run(&instance, &[LIFECYCLE, "signal.hook=ready"]), 0, &["CONTINUE to launch-hook, sent"]);
    let instance = of_stack();
    instance.aws.fail("DescribeLifecycleHooks", Fault::denied("autoscaling:DescribeLifecycleHooks"));
    reports(&run(&instance, &[LIFECYCLE]), 0, &["launch-hook, failed", "allow `autoscaling:DescribeLifecycleHooks`"]);
    reports(&run(&instance, &[LIFECYCLE, "signal.hook=ready"]), 0, &["CONTINUE to launch-hook, sent"]);
}

#[test]
fn instance_tags_are_written_when_verdict_or_cause_changes_and_are_never_read() {
    const TAGS: &str = "signal.instance-tags=true";
    let tags_of = |instance: &Instance| aws_state(instance, |state| state.instance_tags[ID].clone());
    let instance = of_stack().without_cluster("prod");
    reports(&run(&instance, &[TAGS]), 21, &["signal: failed to instance-tags, sent: failed, cluster-not-found"]);
    assert_eq!(tags_of(&instance)["ecs-bootstrap:cause"], "cluster-not-found");
    instance.aws.change(|aws| aws.add_cluster("prod", &[]));
    // The tags are also in metadata from now on.
    let instance = instance.tag("ecs-bootstrap:verdict", "failed").tag("ecs-bootstrap:cause", "cluster-not-found");
    let outcome = run(&instance, &[TAGS]);
    reports(&outcome, 0, &["signal: ready to instance-tags, sent: ready, none"]);
    assert!(!format!("{outcome:?}").contains("tag-unknown"), "{outcome:#?}");
    assert_eq!(tags_of(&instance)["ecs-bootstrap:verdict"], "ready");
    reports(&run(&instance, &[TAGS]), 0, &["instance-tags, already"]);
    assert_eq!(instance.aws.count("CreateTags"), 2);
    let asked: Vec<_> = instance.imds.requests().into_iter().map(|request| request.path).collect();
    assert!(!asked.iter().any(|path| path.ends_with("ecs-bootstrap:verdict")), "{asked:?}");
}

#[test]
fn the_instance_knows_its_container_instance() {
    const TAGS: &str = "signal.instance-tags=true";
    let tags_of = |instance: &Instance| aws_state(instance, |state| state.instance_tags[ID].clone());
    let instance = of_stack();
    reports(&run(&instance, &[TAGS]), 0, &["signal: ready to instance-tags, sent: ready, none"]);
    let arn = aws_state(&instance, |state| state.container_instances[0].arn.clone());
    let tags = tags_of(&instance);
    assert_eq!(tags["ecs-bootstrap:container-instance-arn"], arn);
    assert_eq!(tags["ecs-bootstrap:cluster-arn"], "arn:aws:ecs:eu-west-1:111122223333:cluster/prod");
    assert_eq!(instance.aws.count("CreateTags"), 1);
    // They are also in metadata from now on, and are neither settings nor read.
    let instance = tags.iter().fold(instance, |instance, (key, value)| instance.tag(key, value));
    let outcome = run(&instance, &[TAGS]);
    reports(&outcome, 0, &["instance-tags, already"]);
    assert!(!format!("{outcome:?}").contains("tag-unknown"), "{outcome:#?}");
    let asked: Vec<_> = instance.imds.requests().into_iter().map(|request| request.path).collect();
    assert!(!asked.iter().any(|path| path.ends_with("-arn")), "{asked:?}");
}

#[test]
fn a_policy_that_allows_only_the_verdict_is_enough_for_it() {
    const TAGS: &str = "signal.instance-tags=true";
    let instance = of_stack();
    instance.aws.change(|aws| aws.refused_tags = vec!["-arn"]);
    let missing = "without the tags `ecs-bootstrap:container-instance-arn` and `ecs-bootstrap:cluster-arn`";
    reports(&run(&instance, &[TAGS]), 0, &["signal: ready to instance-tags, sent: ready, none", missing]);
    let tags = aws_state(&instance, |state| state.instance_tags[ID].clone());
    assert_eq!(tags["ecs-bootstrap:verdict"], "ready");
    assert!(!tags.contains_key("ecs-bootstrap:cluster-arn"), "{tags:?}");
    assert_eq!(instance.aws.count("CreateTags"), 3, "it is not repeated for long");
    // The next verdict tries again, for a policy that was extended.
    instance.aws.change(|aws| aws.refused_tags.clear());
    reports(&run(&instance, &[TAGS]), 0, &["instance-tags, sent: ready, none"]);
    assert!(aws_state(&instance, |state| state.instance_tags[ID].contains_key("ecs-bootstrap:cluster-arn")));
    // A policy that is attached while the tags are written.
    let instance = of_stack();
    instance.aws.fail_first("CreateTags", 2, Fault::denied("ec2:CreateTags"));
    reports(&run(&instance, &[TAGS]), 0, &["instance-tags, sent: ready, none"]);
    assert!(aws_state(&instance, |state| state.instance_tags[ID].contains_key("ecs-bootstrap:cluster-arn")));
}

#[test]
fn an_instance_is_set_unhealthy_by_the_same_rule_as_a_hook_is_abandoned() {
    const UNHEALTHY: &str = "signal.unhealthy=true";
    let health = |instance: &Instance| aws_state(instance, |state| state.waiting.health.clone());
    let broken = || of_stack().unit("docker.service", |unit| unit.load_state = "masked".into());
    let instance = broken();
    reports(&run(&instance, &[UNHEALTHY]), 24, &["signal: Unhealthy to health, sent"]);
    assert_eq!(health(&instance), Some(("Unhealthy".into(), "true".into())), "the grace period is respected");
    let instance = broken();
    instance.aws.change(|aws| aws.waiting.others_in_service = 0);
    reports(&run(&instance, &[UNHEALTHY]), 24, &["health, left: not set, because no other instance"]);
    let instance = of_stack().without_cluster("prod");
    reports(&run(&instance, &[UNHEALTHY]), 21, &["health, left"]);
    assert_eq!((health(&instance), instance.aws.count("DescribeAutoScalingGroups")), (None, 0));
    // The abandoned hook already terminates the instance.
    let instance = broken();
    reports(&run(&instance, &[UNHEALTHY, LIFECYCLE]), 24, &["ABANDON to launch-hook, sent"]);
    assert_eq!(health(&instance), None);
    let instance = of_stack();
    run(&instance, &[UNHEALTHY]);
    assert_eq!(health(&instance), None);
}
