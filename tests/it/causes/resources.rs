//! Causes in the resources of the host: disk, memory, SELinux. See `causes/mod.rs`.

use super::{ExpectedCause, ExpectedNote, is_ready, run};
use crate::file_systems::full_at;
use crate::support::Instance;
use crate::support::systemd::Start;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[test]
fn a_full_docker_volume_is_reported_if_docker_fails() {
    let instance = Instance::new().unit("docker.service", |unit| unit.start = Start::Fails("failed".into()));
    let instance = full_at(instance, "var/lib/docker");
    ExpectedCause("disk-full", 24, "`/var/lib/docker` has 0 of 0 MiB").check(&instance, &run(&instance, &[]));
}

#[test]
fn a_full_volume_is_a_note_if_nothing_fails() {
    let slow = |agent: &mut crate::support::agent::Behaviour| agent.register_delay = Duration::from_secs(4);
    let instance = full_at(Instance::new().agent_behaves(slow), "var/lib/docker");
    ExpectedNote("disk-full", "`/var/lib/docker`").check(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn an_agent_that_exits_for_lack_of_disk_space_is_disk_full() {
    let instance = Instance::new()
        .agent_behaves(|agent| agent.exits = Some((1, "Error creating data client", "write: no space left on device")));
    ExpectedCause("disk-full", 24, "no space left on device")
        .check(&instance, &run(&instance, &["verify.deadline=20s"]));
}

fn denied(permissive: bool) -> Instance {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let record = format!(
        "type=AVC msg=audit({now}.1:7): avc:  denied  {{ connectto }} for  pid=7 comm=\"amazon-ecs-init\" \
         path=\"/run/docker.sock\" permissive={}\n",
        u8::from(permissive)
    );
    Instance::new()
        .file("sys/fs/selinux/enforce", if permissive { "0" } else { "1" })
        .file("var/log/audit/audit.log", record)
        .agent_behaves(|agent| agent.init_error = "could not create docker client: permission denied")
}

#[test]
fn a_denial_of_selinux_is_reported() {
    let instance = denied(false).unit("ecs.service", |unit| unit.start = Start::Retried(255));
    ExpectedCause("selinux-denied", 24, "path=\"/run/docker.sock\"").check(&instance, &run(&instance, &[]));
}

#[test]
fn a_denial_in_permissive_mode_is_not_a_cause() {
    is_ready(&run(&denied(true), &["verify.deadline=20s"]));
}

#[test]
fn a_host_without_memory_is_reported_if_the_agent_never_connects() {
    let instance = Instance::new()
        .file("proc/meminfo", "MemTotal:        7938420 kB\nMemFree:  6420 kB\nMemAvailable:  20480 kB\n")
        .agent_behaves(|agent| agent.never_connects = true);
    ExpectedCause("host-overloaded", 24, "20 of 7752 MiB memory are available")
        .check(&instance, &run(&instance, &["verify.deadline=8s", "verify.window=2s"]));
}

#[test]
fn an_agent_killed_for_lack_of_memory_is_reported() {
    let line = "Out of memory: Killed process 812 (agent) total-vm:1280000kB\n";
    let instance =
        Instance::new().journal_has("kernel", line).agent_behaves(|agent| agent.exits = Some((137, "started", "")));
    ExpectedCause("host-overloaded", 24, "kernel: `Out of memory: Killed process 812 (agent)")
        .check(&instance, &run(&instance, &["verify.deadline=8s"]));
}

#[test]
fn a_host_with_enough_memory_is_not_a_cause() {
    let instance = Instance::new()
        .file("proc/meminfo", "MemTotal:        7938420 kB\nMemFree:  6420 kB\nMemAvailable:  6020480 kB\n")
        .file("proc/pressure/memory", "some avg10=1.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 total=1\n")
        .agent_behaves(|agent| agent.connect_delay = Duration::from_secs(4));
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}
