//! `watch`: a fault of the agent after the verification is reported with its cause when it has lasted for the window, on each
//! channel, once.
//!
//! In: an instance that is ready, a fault, and a state of the watch in which ECS may be asked. The fault begins in the past (the
//! lines of the agent's log have times), so no test waits for a window. Out: the verdict, the signals, and the calls.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use ecs_bootstrap::watch::State;
use serde_json::{Value, json};

use crate::support::aws::Fault;
use crate::support::{Instance, Outcome};

const ON: &str = "watch.enable=true";
const STATE: &str = "run/ecs-bootstrap/watch.json";
const STATUS: &str = "run/ecs-bootstrap/status.json";
const LOG: &str = "var/log/ecs/ecs-agent.log";
const TIMER: &str = "StartUnit ecs-bootstrap-watch.timer";
const ACS: &str = "ecs-a-1.eu-west-1.amazonaws.com";
/// Port 1 is closed.
const TIMED_OUT: &str = "unable to dial ecs-a-1.eu-west-1.amazonaws.com port 1: dial tcp: i/o timeout";
const DENIED: &str = "AccessDeniedException: User: u is not authorized to perform: ecs:Poll on resource: x";

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

fn now() -> u64 {
    seconds(SystemTime::now())
}

/// An instance that a run with these settings made ready. The simulators count from here.
fn ready(settings: &[&str]) -> Instance {
    // No name server is asked for the endpoint of ACS.
    let hosts = format!("127.0.0.1 localhost {ACS}\n");
    let instance = Instance::new().file("home/hosts", hosts).bind_mount("/etc/hosts", "home/hosts");
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let outcome = instance.run(&["run", "--wait"].into_iter().chain(settings).collect::<Vec<_>>());
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    instance
}

/// The state of a watch that may ask ECS, with these differences.
fn write_state(instance: &Instance, arn: &str, more: &Value) {
    let mut state = serde_json::to_value(State::default()).unwrap();
    state["arn"] = json!(arn);
    state["asked_at"] = json!(now() - 400);
    state["asks_at"] = json!(now() - 100);
    state.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    instance.disk.write(STATE, state.to_string());
}

fn arn(instance: &Instance) -> String {
    let state = instance.aws.state();
    let state = state.lock().unwrap();
    state.container_instances.last().expect("it has registered").arn.clone()
}

/// Lines of the agent's log: how many seconds ago, level, message and error.
fn log(instance: &Instance, lines: &[(u64, &str, &str, &str)]) {
    let mut text = instance.disk.text(LOG);
    for (ago, level, message, error) in lines {
        let time = humantime::format_rfc3339_seconds(SystemTime::now() - Duration::from_secs(*ago));
        writeln!(text, "level={level} time={time} msg=\"{message}\" error=\"{error}\"").unwrap();
    }
    instance.disk.write(LOG, text);
}

/// The agent lost its connection so long ago, and logs this error since then.
fn cut(instance: &Instance, ago: u64, error: &str) {
    let failed = "Failed to connect to ACS";
    let lines: Vec<_> = (0..=ago).step_by(60).map(|passed| (ago - passed, "error", failed, error)).collect();
    log(instance, &lines);
    disconnect(instance);
}

fn disconnect(instance: &Instance) {
    instance.aws.change(|aws| aws.container_instances.iter_mut().for_each(|one| one.agent_connected = false));
}

fn watch(instance: &Instance) -> Outcome {
    let outcome = instance.run(&["watch"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{outcome:?}");
    outcome
}

fn status(instance: &Instance) -> Value {
    serde_json::from_str(&instance.disk.text(STATUS)).unwrap()
}

fn cause(instance: &Instance) -> String {
    status(instance)["cause"]["id"].as_str().unwrap_or("none").to_owned()
}

fn describes(instance: &Instance) -> usize {
    instance.aws.count("DescribeContainerInstances")
}

#[test]
fn off_starts_no_timer_makes_no_request_and_leaves_no_trace() {
    let instance = ready(&[]);
    assert!(!instance.systemd.calls().iter().any(|call| call.contains("watch")));
    let plan = instance.disk.text("run/ecs-bootstrap/plan.json");
    assert!(!plan.contains("\"watch\""), "{plan}");
    let (aws, imds) = (instance.aws.requests().len(), instance.imds.requests().len());
    cut(&instance, 900, TIMED_OUT);
    assert_eq!(watch(&instance).stdout, "`watch.enable` is off\n");
    assert_eq!((instance.aws.requests().len(), instance.imds.requests().len()), (aws, imds));
    assert!(instance.disk.read(STATE).is_none());
}

#[test]
fn on_starts_the_timer_and_a_check_of_a_healthy_instance_makes_no_request() {
    let instance = ready(&[ON]);
    assert!(instance.systemd.calls().iter().any(|call| call == TIMER), "{:?}", instance.systemd.calls());
    let (aws, imds) = (instance.aws.requests().len(), instance.imds.requests().len());
    for _ in 0..3 {
        assert!(watch(&instance).stdout.starts_with("healthy"));
    }
    assert_eq!((instance.aws.requests().len(), instance.imds.requests().len()), (aws, imds));
    assert_eq!(status(&instance)["verdict"], "ready");
    let outcome: Value = serde_json::from_str(&instance.run(&["watch", "--json"]).stdout).unwrap();
    assert_eq!((&outcome["outcome"], &outcome["faults"]), (&json!("healthy"), &json!([])));
    // A second run starts nothing.
    instance.systemd.forget_calls();
    assert_eq!(instance.run(&["run", "--wait", "--set", ON]).code, Some(0));
    assert!(!instance.systemd.calls().iter().any(|call| call == TIMER), "{:?}", instance.systemd.calls());
}

#[test]
fn without_a_verdict_nothing_is_checked() {
    let instance = Instance::new();
    assert_eq!(watch(&instance).stdout, "ecs-bootstrap has not run in this boot\n");
    let instance = Instance::new().agent_behaves(|agent| agent.never_registers = true);
    assert_eq!(instance.run(&["run", "--no-wait", "--set", ON]).code, Some(0));
    assert_eq!(watch(&instance).stdout, "the verification has not ended\n");
}

#[test]
fn a_cut_is_reported_once_on_each_channel_and_so_is_its_end() {
    let instance = ready(&[ON, "signal.instance-tags=true", "signal.cloudwatch=true"]);
    let metrics = instance.aws.count("PutMetricData");
    cut(&instance, 290, TIMED_OUT);
    write_state(&instance, &arn(&instance), &json!({}));
    // The window ends in ten seconds, and the check waits for that.
    let outcome = watch(&instance);
    assert!(outcome.duration >= Duration::from_secs(8), "{:?}", outcome.duration);
    assert!(outcome.stdout.starts_with("reported:\n"), "{}", outcome.stdout);
    let stored = status(&instance);
    assert_eq!((stored["verdict"].as_str(), stored["exit_code"].as_u64()), (Some("failed"), Some(25)), "{stored}");
    assert_eq!(cause(&instance), "acs-unreachable", "{stored}");
    assert!(stored.to_string().contains("i/o timeout"), "{stored}");
    let tags =
        |instance: &Instance| instance.aws.state().lock().unwrap().instance_tags.values().next().unwrap().clone();
    assert_eq!(tags(&instance)["ecs-bootstrap:cause"], "acs-unreachable");
    assert_eq!(instance.aws.count("PutMetricData"), metrics + 1);
    let metric = instance
        .aws
        .requests()
        .into_iter()
        .filter(|request| String::from_utf8_lossy(&request.body).contains("AgentFault"))
        .count();
    assert_eq!(metric, 1);
    let entries = instance.journal.entries();
    let failed = entries.iter().filter(|entry| entry.get("CAUSE").is_some_and(|cause| cause == "acs-unreachable"));
    assert_eq!(failed.count(), 1);
    let printed: Value = serde_json::from_str(&instance.run(&["watch", "--json"]).stdout).unwrap();
    assert_eq!(
        (&printed["cause"], &printed["faults"][0]["fault"]),
        (&json!("acs-unreachable"), &json!("disconnected"))
    );
    assert_eq!(stored["agent_connected"], false);
    let asked_once = describes(&instance);
    // Again: nothing new.
    assert!(watch(&instance).stdout.starts_with("reported:\n"));
    assert_eq!((describes(&instance), instance.aws.count("PutMetricData")), (asked_once, metrics + 1));
    // The agent connects again.
    log(&instance, &[(0, "info", "Connected to ACS endpoint", "")]);
    instance.aws.change(|aws| aws.container_instances.iter_mut().for_each(|one| one.agent_connected = true));
    watch(&instance);
    let mut state: Value = serde_json::from_str(&instance.disk.text(STATE)).unwrap();
    assert_eq!(state["faults"], json!({}), "{state}");
    state["sound_since"] = json!(now() - 61);
    instance.disk.write(STATE, state.to_string());
    assert!(watch(&instance).stdout.starts_with("recovered"));
    assert_eq!(status(&instance)["verdict"], "ready");
    assert_eq!(tags(&instance)["ecs-bootstrap:verdict"], "ready");
    let over = instance.journal.entries();
    let over: Vec<_> = over.iter().filter(|entry| entry["MESSAGE"].contains("is over")).collect();
    assert_eq!(over.len(), 1);
    assert_eq!(over[0]["PRIORITY"], "5");
    assert!(watch(&instance).stdout.starts_with("healthy"));
}

#[test]
fn each_fault_is_reported_with_its_cause() {
    let answer = |at: u64| json!({"at": at, "is_active": true, "is_connected": false});
    let silent = || json!({"faults": {"disconnected": now() - 400}, "answer": answer(now() - 400)});
    let gone = || {
        let answer = json!({"at": now() - 400, "is_active": false, "is_connected": false});
        json!({"faults": {"inactive": now() - 400}, "answer": answer})
    };
    let starts = || json!({"starts": [now() - 700, now() - 500, now() - 290], "started_at": 1});
    type Case = (&'static str, fn(&Instance), Value, &'static [&'static str]);
    let cases: [Case; 8] = [
        ("the path is closed", |one| cut(one, 400, TIMED_OUT), json!({}), &["acs-unreachable"]),
        ("the role lost a permission", |one| cut(one, 400, DENIED), json!({}), &["acs-denied"]),
        ("a proxy refuses it", |one| cut(one, 400, "websocket: bad handshake"), json!({}), &["acs-refused"]),
        (
            "only ECS shows it",
            |one| {
                disconnect(one);
                one.disk.write(LOG, "");
                log(one, &[(4000, "info", "Connected to ACS endpoint", "")]);
            },
            silent(),
            &["agent-not-connected"],
        ),
        (
            "deregistered",
            |one| {
                cut(one, 400, "InactiveInstanceException: The container instance has been deregistered.");
                one.aws.change(|aws| aws.container_instances.iter_mut().for_each(|one| one.status = "INACTIVE".into()));
            },
            gone(),
            &["deregistered-while-up"],
        ),
        ("removed", |one| one.aws.change(|aws| aws.container_instances.clear()), gone(), &["deregistered-while-up"]),
        ("starts again", |_| {}, starts(), &["agent-restarts"]),
        (
            "an idle limit",
            |one| {
                let connected = |ago| (ago, "info", "Connected to ACS endpoint", "");
                log(one, &[connected(400), connected(300), connected(200), connected(100), connected(1)]);
            },
            json!({}),
            &["acs-connection-drops"],
        ),
    ];
    for (what, happens, state, causes) in cases {
        let instance = ready(&[ON]);
        let arn = arn(&instance);
        let (before, all) = (describes(&instance), instance.aws.requests().len());
        happens(&instance);
        write_state(&instance, &arn, &state);
        let outcome = watch(&instance);
        let stored = status(&instance);
        assert!(causes.contains(&cause(&instance).as_str()), "{what}: {outcome:?}\n{stored}");
        assert_eq!(stored["verdict"], "failed", "{what}");
        assert!(describes(&instance) <= before + 1, "{what}: {} calls", describes(&instance) - before);
        assert_eq!(instance.aws.requests().len() - all, describes(&instance) - before, "{what}: another call");
    }
}

/// The agent does not connect, and its log has no error. The endpoint of ACS accepts connections.
fn stuck(settings: &[&str]) -> Instance {
    let instance = ready(settings);
    make_stuck(&instance, json!({}));
    instance
}

fn make_stuck(instance: &Instance, more: Value) {
    disconnect(instance);
    let endpoint = instance.aws.endpoint();
    let port = endpoint.rsplit(':').next().unwrap();
    let url = format!("Establishing a Websocket connection to https://{ACS}:{port}/ws");
    instance.disk.write(LOG, "");
    log(instance, &[(4000, "info", &url, ""), (4000, "info", "Connected to ACS endpoint", "")]);
    let answer = json!({"at": now() - 400, "is_active": true, "is_connected": false});
    let mut state = json!({"faults": {"disconnected": now() - 400}, "answer": answer});
    state.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    write_state(instance, &arn(instance), &state);
}

#[test]
fn a_stuck_agent_is_restarted_once_if_that_is_allowed() {
    for (settings, restarts) in [(vec![ON], 0), (vec![ON, "watch.restart-agent=true"], 1)] {
        let instance = stuck(&settings);
        watch(&instance);
        assert_eq!(cause(&instance), "agent-stuck", "{}", status(&instance));
        let restarted = |instance: &Instance| {
            instance.systemd.calls().iter().filter(|call| *call == "RestartUnit ecs.service").count()
        };
        assert_eq!(restarted(&instance), restarts);
        // Stuck again after the recovery: reported again, and not restarted.
        let state: Value = serde_json::from_str(&instance.disk.text(STATE)).unwrap();
        assert_eq!(state["restarted_at"].is_null(), restarts == 0);
        // The simulated agent connects after its restart.
        while restarts == 1 && !instance.disk.text(LOG).contains("Connected to TCS") {
            std::thread::sleep(Duration::from_millis(50));
        }
        make_stuck(&instance, json!({"restarted_at": state["restarted_at"]}));
        let reports = |instance: &Instance| {
            instance.journal.entries().iter().filter(|entry| entry["MESSAGE"].contains("[agent-stuck]")).count()
        };
        let before = reports(&instance);
        watch(&instance);
        assert_eq!((reports(&instance), restarted(&instance)), (before + 1, restarts));
    }
}

#[test]
fn a_fault_of_ecs_hides_no_cut_and_is_no_fault_of_the_agent() {
    let throttled = Fault::error(400, "ThrottlingException", "Rate exceeded");
    for fault in [throttled, Fault::denied("ecs:DescribeContainerInstances"), Fault::Silent, Fault::Garbage] {
        let instance = ready(&[ON]);
        instance.aws.fail("DescribeContainerInstances", fault.clone());
        write_state(&instance, &arn(&instance), &json!({}));
        let before = describes(&instance);
        assert!(watch(&instance).stdout.starts_with("healthy"), "{fault:?}");
        let calls = describes(&instance);
        assert_eq!(calls, before + 1, "{fault:?}: one attempt");
        assert!(watch(&instance).stdout.starts_with("healthy"), "{fault:?}");
        assert_eq!(describes(&instance), calls, "{fault:?}: not asked again within five minutes");
        cut(&instance, 400, TIMED_OUT);
        watch(&instance);
        assert_eq!(cause(&instance), "acs-unreachable", "{fault:?}");
    }
}

#[test]
fn a_signal_that_was_not_accepted_is_sent_again() {
    let instance = ready(&[ON, "signal.instance-tags=true", "signal.cloudwatch=true"]);
    instance.aws.fail("CreateTags", Fault::denied("ec2:CreateTags"));
    cut(&instance, 400, TIMED_OUT);
    write_state(&instance, &arn(&instance), &json!({}));
    watch(&instance);
    let (tags, metrics) = (instance.aws.count("CreateTags"), instance.aws.count("PutMetricData"));
    watch(&instance);
    assert_eq!(instance.aws.count("CreateTags"), tags, "not at each check");
    let mut state: Value = serde_json::from_str(&instance.disk.text(STATE)).unwrap();
    state["sends_at"] = json!(now());
    instance.disk.write(STATE, state.to_string());
    instance.aws.change(|aws| aws.faults.clear());
    watch(&instance);
    assert_eq!((instance.aws.count("CreateTags"), instance.aws.count("PutMetricData")), (tags + 1, metrics));
    let tags = instance.aws.state().lock().unwrap().instance_tags.values().next().unwrap().clone();
    assert_eq!(tags["ecs-bootstrap:cause"], "acs-unreachable");
    assert!(!status(&instance)["signals"].to_string().contains("failed\",\"to\""), "{}", status(&instance));
}

#[test]
fn after_the_end_of_a_fault_the_verdict_of_a_failed_verification_holds_again() {
    let instance = ready(&[ON]);
    let mut failed = status(&instance);
    failed["verdict"] = json!("failed");
    failed["exit_code"] = json!(13);
    failed["cause"] = json!({"id": "daemons-not-running", "title": "t", "class": "retry", "evidence": [], "remedy": "r",
        "source": "s"});
    instance.disk.write(STATUS, failed.to_string());
    cut(&instance, 400, TIMED_OUT);
    write_state(&instance, &arn(&instance), &json!({}));
    watch(&instance);
    assert_eq!(cause(&instance), "acs-unreachable");
    log(&instance, &[(0, "info", "Connected to ACS endpoint", "")]);
    instance.aws.change(|aws| aws.container_instances.iter_mut().for_each(|one| one.agent_connected = true));
    watch(&instance);
    let mut state: Value = serde_json::from_str(&instance.disk.text(STATE)).unwrap();
    state["sound_since"] = json!(now() - 61);
    instance.disk.write(STATE, state.to_string());
    assert!(watch(&instance).stdout.starts_with("recovered"));
    assert_eq!(cause(&instance), "daemons-not-running");
    assert!(watch(&instance).stdout.starts_with("healthy"));
}

#[test]
fn a_sign_in_the_file_before_the_rotation_counts() {
    let instance = ready(&[ON]);
    let failed = "Failed to connect to ACS";
    instance.disk.write(LOG, "");
    log(&instance, &[(4000, "info", "Connected to ACS endpoint", ""), (400, "error", failed, TIMED_OUT)]);
    let rotated = instance.disk.text(LOG);
    instance.disk.write(&format!("{LOG}.2026-11-30-12"), &rotated);
    instance.disk.write(LOG, "");
    log(&instance, &[(30, "error", "tcs: unable to discover poll endpoint", "x")]);
    disconnect(&instance);
    write_state(&instance, &arn(&instance), &json!({}));
    watch(&instance);
    assert_eq!(cause(&instance), "acs-unreachable");
    // The connection at the end of the old file counts too.
    let instance = ready(&[ON]);
    instance.disk.write(&format!("{LOG}.2026-11-30-12"), instance.disk.text(LOG));
    instance.disk.write(LOG, "");
    write_state(&instance, &arn(&instance), &json!({"faults": {"disconnected": now() - 400}, "is_logged": true}));
    assert!(watch(&instance).stdout.starts_with("healthy"));
}

#[test]
fn a_full_run_folder_hides_no_fault() {
    let instance = ready(&[ON]);
    cut(&instance, 400, TIMED_OUT);
    write_state(&instance, &arn(&instance), &json!({}));
    let before = describes(&instance);
    // A folder in the place of the state: it can be neither read nor written.
    instance.disk.remove(STATE);
    instance.disk.folder(STATE);
    let outcome = instance.run(&["watch"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!((cause(&instance).as_str(), describes(&instance)), ("acs-unreachable", before));
}

#[test]
fn an_instance_that_left_a_warm_pool_after_its_verification_is_watched() {
    let instance = ready(&[ON]);
    let mut waiting = status(&instance);
    waiting["verdict"] = json!("waiting");
    instance.disk.write(STATUS, waiting.to_string());
    cut(&instance, 400, TIMED_OUT);
    write_state(&instance, &arn(&instance), &json!({}));
    watch(&instance);
    assert_eq!(cause(&instance), "acs-unreachable");
    // In the pool it has not registered.
    instance.disk.write(STATUS, waiting.to_string());
    instance.agent.stop();
    write_state(&instance, &arn(&instance), &json!({"faults": {"down": now() - 400}}));
    assert!(watch(&instance).stdout.starts_with("waiting"));
    assert_eq!(status(&instance)["verdict"], "waiting");
}

#[test]
fn a_damaged_state_is_replaced() {
    let instance = ready(&[ON]);
    for damaged in ["", "{", "[]", "{\"faults\": 1}", "{\"faults\": {\"disconnected\": 18446744073709551615}}"] {
        instance.disk.write(STATE, damaged);
        assert!(watch(&instance).stdout.starts_with("healthy"), "{damaged}");
    }
}
