//! Hosts without a fault that are slow, unusual or have few permissions. No cause may be reported for them.
//!
//! In: an instance that joins. Out: the run is ready without an error, and doctor passes after it.

use crate::support::disk::AgentState;
use crate::support::http::{Reply, Server};
use crate::support::{Instance, Outcome, aws};
use std::time::Duration;

/// Checks that the run is ready without a cause, and that doctor finds no fault either.
fn is_healthy(instance: &Instance, outcome: &Outcome) {
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stdout.starts_with("ready: `arn:aws:ecs:"), "{}", outcome.stdout);
    assert!(!outcome.stderr.contains("error: ["), "{}", outcome.stderr);
    let doctor = instance.run(&["doctor"]);
    assert_eq!(doctor.code, Some(0), "{}\n{}", doctor.stdout, doctor.stderr);
    assert!(!doctor.stdout.contains("error: [") && !doctor.stdout.contains("  fail  "), "{}", doctor.stdout);
}

fn run(instance: &Instance) -> Outcome {
    instance.run(&["run", "--wait", "--set", "verify.deadline=30s"])
}

fn slow(instance: Instance) -> Instance {
    instance
        .imds_delay(Duration::from_millis(100))
        .unit("docker.service", |unit| unit.delay = Duration::from_secs(3))
        .agent_behaves(|agent| {
            agent.register_delay = Duration::from_secs(5);
            agent.connect_delay = Duration::from_secs(5);
        })
}

#[test]
fn ready_when_everything_is_slow() {
    let instance = slow(Instance::new());
    is_healthy(&instance, &run(&instance));
}

#[test]
fn ready_when_metadata_is_slow() {
    let instance = Instance::new().imds_delay(Duration::from_millis(300));
    is_healthy(&instance, &run(&instance));
}

#[test]
fn ready_when_every_describe_call_is_denied() {
    let mut instance = slow(Instance::new());
    for action in ["DescribeClusters", "DescribeContainerInstances", "ListClusters", "ListContainerInstances"] {
        instance = instance.aws_fault(action, aws::Fault::denied(&format!("ecs:{action}")));
    }
    let instance = instance.aws_fault("DescribeTags", aws::Fault::denied("ec2:DescribeTags"));
    is_healthy(&instance, &run(&instance));
}

#[test]
fn ready_when_the_connection_flaps() {
    let instance = Instance::new();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let state = instance.aws.state();
    let flapping = std::thread::spawn(move || {
        let mut connected = false;
        while stopped.recv_timeout(Duration::from_millis(400)).is_err() {
            let mut aws = state.lock().unwrap();
            aws.container_instances.iter_mut().for_each(|one| one.agent_connected = connected);
            connected = !connected;
        }
    });
    let outcome = run(&instance);
    let doctor = instance.run(&["doctor"]);
    stop.send(()).unwrap();
    flapping.join().unwrap();
    assert_eq!(doctor.code, Some(0), "{}", doctor.stdout);
    instance.aws.change(|aws| aws.container_instances.iter_mut().for_each(|one| one.agent_connected = true));
    is_healthy(&instance, &outcome);
}

#[test]
fn ready_at_once_when_describe_is_throttled_and_the_agent_logs_its_connection() {
    let throttled = aws::Fault::error(400, "ThrottlingException", "Rate exceeded");
    let instance = Instance::new().aws_fault("DescribeContainerInstances", throttled);
    // The window, after which any error of ECS is accepted, is not what ends the wait.
    let outcome = instance.run(&["run", "--wait", "--set", "verify.window=10m"]);
    is_healthy(&instance, &outcome);
    assert!(outcome.stdout.contains("agent connection not checked"), "{}", outcome.stdout);
}

#[test]
fn a_healthy_instance_asks_ecs_once() {
    let instance = Instance::new().agent_behaves(|agent| {
        agent.register_delay = Duration::from_secs(3);
        agent.connect_delay = Duration::from_secs(1);
    });
    let outcome = instance.run(&["run", "--wait"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let counts = ["DescribeClusters", "DescribeContainerInstances"].map(|operation| instance.aws.count(operation));
    assert_eq!((counts, instance.aws.requests().len()), ([0, 1], 1));
}

#[test]
fn ready_when_the_registration_is_throttled_for_a_while() {
    let instance = Instance::new();
    let throttled = aws::Fault::error(400, "ThrottlingException", "Rate exceeded");
    instance.aws.fail_first("RegisterContainerInstance", 5, throttled);
    is_healthy(&instance, &run(&instance));
}

#[test]
fn ready_when_the_policy_is_attached_late() {
    let instance = Instance::new();
    instance.imds.change(|imds| imds.pending_time = std::time::SystemTime::now());
    instance.aws.fail_first("RegisterContainerInstance", 3, aws::Fault::denied("ecs:RegisterContainerInstance"));
    is_healthy(&instance, &run(&instance));
}

#[test]
fn ready_when_docker_is_restarted_by_systemd() {
    let instance = Instance::new().unit("docker.service", |unit| {
        unit.active_state = "activating".into();
        unit.sub_state = "auto-restart".into();
        unit.result = "exit-code".into();
        unit.n_restarts = 2;
        unit.delay = Duration::from_secs(2);
    });
    is_healthy(&instance, &run(&instance));
}

#[test]
fn ready_when_the_clock_is_four_minutes_off() {
    for ahead in [240, -240] {
        let instance = Instance::new().agent_behaves(|agent| agent.register_delay = Duration::from_secs(3));
        instance.aws.change(|aws| aws.date_ahead = ahead);
        is_healthy(&instance, &run(&instance));
    }
}

#[test]
fn ready_when_no_service_sends_a_date() {
    let instance = Instance::new().agent_behaves(|agent| agent.register_delay = Duration::from_secs(3));
    instance.aws.change(|aws| aws.sends_no_date = true);
    instance.imds.change(|imds| imds.sends_no_date = true);
    is_healthy(&instance, &run(&instance));
}

/// Log lines of an earlier boot, with errors of every kind.
const EARLIER_AGENT_LOG: &str = concat!(
    "level=info time=2026-01-01T00:00:00Z msg=\"Starting Amazon ECS Agent\"\n",
    "level=critical time=2026-01-01T00:00:01Z msg=\"Unable to register as a container instance with ECS\" \
     error=\"AccessDeniedException: User: arn:aws:sts::1:assumed-role/x/i is not authorized to perform: \
     ecs:RegisterContainerInstance with an explicit deny in a service control policy\"\n",
    "level=critical time=2026-01-01T00:00:02Z msg=\"Unable to register as a container instance with ECS\" \
     error=\"ClientException: Cluster not found.\"\n",
    "level=error time=2026-01-01T00:00:03Z msg=\"no space left on device\"\n",
    "level=error time=2026-01-01T00:00:03Z msg=\"Data mismatch; saved cluster 'a' does not match configured cluster \
     'b'\"\n",
    "level=error time=2026-01-01T00:00:03Z msg=\"InactiveInstanceException: Container instance is deregistered.\"\n",
    "level=error time=2026-01-01T00:00:03Z msg=\"InvalidSignatureException: Signature expired\"\n",
);
const EARLIER_INIT_LOG: &str = concat!(
    "level=info time=2026-01-01T00:00:00Z msg=\"pre-start\"\n",
    "level=error time=2026-01-01T00:00:00Z msg=\"could not load Amazon Elastic Container Service Agent into Docker\"\n",
    "level=info time=2026-01-01T00:00:00Z msg=\"Agent exited with code 5\"\n",
    "level=error time=2026-01-01T00:00:00Z msg=\"agent exited with terminal exit code: 5\"\n",
    "level=error time=2026-01-01T00:00:00Z msg=\"no space left on device\"\n",
);

#[test]
fn ready_when_the_logs_have_errors_of_an_earlier_boot() {
    let instance = slow(Instance::new())
        .file("var/log/ecs/ecs-agent.log", EARLIER_AGENT_LOG)
        .file("var/log/ecs/ecs-init.log", EARLIER_INIT_LOG)
        .file(
            "var/log/cloud-init-output.log",
            "/var/lib/cloud/instance/scripts/part-001: line 1: x: command not found\n",
        );
    is_healthy(&instance, &run(&instance));
}

#[test]
fn ready_with_unusual_but_harmless_files() {
    let proxy = Server::tcp(|_| Reply::new(200, "text/plain", "").into());
    let config = format!(
        "# by hand\r\nECS_LOGLEVEL=warn\r\nHTTP_PROXY={}\r\n\
         NO_PROXY=169.254.169.254,169.254.170.2,/var/run/docker.sock\r\nECS_SOMETHING_NEW=1\r\n\r\n",
        proxy.endpoint()
    );
    let errors = concat!(
        r#"{"v1": {"datasource": "DataSourceEc2Local", "errors": ["#,
        r#""('scripts_user', RuntimeError('Runparts: 1 failures (part-001) in 1 attempted commands'))"]}}"#
    );
    let instance = slow(Instance::new())
        .ecs_config(config)
        .file("etc/ecs.config", "ECS_CLUSTER=stage\n")
        .file("etc/ecs/ecs.config.bak", "ECS_CLUSTER=old\n")
        .file("run/cloud-init/result.json", errors)
        .user_data("#!/bin/bash\necho ECS_CLUSTER=prod >> /etc/ecs/ecs.config\nfalse\n");
    instance.disk.save_agent_state(&AgentState {
        cluster: "stage".into(),
        container_instance_arn: "arn:aws:ecs:eu-west-1:111122223333:container-instance/stage/parent".into(),
        instance_id: "i-0fedcba9876543210".into(),
    });
    is_healthy(&instance, &run(&instance));
}

#[test]
fn ready_when_cloud_init_is_not_installed() {
    let instance = Instance::new().unit("cloud-final.service", |unit| unit.absent());
    instance.disk.remove("run/cloud-init");
    is_healthy(&instance, &run(&instance));
}

#[test]
fn ready_when_the_record_of_cloud_init_is_not_json() {
    let instance =
        Instance::new().file("run/cloud-init/result.json", "{\"v1\": {").file("run/cloud-init/status.json", "");
    is_healthy(&instance, &run(&instance));
}

#[test]
fn ready_with_sixteen_kilobytes_of_random_user_data() {
    let bytes: Vec<u8> = (0..16_384_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let instance = Instance::new().user_data(bytes);
    is_healthy(&instance, &run(&instance));
}

#[test]
fn ready_with_little_memory_and_an_unrelated_selinux_denial() {
    let instance = slow(Instance::new())
        .file("proc/meminfo", "MemTotal: 1000000 kB\nMemFree: 10000 kB\nMemAvailable: 30000 kB\n")
        .file(
            "proc/pressure/memory",
            "some avg10=71.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=30.00 avg60=0.00 avg300=0.00 total=1\n",
        )
        .file("sys/fs/selinux/enforce", "1")
        .file(
            "var/log/audit/audit.log",
            "type=AVC msg=audit(1:1): avc:  denied  { read } for comm=\"nginx\" path=\"/srv/x\"\n",
        );
    is_healthy(&instance, &run(&instance));
}

#[test]
fn ready_when_docker_is_slow_and_supports_one_api_version() {
    let instance = slow(Instance::new());
    instance.docker.change(|docker| docker.min_api = Some("1.44"));
    is_healthy(&instance, &run(&instance));
}

#[test]
fn an_ordinary_user_can_run_doctor() {
    let instance = Instance::new();
    is_healthy(&instance, &run(&instance));
    let doctor = instance.run_as_nobody(&["doctor"]);
    assert_eq!(doctor.code, Some(0), "{}\n{}", doctor.stdout, doctor.stderr);
}
