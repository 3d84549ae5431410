//! Causes in docker and its configuration. See `causes/mod.rs`.

use super::{ExpectedCause, is_ready, run};
use crate::support::Instance;
use crate::support::systemd::Start;

fn failing() -> Instance {
    Instance::new().unit("docker.service", |unit| unit.start = Start::Fails("failed".into()))
}

#[test]
fn an_invalid_daemon_json_is_reported_with_line_and_column() {
    let instance = failing().file("etc/docker/daemon.json", "{\n  \"log-driver\": \"hunter2\",,\n}\n");
    let outcome = run(&instance, &[]);
    ExpectedCause("docker-config-invalid", 24, "line 2, column 27").check(&instance, &outcome);
    assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
}

#[test]
fn a_duplicate_docker_flag_is_reported_with_dockers_message() {
    let line = "unable to configure the Docker daemon with file /etc/docker/daemon.json: the following directives are \
                specified both as a flag and in the configuration file: hosts\n";
    let instance = failing().journal_has("docker.service", line).file("etc/docker/daemon.json", "{}");
    ExpectedCause("docker-config-invalid", 24, "specified both as a flag").check(&instance, &run(&instance, &[]));
}

#[test]
fn an_invalid_daemon_json_is_not_a_cause_while_docker_runs() {
    is_ready(&run(&Instance::new().file("etc/docker/daemon.json", "{,"), &["verify.deadline=20s"]));
}

#[test]
fn a_storage_driver_that_does_not_start_is_reported() {
    let line = "failed to start daemon: error initializing graphdriver: driver not supported: devicemapper\n";
    let instance = failing().journal_has("docker.service", line);
    ExpectedCause("docker-storage-failed", 24, "driver not supported").check(&instance, &run(&instance, &[]));
}

#[test]
fn the_journal_of_the_last_start_is_used_after_two_hundred_lines_of_earlier_starts() {
    let start = "Starting docker.service - Docker Application Container Engine...\n";
    let earlier = format!("{start}{}failed to start daemon: pid file found\n", "loading containers: done\n".repeat(65));
    let last = "failed to start daemon: error initializing graphdriver: driver not supported: devicemapper\n";
    let instance = failing().journal_has("docker.service", &(earlier.repeat(3) + start + last));
    ExpectedCause("docker-storage-failed", 24, "driver not supported").check(&instance, &run(&instance, &[]));
}

#[test]
fn any_other_docker_failure_is_reported_with_its_last_log_line() {
    let lines = "Starting docker.service - Docker Application Container Engine...\n\
                 failed to start daemon: pid file found, proxy http://u:hunter2@proxy\n";
    let instance = failing().journal_has("docker.service", lines);
    let outcome = run(&instance, &[]);
    ExpectedCause("docker-failed", 24, "journal: `failed to start daemon: pid file found").check(&instance, &outcome);
    assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
}

#[test]
fn a_docker_that_never_answers_is_reported() {
    let instance = Instance::new().agent_behaves(|agent| agent.never_registers = true);
    instance.docker.change(|docker| docker.hung = true);
    ExpectedCause("docker-hung", 24, "docker did not answer")
        .check(&instance, &run(&instance, &["verify.deadline=8s"]));
}

#[test]
fn a_docker_that_never_answers_is_not_a_cause_if_the_agent_registers() {
    let instance = Instance::new();
    instance.docker.change(|docker| docker.hung = true);
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_docker_that_is_too_new_for_the_agent_is_reported() {
    let instance = Instance::new()
        .agent_behaves(|agent| agent.exits = Some((1, "Could not get supported docker versions", "none found")));
    instance.docker.change(|docker| docker.min_api = Some("1.45"));
    ExpectedCause("docker-api-mismatch", 24, "supports only API version 1.45 and later")
        .check(&instance, &run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_docker_that_supports_the_agents_api_version_is_not_a_cause() {
    let instance = Instance::new();
    instance.docker.change(|docker| docker.min_api = Some("1.44"));
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}
