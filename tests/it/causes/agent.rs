//! Causes that lie in the agent, its saved state, its life cycle, and what nothing explains. See `causes.rs`.

use super::{Names, is_ready, run};
use crate::support::Instance;
use crate::support::disk::AgentState;
use std::time::Duration;

fn foreign_state(instance: Instance) -> Instance {
    instance.disk.save_agent_state(&AgentState {
        cluster: "prod".into(),
        container_instance_arn: "arn:aws:ecs:eu-west-1:111122223333:container-instance/prod/parent".into(),
        instance_id: "i-0fedcba9876543210".into(),
    });
    instance
}

#[test]
fn attributes_that_ecs_does_not_take_are_told() {
    let instance = Instance::new().agent_behaves(|agent| agent.attributes_rejected = true);
    Names("attributes-rejected", 23, "Attribute validation failed")
        .check(&instance, &run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn an_agent_that_dies_on_the_state_of_another_instance_is_told() {
    let text = "saved state is of another instance";
    let instance = foreign_state(Instance::new()).agent_behaves(|agent| agent.gives_up_with = Some(text.into()));
    Names("baked-agent-state", 24, "`i-0fedcba9876543210`").check(&instance, &run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn an_agent_that_drops_the_state_of_another_instance_is_no_cause() {
    let instance = foreign_state(Instance::new()).agent_behaves(|agent| agent.register_delay = Duration::from_secs(2));
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn the_state_of_another_instance_is_not_blamed_for_what_heals() {
    let instance = foreign_state(Instance::new());
    let throttled = crate::support::aws::Fault::error(400, "ThrottlingException", "Rate exceeded");
    instance.aws.fail_first("RegisterContainerInstance", 1, throttled);
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn an_agent_that_gives_up_for_a_new_reason_is_told_by_its_code() {
    let text = "InvalidParameterException: something new";
    let instance = Instance::new().agent_behaves(|agent| agent.gives_up_with = Some(text.into()));
    Names("agent-gave-up", 23, "the agent exited with code 5")
        .check(&instance, &run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_run_that_another_one_keeps_waiting_says_so() {
    let instance = Instance::new().file("run/ecs-bootstrap/lock", "");
    let held = std::fs::File::open(instance.disk.path("run/ecs-bootstrap/lock")).unwrap();
    held.lock().unwrap();
    let outcome = run(&instance, &["run.deadline=2s"]);
    Names("run-late", 13, "`run.deadline` (2s) passed while waiting for another run")
        .check_untouched(&instance, &outcome);
    drop(held);
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn an_agent_that_never_connects_is_told_after_its_window() {
    let instance = Instance::new().agent_behaves(|agent| agent.never_connects = true);
    Names("agent-not-connected", 13, "agentConnected false")
        .check(&instance, &run(&instance, &["verify.deadline=5s", "verify.window=2s"]));
}

#[test]
fn a_short_disconnect_is_no_cause() {
    let instance = Instance::new().agent_behaves(|agent| agent.connect_delay = Duration::from_secs(2));
    let outcome = run(&instance, &["verify.deadline=30s"]);
    is_ready(&outcome);
    assert!(outcome.stdout.contains("its agent is connected"), "{}", outcome.stdout);
    assert!(outcome.duration < Duration::from_secs(5), "the log told of the connection: {:?}", outcome.duration);
}

fn in_pool(state: Option<&str>) -> Instance {
    let instance = Instance::new().ecs_config("ECS_WARM_POOLS_CHECK=true\n");
    instance.imds.change(|imds| imds.target_lifecycle_state = state.map(str::to_owned));
    instance
}

#[test]
fn an_instance_in_a_warm_pool_waits_and_has_not_failed() {
    let instance = in_pool(Some("Warmed:Running"));
    let outcome = run(&instance, &["verify.deadline=3s"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.stdout.starts_with("waiting: "), "{}", outcome.stdout);
    let Names(id, _, seen) = Names("warm-pool-waiting", 0, "`Warmed:Running`");
    assert!(
        outcome.stdout.contains(&format!("waiting: [{id}]")) && outcome.stdout.contains(seen),
        "{}",
        outcome.stdout
    );
    assert!(!outcome.stderr.contains("error: ["), "{}", outcome.stderr);
}

#[test]
fn an_instance_in_service_is_in_no_warm_pool() {
    is_ready(&run(&in_pool(Some("InService")), &["verify.deadline=20s"]));
}

#[test]
fn a_warm_pool_setting_outside_a_group_is_not_called_waiting() {
    let instance = in_pool(None);
    Names("unknown", 13, "ecs.service is active").check(&instance, &run(&instance, &["verify.deadline=3s"]));
}

#[test]
fn silence_is_not_given_a_name() {
    let instance = Instance::new().agent_behaves(|agent| agent.never_registers = true);
    Names("unknown", 13, "ecs.service is active").check(&instance, &run(&instance, &["verify.deadline=3s"]));
}

#[test]
fn an_agent_that_is_slow_is_no_cause() {
    let instance = Instance::new().agent_behaves(|agent| agent.register_delay = Duration::from_secs(3));
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn an_agent_without_an_arn_is_not_registered() {
    let instance = Instance::new().agent_behaves(|agent| agent.empty_arn = true);
    Names("unknown", 13, "holds no container instance ARN").check(&instance, &run(&instance, &["verify.deadline=3s"]));
}

#[test]
fn what_the_log_says_of_an_earlier_boot_is_no_cause() {
    let line = "level=critical time=2026-01-01T00:00:00Z msg=\"Unable to register as a container instance with ECS\" error=\"AccessDeniedException: not authorized\"\n";
    let instance = Instance::new()
        .file("var/log/ecs/ecs-agent.log", line)
        .file("var/log/ecs/ecs-init.log", "level=error msg=\"agent exited with terminal exit code: 5\"\n")
        .unit("docker.service", |unit| unit.delay = Duration::from_secs(1));
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}
