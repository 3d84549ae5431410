//! Causes that lie in docker and in what the host gives it. See `causes.rs`.

use super::{Names, is_ready, run};
use crate::support::Instance;
use crate::support::systemd::Start;

fn failing() -> Instance {
    Instance::new().unit("docker.service", |unit| unit.start = Start::Fails("failed".into()))
}

#[test]
fn a_daemon_json_that_is_none_is_told_by_its_place() {
    let instance = failing().file("etc/docker/daemon.json", "{\n  \"log-driver\": \"hunter2\",,\n}\n");
    let outcome = run(&instance, &[]);
    Names("docker-config-invalid", 24, "line 2, column 27").check(&instance, &outcome);
    assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
}

#[test]
fn a_flag_that_is_said_twice_is_told_in_dockers_words() {
    let line = "unable to configure the Docker daemon with file /etc/docker/daemon.json: the following directives are \
                specified both as a flag and in the configuration file: hosts\n";
    let instance = failing().journaled("docker.service", line).file("etc/docker/daemon.json", "{}");
    Names("docker-config-invalid", 24, "specified both as a flag").check(&instance, &run(&instance, &[]));
}

#[test]
fn a_daemon_json_that_is_none_and_was_not_read_yet_is_no_cause() {
    is_ready(&run(&Instance::new().file("etc/docker/daemon.json", "{,"), &["verify.deadline=20s"]));
}

#[test]
fn a_storage_driver_that_does_not_start_is_told() {
    let line = "failed to start daemon: error initializing graphdriver: driver not supported: devicemapper\n";
    let instance = failing().journaled("docker.service", line);
    Names("docker-storage-failed", 24, "driver not supported").check(&instance, &run(&instance, &[]));
}

#[test]
fn whatever_else_docker_says_is_told_with_its_last_line() {
    let lines = "Starting docker.service - Docker Application Container Engine...\n\
                 failed to start daemon: pid file found, proxy http://u:hunter2@proxy\n";
    let instance = failing().journaled("docker.service", lines);
    let outcome = run(&instance, &[]);
    Names("docker-failed", 24, "journal: `failed to start daemon: pid file found").check(&instance, &outcome);
    assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
}

#[test]
fn a_docker_that_accepts_and_is_silent_is_told() {
    let instance = Instance::new().agent_behaves(|agent| agent.never_registers = true);
    instance.docker.change(|docker| docker.hung = true);
    Names("docker-hung", 24, "docker did not answer").check(&instance, &run(&instance, &["verify.deadline=8s"]));
}

#[test]
fn a_silent_docker_under_an_agent_that_registers_is_no_cause() {
    let instance = Instance::new();
    instance.docker.change(|docker| docker.hung = true);
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_docker_that_is_too_new_for_the_agent_is_told() {
    let instance = Instance::new()
        .agent_behaves(|agent| agent.exits = Some((1, "Could not get supported docker versions", "none found")));
    instance.docker.change(|docker| docker.min_api = Some("1.45"));
    Names("docker-api-mismatch", 24, "supports only API version 1.45 and later")
        .check(&instance, &run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_docker_that_still_speaks_the_agents_version_is_no_cause() {
    let instance = Instance::new();
    instance.docker.change(|docker| docker.min_api = Some("1.44"));
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}
