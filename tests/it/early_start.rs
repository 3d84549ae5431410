//! Early start (`units.early`): when `run` lets the agent start before user data has ended, and what
//! `guard --after-user-data` does when it has.

use std::time::{Duration, Instant};

use crate::support::Instance;
use crate::support::systemd::Start;

const CONFIG: &str = "etc/ecs/ecs.config";
const TARGET: &str = "ecs-bootstrap-user-data.target";
const LINK: &str = "etc/systemd/system/cloud-final.service.wants/ecs-bootstrap-user-data.target";
const AFTER_USER_DATA: &str = "ecs-bootstrap-after-user-data.service";

/// An instance in whose image early start is installed, while user data runs.
fn installed(instance: Instance) -> Instance {
    let instance = instance
        .setting_file("usr/lib/ecs-bootstrap/config.d/20-early-start.toml", "units.early = true\n")
        .unit("ecs.service", |unit| {
            unit.after = vec!["docker.service".into(), TARGET.into()];
            unit.guarded();
        })
        .unit(AFTER_USER_DATA, |unit| {
            unit.load_state = "loaded".into();
            unit.after = vec!["cloud-final.service".into()];
        })
        .user_data_runs();
    instance.systemd.queue(TARGET);
    instance
}

fn configured(instance: Instance) -> Instance {
    let outcome = instance.run(&["run", "--no-wait"]);
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    instance
}

fn called(instance: &Instance, call: &str) -> usize {
    instance.systemd.calls().iter().filter(|made| made.starts_with(call)).count()
}

fn agent_is_up(instance: &Instance) -> bool {
    instance.systemd.unit("ecs.service").is_some_and(|unit| unit.active_state == "active")
}

fn wait_for_agent(instance: &Instance) {
    let start = Instant::now();
    while !agent_is_up(instance) {
        assert!(start.elapsed() < Duration::from_secs(20), "the agent did not start");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn append(instance: &Instance, lines: &str) {
    let text = instance.disk.text(CONFIG) + lines;
    instance.disk.write(CONFIG, text);
}

/// `guard`, as the agent's unit calls it.
fn guard_of_unit(instance: &Instance) {
    instance.disk.write("proc/self/cgroup", "0::/system.slice/ecs.service\n");
    let outcome = instance.run(&["guard"]);
    instance.disk.remove("proc/self/cgroup");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
}

/// An instance whose agent has started before the end of user data.
fn started() -> Instance {
    let instance = configured(installed(Instance::new()));
    wait_for_agent(&instance);
    guard_of_unit(&instance);
    instance.user_data_ends();
    instance.systemd.forget_calls();
    instance
}

fn after_user_data(instance: &Instance) -> String {
    let outcome = instance.run(&["guard", "--after-user-data"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    format!("{:?}", instance.journal.entries())
}

#[test]
fn an_agent_whose_cluster_is_tagged_starts_before_user_data_ends() {
    let instance = configured(installed(Instance::new()));
    assert_eq!(called(&instance, "CancelJob"), 1);
    assert_eq!(called(&instance, &format!("StartUnit {AFTER_USER_DATA}")), 1);
    wait_for_agent(&instance);
    // A second run releases nothing again.
    instance.systemd.forget_calls();
    let instance = configured(instance);
    let start = format!("StartUnit {AFTER_USER_DATA}");
    assert_eq!((called(&instance, "CancelJob"), called(&instance, &start)), (0, 0));
    assert!(instance.run(&["plan"]).stdout.contains("the agent may start before user data has ended: "));
}

#[test]
fn an_agent_whose_cluster_user_data_can_name_waits() {
    for (instance, why) in [
        (Instance::new().without_tags(), "user data can still name the cluster"),
        (Instance::new().without_tags().ecs_config("ECS_CLUSTER=prod\n"), "can change the cluster"),
        (Instance::new().user_data("#!/bin/sh\necho ECS_A=1 >>/etc/ecs/ecs.config\n"), "user data mentions"),
    ] {
        let instance = configured(installed(instance));
        assert_eq!(called(&instance, "CancelJob"), 0, "{why}");
        assert!(!agent_is_up(&instance), "{why}");
        let plan = instance.run(&["plan"]).stdout;
        assert!(plan.contains("the agent waits for user data: ") && plan.contains(why), "{plan}");
    }
}

#[test]
fn an_agent_waits_if_what_user_data_writes_later_could_not_be_applied() {
    let instance = configured(installed(Instance::new()).unit(AFTER_USER_DATA, |unit| unit.absent()));
    assert_eq!(called(&instance, "CancelJob"), 0);
    assert!(format!("{:?}", instance.journal.entries()).contains("early start failed; the agent waits for user data"));
}

#[test]
fn doctor_and_plan_report_a_unit_that_is_out_of_date() {
    let unit = |sum: &str| {
        format!(
            "# ecs-bootstrap early start: made by a script\n# source: /usr/lib/systemd/system/ecs.service\n# sha256: \
             {sum}\n[Unit]\n"
        )
    };
    // The SHA-256 of an empty file.
    let current = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for (sum, source, is_linked, text) in [
        (current, Some(""), true, None),
        (current, Some(""), false, Some("because cloud-final.service does not want ecs-bootstrap-user-data.target")),
        (current, Some("[Unit]\n"), true, Some("was made from another version of /usr/lib/systemd/system/ecs.service")),
        (current, None, true, Some("/usr/lib/systemd/system/ecs.service, which does not exist")),
    ] {
        let instance = installed(Instance::new()).file("etc/systemd/system/ecs.service", unit(sum));
        instance.disk.write(LINK, if is_linked { "[Unit]\n" } else { "" });
        if let Some(source) = source {
            instance.disk.write("usr/lib/systemd/system/ecs.service", source);
        }
        let plan = instance.run(&["plan"]).stderr;
        let doctor = instance.run(&["doctor"]).stdout;
        let row = doctor.lines().find(|line| line.starts_with("units ")).unwrap();
        for shown in [plan.as_str(), row] {
            assert_eq!(shown.contains("[early-start]"), text.is_some(), "{shown}");
            assert!(text.is_none_or(|text| shown.contains(text)), "{shown}");
        }
    }
}

#[test]
fn without_early_start_systemd_is_asked_for_nothing_more() {
    let instance = configured(Instance::new().user_data_runs());
    let calls = instance.systemd.calls();
    assert!(!calls.iter().any(|call| call.contains(TARGET) || call.contains(AFTER_USER_DATA)), "{calls:?}");
    assert_eq!(instance.run(&["guard"]).code, Some(0));
    assert!(!instance.disk.path("run/ecs-bootstrap/agent-config.json").exists());
}

#[test]
fn a_variable_that_user_data_changes_later_restarts_the_agent_once() {
    let instance = started();
    append(&instance, "ECS_CLUSTER=other\nECS_LOGLEVEL=debug\n");
    let log = after_user_data(&instance);
    assert!(log.contains("restarting the agent"), "{log}");
    assert_eq!(called(&instance, "RestartUnit ecs.service"), 1);
    // The registration is verified again, and the line that names another cluster is gone.
    assert_eq!(called(&instance, "StartUnit ecs-bootstrap-verify.service"), 1);
    assert_eq!(instance.disk.text(CONFIG), "ECS_CLUSTER=prod\nECS_LOGLEVEL=debug\n");
    // The agent starts again, so guard records its new configuration.
    guard_of_unit(&instance);
    after_user_data(&instance);
    assert_eq!(called(&instance, "RestartUnit ecs.service"), 1);
    assert!(!instance.disk.text("run/ecs-bootstrap/agent-config.json").contains("debug"));
}

#[test]
fn an_agent_whose_configuration_stays_the_same_is_not_restarted() {
    let instance = started();
    append(&instance, "# a comment\nECS_CLUSTER=other\n");
    assert!(after_user_data(&instance).contains("user data changed nothing"));
    assert_eq!(called(&instance, "RestartUnit"), 0);
}

#[test]
fn attributes_that_user_data_sets_later_are_reported_and_restart_nothing() {
    let instance = started();
    append(&instance, "ECS_INSTANCE_ATTRIBUTES={\"a\":\"b\"}\n");
    assert!(after_user_data(&instance).contains("ECS takes it only at the first registration"));
    assert_eq!(called(&instance, "RestartUnit"), 0);
}

#[test]
fn an_agent_that_user_data_stopped_stays_stopped() {
    let instance = started().unit("ecs.service", |unit| unit.active_state = "inactive".into());
    append(&instance, "ECS_LOGLEVEL=debug\n");
    assert!(after_user_data(&instance).contains("it was stopped"));
    assert_eq!(called(&instance, "RestartUnit") + called(&instance, "StartUnit"), 0);
    let instance = Instance::new();
    assert!(after_user_data(&instance).contains("no run of this boot left a plan"));
}

#[test]
fn an_agent_that_stopped_with_docker_is_started_after_user_data() {
    let instance = started().unit("ecs.service", |unit| {
        unit.active_state = "inactive".into();
        unit.exec_main_start = 1;
    });
    assert!(after_user_data(&instance).contains("it was stopped with docker"));
    assert_eq!(called(&instance, "RestartUnit ecs.service"), 1);
    assert_eq!(called(&instance, "StartUnit ecs-bootstrap-verify.service"), 1);
    wait_for_agent(&instance);
}

#[test]
fn an_agent_whose_start_was_canceled_is_started_after_user_data() {
    let instance = started().unit("ecs.service", |unit| {
        unit.active_state = "inactive".into();
        unit.exec_main_start = 0;
    });
    assert!(after_user_data(&instance).contains("its queued start was canceled"));
    assert_eq!(called(&instance, "RestartUnit ecs.service"), 1);
}

#[test]
fn an_agent_that_has_not_registered_is_restarted_after_user_data() {
    let instance = started();
    while instance.disk.agent_state().is_none() {
        std::thread::sleep(Duration::from_millis(10));
    }
    instance.disk.remove("var/lib/ecs/data");
    let instance = instance.unit("ecs.service", |unit| unit.exec_main_start = 1);
    assert!(after_user_data(&instance).contains("it has not registered"));
    assert_eq!(called(&instance, "RestartUnit ecs.service"), 1);
}

#[test]
fn a_drop_in_that_user_data_writes_restarts_the_agent() {
    let drop_in = "etc/systemd/system/ecs.service.d/proxy.conf";
    // systemd may not have noticed the drop-in, or user data has called `systemctl daemon-reload` itself.
    for (needs_reload, is_written) in [(true, false), (false, true)] {
        let instance = started().unit("ecs.service", |unit| unit.needs_reload = needs_reload);
        if is_written {
            instance.disk.write(drop_in, "[Service]\nEnvironment=A=1\n");
        }
        let log = after_user_data(&instance);
        assert_eq!(log.contains("/etc/systemd/system/ecs.service.d/proxy.conf"), is_written, "{log}");
        let calls = instance.systemd.calls();
        let place = |call: &str| calls.iter().position(|made| made == call).expect(call);
        assert!(place("RestartUnit ecs.service") > place("Reload"), "{calls:?}");
    }
}

#[test]
fn a_restart_after_user_data_that_fails_is_a_warning() {
    let instance = started();
    append(&instance, "ECS_LOGLEVEL=debug\n");
    let instance = instance.unit("ecs.service", |unit| unit.start = Start::Fails("failed".into()));
    assert!(after_user_data(&instance).contains("the agent was not restarted"));
}

#[test]
fn a_guard_that_a_person_calls_records_no_start() {
    let instance = started();
    append(&instance, "ECS_LOGLEVEL=debug\n");
    assert_eq!(instance.run(&["guard"]).code, Some(0));
    after_user_data(&instance);
    assert_eq!(called(&instance, "RestartUnit ecs.service"), 1);
}

#[test]
fn no_failure_is_final_while_user_data_may_repair_it() {
    let absent = || Instance::new().tag("ecs-bootstrap:cluster", "absent");
    // The agent of the second one is held, because its user data mentions the file.
    let holding = absent().user_data("#!/bin/sh\nsleep 9\necho ECS_LOGLEVEL=debug >>/etc/ecs/ecs.config\n");
    for (instance, is_held) in [(absent(), false), (holding, true)] {
        let instance = configured(installed(instance));
        let verify = instance.start(&["verify"]);
        std::thread::sleep(Duration::from_secs(5));
        assert_eq!(called(&instance, &format!("StartUnit {AFTER_USER_DATA}")), usize::from(!is_held));
        assert_eq!(instance.run(&["status"]).code, Some(0));
        instance.user_data_ends();
        let outcome = verify.wait();
        assert!(outcome.stderr.contains("[cluster-not-found]"), "{}\n{}", outcome.stdout, outcome.stderr);
    }
}

#[test]
fn user_data_that_waits_for_the_agent_ends_its_wait() {
    for (instance, line) in
        [(Instance::new(), "ECS_LOGLEVEL=debug\n"), (Instance::new().without_tags(), "ECS_CLUSTER=prod\n")]
    {
        let script = format!("#!/bin/sh\necho {line} >>/etc/ecs/ecs.config\nsystemctl start ecs\n");
        let instance = configured(installed(instance.user_data(script)));
        let verify = instance.start(&["verify"]);
        std::thread::sleep(Duration::from_millis(1500));
        assert!(!agent_is_up(&instance));
        append(&instance, line);
        instance.disk.write("proc/77/cgroup", "0::/system.slice/cloud-final.service\n");
        instance.disk.write("proc/77/cmdline", "systemctl\0start\0ecs\0");
        wait_for_agent(&instance);
        assert_eq!(called(&instance, &format!("StartUnit {AFTER_USER_DATA}")), 1);
        assert!(instance.disk.text(CONFIG).contains(line));
        let outcome = verify.wait();
        assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    }
}
