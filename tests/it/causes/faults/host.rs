//! Faults of the host: file systems, SELinux, memory, docker, units.

use super::{Ends, Fault, Part, Source};
use crate::file_systems;
use crate::support::Instance;
use crate::support::systemd::Start;
use std::time::{SystemTime, UNIX_EPOCH};

const DOWN: &[Source] = &[Source::AgentRuns, Source::Docker];
const NO_AGENT: &[Source] = &[Source::AgentRuns];
const DOCKER: &[Part] = &[Part::DockerUnit];
const UNIT: &[Part] = &[Part::EcsUnit];
const RETRIED: &[Part] = &[Part::EcsUnit, Part::Agent];
const ETC: &[Part] = &[Part::FileSystem, Part::Config];
/// What `doctor` finds after a run that did not start the agent.
const NOT_STARTED: &[&str] = &["agent-not-started"];
const NOT_ACTIVE: &[&str] = &["docker.service is active", "Docker answers"];

const fn docker(id: &'static str, make: super::Change) -> Fault {
    Fault { hides: DOWN, false_words: NOT_ACTIVE, ..Fault::new(id, make, DOCKER) }
}

const fn init(id: &'static str, make: super::Change) -> Fault {
    let false_words = &["ecs.service is active"];
    Fault { hides: NO_AGENT, needs: &[Source::Docker], false_words, ..Fault::new(id, make, RETRIED) }
}

pub(in crate::causes) static FAULTS: &[Fault] = &[
    Fault {
        ends: Ends::Lock,
        also: NOT_STARTED,
        ..Fault::new("own-file-unusable", lock_is_a_folder, &[Part::OwnFiles])
    },
    Fault { ends: Ends::Apply, also: NOT_STARTED, ..Fault::new("disk-full", full_disk, ETC) },
    Fault { ends: Ends::Apply, also: NOT_STARTED, ..Fault::new("write-refused", read_only, ETC) },
    Fault { also: &["docker-failed"], ..docker("disk-full", no_room_for_docker) },
    Fault { also: &["ecs-init-failed"], ..init("selinux-denied", denied_by_selinux) },
    Fault {
        needs: &[Source::AgentRuns],
        also: &["agent-exits"],
        ..Fault::new("host-overloaded", killed, &[Part::Memory, Part::Agent])
    },
    docker("docker-absent", docker_absent),
    docker("docker-failed", docker_failed),
    docker("docker-config-invalid", docker_config),
    docker("docker-storage-failed", docker_storage),
    docker("docker-not-ready", docker_late),
    Fault {
        needs: DOWN,
        hides: &[Source::Docker],
        is_slow: true,
        ..Fault::new("docker-hung", docker_hung, &[Part::Docker, Part::Agent, Part::DockerUnit])
    },
    Fault {
        needs: DOWN,
        also: &["agent-exits"],
        ..Fault::new("docker-api-mismatch", docker_too_new, &[Part::Docker, Part::Agent])
    },
    Fault { ends: Ends::Apply, hides: NO_AGENT, ..Fault::new("ecs-init-absent", agent_absent, UNIT) },
    Fault { ends: Ends::Apply, hides: NO_AGENT, ..Fault::new("unit-masked", masked, UNIT) },
    Fault {
        ends: Ends::Apply,
        hides: NO_AGENT,
        also: NOT_STARTED,
        ..Fault::new("systemd-refused", start_refused, UNIT)
    },
    Fault { hides: NO_AGENT, needs: &[Source::Docker], ..Fault::new("agent-unit-failed", start_limit, UNIT) },
    init("agent-image-load-failed", image_damaged),
    Fault { needs: &[Source::Docker, Source::Aws], ..init("agent-download-failed", download_failed) },
    init("ecs-init-failed", no_loopback),
];

fn lock_is_a_folder(instance: Instance) -> Instance {
    instance.disk.folder("run/ecs-bootstrap/lock");
    instance
}

fn full_disk(instance: Instance) -> Instance {
    file_systems::full_disk(instance)
}

fn read_only(instance: Instance) -> Instance {
    file_systems::read_only(instance)
}

pub(in crate::causes) fn docker_absent(instance: Instance) -> Instance {
    instance.unit("docker.service", |unit| unit.absent())
}

pub(in crate::causes) fn docker_failed(instance: Instance) -> Instance {
    instance.unit("docker.service", |unit| unit.start = Start::Fails("failed".into()))
}

/// docker fails, and the journal of its last start ends with this line.
fn journaled(instance: Instance, line: &str) -> Instance {
    let start = "Starting docker.service - Docker Application Container Engine...\n";
    docker_failed(instance).journal_has("docker.service", &format!("{start}{line}\n"))
}

pub(in crate::causes) fn no_room_for_docker(instance: Instance) -> Instance {
    journaled(instance, "failed to start daemon: mkdir /var/lib/docker: no space left on device")
}

fn docker_config(instance: Instance) -> Instance {
    docker_failed(instance).file("etc/docker/daemon.json", "{\n  \"log-driver\": \"x\",,\n}\n")
}

fn docker_storage(instance: Instance) -> Instance {
    journaled(instance, "failed to start daemon: error initializing graphdriver: driver not supported: devicemapper")
}

fn docker_late(instance: Instance) -> Instance {
    instance.unit("docker.service", |unit| unit.start = Start::NeverEnds)
}

fn docker_hung(instance: Instance) -> Instance {
    instance.docker.change(|docker| docker.hung = true);
    instance.agent_behaves(|agent| agent.never_registers = true)
}

fn docker_too_new(instance: Instance) -> Instance {
    instance.docker.change(|docker| docker.min_api = Some("1.45"));
    instance.agent_behaves(|agent| agent.exits = Some((1, "Could not get supported docker versions", "none found")))
}

fn denied_by_selinux(instance: Instance) -> Instance {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let record = format!(
        "type=AVC msg=audit({now}.1:7): avc:  denied  {{ connectto }} for  pid=7 comm=\"amazon-ecs-init\" \
         path=\"/run/docker.sock\" permissive=0\n"
    );
    let instance = instance.file("sys/fs/selinux/enforce", "1").file("var/log/audit/audit.log", record);
    retried(instance, "could not create docker client: permission denied")
}

fn killed(instance: Instance) -> Instance {
    let line = "Out of memory: Killed process 812 (agent) total-vm:1280000kB\n";
    instance.journal_has("kernel", line).agent_behaves(|agent| agent.exits = Some((137, "started", "")))
}

pub(in crate::causes) fn agent_absent(instance: Instance) -> Instance {
    instance.unit("ecs.service", |unit| unit.absent())
}

pub(in crate::causes) fn masked(instance: Instance) -> Instance {
    instance.unit("ecs.service", |unit| unit.masked())
}

fn start_refused(instance: Instance) -> Instance {
    let refused = Start::Refused { name: "org.freedesktop.DBus.Error.AccessDenied".into(), text: "Not you.".into() };
    instance.unit("ecs.service", |unit| unit.start = refused)
}

fn start_limit(instance: Instance) -> Instance {
    instance.unit("ecs.service", |unit| unit.start = Start::FailsWith("start-limit-hit"))
}

/// ecs-init fails with this error, and systemd restarts it.
fn retried(instance: Instance, error: &'static str) -> Instance {
    let instance = instance.agent_behaves(|agent| agent.init_error = error);
    instance.unit("ecs.service", |unit| unit.start = Start::Retried(255))
}

pub(in crate::causes) fn image_damaged(instance: Instance) -> Instance {
    retried(instance, "could not load Amazon Elastic Container Service Agent into Docker: archive/tar: invalid header")
}

fn download_failed(instance: Instance) -> Instance {
    retried(instance, "could not download Amazon Elastic Container Service Agent: 403 Forbidden")
}

fn no_loopback(instance: Instance) -> Instance {
    retried(instance, "could not enable loopback routing: sysctl: no such file or directory")
}
