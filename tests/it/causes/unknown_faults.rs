//! Faults that no cause of the catalogue describes, as the world brings them. See `causes.rs`.
//!
//! In: an instance with something wrong that nobody foresaw. Out: the general cause of the layer in which it lies, with
//! what was seen of it, by `run` and by `doctor` alike; never a special cause that only looks like it.

use super::{Names, run};
use crate::support::http::{Answer, Reply};
use crate::support::port::Port;
use crate::support::systemd::Start;
use crate::support::{Instance, Outcome, aws};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

const SOON: &[&str] = &["verify.deadline=6s"];
const CALLS: &[&str] = &["run.deadline=8s", "tags.wait=1s"];

/// The general cause, its exit code and what was seen: by this run, and by doctor right after it.
fn lands(instance: &Instance, outcome: &Outcome, names: Names<'_>) {
    let Names(id, code, _) = names;
    names.check(instance, outcome);
    agrees(instance, id, code);
}

/// What doctor finds is the same: it may be early, where a run has waited, and never is final where the run was not.
fn agrees(instance: &Instance, id: &str, code: i32) {
    let doctor = instance.run(&["doctor"]);
    let cause = super::cause(id);
    let first = doctor.stdout.lines().next().unwrap_or_default();
    assert!(first.starts_with(&format!("error: [{id}] ")), "doctor: {}", doctor.stdout);
    let codes = [cause.exit.code().into(), code];
    assert!(doctor.code.is_some_and(|code| codes.contains(&code)), "doctor: {:?} {}", doctor.code, doctor.stdout);
}

fn exiting(code: i32, message: &'static str, error: &'static str) -> Instance {
    Instance::new().agent_behaves(|agent| agent.exits = Some((code, message, error)))
}

fn crashing(error: &str) -> Instance {
    Instance::new().agent_behaves(|agent| agent.crashes_with = Some(error.to_owned()))
}

fn dying(code: i32, bytes: &str) -> Instance {
    Instance::new().agent_behaves(|agent| agent.dies_with = Some((code, bytes.to_owned())))
}

fn html(status: u16) -> Reply {
    let page = "<!DOCTYPE html><html><head><title>Guest network - please log in</title></head></html>";
    Reply::new(status, "text/html", page).with("Server", "nginx")
}

fn answering(status: u16) -> Instance {
    Instance::new().without_imds_tags().aws_fault("DescribeTags", aws::Fault::Answers(html(status)))
}

// Instance metadata.

fn imds_answers(path: &str, reply: Reply) -> Instance {
    let instance = Instance::new();
    instance.imds.change(|imds| drop(imds.overrides.insert(path.into(), Answer::Reply(reply))));
    instance
}

#[test]
fn credentials_alone_that_are_answered_with_an_error() {
    let path = "/latest/meta-data/iam/security-credentials/ecsInstanceRole";
    let instance = imds_answers(path, Reply::new(500, "text/plain", "")).agent_behaves(|agent| {
        agent.crashes_with = Some("operation error ECS: RegisterContainerInstance, get identity: get credentials: failed to refresh cached credentials, no EC2 IMDS role found, operation error ec2imds: GetMetadata, http response error StatusCode: 500".into());
    });
    lands(&instance, &run(&instance, SOON), Names("imds-garbled", 22, "with 500"));
}

#[test]
fn a_token_that_is_a_page_of_html() {
    let instance = imds_answers("/latest/api/token", html(200));
    lands(&instance, &run(&instance, &["imds.deadline=3s"]), Names("imds-garbled", 10, "token"));
}

#[test]
fn a_redirect_in_place_of_a_token() {
    let instance = imds_answers("/latest/api/token", html(302).with("Location", "http://127.0.0.1/login"));
    lands(&instance, &run(&instance, &["imds.deadline=3s"]), Names("imds-garbled", 10, "302"));
}

#[test]
fn an_identity_document_that_is_a_page_of_html() {
    let instance = imds_answers("/latest/dynamic/instance-identity/document", html(200));
    lands(&instance, &run(&instance, SOON), Names("imds-garbled", 10, "identity"));
}

#[test]
fn credentials_that_are_a_page_of_html() {
    let path = "/latest/meta-data/iam/security-credentials/ecsInstanceRole";
    let instance = imds_answers(path, html(200)).agent_behaves(|agent| {
        agent.crashes_with = Some("get identity: get credentials: failed to refresh cached credentials, no EC2 IMDS role found, failed to decode".into());
    });
    lands(&instance, &run(&instance, SOON), Names("imds-garbled", 22, "security-credentials"));
}

// The API, and what stands in its place.

#[test]
fn a_captive_portal_in_front_of_the_api() {
    let text = "operation error ECS: RegisterContainerInstance, https response error StatusCode: 200, RequestID: , deserialization failed, failed to decode response body, invalid character '<' looking for beginning of value";
    let instance = crashing(text).aws_fault("DescribeClusters", aws::Fault::Answers(html(200)));
    lands(&instance, &run(&instance, SOON), Names("service-error", 11, "invalid character '<'"));
}

#[test]
fn a_captive_portal_in_front_of_our_own_call() {
    let instance = answering(200);
    lands(&instance, &run(&instance, CALLS), Names("service-error", 11, "ec2:DescribeTags"));
}

#[test]
fn a_proxy_that_answers_429_without_a_code() {
    let instance = answering(429);
    lands(&instance, &run(&instance, CALLS), Names("service-error", 11, "429"));
}

#[test]
fn a_proxy_that_answers_503_without_a_code() {
    let instance = answering(503);
    lands(&instance, &run(&instance, CALLS), Names("service-error", 11, "503"));
}

#[test]
fn a_redirect_in_place_of_an_answer() {
    let instance = answering(301);
    lands(&instance, &run(&instance, CALLS), Names("service-error", 11, "301"));
}

#[test]
fn a_proxy_that_forbids_our_call_with_a_page() {
    let instance = answering(403);
    lands(&instance, &run(&instance, CALLS), Names("service-error", 11, "403"));
}

#[test]
fn a_handshake_that_is_refused_by_an_alert() {
    use std::io::{Read, Write};
    let port = Port::reserve(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let (address, listener) = (port.address(), port.listen(16));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&[21, 3, 3, 0, 2, 2, 40]);
        }
    });
    let instance = Instance::new().without_imds_tags().env("AWS_ENDPOINT_URL", format!("https://{address}"));
    lands(&instance, &run(&instance, CALLS), Names("tls-failed", 11, "no TLS connection"));
}

#[test]
fn an_account_that_is_not_signed_up() {
    let text = "operation error ECS: RegisterContainerInstance, https response error StatusCode: 400, RequestID: x, api error OptInRequired: The AWS Access Key Id needs a subscription for the service";
    let instance = crashing(text);
    lands(&instance, &run(&instance, SOON), Names("register-refused", 23, "OptInRequired"));
}

#[test]
fn an_account_without_a_subscription() {
    let text = "operation error ECS: RegisterContainerInstance, api error SubscriptionRequiredException: The AWS Access Key Id needs a subscription for the service";
    let instance = crashing(text);
    lands(&instance, &run(&instance, SOON), Names("register-refused", 23, "SubscriptionRequiredException"));
}

#[test]
fn a_region_that_is_switched_off() {
    let text = "operation error ECS: RegisterContainerInstance, api error RegionDisabledException: STS is not activated in this region for account";
    let instance = crashing(text);
    lands(&instance, &run(&instance, SOON), Names("register-refused", 23, "RegionDisabledException"));
}

#[test]
fn a_registration_with_tags_that_may_not_be_given() {
    let text = "operation error ECS: RegisterContainerInstance, https response error StatusCode: 400, RequestID: x, AccessDeniedException: User: arn:aws:sts::111122223333:assumed-role/ecsInstanceRole/i-0123456789abcdef0 is not authorized to perform: ecs:TagResource on resource: arn:aws:ecs:eu-west-1:111122223333:container-instance/prod/* because no identity-based policy allows the ecs:TagResource action";
    let instance = crashing(text);
    lands(&instance, &run(&instance, SOON), Names("api-denied", 22, "ecs:TagResource"));
}

#[test]
fn a_denial_of_an_action_of_another_service() {
    let text = "operation error ECS: RegisterContainerInstance, https response error StatusCode: 400, RequestID: x, AccessDeniedException: User: arn:aws:sts::111122223333:assumed-role/ecsInstanceRole/i-0123456789abcdef0 is not authorized to perform: kms:Decrypt on this resource because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access";
    let instance = crashing(text);
    lands(&instance, &run(&instance, SOON), Names("api-denied", 22, "kms:Decrypt"));
}

#[test]
fn a_default_cluster_that_may_not_be_made() {
    let text = "operation error ECS: CreateCluster, https response error StatusCode: 400, RequestID: x, AccessDeniedException: User: arn:aws:sts::111122223333:assumed-role/ecsInstanceRole/i-0123456789abcdef0 is not authorized to perform: ecs:CreateCluster on resource: arn:aws:ecs:eu-west-1:111122223333:cluster/default because no identity-based policy allows the ecs:CreateCluster action";
    let instance = exiting(1, "Could not create cluster", text).tag("ecs-bootstrap:cluster", "default");
    lands(&instance, &run(&instance, SOON), Names("api-denied", 22, "Could not create cluster"));
}

#[test]
fn an_endpoint_of_the_agents_own_that_is_nowhere() {
    let text = "operation error ECS: RegisterContainerInstance, exceeded maximum number of attempts, 3, request send failed, Post \"https://ecs.nowhere.internal/\": dial tcp: lookup ecs.nowhere.internal on 10.0.0.2:53: no such host";
    let instance = crashing(text).ecs_config("ECS_BACKEND_HOST=https://ecs.nowhere.internal\n");
    lands(&instance, &run(&instance, SOON), Names("register-refused", 23, "no such host"));
}

#[test]
fn a_region_of_the_agents_json_where_the_cluster_is_not() {
    let text = "operation error ECS: RegisterContainerInstance, ClientException: Cluster not found.";
    let instance = Instance::new().file("etc/ecs/ecs.config.json", "{\"AWSRegion\": \"us-east-1\"}");
    let instance = instance.agent_behaves(|agent| agent.gives_up_with = Some(text.into()));
    lands(&instance, &run(&instance, SOON), Names("wrong-region", 21, "us-east-1"));
}

#[test]
fn an_api_that_takes_nine_seconds_each_time_and_an_agent_that_says_nothing() {
    let slow = || aws::Fault::Slow(Duration::from_secs(9));
    let instance = Instance::new().aws_fault("DescribeClusters", slow()).agent_behaves(|a| a.never_registers = true);
    lands(&instance, &run(&instance, SOON), Names("unknown", 13, "ecs.service is active"));
}

// The agent.

const PANIC: &str = "panic: runtime error: invalid memory address or nil pointer dereference\n[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x8a3f21]\n\ngoroutine 1 [running]:\ngithub.com/aws/amazon-ecs-agent/agent/app.(*ecsAgent).doStart(0x0)\n\t/go/src/agent/app/agent.go:461 +0x1b2";

#[test]
fn an_agent_that_panics() {
    let instance = dying(2, PANIC);
    lands(&instance, &run(&instance, SOON), Names("agent-exits", 23, "exited with code 2"));
}

#[test]
fn an_agent_that_is_killed_by_nobody_knows_whom() {
    let instance = dying(137, "");
    lands(&instance, &run(&instance, SOON), Names("agent-exits", 23, "exited with code 137"));
}

#[test]
fn an_agent_that_ends_well_and_is_not_started_again() {
    let instance = dying(0, "");
    lands(&instance, &run(&instance, SOON), Names("agent-not-started", 24, "inactive"));
}

#[test]
fn an_agent_whose_log_is_no_log() {
    let instance = dying(1, "\u{0}\u{1}\u{fffd} msg= level level=\"\" \"\" = == {\"level\":");
    lands(&instance, &run(&instance, SOON), Names("agent-exits", 23, "exited with code 1"));
}

#[test]
fn an_agent_that_logs_json() {
    let line = "{\"level\":\"critical\",\"time\":\"2026-11-26T08:00:00Z\",\"msg\":\"Unable to fetch host resources\",\"error\":\"reserved memory 99999 MiB is more than the host has\"}";
    let instance = dying(1, line);
    lands(&instance, &run(&instance, SOON), Names("agent-exits", 23, "reserved memory 99999"));
}

#[test]
fn an_agent_whose_log_cannot_be_read() {
    let instance = dying(1, "");
    instance.disk.folder("var/log/ecs/ecs-agent.log");
    lands(&instance, &run(&instance, SOON), Names("agent-exits", 23, "exited with code 1"));
}

#[test]
fn an_agent_without_any_log() {
    let instance = dying(1, "");
    instance.disk.folder("var/log/ecs/ecs-agent.log");
    instance.disk.folder("var/log/ecs/ecs-init.log");
    lands(&instance, &run(&instance, SOON), Names("agent-exits", 23, "exited with code 1"));
}

#[test]
fn a_control_group_error_in_words_of_tomorrow() {
    let instance = exiting(5, "cgroup v3 hierarchy is not delegated", "subtree_control: device or resource busy");
    lands(&instance, &run(&instance, SOON), Names("agent-gave-up", 23, "cgroup v3"));
}

#[test]
fn an_instance_type_that_was_changed() {
    let text = "InvalidParameterException: Container instance type changes are not supported. Container instance was previously registered as m5.large.";
    let instance = Instance::new().agent_behaves(|agent| agent.gives_up_with = Some(text.into()));
    lands(&instance, &run(&instance, SOON), Names("agent-gave-up", 23, "type changes are not supported"));
}

#[test]
fn saved_state_that_is_damaged() {
    let instance = exiting(5, "Error loading previously saved state", "invalid database")
        .file("var/lib/ecs/data/agent.db", [0x5a; 512]);
    lands(&instance, &run(&instance, SOON), Names("agent-gave-up", 23, "invalid database"));
}

#[test]
fn a_data_directory_that_the_agent_may_not_use() {
    let instance = exiting(1, "Error creating data client", "open /data/agent.db: permission denied");
    lands(&instance, &run(&instance, SOON), Names("agent-exits", 23, "permission denied"));
}

#[test]
fn logging_drivers_that_do_not_exist() {
    let instance = exiting(1, "Error loading config", "Invalid logging drivers: [\"carrierpigeon\"]");
    lands(&instance, &run(&instance, SOON), Names("agent-exits", 23, "carrierpigeon"));
}

#[test]
fn an_agent_that_docker_does_not_make() {
    let instance =
        Instance::new().unit("ecs.service", |unit| unit.start = Start::Retried(255)).agent_behaves(|agent| {
            agent.init_says =
                "could not start Agent: Error response from daemon: OCI runtime create failed: runc: unknown flag";
        });
    lands(&instance, &run(&instance, SOON), Names("ecs-init-failed", 24, "OCI runtime create failed"));
}

// docker and units.

#[test]
fn docker_that_answers_500_to_everything() {
    let instance =
        Instance::new().unit("ecs.service", |unit| unit.start = Start::Retried(255)).agent_behaves(|agent| {
            agent.init_says = "Error connecting to docker, backing off";
        });
    instance.docker.change(|docker| docker.broken = true);
    lands(&instance, &run(&instance, SOON), Names("docker-not-ready", 12, "500"));
}

#[test]
fn docker_without_its_socket() {
    let instance = Instance::new().unit("ecs.service", |unit| unit.start = Start::Retried(255));
    let instance = instance.agent_behaves(|agent| agent.init_says = "Error connecting to docker, backing off");
    let outcome = {
        let running = instance.start(&["run", "--wait", "--set", "verify.deadline=6s"]);
        std::thread::sleep(Duration::from_millis(800));
        instance.docker.stop();
        running.wait()
    };
    lands(&instance, &outcome, Names("docker-not-ready", 12, "docker.service is active"));
}

#[test]
fn docker_that_systemd_starts_again_and_again() {
    let instance = Instance::new().unit("docker.service", |unit| unit.start = Start::Retried(1));
    lands(&instance, &run(&instance, SOON), Names("docker-not-ready", 12, "activating"));
}

#[test]
fn docker_that_was_started_too_often() {
    let instance = Instance::new().unit("docker.service", |unit| unit.start = Start::FailsWith("start-limit-hit"));
    lands(&instance, &run(&instance, SOON), Names("docker-failed", 24, "start-limit-hit"));
}

#[test]
fn a_command_of_somebodys_drop_in_that_fails_before_the_agent() {
    let lines = "Starting ecs.service - Amazon Elastic Container Service - container agent...\n\
                 mount.nfs: Connection timed out\n\
                 ecs.service: Control process exited, code=exited, status=32/n/a\n";
    let instance = Instance::new().journaled("ecs.service", lines).unit("ecs.service", |unit| {
        unit.start = Start::Retried(32);
        unit.drop_ins = vec!["/etc/systemd/system/ecs.service.d/nfs.conf".into()];
    });
    lands(&instance, &run(&instance, SOON), Names("ecs-init-failed", 24, "status=32"));
}

#[test]
fn a_unit_file_that_systemd_cannot_use() {
    let refused = Start::Refused {
        name: "org.freedesktop.systemd1.BadUnitSetting".into(),
        text: "Unit ecs.service has a bad unit file setting.".into(),
    };
    let instance = Instance::new().unit("ecs.service", |unit| {
        unit.load_state = "bad-setting".into();
        unit.start = refused;
    });
    lands(&instance, &run(&instance, SOON), Names("systemd-refused", 24, "bad unit file setting"));
}

#[test]
fn a_unit_that_took_too_long_to_start() {
    let instance = Instance::new().unit("ecs.service", |unit| unit.start = Start::FailsWith("timeout"));
    lands(&instance, &run(&instance, SOON), Names("agent-unit-failed", 24, "result timeout"));
}

#[test]
fn a_bus_that_does_not_speak_of_units() {
    let instance = Instance::new();
    instance.systemd.change(|systemd| systemd.silent.extend(["LoadUnit", "StartUnit", "GetUnit"].map(str::to_owned)));
    let outcome = run(&instance, &["verify.deadline=6s", "run.deadline=8s"]);
    Names("systemd-unreachable", 12, "queueing docker").check(&instance, &outcome);
    // Doctor is told of no stopped run, and says what it does not know.
    let doctor = instance.run(&["doctor"]);
    assert!(doctor.stdout.starts_with("error: [unknown] ") && doctor.code == Some(13), "{}", doctor.stdout);
    assert!(doctor.stdout.contains("systemd did not answer"), "{}", doctor.stdout);
}

// Files.

#[test]
fn an_ecs_config_that_is_a_folder() {
    let instance = Instance::new();
    instance.disk.remove("etc/ecs/ecs.config");
    instance.disk.folder("etc/ecs/ecs.config");
    lands(&instance, &run(&instance, SOON), Names("ecs-config-unusable", 20, "/etc/ecs/ecs.config"));
}

#[test]
fn an_ecs_config_that_is_a_pipe() {
    let instance = Instance::new();
    instance.disk.remove("etc/ecs/ecs.config");
    let made = std::process::Command::new("mkfifo").arg(instance.disk.path("etc/ecs/ecs.config")).status().unwrap();
    assert!(made.success());
    lands(&instance, &run(&instance, SOON), Names("ecs-config-unusable", 20, "/etc/ecs/ecs.config"));
}

#[test]
fn an_ecs_config_of_two_megabytes() {
    let instance = Instance::new().ecs_config("A=b\n".repeat(512 * 1024));
    lands(&instance, &run(&instance, SOON), Names("ecs-config-unusable", 20, "/etc/ecs/ecs.config"));
}

#[test]
fn an_ecs_config_full_of_zeros() {
    let instance = Instance::new().ecs_config([0_u8; 4096]);
    lands(&instance, &run(&instance, SOON), Names("ecs-config-unusable", 20, "/etc/ecs/ecs.config"));
}
