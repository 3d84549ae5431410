//! Causes in the agent, its saved state and its life cycle, and the cause `unknown`. See `causes/mod.rs`.

use super::{ExpectedCause, ExpectedNote, is_ready, run};
use crate::support::Instance;
use crate::support::aws::Fault;
use crate::support::disk::AgentState;
use std::time::Duration;

fn foreign_state(instance: Instance) -> Instance {
    instance.disk.save_agent_state(&AgentState {
        cluster: "prod".into(),
        container_instance_arn: "arn:aws:ecs:eu-west-1:111122223333:container-instance/prod/parent".into(),
        instance_id: "i-0fedcba9876543210".into(),
    });
    instance
}

#[test]
fn attributes_that_ecs_rejects_are_reported() {
    let instance = Instance::new().agent_behaves(|agent| agent.attributes_rejected = true);
    ExpectedCause("attributes-rejected", 23, "Attribute validation failed")
        .check(&instance, &run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn an_agent_that_exits_because_of_another_instances_state_is_reported() {
    let text = "saved state is of another instance";
    let instance = foreign_state(Instance::new()).agent_behaves(|agent| agent.gives_up_with = Some(text.into()));
    ExpectedCause("baked-agent-state", 24, "`i-0fedcba9876543210`")
        .check(&instance, &run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn state_of_another_instance_that_the_agent_drops_is_not_a_cause() {
    let instance = foreign_state(Instance::new()).agent_behaves(|agent| agent.register_delay = Duration::from_secs(2));
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn state_of_another_instance_is_not_a_cause_of_a_temporary_error() {
    let instance = foreign_state(Instance::new());
    let throttled = crate::support::aws::Fault::error(400, "ThrottlingException", "Rate exceeded");
    instance.aws.fail_first("RegisterContainerInstance", 1, throttled);
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn an_agent_that_gives_up_for_an_unknown_reason_is_reported_with_its_exit_code() {
    let text = "InvalidParameterException: something new";
    let instance = Instance::new().agent_behaves(|agent| agent.gives_up_with = Some(text.into()));
    ExpectedCause("agent-gave-up", 23, "the agent exited with code 5")
        .check(&instance, &run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_run_that_waits_too_long_for_another_run_is_reported() {
    let instance = Instance::new().file("run/ecs-bootstrap/lock", "");
    let held = std::fs::File::open(instance.disk.path("run/ecs-bootstrap/lock")).unwrap();
    held.lock().unwrap();
    let outcome = run(&instance, &["run.deadline=2s"]);
    ExpectedCause("run-late", 13, "`run.deadline` (2s) passed while waiting for another run")
        .check_untouched(&instance, &outcome);
    drop(held);
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn an_agent_that_never_connects_is_reported_after_the_window() {
    let never_connects = || Instance::new().agent_behaves(|agent| agent.never_connects = true);
    let settings = ["verify.deadline=15s", "verify.window=2s"];
    let instance = never_connects();
    ExpectedCause("agent-stuck", 24, "agentConnected false").check(&instance, &run(&instance, &settings));
    // Without the address of the control plane, it is not known whether the network path is open.
    let instance = never_connects().aws_fault("DiscoverPollEndpoint", Fault::error(500, "ServerException", "later"));
    ExpectedCause("agent-not-connected", 13, "agentConnected false").check(&instance, &run(&instance, &settings));
}

#[test]
fn a_short_disconnect_is_not_a_cause() {
    let instance = Instance::new().agent_behaves(|agent| agent.connect_delay = Duration::from_secs(2));
    let outcome = run(&instance, &["verify.deadline=30s"]);
    is_ready(&outcome);
    assert!(outcome.stdout.contains("its agent is connected"), "{}", outcome.stdout);
    assert!(outcome.duration < Duration::from_secs(5), "the log shows the connection earlier: {:?}", outcome.duration);
}

fn in_pool(state: Option<&str>) -> Instance {
    let instance = Instance::new().ecs_config("ECS_WARM_POOLS_CHECK=true\n");
    instance.imds.change(|imds| imds.target_lifecycle_state = state.map(str::to_owned));
    instance
}

#[test]
fn an_instance_in_a_warm_pool_is_waiting_and_has_not_failed() {
    let instance = in_pool(Some("Warmed:Running"));
    let outcome = run(&instance, &["verify.deadline=3s"]);
    let named = outcome.stdout.lines().find_map(|line| line.strip_prefix("waiting: [")?.split(']').next());
    super::record("warm-pool-waiting", named.unwrap_or("nothing"));
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.stdout.starts_with("waiting: "), "{}", outcome.stdout);
    let ExpectedCause(id, _, seen) = ExpectedCause("warm-pool-waiting", 0, "`Warmed:Running`");
    assert!(
        outcome.stdout.contains(&format!("waiting: [{id}]")) && outcome.stdout.contains(seen),
        "{}",
        outcome.stdout
    );
    assert!(!outcome.stderr.contains("error: ["), "{}", outcome.stderr);
}

#[test]
fn an_instance_in_service_is_not_in_a_warm_pool() {
    is_ready(&run(&in_pool(Some("InService")), &["verify.deadline=20s"]));
}

#[test]
fn a_warm_pool_setting_outside_a_group_is_reported() {
    let instance = in_pool(None);
    ExpectedCause("warm-pool-state-missing", 23, "Waiting for instance to go InService")
        .check(&instance, &run(&instance, &["verify.deadline=3s"]));
}

#[test]
fn an_agent_without_errors_that_never_registers_is_unknown() {
    let instance = Instance::new().agent_behaves(|agent| agent.never_registers = true);
    ExpectedCause("unknown", 13, "ecs.service is active").check(&instance, &run(&instance, &["verify.deadline=3s"]));
}

#[test]
fn an_agent_that_is_slow_is_not_a_cause() {
    let instance = Instance::new().agent_behaves(|agent| agent.register_delay = Duration::from_secs(3));
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn an_agent_without_an_arn_is_not_registered() {
    let instance = Instance::new().agent_behaves(|agent| agent.empty_arn = true);
    ExpectedCause("unknown", 13, "has no container instance ARN")
        .check(&instance, &run(&instance, &["verify.deadline=3s"]));
}

#[test]
fn errors_of_an_earlier_boot_are_not_a_cause() {
    let line = "level=critical time=2026-01-01T00:00:00Z msg=\"Unable to register as a container instance with ECS\" \
                error=\"AccessDeniedException: not authorized\"\n";
    let instance = Instance::new()
        .file("var/log/ecs/ecs-agent.log", line)
        .file("var/log/ecs/ecs-init.log", "level=error msg=\"agent exited with terminal exit code: 5\"\n")
        .unit("docker.service", |unit| unit.delay = Duration::from_secs(1));
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

fn exiting(code: i32, message: &'static str, error: &'static str) -> Instance {
    Instance::new().agent_behaves(|agent| agent.exits = Some((code, message, error)))
}

const REFUSED: &str = "Unable to register as a container instance with ECS";
const SOON: &[&str] = &["verify.deadline=20s"];

#[test]
fn tags_that_ecs_rejects_are_reported() {
    let instance = exiting(5, REFUSED, "InvalidParameterException: Tag keys cannot begin with aws:");
    ExpectedCause("tags-rejected", 23, "Tag keys cannot begin with").check(&instance, &run(&instance, SOON));
}

#[test]
fn a_failed_setup_of_task_network_interfaces_is_reported() {
    let instance = exiting(5, "Unable to initialize Task ENI dependencies", "agent is not started with an init system");
    ExpectedCause("task-eni-setup-failed", 23, "init system").check(&instance, &run(&instance, SOON));
}

#[test]
fn a_cgroup_that_cannot_be_created_is_reported() {
    let instance = exiting(5, "Unable to initialize cgroup root", "unable to setup '/ecs' cgroup")
        .ecs_config("ECS_ENABLE_TASK_CPU_MEM_LIMIT=true\n");
    ExpectedCause("cgroup-setup-failed", 23, "ECS_ENABLE_TASK_CPU_MEM_LIMIT is `true`")
        .check(&instance, &run(&instance, SOON));
}

#[test]
fn an_agent_that_keeps_exiting_is_reported_with_exit_code_and_last_log_line() {
    let instance = exiting(2, "panic", "proxy http://u:hunter2@proxy:3128 is nil");
    let outcome = run(&instance, &["verify.deadline=5s"]);
    ExpectedCause("agent-exits", 23, "the agent exited with code 2").check(&instance, &outcome);
    assert!(outcome.stderr.contains("http://<redacted>@proxy:3128 is nil"), "{}", outcome.stderr);
}

#[test]
fn an_agent_that_exits_once_and_then_registers_is_not_a_cause() {
    let instance = exiting(1, "Unable to fetch host resources", "");
    let verify = instance.start(&["run", "--wait", "--set", "verify.deadline=20s"]);
    while !instance.disk.text("var/log/ecs/ecs-init.log").contains("Agent exited with code 1") {
        std::thread::sleep(Duration::from_millis(20));
    }
    instance.agent.change(|agent| agent.exits = None);
    is_ready(&verify.wait());
}

fn saved(instance: Instance, cluster: &str) -> Instance {
    let mut own = String::new();
    instance.imds.change(|imds| own.clone_from(&imds.instance_id));
    instance.disk.save_agent_state(&AgentState {
        cluster: cluster.into(),
        container_instance_arn: format!("arn:aws:ecs:eu-west-1:111122223333:container-instance/{cluster}/saved"),
        instance_id: own,
    });
    instance
}

#[test]
fn an_agent_with_saved_state_of_another_cluster_is_reported() {
    let instance = saved(Instance::new(), "stage");
    ExpectedCause("cluster-mismatch-saved", 21, "saved cluster 'stage'").check(&instance, &run(&instance, SOON));
}

#[test]
fn saved_state_of_the_same_cluster_is_not_a_cause() {
    is_ready(&run(&saved(Instance::new(), "prod"), SOON));
}

#[test]
fn an_inactive_registration_is_reported() {
    let instance = saved(Instance::new(), "prod");
    let inactive = crate::support::aws::Fault::error(400, "ClientException", "Container instance is inactive.");
    instance.aws.fail("RegisterContainerInstance", inactive);
    ExpectedCause("registration-inactive", 24, "container-instance/prod/saved").check(&instance, &run(&instance, SOON));
}

#[test]
fn an_instance_that_is_deregistered_while_its_agent_runs_is_reported() {
    let instance = Instance::new().agent_behaves(|agent| agent.deregistered = true);
    ExpectedCause("deregistered-while-up", 24, "InactiveInstanceException").check(&instance, &run(&instance, SOON));
}

#[test]
fn another_process_on_the_agents_port_is_reported() {
    let instance = Instance::new().agent_behaves(|agent| agent.port_taken = true);
    let port: u16 = instance.agent.endpoint().rsplit_once(':').unwrap().1.parse().unwrap();
    let table = format!(
        "  sl  local_address rem_address   st\n   0: 00000000:{port:04X} 00000000:0000 0A 00000000:00000000 \
         00:00000000 00000000     0        0 4711 1\n"
    );
    let instance = instance.file("proc/net/tcp", table).file("proc/12/comm", "nginx\n");
    instance.disk.folder("proc/12/fd");
    std::os::unix::fs::symlink("socket:[4711]", instance.disk.path("proc/12/fd/3")).unwrap();
    ExpectedCause("introspection-port-taken", 24, "process 12 (`nginx`)").check(&instance, &run(&instance, SOON));
}

#[test]
fn an_answer_on_the_agents_port_that_is_not_the_agents_is_reported() {
    let instance = Instance::new().agent_behaves(|agent| agent.garbage_introspection = true);
    ExpectedCause("introspection-port-taken", 24, "is not from an ECS agent").check(&instance, &run(&instance, SOON));
}

/// An instance that is already registered, with this status and the attribute `tier=db`.
fn known(status: &str) -> Instance {
    let instance = saved(Instance::new(), "prod");
    let mut own = String::new();
    instance.imds.change(|imds| own.clone_from(&imds.instance_id));
    instance.aws.change(|aws| {
        aws.container_instances.push(crate::support::aws::ContainerInstance {
            gpus: 0,
            arn: "arn:aws:ecs:eu-west-1:111122223333:container-instance/prod/saved".into(),
            cluster: "prod".into(),
            instance_id: own,
            status: status.into(),
            agent_connected: false,
            attributes: [("tier".to_owned(), "db".to_owned())].into(),
        });
    });
    instance
}

#[test]
fn attributes_added_after_the_registration_are_a_note() {
    let instance = known("ACTIVE").ecs_config("ECS_INSTANCE_ATTRIBUTES={\"tier\":\"web\"}\n");
    ExpectedNote("attributes-not-applied", "`tier=web`").check(&run(&instance, SOON));
}

#[test]
fn a_draining_instance_is_a_note() {
    ExpectedNote("draining", "is DRAINING").check(&run(&known("DRAINING"), SOON));
}

#[test]
fn a_status_in_which_ecs_places_no_task_is_not_ready() {
    for (status, seen) in [
        ("REGISTERING", "status REGISTERING"),
        (
            "REGISTRATION_FAILED",
            "the reason is `The trunk network interface was not attached, since the subnet has no free address`",
        ),
        ("DEREGISTERING", "status DEREGISTERING"),
        ("INACTIVE", "status INACTIVE"),
    ] {
        let instance = known(status);
        ExpectedCause("registration-not-active", 23, seen).check(&instance, &run(&instance, SOON));
    }
}

#[test]
fn an_active_instance_with_its_attributes_has_no_note() {
    let instance = known("ACTIVE").ecs_config("ECS_INSTANCE_ATTRIBUTES={\"tier\":\"db\"}\n");
    let outcome = run(&instance, SOON);
    is_ready(&outcome);
    assert!(!outcome.stdout.contains("note: "), "{}", outcome.stdout);
}

#[test]
fn an_old_agent_is_a_note() {
    let instance = Instance::new().agent_behaves(|agent| agent.version = Some("1.20.3"));
    ExpectedNote("agent-too-old", "version 1.20.3").check(&run(&instance, SOON));
}

#[test]
fn state_of_another_instance_that_the_agent_dropped_is_a_note() {
    let slow = Instance::new().agent_behaves(|agent| agent.register_delay = Duration::from_secs(2));
    ExpectedNote("baked-agent-state", "`i-0fedcba9876543210`").check(&run(&foreign_state(slow), SOON));
}

#[test]
fn a_gpu_that_the_agent_does_not_see_is_a_note() {
    let instance = Instance::new().ecs_config("ECS_ENABLE_GPU_SUPPORT=true\n");
    ExpectedNote("gpu-not-seen", "GPU information is not found").check(&run(&instance, SOON));
}

#[test]
fn a_gpu_that_the_agent_sees_is_not_a_note() {
    let instance = Instance::new().ecs_config("ECS_ENABLE_GPU_SUPPORT=true\n");
    instance.disk.add_gpu();
    let outcome = run(&instance, SOON);
    is_ready(&outcome);
    assert!(!outcome.stdout.contains("gpu-not-seen"), "{}", outcome.stdout);
}
