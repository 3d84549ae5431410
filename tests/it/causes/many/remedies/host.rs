//! Remedies of the host: file systems, memory, docker, units.

use super::Shown::{By, ByNote, ByVerify};
use super::Step::{EnableAgent, Replace, RestartAgent, RestartBoth, RestartDocker, Run, StartAgent, Wait};
use super::{Row, carried_out, config, fault, healthy_agent, joined, nothing};
use crate::causes::faults::host::no_room_for_docker;
use crate::support::Instance;
use crate::support::systemd::Start;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) const ROWS: &[Row] = &[
    Row::new("disk-full", |i| fault(i, "disk-full"), "free disk space", real_files, &[Run]),
    Row::new("disk-full", no_room_for_docker, "free disk space", docker_starts, &[Run]),
    Row::new("write-refused", |i| fault(i, "write-refused"), "on a writable file system", real_files, &[Run]),
    Row::new(
        "file-system-read-only",
        |i| fault(i, "file-system-read-only"),
        "mount it writable",
        |i| healthy_agent(real_files(i)),
        &[RestartBoth],
    ),
    Row::new(
        "own-file-unusable",
        |i| fault(i, "own-file-unusable"),
        "move it away",
        |i| {
            i.disk.remove("run/ecs-bootstrap/lock");
            i
        },
        &[Run],
    ),
    Row::new("call-hangs", nothing, "check /proc/mounts", nothing, &[Run]).shown(By(|i| {
        let hung = i.start_into_full_pipe(&["run", "--no-wait", "--set", "run.deadline=3s"]);
        hung.wait()
    })),
    Row::new(
        "selinux-denied",
        |i| fault(i, "selinux-denied"),
        "`restorecon -Rv",
        |i| agent_starts(i.file("var/log/audit/audit.log", "")),
        &[Wait],
    ),
    Row::new("host-overloaded", |i| fault(i, "host-overloaded"), "use a larger instance type", healthy_agent, &[Wait]),
    Row::new("agent-memory-limit", memory_limit, "raise or remove the limit", healthy_agent, &[RestartDocker]),
    Row::new(
        "docker-dependency-failed",
        |i| i.unit("docker.service", |unit| unit.start = Start::Fails("dependency".into())),
        "find the unit that failed",
        docker_starts,
        &[Run],
    ),
    Row::new(
        "docker-absent",
        |i| fault(i, "docker-absent"),
        "use an ECS-optimized AMI",
        |_| Instance::new(),
        &[Replace],
    ),
    // The commands of user data that start docker and the agent have failed too.
    Row::new(
        "docker-absent",
        |i| fault(fault(i, "user-data-failed").tag("ecs-bootstrap:cluster", "prod"), "docker-absent"),
        "or install Docker in the image",
        |_| Instance::new(),
        &[Replace],
    ),
    Row::new(
        "docker-config-invalid",
        |i| fault(i, "docker-config-invalid"),
        "correct /etc/docker/daemon.json",
        |i| docker_starts(i.file("etc/docker/daemon.json", "{}")),
        &[RestartDocker, StartAgent],
    ),
    Row::new(
        "docker-storage-failed",
        |i| fault(i, "docker-storage-failed"),
        "`\"storage-driver\": \"overlay2\"`",
        |i| docker_starts(i.file("etc/docker/daemon.json", "{\"storage-driver\": \"overlay2\"}")),
        &[Run],
    ),
    Row::new(
        "docker-bridge-off",
        |i| fault(i, "docker-bridge-off"),
        "remove `\"bridge\": \"none\"`",
        |i| agent_starts(i.file("etc/docker/daemon.json", "{}")),
        &[RestartDocker],
    ),
    Row::new(
        "docker-hung",
        |i| fault(i, "docker-hung"),
        "check for lack of disk space and memory",
        |i| {
            i.docker.change(|docker| docker.hung = false);
            healthy_agent(i)
        },
        &[RestartDocker],
    ),
    Row::new(
        "docker-api-mismatch",
        |i| fault(i, "docker-api-mismatch"),
        "downgrade Docker to a supported version",
        |i| {
            i.docker.change(|docker| docker.min_api = None);
            healthy_agent(i)
        },
        &[RestartAgent],
    ),
    Row::new(
        "docker-failed",
        |i| fault(i, "docker-failed"),
        "fix what the last lines",
        docker_starts,
        &[RestartDocker, StartAgent],
    ),
    Row::new(
        "docker-not-ready",
        no_answer,
        "what it is waiting for",
        |i| {
            i.docker.change(|docker| docker.broken = false);
            agent_starts(i)
        },
        &[Wait],
    ),
    Row::new(
        "ecs-init-absent",
        |i| fault(i, "ecs-init-absent"),
        "use an ECS-optimized AMI",
        |_| Instance::new(),
        &[Replace],
    ),
    Row::new(
        "unit-masked",
        |i| fault(i, "unit-masked"),
        "run `systemctl unmask UNIT`",
        |i| i.unit("ecs.service", |unit| (unit.load_state, unit.unit_file_state) = ("loaded".into(), "enabled".into())),
        &[Run],
    ),
    Row::new(
        "ecs-unit-disabled",
        disabled,
        "if ecs.config names the cluster",
        |i| i.unit("ecs.service", |unit| unit.unit_file_state = "enabled".into()),
        &[EnableAgent],
    )
    .shown(ByVerify),
    Row::new(
        "start-blocked",
        in_user_data,
        "the start of the agent is queued",
        |i| {
            let outcome = i.run(&["run", "--no-wait"]);
            assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
            i.user_data_ends();
            i.systemd.change(|systemd| systemd.caller = None);
            i
        },
        &[],
    ),
    Row::new(
        "unit-ordering-cycle",
        cycle,
        "`systemctl disable ecs` and let ecs-bootstrap start it",
        |i| i.unit("ecs.service", |unit| unit.unit_file_state = "disabled".into()),
        &[Run],
    )
    .shown(ByVerify),
    Row::new(
        "systemd-unreachable",
        |i| {
            i.systemd.change(|systemd| systemd.silent.extend(["LoadUnit", "StartUnit", "GetUnit"].map(str::to_owned)));
            i
        },
        "check `systemctl status dbus`",
        |i| {
            i.systemd.change(|systemd| systemd.silent.clear());
            i
        },
        &[Run],
    )
    .shown(By(|i| carried_out(i, &["run", "--wait", "--set", "run.deadline=6s"], "verify.deadline=6s"))),
    Row::new("systemd-refused", |i| fault(i, "systemd-refused"), "run it as root", agent_starts, &[Run]),
    Row::new(
        "agent-image-load-failed",
        |i| fault(i, "agent-image-load-failed"),
        "dnf reinstall ecs-init",
        agent_starts,
        &[RestartAgent],
    ),
    Row::new(
        "agent-download-failed",
        |i| fault(i, "agent-download-failed"),
        "create a gateway endpoint for S3",
        agent_starts,
        &[Wait],
    ),
    Row::new(
        "gpu-setup-failed",
        gpu_driver,
        "install the driver for this kernel",
        |i| {
            i.disk.add_gpu();
            agent_starts(i)
        },
        &[Wait],
    ),
    Row::new(
        "gpu-setup-failed",
        gpu_driver,
        "remove ECS_ENABLE_GPU_SUPPORT",
        |i| agent_starts(config(i, "ECS_CLUSTER=prod\n")),
        &[Wait],
    ),
    Row::new(
        "gpu-not-seen",
        |i| config(i, "ECS_ENABLE_GPU_SUPPORT=true\n"),
        "load the driver before ecs.service",
        |i| {
            i.disk.add_gpu();
            i
        },
        &[RestartAgent],
    )
    .shown(ByNote),
    Row::new("ecs-init-failed", |i| fault(i, "ecs-init-failed"), "fix what the last error", agent_starts, &[Wait]),
    Row::new("agent-not-started", nothing, "check the conditions of its unit", nothing, &[Run]).shown(ByVerify),
    Row::new("agent-stopped-with-docker", stopped_with_docker, "find what restarts docker", nothing, &[StartAgent])
        .shown(ByVerify),
    Row::new(
        "agent-unit-failed",
        |i| fault(i, "agent-unit-failed"),
        "`systemctl reset-failed ecs",
        agent_starts,
        &[StartAgent],
    ),
];

/// The product runs without the file system of the fault.
fn real_files(instance: Instance) -> Instance {
    instance.binary(PathBuf::from(env!("CARGO_BIN_EXE_ecs-bootstrap")))
}

fn docker_starts(instance: Instance) -> Instance {
    instance.unit("docker.service", |unit| unit.start = Start::Works)
}

/// ecs-init works at its next start.
fn agent_starts(instance: Instance) -> Instance {
    instance.unit("ecs.service", |unit| unit.start = Start::Works)
}

fn retried(instance: Instance, error: &'static str) -> Instance {
    let instance = instance.agent_behaves(|agent| agent.init_error = error);
    instance.unit("ecs.service", |unit| unit.start = Start::Retried(255))
}

fn no_answer(instance: Instance) -> Instance {
    instance.docker.change(|docker| docker.broken = true);
    retried(instance, "Error connecting to docker, backing off")
}

fn gpu_driver(instance: Instance) -> Instance {
    let instance = instance.ecs_config("ECS_ENABLE_GPU_SUPPORT=true\n");
    retried(instance, "could not initialize Nvidia GPU Manager: nvml: Driver Not Loaded")
}

fn disabled(instance: Instance) -> Instance {
    config(instance, "ECS_CLUSTER=prod\n").unit("ecs.service", |unit| unit.unit_file_state = "disabled".into())
}

fn in_user_data(instance: Instance) -> Instance {
    instance.systemd.cloud_final_runs();
    instance.systemd.change(|systemd| systemd.caller = Some("cloud-final.service".into()));
    instance
}

fn cycle(instance: Instance) -> Instance {
    instance
        .unit("cloud-final.service", |unit| unit.after = vec!["multi-user.target".into()])
        .unit("ecs.service", |unit| unit.after.push("cloud-final.service".into()))
}

fn memory_limit(instance: Instance) -> Instance {
    let line = "Memory cgroup out of memory: Killed process 4321 (agent) total-vm:1280000kB\n";
    instance.journal_has("kernel", line).agent_behaves(|agent| agent.exits = Some((137, "started", "")))
}

fn stopped_with_docker(instance: Instance) -> Instance {
    joined(&instance, "ECS_CLUSTER=prod\n");
    instance.agent.stop();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap();
    instance.systemd.change_unit("docker.service", |unit| unit.active_enter = micros(now));
    instance.systemd.change_unit("ecs.service", |unit| {
        unit.exec_main_start = micros(now - Duration::from_secs(90));
        unit.exec_main_exit = micros(now - Duration::from_secs(5));
        (unit.active_state, unit.sub_state) = ("inactive".into(), "dead".into());
    });
    instance
}
