//! A verification that dies: what `status` says of it, what its `OnFailure=` tells and signals, and that the next one goes on.

use std::time::{Duration, Instant};

use crate::support::http::lock;
use crate::support::{Instance, Outcome};

const VERIFY: &str = "ecs-bootstrap-verify.service";

/// An instance of a group that a stack made; its run has handed over, and its agent never registers.
fn handed_over() -> Instance {
    let settings = "[signal]\ncloudformation = true\nlifecycle = true\n";
    let instance = Instance::new().setting_file("etc/ecs-bootstrap/config.toml", settings);
    let instance = instance.agent_behaves(|agent| agent.never_registers = true);
    let instance = crate::signal::waited_for(instance);
    let outcome = instance.run(&["run", "--no-wait"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    instance
}

fn is(instance: &Instance, active_state: &str, sub_state: &str, result: &str) {
    instance.systemd.change_unit(VERIFY, |unit| {
        unit.load_state = "loaded".into();
        unit.active_state = active_state.into();
        unit.sub_state = sub_state.into();
        unit.result = result.into();
        unit.n_restarts = 4;
    });
}

fn names(id: &str, outcome: &Outcome, seen: &str) {
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(said.contains(&format!("error: [{id}]")) && said.contains(seen), "no `{seen}` in {said}");
    crate::causes::record(id, id);
}

fn beats(instance: &Instance) -> usize {
    lock(&instance.aws.state()).waiting.beats
}

#[test]
fn status_says_when_the_unit_that_it_waits_for_does_not_run() {
    let instance = handed_over();
    for (active, sub) in [("active", "running"), ("activating", "auto-restart"), ("deactivating", "stop-sigterm")] {
        is(&instance, active, sub, "success");
        let outcome = instance.run(&["status"]);
        assert_eq!(outcome.code, Some(0), "{active}: {}", outcome.stdout);
    }
    let before = instance.disk.text("run/ecs-bootstrap/status.json");
    for (active, result) in
        [("failed", "oom-kill"), ("failed", "signal"), ("failed", "start-limit-hit"), ("inactive", "success")]
    {
        is(&instance, active, "dead", result);
        let outcome = instance.run(&["status"]);
        assert_eq!(outcome.code, Some(24), "{active}: {}", outcome.stdout);
        names("verify-died", &outcome, &format!("{VERIFY} is {active} (result `{result}`), after 4 restarts"));
        let json: serde_json::Value = serde_json::from_str(&instance.run(&["status", "--json"]).stdout).unwrap();
        assert_eq!(
            (&json["verdict"], &json["exit_code"], &json["cause"]["id"]),
            (&"failed".into(), &24.into(), &"verify-died".into())
        );
    }
    instance.systemd.change_unit(VERIFY, |unit| unit.absent());
    instance.disk.remove(&format!("run/systemd/system/{VERIFY}"));
    names("verify-died", &instance.run(&["status"]), "is not installed");
    assert_eq!(instance.disk.text("run/ecs-bootstrap/status.json"), before, "status changes nothing");
}

#[test]
fn status_accuses_nothing_where_systemd_cannot_be_asked_or_a_verdict_was_told() {
    let instance = handed_over().without_bus();
    let outcome = instance.run(&["status"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stdout);
    assert!(outcome.stderr.contains(&format!("it is not known whether {VERIFY} still runs")), "{}", outcome.stderr);
    assert_eq!(Instance::new().run(&["status"]).code, Some(13), "nothing has run");
    let instance = Instance::new();
    assert_eq!(instance.run(&["run", "--wait"]).code, Some(0));
    is(&instance, "inactive", "dead", "success");
    assert_eq!(instance.run(&["status"]).code, Some(0));
}

#[test]
fn a_death_without_a_restart_left_is_told_and_signalled_once() {
    let instance = handed_over();
    is(&instance, "failed", "failed", "start-limit-hit");
    let outcome = instance.run(&["verify", "--died"]);
    assert_eq!(outcome.code, Some(0), "its unit has done its work: {}", outcome.stderr);
    names("verify-died", &outcome, "start-limit-hit");
    let waiting = lock(&instance.aws.state()).waiting.clone();
    assert_eq!(waiting.signals.len(), 1);
    assert_eq!((waiting.signals[0].2.as_str(), waiting.completed), ("FAILURE", vec!["ABANDON".to_owned()]));
    assert_eq!(instance.run(&["status"]).code, Some(24));
    let calls = instance.aws.requests().len();
    assert_eq!(instance.run(&["verify", "--died"]).code, Some(0));
    assert_eq!(instance.aws.requests().len(), calls, "it is signalled once");
}

#[test]
fn a_verdict_that_was_told_stands() {
    let instance = handed_over();
    let outcome = instance.run(&["verify", "--set", "verify.deadline=2s"]);
    assert_ne!(outcome.code, Some(0));
    let (before, calls) = (instance.disk.text("run/ecs-bootstrap/status.json"), instance.aws.requests().len());
    is(&instance, "failed", "failed", "exit-code");
    assert_eq!(instance.run(&["verify", "--died"]).code, Some(0));
    assert_eq!((instance.disk.text("run/ecs-bootstrap/status.json"), instance.aws.requests().len()), (before, calls));
}

#[test]
fn after_a_restart_the_launch_hook_is_kept_waiting_again() {
    let instance = handed_over();
    for round in 1..=3 {
        let before = beats(&instance);
        let verify = instance.start(&["verify"]);
        let until = Instant::now() + Duration::from_secs(20);
        while beats(&instance) == before && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(beats(&instance) > before, "no heartbeat in round {round}");
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
fn where_no_package_has_installed_them_both_units_are_written() {
    let instance = handed_over();
    for unit in [VERIFY, "ecs-bootstrap-verify-failed.service"] {
        let text = instance.disk.text(&format!("run/systemd/system/{unit}"));
        assert!(text.contains("ExecStart=/") && !text.contains("/usr/bin/ecs-bootstrap"), "{text}");
    }
    assert!(instance.disk.text("run/systemd/system/ecs-bootstrap-verify-failed.service").contains("verify --died"));
}
