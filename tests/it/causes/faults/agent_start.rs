//! Faults in what the agent reads when it starts: its files, its settings, and docker's bridge.

use super::{Fault, Part, Source};
use crate::file_systems::read_only_at;
use crate::support::Instance;
use crate::support::systemd::Start;

const AGENT: &[Source] = &[Source::AgentRuns];
const CONFIG: &[Part] = &[Part::Config, Part::Agent];
const CONFIG_AND_ROLE: &[Part] = &[Part::Config, Part::Agent, Part::Role];

/// The agent exits with an error for a reason that the host shows.
const fn shown(id: &'static str, make: super::Change, parts: &'static [Part]) -> Fault {
    Fault { needs: AGENT, ..Fault::new(id, make, parts) }
}

pub(in crate::causes) static FAULTS: &[Fault] = &[
    shown("agent-json-invalid", invalid_json, CONFIG),
    shown("reserved-memory-too-high", too_much_reserved, &[Part::Config, Part::Agent, Part::Memory]),
    shown("docker-host-wrong", no_socket, CONFIG),
    shown("saved-state-unreadable", damaged_state, &[Part::Agent, Part::Tags]),
    shown("file-system-read-only", read_only_data, &[Part::Agent, Part::FileSystem]),
    shown("instance-type-changed", other_type, &[Part::Agent]),
    Fault { needs: &[Source::Aws, Source::AgentRuns], ..Fault::new("credentials-override", keys, CONFIG_AND_ROLE) },
    Fault { needs: &[Source::Aws, Source::AgentRuns], ..Fault::new("endpoint-override", endpoint, CONFIG) },
    Fault {
        hides: AGENT,
        needs: &[Source::Docker],
        ..Fault::new("docker-bridge-off", no_bridge, &[Part::EcsUnit, Part::Agent, Part::DockerUnit])
    },
    Fault {
        also: &["agent-not-connected"],
        needs: &[Source::AgentRuns, Source::Aws],
        ..Fault::new("acs-refused", connection_refused, &[Part::Agent])
    },
];

fn exiting(instance: Instance, message: &'static str, error: &'static str) -> Instance {
    instance.agent_behaves(|agent| agent.exits = Some((1, message, error)))
}

fn invalid_json(instance: Instance) -> Instance {
    exiting(instance, "Error loading config", "invalid character").file("etc/ecs/ecs.config.json", "{\"Cluster\": ")
}

fn too_much_reserved(instance: Instance) -> Instance {
    let instance = exiting(instance, "Unable to fetch host resources", "not enough");
    let instance = instance.ecs_config("ECS_RESERVED_MEMORY=9000\n");
    instance.file("proc/meminfo", "MemTotal: 8000000 kB\nMemAvailable: 7000000 kB\n")
}

fn no_socket(instance: Instance) -> Instance {
    let instance = exiting(instance, "Error creating Docker client", "Cannot connect to the Docker daemon");
    instance.ecs_config("DOCKER_HOST=unix:///run/none.sock\n")
}

fn damaged_state(instance: Instance) -> Instance {
    exiting(instance, "Error creating data client", "invalid database").file("var/lib/ecs/data/agent.db", [0x5a; 8192])
}

fn read_only_data(instance: Instance) -> Instance {
    read_only_at(exiting(instance, "Unable to write", "read-only file system"), "var/lib/ecs")
}

fn other_type(instance: Instance) -> Instance {
    let text = "ClientException: Container instance type changes are not supported. Container instance was previously \
                registered as m5.large.";
    instance.agent_behaves(|agent| agent.gives_up_with = Some(text.into()))
}

fn keys(instance: Instance) -> Instance {
    let text = "UnrecognizedClientException: The security token included in the request is invalid.";
    let instance = instance.agent_behaves(|agent| agent.crashes_with = Some(text.into()));
    instance.ecs_config("AWS_ACCESS_KEY_ID=AKIAX\n")
}

fn endpoint(instance: Instance) -> Instance {
    let text = "operation error ECS: RegisterContainerInstance, request send failed, Post \
                \"https://ecs.nowhere.internal/\": dial tcp: lookup ecs.nowhere.internal on 10.0.0.2:53: no such host";
    let instance = instance.agent_behaves(|agent| agent.crashes_with = Some(text.into()));
    instance.ecs_config("ECS_BACKEND_HOST=ecs.nowhere.internal\n")
}

fn no_bridge(instance: Instance) -> Instance {
    let error = "could not get the bridge network: no such network interface";
    let instance = instance.agent_behaves(|agent| agent.init_error = error);
    let instance = instance.unit("ecs.service", |unit| unit.start = Start::Retried(255));
    instance.file("etc/docker/daemon.json", "{\"bridge\": \"none\"}")
}

fn connection_refused(instance: Instance) -> Instance {
    instance.agent_behaves(|agent| agent.acs_error = Some("websocket: bad handshake: 403 Forbidden"))
}
