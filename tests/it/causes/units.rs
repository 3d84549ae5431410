//! Causes in the agent's unit, and in ecs-init before the agent runs. See `causes/mod.rs`.

use super::{ExpectedCause, is_ready, run, verify};
use crate::support::Instance;
use crate::support::systemd::Start;

/// ecs-init fails with this error, and systemd restarts it.
fn failing(error: &'static str) -> Instance {
    Instance::new()
        .unit("ecs.service", |unit| unit.start = Start::Retried(255))
        .agent_behaves(|agent| agent.init_error = error)
}

#[test]
fn an_agent_image_that_does_not_load_is_reported() {
    let instance = failing("could not load Amazon Elastic Container Service Agent into Docker: unexpected EOF");
    ExpectedCause("agent-image-load-failed", 24, "unexpected EOF").check(&instance, &run(&instance, &[]));
}

#[test]
fn an_agent_image_that_cannot_be_downloaded_is_reported() {
    let instance = failing("could not download Amazon Elastic Container Service Agent: 403 Forbidden");
    ExpectedCause("agent-download-failed", 24, "403 Forbidden")
        .check(&instance, &run(&instance, &["verify.deadline=6s"]));
}

#[test]
fn gpus_that_cannot_be_set_up_are_reported() {
    let instance = failing("could not initialize Nvidia GPU Manager: nvml: Driver Not Loaded")
        .ecs_config("ECS_ENABLE_GPU_SUPPORT=true\n");
    ExpectedCause("gpu-setup-failed", 24, "Driver Not Loaded")
        .check(&instance, &run(&instance, &["verify.deadline=6s"]));
}

#[test]
fn any_other_failure_of_ecs_init_is_reported_with_its_last_log_line() {
    let instance = failing("could not enable loopback routing: sysctl: http://u:hunter2@proxy");
    let outcome = run(&instance, &["verify.deadline=4s"]);
    ExpectedCause("ecs-init-failed", 24, "could not enable loopback routing").check(&instance, &outcome);
    assert!(outcome.stderr.contains("result exit-code, restarts 1"), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
}

#[test]
fn a_unit_at_its_start_limit_is_reported_at_once() {
    let lines = "Starting ecs.service - Amazon Elastic Container Service - container agent...\n\
                 ecs.service: Start request repeated too quickly.\n";
    let instance = Instance::new()
        .journal_has("ecs.service", lines)
        .unit("ecs.service", |unit| unit.start = Start::FailsWith("start-limit-hit"));
    let outcome = run(&instance, &[]);
    ExpectedCause("agent-unit-failed", 24, "result start-limit-hit").check(&instance, &outcome);
    assert!(outcome.stderr.contains("journal: `Start request repeated too quickly"), "{}", outcome.stderr);
}

#[test]
fn an_earlier_failure_of_the_unit_is_not_a_cause() {
    let failed_before = |unit: &mut crate::support::systemd::Unit| {
        unit.active_state = "failed".into();
        unit.sub_state = "failed".into();
        unit.result = "start-limit-hit".into();
    };
    is_ready(&run(&Instance::new().unit("ecs.service", failed_before), &["verify.deadline=20s"]));
}

#[test]
fn an_enabled_unit_without_a_start_job_is_reported() {
    let instance = Instance::new();
    ExpectedCause("agent-not-started", 24, "ecs.service is inactive, without a job")
        .check(&instance, &verify(&instance, &["verify.deadline=3s"]));
}
