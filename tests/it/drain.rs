//! `drain`: a container instance is drained before its instance ends.
//!
//! In: a group that terminates the instance, notices of EC2, and tasks that take some time to end. Out: the calls in their order,
//! the state, and the notes of the verdict. `drain` reads instance metadata every 5 s, so each test takes about 10 s.

use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::support::aws::Fault;
use crate::support::aws::tasks::Service;
use crate::support::http::{Answer, Reply};
use crate::support::{Instance, Outcome, Running};

const ALL: &str = "drain.on=termination,spot,rebalance";
const STATE: &str = "run/ecs-bootstrap/drain.json";
const START: &str = "StartUnit ecs-bootstrap-drain.service";
const CALLS: [&str; 5] = [
    "UpdateContainerInstancesState",
    "DeregisterContainerInstance",
    "DescribeLifecycleHooks",
    "RecordLifecycleActionHeartbeat",
    "CompleteLifecycleAction",
];

/// A ready instance of the group `fleet` with one task of a service. The task takes this long to end.
fn ready(settings: &[&str], tasks_end_after: Duration) -> Instance {
    let instance = Instance::new().tag("aws:autoscaling:groupName", "fleet");
    instance.imds.change(|imds| imds.target_lifecycle_state = Some("InService".into()));
    instance.aws.change(|aws| {
        aws.services.push(Service::replica("web", None));
        aws.tasks_end_after = tasks_end_after;
        aws.waiting.terminating = vec![("drain".into(), 30)];
        aws.waiting.hook_waits = true;
    });
    let outcome = instance.run_and_wait(settings);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    instance
}

fn terminate(instance: &Instance) {
    instance.imds.change(|imds| imds.target_lifecycle_state = Some("Terminated".into()));
}

/// Puts a document into instance metadata.
fn answers(instance: &Instance, path: &str, body: &Value) {
    let answer: Answer = Reply::new(200, "application/json", body.to_string()).into();
    instance.imds.change(|imds| drop(imds.overrides.insert(format!("/latest/meta-data/{path}"), answer)));
}

fn announce(instance: &Instance, action: &str, in_seconds: u64) {
    let time = SystemTime::now() + Duration::from_secs(in_seconds);
    let time = humantime::format_rfc3339_seconds(time).to_string();
    answers(instance, "spot/instance-action", &json!({"action": action, "time": time}));
}

fn state(instance: &Instance) -> Value {
    serde_json::from_str(&instance.disk.text(STATE)).unwrap_or_default()
}

/// The reason for which a step failed.
fn failure<'s>(state: &'s Value, step: &str) -> Option<&'s str> {
    let failed = state["failures"].as_array()?.iter().find(|failed| failed["step"] == step)?;
    failed["reason"].as_str()
}

/// Waits until the stored state is as expected.
#[track_caller]
fn wait_for(instance: &Instance, what: &str, is_expected: impl Fn(&Value) -> bool) {
    let start = Instant::now();
    while !is_expected(&state(instance)) {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}: {}", state(instance));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The operations of the product about the end of the instance, in their order.
fn operations(instance: &Instance) -> Vec<String> {
    let operation = |request: crate::support::http::Request| {
        let target =
            request.header("x-amz-target").unwrap_or_default().rsplit('.').next().unwrap_or_default().to_owned();
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let action = body.split('&').find_map(|pair| pair.strip_prefix("Action=").map(str::to_owned));
        action.unwrap_or(target)
    };
    let all = instance.aws.requests().into_iter().map(operation);
    all.filter(|operation| CALLS.contains(&operation.as_str())).collect()
}

fn completed(instance: &Instance) -> Vec<String> {
    let state = instance.aws.state();
    let state = state.lock().unwrap();
    state.waiting.completed.clone()
}

fn status_of_instance(instance: &Instance) -> String {
    let state = instance.aws.state();
    let state = state.lock().unwrap();
    state.container_instances[0].status.clone()
}

#[track_caller]
fn ended(drain: Running) -> Outcome {
    let outcome = drain.wait();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    outcome
}

#[track_caller]
fn notes(instance: &Instance, expected: &[&str]) -> String {
    let status = instance.run(&["status"]);
    assert_eq!(status.code, Some(0), "{status:?}");
    let found: Vec<&str> = status.stdout.lines().filter(|line| line.starts_with("note: [drain-")).collect();
    assert_eq!(found.len(), expected.len(), "{status:?}");
    for (line, id) in found.iter().zip(expected) {
        assert!(line.contains(&format!("[{id}]")), "{id}: {status:?}");
    }
    status.stdout
}

#[test]
fn a_termination_waits_for_the_tasks_and_then_completes_the_hook() {
    let instance = ready(&[ALL], Duration::from_secs(7));
    let drain = instance.start(&["drain"]);
    wait_for(&instance, "it waits", |state| state["state"] == "waiting");
    assert!(operations(&instance).iter().all(|call| call == "DescribeLifecycleHooks"), "{:?}", operations(&instance));
    terminate(&instance);
    wait_for(&instance, "it drains", |state| state["state"] == "draining" && state["tasks"][0].is_string());
    assert_eq!(status_of_instance(&instance), "DRAINING");
    assert!(completed(&instance).is_empty());
    let status = instance.run(&["status"]).stdout;
    assert!(
        status.contains(
            "drain: the target lifecycle state is `Terminated`; the container instance is DRAINING; running tasks: 1, waited for until "
        ),
        "{status}"
    );
    let json: Value = serde_json::from_str(&instance.run(&["status", "--json"]).stdout).unwrap();
    assert_eq!(
        (&json["drain"]["trigger"], &json["drain"]["hook"]),
        (&json!("termination"), &json!("drain")),
        "{json:#}"
    );
    let outcome = ended(drain);
    assert!(outcome.stdout.contains("its tasks have ended; deregistered; hook `drain` completed"), "{outcome:?}");
    assert_eq!(completed(&instance), ["CONTINUE"]);
    assert_eq!(status_of_instance(&instance), "INACTIVE");
    let calls = operations(&instance);
    let first_look = usize::from(instance.aws.count("DescribeLifecycleHooks") == 2);
    let once = [
        "DescribeLifecycleHooks",
        "RecordLifecycleActionHeartbeat",
        "UpdateContainerInstancesState",
        "DeregisterContainerInstance",
        "CompleteLifecycleAction",
    ];
    assert_eq!(calls[first_look..], once.map(str::to_owned), "{calls:?}");
    notes(&instance, &[]);
}

#[test]
fn tasks_that_do_not_end_in_time_are_named_and_the_hook_is_completed() {
    let instance = ready(&[ALL, "drain.deadline=6s"], Duration::MAX);
    instance.agent.change(|agent| agent.tasks = vec![(1, "RUNNING"), (2, "STOPPED")]);
    terminate(&instance);
    let outcome = ended(instance.start(&["drain"]));
    assert!(outcome.stdout.contains("; tasks left: 2; deregistered"), "{outcome:?}");
    assert_eq!(completed(&instance), ["CONTINUE"]);
    assert_eq!(status_of_instance(&instance), "INACTIVE");
    let status = notes(&instance, &["drain-tasks-left"]);
    assert!(status.contains("task web:3 ") && !status.contains("nothing drains"), "{status}");
    // What happens next to the agent is not a fault.
    let watched = instance.run(&["watch", "--set", "watch.enable=true"]);
    assert_eq!(watched.code, Some(0), "{watched:?}");
}

#[test]
fn each_denied_call_is_a_note_and_nothing_else_stops() {
    for (operation, action, is_completed) in [
        ("UpdateContainerInstancesState", "ecs:UpdateContainerInstancesState", true),
        ("DeregisterContainerInstance", "ecs:DeregisterContainerInstance", true),
        ("RecordLifecycleActionHeartbeat", "autoscaling:RecordLifecycleActionHeartbeat", true),
        ("DescribeLifecycleHooks", "autoscaling:DescribeLifecycleHooks", false),
    ] {
        let instance = ready(&[ALL, "drain.deadline=6s"], Duration::ZERO);
        instance.aws.fail(operation, Fault::denied(action));
        terminate(&instance);
        let drain = instance.start(&["drain"]);
        wait_for(&instance, action, |state| state["is_deregistered"] == true || failure(state, "deregister").is_some());
        if !is_completed {
            let start = Instant::now();
            while instance.aws.count(operation) < 2 {
                assert!(start.elapsed() < Duration::from_secs(60), "the lookup is not repeated");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        let mut expected = vec!["drain-denied"];
        if operation == "UpdateContainerInstancesState" {
            expected.push("drain-tasks-left");
        }
        // A lookup that was denied is made again: the permission can arrive while the hook waits.
        if is_completed {
            drop(ended(drain))
        } else {
            drop(drain.kill())
        }
        let status = notes(&instance, &expected);
        assert!(status.contains(action), "{status}");
        assert_eq!(completed(&instance).len(), usize::from(is_completed), "{action}");
    }
}

#[test]
fn a_heartbeat_that_fails_is_sent_again_before_the_hook_ends() {
    let instance = ready(&[ALL], Duration::from_secs(22));
    terminate(&instance);
    let drain = instance.start(&["drain"]);
    wait_for(&instance, "a heartbeat", |state| state["hook_has_waited"] == true);
    let throttled = Fault::error(400, "Throttling", "Rate exceeded");
    instance.aws.fail_first("RecordLifecycleActionHeartbeat", 1, throttled);
    ended(drain);
    // At 0 s, at 15 s, which fails, and 5 s later.
    let state = instance.aws.state();
    assert_eq!(state.lock().unwrap().waiting.heartbeats, 2);
    notes(&instance, &[]);
}

#[test]
fn a_hook_that_does_not_wait_yet_is_completed_later() {
    let instance = ready(&[ALL], Duration::ZERO);
    instance.aws.change(|aws| aws.waiting.hook_waits = false);
    terminate(&instance);
    let drain = instance.start(&["drain"]);
    wait_for(&instance, "the tasks end", |state| state["is_deregistered"] == true);
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(state(&instance)["is_completed"], false);
    instance.aws.change(|aws| aws.waiting.hook_waits = true);
    ended(drain);
    assert_eq!(completed(&instance), ["CONTINUE"]);
    notes(&instance, &[]);
}

#[test]
fn a_termination_after_a_recommendation_sets_the_status_again() {
    let instance = ready(&[ALL], Duration::ZERO);
    answers(&instance, "events/recommendations/rebalance", &json!({"noticeTime": "2026-11-30T08:22:00Z"}));
    let drain = instance.start(&["drain"]);
    wait_for(&instance, "it is drained", |state| state["has_ended"] == true);
    // An operator sets it back.
    instance.aws.change(|aws| aws.container_instances[0].status = "ACTIVE".into());
    terminate(&instance);
    ended(drain);
    assert_eq!(instance.aws.count("UpdateContainerInstancesState"), 2);
    assert_eq!(completed(&instance), ["CONTINUE"]);
}

#[test]
fn an_interruption_after_a_termination_shortens_the_time() {
    // Also if interruptions are no reason of their own.
    let instance = ready(&["drain.on=termination"], Duration::MAX);
    terminate(&instance);
    let drain = instance.start(&["drain"]);
    wait_for(&instance, "it drains", |state| state["is_draining"] == true);
    announce(&instance, "terminate", 22);
    let outcome = ended(drain);
    assert!(outcome.duration < Duration::from_secs(40), "{outcome:?}");
    assert_eq!(completed(&instance), ["CONTINUE"]);
    notes(&instance, &["drain-tasks-left"]);
}

#[test]
fn managed_draining_does_not_drain_for_an_interruption() {
    let instance = ready(&[ALL], Duration::ZERO);
    let state = json!({"by_ecs": true});
    instance.disk.write(STATE, state.to_string());
    announce(&instance, "terminate", 60);
    let drain = instance.start(&["drain"]);
    wait_for(&instance, "it ends", |state| state["has_ended"] == true);
    assert_eq!(status_of_instance(&instance), "INACTIVE");
    drop(drain.kill());
}

#[test]
fn a_container_instance_that_ecs_no_longer_has_is_not_waited_for() {
    let instance = ready(&[ALL], Duration::ZERO);
    instance.aws.change(|aws| aws.container_instances[0].status = "INACTIVE".into());
    terminate(&instance);
    ended(instance.start(&["drain"]));
    assert_eq!(completed(&instance), ["CONTINUE"]);
    // Nothing stops its task any more.
    notes(&instance, &["drain-tasks-left"]);
}

#[test]
fn a_completion_that_is_denied_is_tried_again() {
    let instance = ready(&[ALL], Duration::ZERO);
    let denied = Fault::denied("autoscaling:CompleteLifecycleAction");
    instance.aws.fail("CompleteLifecycleAction", denied);
    terminate(&instance);
    let drain = instance.start(&["drain"]);
    wait_for(&instance, "a failure", |state| failure(state, "complete-hook") == Some("denied"));
    std::thread::sleep(Duration::from_millis(500));
    notes(&instance, &["drain-denied"]);
    instance.aws.change(|aws| aws.faults.clear());
    ended(drain);
    assert_eq!(completed(&instance), ["CONTINUE"]);
    notes(&instance, &[]);
}

#[test]
fn a_role_that_may_not_count_tasks_relies_on_the_agent() {
    let instance = ready(&[ALL], Duration::from_secs(3));
    instance.aws.fail("DescribeContainerInstances", Fault::denied("ecs:DescribeContainerInstances"));
    terminate(&instance);
    ended(instance.start(&["drain"]));
    assert_eq!(completed(&instance), ["CONTINUE"]);
    notes(&instance, &[]);
}

#[test]
fn the_managed_draining_of_ecs_is_left_to_ecs() {
    let managed = ("ecs-managed-draining-termination-hook".to_owned(), 3600);
    for own in [None, Some(("drain".to_owned(), 30))] {
        let instance = ready(&[ALL, "drain.deadline=4s"], Duration::MAX);
        instance.aws.change(|aws| aws.waiting.terminating = [managed.clone()].into_iter().chain(own.clone()).collect());
        terminate(&instance);
        let outcome = ended(instance.start(&["drain"]));
        assert!(outcome.stdout.contains("ECS drains it (managed draining)"), "{outcome:?}");
        assert_eq!(status_of_instance(&instance), "ACTIVE");
        assert_eq!(completed(&instance).len(), usize::from(own.is_some()), "{outcome:?}");
        // ECS waits for its tasks.
        notes(&instance, &[]);
    }
}

#[test]
fn a_group_without_its_hook_is_a_note() {
    let several = vec![("a".to_owned(), 30), ("b".to_owned(), 30)];
    for (hooks, setting, expected) in [
        (Vec::new(), "drain.deadline=30m", "the group `fleet` has no terminating hook"),
        (several.clone(), "drain.deadline=30m", "name one with `drain.hook`"),
        (several.clone(), "drain.hook=c", "has no terminating hook `c`; it has `a`, `b`"),
    ] {
        let instance = ready(&[ALL, setting], Duration::ZERO);
        instance.aws.change(|aws| aws.waiting.terminating = hooks);
        terminate(&instance);
        ended(instance.start(&["drain"]));
        let status = notes(&instance, &["drain-no-hook"]);
        assert!(status.contains(expected), "{status}");
        assert_eq!(status_of_instance(&instance), "INACTIVE");
    }
    let instance = ready(&[ALL, "drain.hook=b"], Duration::ZERO);
    instance.aws.change(|aws| aws.waiting.terminating = several);
    terminate(&instance);
    let outcome = ended(instance.start(&["drain"]));
    assert!(outcome.stdout.contains("hook `b` completed"), "{outcome:?}");
}

#[test]
fn the_hook_is_looked_up_before_it_is_needed() {
    let instance = ready(&[ALL], Duration::ZERO);
    instance.aws.change(|aws| aws.waiting.terminating.clear());
    let drain = instance.start(&["drain"]);
    let start = Instant::now();
    while instance.aws.count("DescribeLifecycleHooks") == 0 {
        assert!(start.elapsed() < Duration::from_secs(90), "the hook is not looked up");
        std::thread::sleep(Duration::from_millis(100));
    }
    wait_for(&instance, "a failure", |state| failure(state, "find-hook") == Some("no-hook"));
    std::thread::sleep(Duration::from_millis(500));
    notes(&instance, &["drain-no-hook"]);
    let entries = format!("{:?}", instance.journal.entries());
    assert!(entries.contains("drain-no-hook") && entries.contains("put-lifecycle-hook"), "{entries}");
    // A verification finds the same.
    let verified = instance.run(&["verify"]);
    assert!(verified.code == Some(0) && verified.stdout.contains("[drain-no-hook]"), "{verified:?}");
    drop(drain.kill());
    let status = instance.run(&["status"]);
    assert!(status.stderr.contains("nothing drains this instance"), "{status:?}");
}

#[test]
fn a_spot_interruption_limits_the_time_and_deregisters_before_the_end() {
    let instance = ready(&[ALL], Duration::MAX);
    announce(&instance, "terminate", 22);
    let drain = instance.start(&["drain"]);
    wait_for(&instance, "it drains", |state| state["is_draining"] == true);
    assert!(operations(&instance).iter().all(|call| !call.contains("Lifecycle")), "{:?}", operations(&instance));
    wait_for(&instance, "it ends", |state| state["state"] == "tasks-left" && state["is_deregistered"] == true);
    // The group notices the interruption, too.
    terminate(&instance);
    let outcome = ended(drain);
    assert!(outcome.stdout.contains("hook `drain` completed"), "{outcome:?}");
    assert_eq!(instance.aws.count("DeregisterContainerInstance"), 1);
    notes(&instance, &["drain-tasks-left"]);
}

#[test]
fn an_instance_that_is_stopped_or_may_live_on_stays_registered() {
    let rebalance = |instance: &Instance| {
        answers(instance, "events/recommendations/rebalance", &json!({"noticeTime": "2026-11-30T08:22:00Z"}));
    };
    let stop = |instance: &Instance| announce(instance, "stop", 120);
    for (notice, trigger) in [(&rebalance as &dyn Fn(&Instance), "rebalance"), (&stop, "spot")] {
        let instance = ready(&[ALL], Duration::ZERO);
        notice(&instance);
        let drain = instance.start(&["drain"]);
        wait_for(&instance, trigger, |state| state["trigger"] == trigger && state["has_ended"] == true);
        assert_eq!(status_of_instance(&instance), "DRAINING", "{trigger}");
        // An instance that was hibernated can be interrupted again.
        instance.imds.change(|imds| imds.overrides.clear());
        wait_for(&instance, trigger, |state| state["state"] == "waiting" && state["trigger"].is_null());
        notice(&instance);
        wait_for(&instance, trigger, |state| state["trigger"] == trigger);
        drop(drain.kill());
        notes(&instance, &[]);
    }
}

#[test]
fn only_the_wanted_reasons_are_read_and_followed() {
    let instance = ready(&["drain.on=rebalance"], Duration::ZERO);
    terminate(&instance);
    announce(&instance, "terminate", 60);
    let drain = instance.start(&["drain"]);
    wait_for(&instance, "it waits", |state| state["state"] == "waiting");
    instance.imds.forget_requests();
    std::thread::sleep(Duration::from_secs(6));
    drop(drain.kill());
    let paths: Vec<String> = instance.imds.requests().into_iter().map(|request| request.path).collect();
    assert!(!paths.is_empty() && paths.iter().all(|path| path.ends_with("/rebalance")), "{paths:?}");
    assert_eq!(operations(&instance), Vec::<String>::new());
    assert_eq!(status_of_instance(&instance), "ACTIVE");
}

#[test]
fn a_throttled_call_and_metadata_that_are_silent_for_a_while_delay_it_only() {
    let instance = ready(&[ALL], Duration::from_secs(1));
    let throttled = Fault::error(400, "ThrottlingException", "Rate exceeded");
    instance.aws.fail_first("UpdateContainerInstancesState", 2, throttled.clone());
    instance.aws.fail_first("DeregisterContainerInstance", 2, throttled);
    let drain = instance.start(&["drain"]);
    wait_for(&instance, "it waits", |state| state["state"] == "waiting");
    terminate(&instance);
    instance.imds.refuse_for(Duration::from_secs(8));
    ended(drain);
    assert_eq!(completed(&instance), ["CONTINUE"]);
    let entries = format!("{:?}", instance.journal.entries());
    assert_eq!(entries.matches("no end of the instance is seen").count(), 1, "{entries}");
    notes(&instance, &[]);
}

#[test]
fn a_process_that_was_killed_continues_where_it_was() {
    let instance = ready(&[ALL], Duration::from_secs(12));
    terminate(&instance);
    let drain = instance.start(&["drain"]);
    wait_for(&instance, "it drains", |state| state["is_draining"] == true);
    let before = state(&instance);
    drop(drain.kill());
    let outcome = ended(instance.start(&["drain"]));
    assert_eq!(state(&instance)["noticed_at"], before["noticed_at"]);
    assert_eq!(state(&instance)["until"], before["until"]);
    assert_eq!(instance.aws.count("UpdateContainerInstancesState"), 1, "{outcome:?}");
    assert_eq!(completed(&instance), ["CONTINUE"]);
    // It has ended, and does nothing more.
    let calls = operations(&instance).len();
    ended(instance.start(&["drain"]));
    assert_eq!(operations(&instance).len(), calls);
}

#[test]
fn an_agent_that_has_never_registered_has_nothing_to_drain() {
    let instance = ready(&[ALL], Duration::ZERO);
    instance.agent.stop();
    for file in ["run/ecs-bootstrap/status.json", STATE] {
        let _ = std::fs::remove_file(instance.disk.path(file));
    }
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let begun = json!({"state": "draining", "trigger": "termination", "notice": "n", "noticed_at": seconds - 40,
        "until": seconds + 600, "terminates": true});
    instance.disk.write(STATE, begun.to_string());
    terminate(&instance);
    let outcome = ended(instance.start(&["drain"]));
    assert!(outcome.stdout.contains("the agent has not registered"), "{outcome:?}");
    assert_eq!(completed(&instance), ["CONTINUE"]);
    assert_eq!(instance.aws.count("UpdateContainerInstancesState"), 0);
}

#[test]
fn a_run_starts_the_unit_once_and_another_switches_it_off() {
    let instance = ready(&[ALL], Duration::ZERO);
    let starts = || instance.systemd.calls().iter().filter(|call| call.starts_with(START)).count();
    assert!(instance.disk.text("run/systemd/system/ecs-bootstrap-drain.service").contains(" drain --https-only"));
    assert!(starts() >= 1, "{:?}", instance.systemd.calls());
    let drain = instance.start(&["drain"]);
    wait_for(&instance, "it waits", |state| state["state"] == "waiting");
    let second = instance.start(&["drain"]).wait();
    assert_eq!(second.code, Some(12), "{second:?}");
    assert_eq!(instance.run_and_wait(&[]).code, Some(0));
    ended(drain);
    assert!(!instance.disk.path(STATE).exists());
}

#[test]
fn a_deadline_that_is_changed_meanwhile_applies_and_off_ends_it_at_once() {
    for (setting, is_completed) in [("drain.deadline=1s", true), ("drain.on=none", false)] {
        let instance = ready(&[ALL], Duration::MAX);
        terminate(&instance);
        let drain = instance.start(&["drain"]);
        wait_for(&instance, "it drains", |state| state["is_draining"] == true);
        assert_eq!(instance.run_and_wait(&[ALL, setting]).code, Some(0));
        ended(drain);
        assert_eq!(completed(&instance).len(), usize::from(is_completed), "{setting}");
    }
}

#[test]
fn off_it_costs_nothing() {
    let instance = ready(&[], Duration::ZERO);
    terminate(&instance);
    assert!(!instance.systemd.calls().iter().any(|call| call.contains("drain")), "{:?}", instance.systemd.calls());
    assert!(!instance.disk.text("run/ecs-bootstrap/plan.json").contains("drain"));
    instance.imds.forget_requests();
    let outcome = instance.run(&["drain"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), "nothing to do: `drain.on` is `none`\n"));
    assert!(instance.imds.requests().is_empty());
    for operation in CALLS {
        assert_eq!(instance.aws.count(operation), 0, "{operation}");
    }
}
