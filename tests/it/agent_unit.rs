//! `units.agent`: an agent that another unit starts, or none.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Instance, OTHER_UNIT, Outcome};

const SETTINGS: &str = "etc/ecs-bootstrap/config.toml";

/// A host whose agent is started by [`OTHER_UNIT`], which has the drop-in of ecs-bootstrap.
fn named() -> Instance {
    let instance = Instance::new().setting_file(SETTINGS, &format!("units.agent = \"{OTHER_UNIT}\"\n"));
    instance.systemd.rename_agent_unit(Some(OTHER_UNIT));
    instance.systemd.change_unit(OTHER_UNIT, |unit| unit.guarded());
    instance
}

/// A host without a unit of the agent.
fn without_unit() -> Instance {
    let instance = Instance::new().setting_file(SETTINGS, "units.agent = \"none\"\n");
    instance.systemd.rename_agent_unit(None);
    instance
}

fn json(instance: &Instance, command: &[&str]) -> Value {
    serde_json::from_str(&instance.run(command).stdout).unwrap()
}

fn is_ready(outcome: &Outcome) {
    assert!(outcome.code == Some(0) && outcome.stdout.starts_with("ready: "), "{outcome:?}");
}

/// The requests for jobs, without those of ecs-bootstrap's own units.
fn jobs(instance: &Instance) -> Vec<String> {
    let calls = instance.systemd.calls().into_iter();
    calls
        .filter(|call| call.contains("Unit ") && !call.starts_with("LoadUnit") && !call.contains("ecs-bootstrap"))
        .collect()
}

#[test]
fn a_named_unit_is_planned_started_restarted_and_reset() {
    let instance = named();
    let plan = json(&instance, &["plan", "--json"]);
    let units: Vec<_> = plan["units"].as_array().unwrap().iter().map(|unit| (&unit["unit"], &unit["action"])).collect();
    let (docker, agent, start) = (json!("docker.service"), json!(OTHER_UNIT), json!("start"));
    assert_eq!(units, [(&docker, &start), (&agent, &start)]);
    assert_eq!(plan["warnings"], json!([]));
    is_ready(&instance.run(&["run", "--wait"]));
    assert_eq!(jobs(&instance), ["StartUnit docker.service", &format!("StartUnit {OTHER_UNIT}")]);
    // Another configuration restarts it.
    instance.systemd.forget_calls();
    is_ready(&instance.run(&["run", "--wait", "--set", "agent.ECS_LOGLEVEL=debug"]));
    assert_eq!(jobs(&instance), [format!("RestartUnit {OTHER_UNIT}")]);
    // Its saved state is moved while the unit is stopped.
    instance.systemd.forget_calls();
    let reset = instance.run(&["reset-agent", "--yes"]);
    assert_eq!(reset.code, Some(0), "{reset:?}");
    assert_eq!(jobs(&instance), [format!("StopUnit {OTHER_UNIT}"), format!("StartUnit {OTHER_UNIT}")]);
    let doctor = instance.run(&["doctor"]);
    assert!(doctor.stdout.contains(&format!("{OTHER_UNIT} is active")), "{}", doctor.stdout);
    assert!(
        !instance.systemd.calls().iter().any(|call| call.ends_with(" ecs.service")),
        "{:?}",
        instance.systemd.calls()
    );
}

#[test]
fn a_named_unit_that_can_start_too_early_is_a_warning() {
    let instance = named();
    instance.systemd.change_unit(OTHER_UNIT, |unit| unit.drop_ins.clear());
    let plan = json(&instance, &["plan", "--json"]);
    assert_eq!(plan["warnings"][0]["id"], "agent-not-guarded", "{plan}");
    let link = format!("/etc/systemd/system/{OTHER_UNIT}.d/10-ecs-bootstrap.conf");
    assert!(plan["warnings"][0]["text"].as_str().unwrap().contains(&link), "{plan}");
}

#[test]
fn a_named_unit_that_does_not_exist_is_reported_with_the_setting() {
    let instance = Instance::new().setting_file(SETTINGS, "units.agent = \"misspelt.service\"\n");
    let outcome = instance.run(&["run", "--wait"]);
    assert_eq!(outcome.code, Some(24), "{outcome:?}");
    for text in ["[ecs-init-absent]", "systemd has no misspelt.service (`units.agent`)", "or correct `units.agent`"] {
        assert!(outcome.stderr.contains(text), "{text}: {}", outcome.stderr);
    }
    assert!(!jobs(&instance).iter().any(|job| job.ends_with(" ecs.service")), "{:?}", jobs(&instance));
}

#[test]
fn a_remedy_names_the_unit_of_this_host() {
    let instance = named();
    instance.systemd.change_unit(OTHER_UNIT, |unit| unit.masked());
    let outcome = instance.run(&["run", "--wait"]);
    assert!(outcome.stderr.contains(&format!("{OTHER_UNIT} is masked")), "{}", outcome.stderr);
    let refused = named().agent_behaves(|agent| agent.exits = Some((5, "Unable to initialize", "x")));
    let outcome = refused.run(&["run", "--wait", "--set", "verify.deadline=20s"]);
    assert_eq!(outcome.code, Some(23), "{outcome:?}");
    assert!(outcome.stderr.contains("`systemctl restart run-ecs-agent --no-block`"), "{}", outcome.stderr);
}

#[test]
fn an_agent_without_a_unit_is_verified_and_nothing_starts_it() {
    let instance = without_unit();
    let plan = json(&instance, &["plan", "--json"]);
    let units: Vec<_> = plan["units"].as_array().unwrap().iter().map(|unit| &unit["unit"]).collect();
    assert_eq!((units, &plan["warnings"]), (vec![&json!("docker.service")], &json!([])));
    let held = ["plan", "--json", "--set", "ready.images=a", "--set", "ready.hold-registration=true"];
    assert_eq!(json(&instance, &held)["warnings"][0]["id"], "hold-without-images");
    // A script of user data runs the container after ecs-bootstrap.
    assert_eq!(instance.run(&["run", "--no-wait"]).code, Some(0));
    assert_eq!(instance.disk.text("etc/ecs/ecs.config"), "ECS_CLUSTER=prod\n");
    let verify = instance.start(&["verify"]);
    instance.agent.start();
    is_ready(&verify.wait());
    let doctor = instance.run(&["doctor"]);
    assert_eq!(doctor.code, Some(0), "{}", doctor.stdout);
    assert!(doctor.stdout.contains("no unit starts the agent (`units.agent` is `none`)"), "{}", doctor.stdout);
    // Nothing can restart it.
    let plan = json(&instance, &["plan", "--json", "--set", "agent.ECS_LOGLEVEL=debug"]);
    assert_eq!(plan["warnings"][0]["id"], "agent-not-restarted", "{plan}");
    is_ready(&instance.run(&["run", "--wait", "--set", "agent.ECS_LOGLEVEL=debug"]));
    let reset = instance.run(&["reset-agent", "--yes"]);
    assert_eq!(reset.code, Some(24), "{reset:?}");
    // A state that is not on the disk of the host cannot be moved.
    instance.agent.stop();
    instance.disk.remove("var/lib/ecs/data/agent.db");
    let reset = instance.run(&["reset-agent"]);
    assert!(reset.stdout.contains("`docker rm --force --volumes ecs-agent`"), "{reset:?}");
    assert!(!instance.systemd.calls().iter().any(|call| call.contains("none") || call.ends_with(" ecs.service")));
}

#[test]
fn an_agent_without_a_unit_that_nothing_has_run_is_reported() {
    let instance = without_unit();
    let outcome = instance.run(&["run", "--wait", "--set", "verify.deadline=4s"]);
    assert_eq!(outcome.code, Some(24), "{outcome:?}");
    for text in ["[agent-not-started]", "docker has no container `ecs-agent`", "run it with `--name ecs-agent`"] {
        assert!(outcome.stderr.contains(text), "{text}: {}", outcome.stderr);
    }
    assert!(!outcome.stderr.contains("systemctl"), "{}", outcome.stderr);
}

#[test]
fn an_agent_that_does_not_get_ecs_config_is_reported_with_the_option_of_docker() {
    for (cluster, id) in [("other", "cluster-other-than-wanted"), ("default", "joined-default")] {
        let instance = without_unit().cluster(cluster, &[]).ecs_config(format!("ECS_CLUSTER={cluster}\n"));
        instance.docker.start();
        instance.agent.start();
        let until = Instant::now() + Duration::from_secs(5);
        while instance.disk.agent_state().is_none() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        let outcome = instance.run(&["verify", "--set", "verify.deadline=10s"]);
        assert_eq!(outcome.code, Some(21), "{outcome:?}");
        for text in [id, "`docker run --env-file /etc/ecs/ecs.config`"] {
            assert!(outcome.stderr.contains(text), "{text}: {}", outcome.stderr);
        }
    }
}

#[test]
fn the_unit_in_the_guide_is_that_of_the_boot_test() {
    let page = include_str!("../../docs/how-to/agent-with-another-unit.md");
    let (_, rest) = page.split_once("```ini\n").unwrap();
    let (shown, _) = rest.split_once("```").unwrap();
    let tested = include_str!("../boot/cases/agents-custom-unit/root/etc/systemd/system/run-ecs-agent.service");
    // The image of the simulated agent has another name, is loaded from a file, and needs the Python of its host.
    let of_test = |line: &&str| line.contains("docker load") || line.contains("/usr:/usr:ro");
    let tested: Vec<&str> = tested.lines().filter(|line| !of_test(line)).collect();
    let shown: Vec<&str> = shown.lines().filter(|line| !line.contains("public.ecr.aws")).collect();
    assert_eq!(shown, tested);
}

#[test]
fn other_values_are_refused_also_from_a_tag() {
    for value in ["", "ecs", "a b.service", "../x.service", "@.service", "x@.service", "x.target", ".service"] {
        let instance = Instance::new().setting_file(SETTINGS, &format!("units.agent = \"{value}\"\n"));
        let outcome = instance.run(&["plan"]);
        assert!(outcome.code == Some(20) && outcome.stderr.contains("`units.agent`"), "{value}: {outcome:?}");
    }
    let instance = Instance::new().tag("ecs-bootstrap:units.agent", "none");
    is_ready(&instance.run(&["run", "--wait"]));
}
