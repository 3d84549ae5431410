//! Causes on the host: settings, `ecs.config`, docker, units, disk. See `causes/mod.rs`.

use super::{ExpectedCause, is_ready, run, verify};
use crate::file_systems::{full_disk, read_only};
use crate::support::Instance;
use crate::support::systemd::Start;
use std::time::Duration;

#[test]
fn an_unknown_setting_is_reported_with_its_file() {
    let instance = Instance::new().setting_file("etc/ecs-bootstrap/config.toml", "clutser = \"prod\"\n");
    let outcome = run(&instance, &[]);
    ExpectedCause("setting-invalid", 20, "/etc/ecs-bootstrap/config.toml").check_untouched(&instance, &outcome);
    assert!(outcome.stderr.contains("did you mean `cluster`?"), "{}", outcome.stderr);
}

#[test]
fn a_linked_ecs_config_is_not_followed() {
    let instance = Instance::new();
    instance.disk.remove("etc/ecs/ecs.config");
    std::os::unix::fs::symlink("elsewhere", instance.disk.path("etc/ecs/ecs.config")).unwrap();
    ExpectedCause("ecs-config-unusable", 20, "/etc/ecs/ecs.config").check(&instance, &run(&instance, &[]));
    assert!(instance.disk.read("etc/ecs/elsewhere").is_none());
}

#[test]
fn attributes_that_are_not_json_are_reported_before_the_agent_starts() {
    let instance = Instance::new().ecs_config("ECS_INSTANCE_ATTRIBUTES={tier: web}\n");
    ExpectedCause("config-bad-json", 20, "in ecs.config, `ECS_INSTANCE_ATTRIBUTES` takes a JSON object of strings")
        .check(&instance, &run(&instance, &[]));
}

#[test]
fn attributes_that_are_json_are_not_a_cause() {
    let instance = Instance::new().ecs_config("ECS_INSTANCE_ATTRIBUTES={\"tier\": \"web\"}\n");
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_ca_bundle_without_certificates_is_reported_before_any_call() {
    let instance = Instance::new().without_imds_tags();
    instance.disk.write("home/rubbish.pem", "not a certificate\n");
    let path = instance.disk.path("home/rubbish.pem");
    let instance = instance.env("AWS_CA_BUNDLE", path.as_os_str());
    ExpectedCause("ca-bundle-invalid", 20, "rubbish.pem").check_untouched(&instance, &run(&instance, &[]));
    assert!(instance.aws.requests().is_empty());
}

#[test]
fn docker_that_is_not_installed_is_reported_at_once() {
    let instance = Instance::new().unit("docker.service", |unit| unit.absent());
    ExpectedCause("docker-absent", 24, "systemd has no docker.service").check(&instance, &run(&instance, &[]));
}

#[test]
fn docker_that_fails_is_reported_at_once() {
    let instance = Instance::new().unit("docker.service", |unit| unit.start = Start::Fails("failed".into()));
    ExpectedCause("docker-failed", 24, "docker.service is failed, result exit-code")
        .check(&instance, &run(&instance, &[]));
}

#[test]
fn docker_that_never_becomes_active_is_docker_not_ready() {
    let instance = Instance::new().unit("docker.service", |unit| unit.start = Start::NeverEnds);
    ExpectedCause("docker-not-ready", 12, "docker.service is activating")
        .check(&instance, &run(&instance, &["verify.deadline=4s"]));
}

#[test]
fn docker_that_is_slow_is_not_a_cause() {
    let instance = Instance::new().unit("docker.service", |unit| unit.delay = Duration::from_millis(2500));
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn an_image_without_the_agent_is_reported_at_once() {
    let instance = Instance::new().unit("ecs.service", |unit| unit.absent());
    ExpectedCause("ecs-init-absent", 24, "systemd has neither ecs.service nor amazon-ecs.service")
        .check(&instance, &run(&instance, &[]));
}

#[test]
fn a_masked_unit_is_not_unmasked() {
    let instance = Instance::new().unit("ecs.service", |unit| unit.masked());
    ExpectedCause("unit-masked", 24, "ecs.service is masked").check(&instance, &run(&instance, &[]));
    assert_eq!(instance.systemd.unit("ecs.service").unwrap().load_state, "masked");
}

#[test]
fn a_disabled_agent_without_a_start_job_is_reported() {
    let instance = Instance::new().unit("ecs.service", |unit| unit.unit_file_state = "disabled".into());
    ExpectedCause("ecs-unit-disabled", 24, "ecs.service is disabled and inactive, without a job")
        .check(&instance, &verify(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_disabled_agent_that_run_starts_is_not_a_cause() {
    let instance = Instance::new().unit("ecs.service", |unit| unit.unit_file_state = "disabled".into());
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn an_earlier_failure_of_docker_is_not_a_cause() {
    let failed_before = |unit: &mut crate::support::systemd::Unit| {
        unit.active_state = "failed".into();
        unit.sub_state = "failed".into();
        unit.result = "exit-code".into();
        unit.delay = Duration::from_secs(1);
    };
    let instance = Instance::new().unit("docker.service", failed_before);
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn waiting_in_user_data_for_an_agent_that_waits_for_user_data_is_refused() {
    let instance = Instance::new();
    instance.systemd.cloud_final_runs();
    instance.systemd.change(|systemd| systemd.caller = Some("cloud-final.service".into()));
    ExpectedCause("start-blocked", 24, "`cloud-final.service`").check(&instance, &run(&instance, &[]));
    assert_eq!(instance.disk.text("etc/ecs/ecs.config"), "ECS_CLUSTER=prod\n");
    instance.systemd.cloud_final_ends();
}

#[test]
fn a_host_without_a_bus_is_reported() {
    let instance = Instance::new().without_bus();
    ExpectedCause("systemd-unreachable", 12, "bus").check(&instance, &run(&instance, &[]));
}

#[test]
fn a_refused_start_is_reported_with_systemds_message() {
    let refused = Start::Refused { name: "org.freedesktop.DBus.Error.AccessDenied".into(), text: "Not you.".into() };
    let instance = Instance::new().unit("ecs.service", |unit| unit.start = refused);
    ExpectedCause("systemd-refused", 24, "Not you.").check(&instance, &run(&instance, &[]));
}

#[test]
fn a_start_refused_for_an_ordering_cycle_is_reported_as_a_cycle() {
    let refused = Start::Refused {
        name: "org.freedesktop.systemd1.TransactionOrderIsCyclic".into(),
        text: "Transaction order is cyclic.".into(),
    };
    let instance = Instance::new().unit("ecs.service", |unit| unit.start = refused);
    ExpectedCause("unit-ordering-cycle", 24, "cyclic").check(&instance, &run(&instance, &[]));
}

#[test]
fn an_enabled_agent_after_debians_cloud_final_is_an_ordering_cycle() {
    let instance = Instance::new()
        .unit("cloud-final.service", |unit| unit.after = vec!["multi-user.target".into()])
        .unit("ecs.service", |unit| unit.after.push("cloud-final.service".into()));
    let plan = instance.run(&["plan"]);
    assert!(plan.stderr.contains("unit-ordering-cycle"), "{}", plan.stderr);
    ExpectedCause("unit-ordering-cycle", 24, "inactive and without a job").check(&instance, &verify(&instance, &[]));
    // With the agent disabled, the same units have no cycle.
    instance.systemd.change_unit("ecs.service", |unit| unit.unit_file_state = "disabled".into());
    assert!(!instance.run(&["plan"]).stderr.contains("unit-ordering-cycle"));
    is_ready(&run(&instance, &[]));
}

#[test]
fn a_full_disk_leaves_the_old_file() {
    let instance = full_disk(Instance::new());
    ExpectedCause("disk-full", 24, "/etc/ecs/ecs.config").check(&instance, &run(&instance, &[]));
}

#[test]
fn a_read_only_file_system_is_reported() {
    let instance = read_only(Instance::new());
    ExpectedCause("write-refused", 24, "/etc/ecs/ecs.config").check(&instance, &run(&instance, &[]));
}

#[test]
fn a_file_of_ecs_bootstrap_that_is_not_a_regular_file_is_reported() {
    use std::os::unix::fs::symlink;
    type Break = fn(&std::path::Path);
    let folder: Break = |path| std::fs::create_dir_all(path).unwrap();
    let link: Break = |path| symlink("/nowhere", path).unwrap();
    let link_to_file: Break = |path| {
        std::fs::write(path.with_extension("else"), "{}").unwrap();
        symlink(path.with_extension("else"), path).unwrap();
    };
    let fifo: Break = |path| {
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    };
    for (path, put) in [
        ("run/ecs-bootstrap/lock", folder),
        ("run/ecs-bootstrap/lock", link),
        ("run/ecs-bootstrap/lock", link_to_file),
        ("run/ecs-bootstrap/lock", fifo),
        ("run/ecs-bootstrap/plan.json", folder),
        ("run/ecs-bootstrap/plan.json", link),
        ("run/ecs-bootstrap/plan.json", link_to_file),
        ("run/ecs-bootstrap/plan.json", fifo),
    ] {
        let instance = Instance::new();
        let place = instance.disk.path(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        put(&place);
        ExpectedCause("own-file-unusable", 24, &format!("`/{path}`")).check(&instance, &run(&instance, &[]));
    }
    let instance = Instance::new();
    std::fs::create_dir_all(instance.disk.path("run/ecs-bootstrap/plan.json")).unwrap();
    ExpectedCause("own-file-unusable", 24, "`/run/ecs-bootstrap/plan.json`").check(&instance, &verify(&instance, &[]));
    let instance = Instance::new().file("run/ecs-bootstrap", "");
    let outcome = run(&instance, &[]);
    assert_eq!(outcome.code, Some(24), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("error: [own-file-unusable]"), "{}", outcome.stderr);
}

#[test]
fn a_run_that_hangs_is_ended_after_the_deadline() {
    let instance = Instance::new();
    // The report goes to a full pipe that is never read.
    let outcome = instance.start_into_full_pipe(&["run", "--no-wait", "--set", "run.deadline=3s"]).wait();
    ExpectedCause("call-hangs", 13, "`ecs-bootstrap run` still ran 8s after its deadline").check(&instance, &outcome);
    assert!(outcome.duration < Duration::from_secs(20), "{:?}", outcome.duration);
}
