//! A verification that dies: the verdict of `status`, the report and signals of its `OnFailure=`, and that a restarted
//! verification continues.

use std::time::{Duration, Instant};

use crate::support::http::lock;
use crate::support::{Instance, Outcome};

const VERIFY: &str = "ecs-bootstrap-verify.service";

/// An instance of an Auto Scaling group of a stack. Its run has handed over, and its agent never registers.
fn handed_over() -> Instance {
    let settings = "[signal]\ncloudformation = true\nlifecycle = true\n";
    let instance = Instance::new().setting_file("etc/ecs-bootstrap/config.toml", settings);
    let instance = instance.agent_behaves(|agent| agent.never_registers = true);
    let instance = crate::signal::waited_for(instance);
    let outcome = instance.run(&["run", "--no-wait"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    instance
}

fn set_verify_unit(instance: &Instance, active_state: &str, sub_state: &str, result: &str) {
    instance.systemd.change_unit(VERIFY, |unit| {
        unit.load_state = "loaded".into();
        unit.active_state = active_state.into();
        unit.sub_state = sub_state.into();
        unit.result = result.into();
        unit.n_restarts = 4;
    });
}

fn reports_cause(id: &str, outcome: &Outcome, seen: &str) {
    let output = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(output.contains(&format!("error: [{id}]")) && output.contains(seen), "no `{seen}` in {output}");
    crate::causes::record(id, id);
}

fn heartbeats(instance: &Instance) -> usize {
    lock(&instance.aws.state()).waiting.heartbeats
}

#[test]
fn status_fails_if_the_verifying_unit_does_not_run() {
    let instance = handed_over();
    for (active, sub) in [("active", "running"), ("activating", "auto-restart"), ("deactivating", "stop-sigterm")] {
        set_verify_unit(&instance, active, sub, "success");
        let outcome = instance.run(&["status"]);
        assert_eq!(outcome.code, Some(0), "{active}: {}", outcome.stdout);
    }
    let before = instance.disk.text("run/ecs-bootstrap/status.json");
    for (active, result) in
        [("failed", "oom-kill"), ("failed", "signal"), ("failed", "start-limit-hit"), ("inactive", "success")]
    {
        set_verify_unit(&instance, active, "dead", result);
        let outcome = instance.run(&["status"]);
        assert_eq!(outcome.code, Some(24), "{active}: {}", outcome.stdout);
        reports_cause("verify-died", &outcome, &format!("{VERIFY} is {active} (result `{result}`), after 4 restarts"));
        let json: serde_json::Value = serde_json::from_str(&instance.run(&["status", "--json"]).stdout).unwrap();
        assert_eq!(
            (&json["verdict"], &json["exit_code"], &json["cause"]["id"]),
            (&"failed".into(), &24.into(), &"verify-died".into())
        );
    }
    instance.systemd.change_unit(VERIFY, |unit| unit.absent());
    instance.disk.remove(&format!("run/systemd/system/{VERIFY}"));
    reports_cause("verify-died", &instance.run(&["status"]), "is not installed");
    assert_eq!(instance.disk.text("run/ecs-bootstrap/status.json"), before, "status changes nothing");
}

#[test]
fn status_reports_no_cause_without_systemd_or_after_a_verdict() {
    let instance = handed_over().without_bus();
    let outcome = instance.run(&["status"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stdout);
    assert!(outcome.stderr.contains(&format!("it is not known whether {VERIFY} still runs")), "{}", outcome.stderr);
    assert_eq!(Instance::new().run(&["status"]).code, Some(13), "nothing has run");
    let instance = Instance::new();
    assert_eq!(instance.run(&["run", "--wait"]).code, Some(0));
    set_verify_unit(&instance, "inactive", "dead", "success");
    assert_eq!(instance.run(&["status"]).code, Some(0));
}

#[test]
fn a_verification_that_died_for_good_is_reported_and_signalled_once() {
    let instance = handed_over();
    set_verify_unit(&instance, "failed", "failed", "start-limit-hit");
    let outcome = instance.run(&["verify", "--died"]);
    assert_eq!(outcome.code, Some(0), "the OnFailure= unit itself succeeds: {}", outcome.stderr);
    reports_cause("verify-died", &outcome, "start-limit-hit");
    let waiting = lock(&instance.aws.state()).waiting.clone();
    assert_eq!(waiting.signals.len(), 1);
    assert_eq!((waiting.signals[0].2.as_str(), waiting.completed), ("FAILURE", vec!["ABANDON".to_owned()]));
    assert_eq!(instance.run(&["status"]).code, Some(24));
    let calls = instance.aws.requests().len();
    assert_eq!(instance.run(&["verify", "--died"]).code, Some(0));
    assert_eq!(instance.aws.requests().len(), calls, "it is signalled once");
}

#[test]
fn a_verdict_is_not_replaced_when_verification_dies() {
    let instance = handed_over();
    let outcome = instance.run(&["verify", "--set", "verify.deadline=2s"]);
    assert_ne!(outcome.code, Some(0));
    let (before, calls) = (instance.disk.text("run/ecs-bootstrap/status.json"), instance.aws.requests().len());
    set_verify_unit(&instance, "failed", "failed", "exit-code");
    assert_eq!(instance.run(&["verify", "--died"]).code, Some(0));
    assert_eq!((instance.disk.text("run/ecs-bootstrap/status.json"), instance.aws.requests().len()), (before, calls));
}

#[test]
fn a_restarted_verification_sends_heartbeats_again() {
    let instance = handed_over();
    for round in 1..=3 {
        let before = heartbeats(&instance);
        let verify = instance.start(&["verify"]);
        let until = Instant::now() + Duration::from_secs(20);
        while heartbeats(&instance) == before && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(heartbeats(&instance) > before, "no heartbeat in round {round}");
        assert_eq!(verify.kill().signal, Some(9));
    }
    instance.agent.change(|agent| agent.never_registers = false);
    instance.agent.stop();
    instance.agent.start();
    let outcome = instance.run(&["verify"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(lock(&instance.aws.state()).waiting.completed, ["CONTINUE"]);
}

#[test]
fn both_units_are_written_if_no_package_installed_them() {
    let instance = handed_over();
    for unit in [VERIFY, "ecs-bootstrap-verify-failed.service"] {
        let text = instance.disk.text(&format!("run/systemd/system/{unit}"));
        assert!(text.contains("ExecStart=/") && !text.contains("/usr/bin/ecs-bootstrap"), "{text}");
    }
    assert!(instance.disk.text("run/systemd/system/ecs-bootstrap-verify-failed.service").contains("verify --died"));
}
