//! Faults of the host and the agent that no cause of the catalogue describes. See `causes/mod.rs`. Those of IMDS and
//! AWS are in `unknown_answers.rs`.
//!
//! In: an instance with a fault that has no cause of its own. Out: `run` and `doctor` both report the general cause of
//! the layer with evidence, and never a special cause that is only similar.

use super::{ExpectedCause, run};
use crate::support::systemd::Start;
use crate::support::{Instance, Outcome};
use std::time::Duration;

pub(super) const SOON: &[&str] = &["verify.deadline=6s"];

/// Checks the cause of this run, and that doctor reports the same cause.
pub(super) fn both_report(instance: &Instance, outcome: &Outcome, expected: ExpectedCause<'_>) {
    let ExpectedCause(id, code, _) = expected;
    expected.check(instance, outcome);
    doctor_agrees(instance, id, code);
}

/// Checks that doctor reports the same cause. Its exit code may be that of the cause, or that of the run, which may
/// have waited until its deadline.
fn doctor_agrees(instance: &Instance, id: &str, code: i32) {
    let doctor = instance.run(&["doctor"]);
    let cause = super::cause(id);
    let first = doctor.stdout.lines().next().unwrap_or_default();
    assert!(first.starts_with(&format!("error: [{id}] ")), "doctor: {}", doctor.stdout);
    let codes = [cause.exit.code().into(), code];
    assert!(doctor.code.is_some_and(|code| codes.contains(&code)), "doctor: {:?} {}", doctor.code, doctor.stdout);
}

pub(super) fn exiting(code: i32, message: &'static str, error: &'static str) -> Instance {
    Instance::new().agent_behaves(|agent| agent.exits = Some((code, message, error)))
}

pub(super) fn crashing(error: &str) -> Instance {
    Instance::new().agent_behaves(|agent| agent.crashes_with = Some(error.to_owned()))
}

fn dying(code: i32, bytes: &str) -> Instance {
    Instance::new().agent_behaves(|agent| agent.dies_with = Some((code, bytes.to_owned())))
}

// The agent.

const PANIC: &str = "panic: runtime error: invalid memory address or nil pointer dereference\n\
                     [signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x8a3f21]\n\n\
                     goroutine 1 [running]:\ngithub.com/aws/amazon-ecs-agent/agent/app.(*ecsAgent).doStart(0x0)\n\
                     \t/go/src/agent/app/agent.go:461 +0x1b2";

#[test]
fn a_panic_of_the_agent_is_agent_exits() {
    let instance = dying(2, PANIC);
    both_report(&instance, &run(&instance, SOON), ExpectedCause("agent-exits", 23, "exited with code 2"));
}

#[test]
fn a_killed_agent_is_agent_exits() {
    let instance = dying(137, "");
    both_report(&instance, &run(&instance, SOON), ExpectedCause("agent-exits", 23, "exited with code 137"));
}

#[test]
fn an_agent_that_exits_with_0_is_agent_not_started() {
    let instance = dying(0, "");
    both_report(&instance, &run(&instance, SOON), ExpectedCause("agent-not-started", 24, "inactive"));
}

#[test]
fn an_unreadable_line_in_the_log_is_agent_exits() {
    let instance = dying(1, "\u{0}\u{1}\u{fffd} msg= level level=\"\" \"\" = == {\"level\":");
    both_report(&instance, &run(&instance, SOON), ExpectedCause("agent-exits", 23, "exited with code 1"));
}

#[test]
fn a_json_log_line_is_evidence_of_agent_exits() {
    let line = "{\"level\":\"critical\",\"time\":\"2026-11-26T08:00:00Z\",\"msg\":\"Unable to fetch host \
                resources\",\"error\":\"reserved memory 99999 MiB is more than the host has\"}";
    let instance = dying(1, line);
    both_report(&instance, &run(&instance, SOON), ExpectedCause("agent-exits", 23, "reserved memory 99999"));
}

#[test]
fn an_agent_log_that_is_a_folder_is_agent_exits() {
    let instance = dying(1, "");
    instance.disk.folder("var/log/ecs/ecs-agent.log");
    both_report(&instance, &run(&instance, SOON), ExpectedCause("agent-exits", 23, "exited with code 1"));
}

#[test]
fn an_agent_without_any_log_is_agent_exits() {
    let instance = dying(1, "");
    instance.disk.folder("var/log/ecs/ecs-agent.log");
    instance.disk.folder("var/log/ecs/ecs-init.log");
    both_report(&instance, &run(&instance, SOON), ExpectedCause("agent-exits", 23, "exited with code 1"));
}

#[test]
fn an_unknown_cgroup_error_is_agent_gave_up() {
    let instance = exiting(5, "cgroup v3 hierarchy is not delegated", "subtree_control: device or resource busy");
    both_report(&instance, &run(&instance, SOON), ExpectedCause("agent-gave-up", 23, "cgroup v3"));
}

#[test]
fn a_data_directory_without_permission_is_agent_exits() {
    let instance = exiting(1, "Error creating data client", "open /data/agent.db: permission denied");
    both_report(&instance, &run(&instance, SOON), ExpectedCause("agent-exits", 23, "permission denied"));
}

#[test]
fn unknown_logging_drivers_are_agent_exits() {
    let instance = exiting(1, "Error loading config", "Invalid logging drivers: [\"carrierpigeon\"]");
    both_report(&instance, &run(&instance, SOON), ExpectedCause("agent-exits", 23, "carrierpigeon"));
}

#[test]
fn an_agent_that_docker_cannot_create_is_ecs_init_failed() {
    let instance =
        Instance::new().unit("ecs.service", |unit| unit.start = Start::Retried(255)).agent_behaves(|agent| {
            agent.init_error =
                "could not start Agent: Error response from daemon: OCI runtime create failed: runc: unknown flag";
        });
    both_report(&instance, &run(&instance, SOON), ExpectedCause("ecs-init-failed", 24, "OCI runtime create failed"));
}

// docker and units.

#[test]
fn docker_that_answers_500_is_docker_not_ready() {
    let instance =
        Instance::new().unit("ecs.service", |unit| unit.start = Start::Retried(255)).agent_behaves(|agent| {
            agent.init_error = "Error connecting to docker, backing off";
        });
    instance.docker.change(|docker| docker.broken = true);
    both_report(&instance, &run(&instance, SOON), ExpectedCause("docker-not-ready", 12, "500"));
}

#[test]
fn docker_without_a_socket_is_docker_not_ready() {
    let instance = Instance::new().unit("ecs.service", |unit| unit.start = Start::Retried(255));
    let instance = instance.agent_behaves(|agent| agent.init_error = "Error connecting to docker, backing off");
    let outcome = {
        let running = instance.start(&["run", "--wait", "--set", "verify.deadline=6s"]);
        std::thread::sleep(Duration::from_millis(800));
        instance.docker.stop();
        running.wait()
    };
    both_report(&instance, &outcome, ExpectedCause("docker-not-ready", 12, "docker.service is active"));
}

#[test]
fn docker_that_systemd_keeps_restarting_is_docker_not_ready() {
    let instance = Instance::new().unit("docker.service", |unit| unit.start = Start::Retried(1));
    both_report(&instance, &run(&instance, SOON), ExpectedCause("docker-not-ready", 12, "activating"));
}

#[test]
fn docker_at_its_start_limit_is_docker_failed() {
    let instance = Instance::new().unit("docker.service", |unit| unit.start = Start::FailsWith("start-limit-hit"));
    both_report(&instance, &run(&instance, SOON), ExpectedCause("docker-failed", 24, "start-limit-hit"));
}

#[test]
fn a_failed_command_of_a_drop_in_is_ecs_init_failed() {
    let lines = "Starting ecs.service - Amazon Elastic Container Service - container agent...\n\
                 mount.nfs: Connection timed out\n\
                 ecs.service: Control process exited, code=exited, status=32/n/a\n";
    let instance = Instance::new().journal_has("ecs.service", lines).unit("ecs.service", |unit| {
        unit.start = Start::Retried(32);
        unit.drop_ins = vec!["/etc/systemd/system/ecs.service.d/nfs.conf".into()];
    });
    both_report(
        &instance,
        &run(&instance, SOON),
        ExpectedCause("ecs-init-failed", 24, "mount.nfs: Connection timed out"),
    );
}

#[test]
fn a_bad_unit_file_is_systemd_refused() {
    let refused = Start::Refused {
        name: "org.freedesktop.systemd1.BadUnitSetting".into(),
        text: "Unit ecs.service has a bad unit file setting.".into(),
    };
    let instance = Instance::new().unit("ecs.service", |unit| {
        unit.load_state = "bad-setting".into();
        unit.start = refused;
    });
    both_report(&instance, &run(&instance, SOON), ExpectedCause("systemd-refused", 24, "bad unit file setting"));
}

#[test]
fn a_start_timeout_of_the_unit_is_agent_unit_failed() {
    let instance = Instance::new().unit("ecs.service", |unit| unit.start = Start::FailsWith("timeout"));
    both_report(&instance, &run(&instance, SOON), ExpectedCause("agent-unit-failed", 24, "result timeout"));
}

#[test]
fn a_bus_without_answers_about_units_is_systemd_unreachable() {
    let instance = Instance::new();
    instance.systemd.change(|systemd| systemd.silent.extend(["LoadUnit", "StartUnit", "GetUnit"].map(str::to_owned)));
    let outcome = run(&instance, &["verify.deadline=6s", "run.deadline=8s"]);
    ExpectedCause("systemd-unreachable", 12, "queueing docker").check(&instance, &outcome);
    // Doctor does not know the error of the run. It reports what it could not find out.
    let doctor = instance.run(&["doctor"]);
    assert!(doctor.stdout.starts_with("error: [unknown] ") && doctor.code == Some(13), "{}", doctor.stdout);
    assert!(doctor.stdout.contains("systemd did not answer"), "{}", doctor.stdout);
}

// Files.

#[test]
fn an_ecs_config_that_is_a_folder_is_unusable() {
    let instance = Instance::new();
    instance.disk.remove("etc/ecs/ecs.config");
    instance.disk.folder("etc/ecs/ecs.config");
    both_report(&instance, &run(&instance, SOON), ExpectedCause("ecs-config-unusable", 20, "/etc/ecs/ecs.config"));
}

#[test]
fn an_ecs_config_that_is_a_pipe_is_unusable() {
    let instance = Instance::new();
    instance.disk.remove("etc/ecs/ecs.config");
    let made = std::process::Command::new("mkfifo").arg(instance.disk.path("etc/ecs/ecs.config")).status().unwrap();
    assert!(made.success());
    both_report(&instance, &run(&instance, SOON), ExpectedCause("ecs-config-unusable", 20, "/etc/ecs/ecs.config"));
}

#[test]
fn an_ecs_config_of_two_megabytes_is_unusable() {
    let instance = Instance::new().ecs_config("A=b\n".repeat(512 * 1024));
    both_report(&instance, &run(&instance, SOON), ExpectedCause("ecs-config-unusable", 20, "/etc/ecs/ecs.config"));
}

#[test]
fn an_ecs_config_full_of_zeros_is_unusable() {
    let instance = Instance::new().ecs_config([0_u8; 4096]);
    both_report(&instance, &run(&instance, SOON), ExpectedCause("ecs-config-unusable", 20, "/etc/ecs/ecs.config"));
}
