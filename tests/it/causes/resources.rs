//! Causes that lie in the host: disk, memory, SELinux. See `causes.rs`.

use super::{Names, Notes, is_ready, run};
use crate::bad_input::full_at;
use crate::support::Instance;
use crate::support::systemd::Start;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[test]
fn a_full_volume_of_docker_is_told_where_docker_fails() {
    let instance = Instance::new().unit("docker.service", |unit| unit.start = Start::Fails("failed".into()));
    let instance = full_at(instance, "var/lib/docker");
    Names("disk-full", 24, "`/var/lib/docker` has 0 of 0 MiB").check(&instance, &run(&instance, &[]));
}

#[test]
fn a_full_volume_on_which_nothing_fails_is_noted() {
    let slow = |agent: &mut crate::support::agent::Behaviour| agent.register_delay = Duration::from_secs(4);
    let instance = full_at(Instance::new().agent_behaves(slow), "var/lib/docker");
    Notes("disk-full", "`/var/lib/docker`").check(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn an_agent_that_is_told_of_no_space_is_explained() {
    let instance = Instance::new()
        .agent_behaves(|agent| agent.exits = Some((1, "Error creating data client", "write: no space left on device")));
    Names("disk-full", 24, "no space left on device").check(&instance, &run(&instance, &["verify.deadline=20s"]));
}

fn denied(permissive: bool) -> Instance {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let record = format!(
        "type=AVC msg=audit({now}.1:7): avc:  denied  {{ connectto }} for  pid=7 comm=\"amazon-ecs-init\" path=\"/run/docker.sock\" permissive={}\n",
        u8::from(permissive)
    );
    Instance::new()
        .file("sys/fs/selinux/enforce", if permissive { "0" } else { "1" })
        .file("var/log/audit/audit.log", record)
        .agent_behaves(|agent| agent.init_says = "could not create docker client: permission denied")
}

#[test]
fn what_selinux_denies_is_told() {
    let instance = denied(false).unit("ecs.service", |unit| unit.start = Start::Retried(255));
    Names("selinux-denied", 24, "path=\"/run/docker.sock\"").check(&instance, &run(&instance, &[]));
}

#[test]
fn what_selinux_only_would_deny_is_no_cause() {
    is_ready(&run(&denied(true), &["verify.deadline=20s"]));
}

#[test]
fn an_agent_that_never_connects_on_a_host_without_memory_is_told() {
    let instance = Instance::new()
        .file("proc/meminfo", "MemTotal:        7938420 kB\nMemFree:  6420 kB\nMemAvailable:  20480 kB\n")
        .agent_behaves(|agent| agent.never_connects = true);
    Names("host-overloaded", 24, "20 of 7752 MiB memory are available")
        .check(&instance, &run(&instance, &["verify.deadline=8s", "verify.window=2s"]));
}

#[test]
fn an_agent_that_the_kernel_kills_is_told() {
    let line = "Out of memory: Killed process 812 (agent) total-vm:1280000kB\n";
    let instance =
        Instance::new().journaled("kernel", line).agent_behaves(|agent| agent.exits = Some((137, "started", "")));
    Names("host-overloaded", 24, "kernel: `Out of memory: Killed process 812 (agent)")
        .check(&instance, &run(&instance, &["verify.deadline=8s"]));
}

#[test]
fn a_host_with_memory_to_spare_is_no_cause() {
    let instance = Instance::new()
        .file("proc/meminfo", "MemTotal:        7938420 kB\nMemFree:  6420 kB\nMemAvailable:  6020480 kB\n")
        .file("proc/pressure/memory", "some avg10=1.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 total=1\n")
        .agent_behaves(|agent| agent.connect_delay = Duration::from_secs(4));
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}
