//! Faults that end the agent at its start and that data of the host proves. See `causes/mod.rs`.

use super::unknown_faults::{SOON, both_report, exiting};
use super::{ExpectedCause, run};
use crate::file_systems::read_only_at;
use crate::support::Instance;
use crate::support::systemd::Start;

#[test]
fn a_json_file_of_the_agent_that_does_not_parse_is_reported_with_its_place() {
    for (text, seen) in [
        ("{\"Cluster\": \"prod\",\n}", "it is not JSON (line 2, column 1)"),
        ("{\"Cluster\": ", "it is incomplete JSON"),
        ("[]", "it is JSON, but not an object"),
    ] {
        let instance = exiting(1, "Error loading config", "invalid character");
        let instance = instance.file("etc/ecs/ecs.config.json", text);
        both_report(&instance, &run(&instance, SOON), ExpectedCause("agent-json-invalid", 20, seen));
    }
}

#[test]
fn reserved_memory_above_that_of_the_host_is_reported_with_both_numbers() {
    for reserved in ["9000", "65535"] {
        let instance = exiting(1, "Unable to fetch host resources", "not enough");
        let instance = instance.ecs_config(format!("ECS_RESERVED_MEMORY={reserved}\n"));
        let instance = instance.file("proc/meminfo", "MemTotal: 8000000 kB\nMemAvailable: 7000000 kB\n");
        let seen = format!("ECS_RESERVED_MEMORY is {reserved} MiB, the host has 7812 MiB");
        both_report(&instance, &run(&instance, SOON), ExpectedCause("reserved-memory-too-high", 20, &seen));
    }
}

#[test]
fn a_docker_socket_that_is_not_there_is_reported() {
    for (code, error) in [(1, "Cannot connect to the Docker daemon"), (255, "dial unix /run/none.sock: no such file")] {
        let instance = exiting(code, "Error creating Docker client", error);
        let instance = instance.ecs_config("DOCKER_HOST=unix:///run/none.sock\n");
        let seen = "there is no `/run/none.sock`";
        both_report(&instance, &run(&instance, SOON), ExpectedCause("docker-host-wrong", 20, seen));
    }
}

#[test]
fn dockers_bridge_that_is_switched_off_is_reported() {
    let error = "could not get the bridge network: no such network interface";
    let instance = Instance::new().agent_behaves(|agent| agent.init_error = error);
    let instance = instance.unit("ecs.service", |unit| unit.start = Start::Retried(255));
    let instance = instance.file("etc/docker/daemon.json", "{\"bridge\": \"none\"}");
    both_report(&instance, &run(&instance, SOON), ExpectedCause("docker-bridge-off", 24, error));
}

#[test]
fn a_damaged_saved_state_is_reported_for_each_exit_code() {
    for (code, message, error) in [
        (1, "Error creating data client", "invalid database"),
        (5, "Error loading previously saved state", "unexpected end of JSON input"),
    ] {
        let instance = exiting(code, message, error).file("var/lib/ecs/data/agent.db", [0x5a; 8192]);
        both_report(&instance, &run(&instance, SOON), ExpectedCause("saved-state-unreadable", 24, error));
    }
    // A trace is only in the output of the container.
    let instance = Instance::new().agent_behaves(|agent| agent.prints = Some((2, "panic: page 3 already freed\n")));
    let instance = instance.file("var/lib/ecs/data/agent.db", [0x5a; 8192]);
    let outcome = run(&instance, &["verify.deadline=8s"]);
    both_report(&instance, &outcome, ExpectedCause("saved-state-unreadable", 24, "no valid meta page"));
}

#[test]
fn a_folder_of_the_agent_on_a_read_only_file_system_is_reported() {
    for folder in ["var/lib/ecs", "var/lib/docker"] {
        let instance = read_only_at(exiting(1, "Unable to write", "read-only file system"), folder);
        let seen = format!("`/{folder}` is on a read-only file system");
        both_report(&instance, &run(&instance, SOON), ExpectedCause("file-system-read-only", 24, &seen));
    }
}

#[test]
fn a_changed_instance_type_is_reported() {
    let text = "operation error ECS: RegisterContainerInstance, https response error StatusCode: 400, RequestID: \
                0a4d1f9e-2c55-4a37-8f4c-7d2f6b1f0c9e, ClientException: Container instance type changes are not supported. \
                Container instance was previously registered as m5.large.";
    let instance = Instance::new().agent_behaves(|agent| agent.gives_up_with = Some(text.into()));
    both_report(&instance, &run(&instance, SOON), ExpectedCause("instance-type-changed", 24, "m5.large"));
}
