//! Faults whose first evidence points to another cause, which a probe or a setting contradicts. See `causes/mod.rs`.
//!
//! In: an instance with one fault. Out: `run` and `doctor` report the cause that explains all of the evidence.

use super::unknown_faults::{SOON, both_report, crashing, exiting};
use super::{ExpectedCause, ExpectedNote, is_ready, joined, run};
use crate::support::http::Reply;
use crate::support::port::{BlackHole, Port};
use crate::support::systemd::Start;
use crate::support::{Instance, Outcome};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const PREFIX: &str = "operation error ECS: RegisterContainerInstance, https response error StatusCode: 400, RequestID: \
                      0a4d1f9e-2c55-4a37-8f4c-7d2f6b1f0c9e, ";

// Settings of the agent that replace the role or the endpoint.

#[test]
fn keys_in_the_file_shadow_the_role_in_each_form() {
    for (error, lines) in [
        (
            "UnrecognizedClientException: The security token included in the request is invalid.",
            "AWS_ACCESS_KEY_ID=AKIAX\n",
        ),
        (
            "ExpiredTokenException: The security token included in the request is expired",
            "AWS_SESSION_TOKEN=x\nAWS_ACCESS_KEY_ID=ASIAX\n",
        ),
        ("InvalidSignatureException: The request signature we calculated does not match.", "AWS_ACCESS_KEY_ID=AKIAX\n"),
        ("failed to get shared config profile, nosuch", "AWS_PROFILE=nosuch\n"),
    ] {
        let instance = crashing(&format!("{PREFIX}{error}")).ecs_config(lines);
        let expected = ExpectedCause("credentials-override", 22, "AWS accepts the credentials of the role");
        both_report(&instance, &run(&instance, SOON), expected);
    }
}

#[test]
fn an_endpoint_of_the_agent_is_named_in_each_form() {
    let failed = |error: &str| format!("operation error ECS: RegisterContainerInstance, request send failed, {error}");
    for (host, error) in [
        (
            "https://ecs.us-east-2.amazonaws.com",
            format!("{PREFIX}InvalidSignatureException: Credential should be scoped to a valid region."),
        ),
        ("127.0.0.2:9", failed("Post \"https://127.0.0.2:9/\": dial tcp 127.0.0.2:9: connect: connection refused")),
        (
            "ecs.nowhere.internal",
            failed(
                "Post \"https://ecs.nowhere.internal/\": dial tcp: lookup ecs.nowhere.internal on 10.0.0.2:53: no such host",
            ),
        ),
        (
            "https://127.0.0.1:1",
            failed("tls: failed to verify certificate: x509: certificate is valid for other.test, not 127.0.0.1"),
        ),
    ] {
        let instance = crashing(&error).ecs_config(format!("ECS_BACKEND_HOST={host}\n"));
        let set = format!("ECS_BACKEND_HOST of the agent is `{host}`");
        both_report(&instance, &run(&instance, SOON), ExpectedCause("endpoint-override", 20, &set));
    }
}

/// The agent has not logged an error yet: the probe alone shows the fault.
#[test]
fn an_endpoint_that_does_not_answer_is_found_without_a_log() {
    let closed = Port::reserve(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let silent = BlackHole::open();
    for host in [format!("http://{}", closed.address()), silent.endpoint()] {
        let instance = Instance::new().agent_behaves(|agent| agent.never_registers = true);
        let instance = instance.ecs_config(format!("ECS_BACKEND_HOST={host}\n"));
        let expected = ExpectedCause("endpoint-override", 20, "the endpoint of the region answers");
        both_report(&instance, &run(&instance, &["verify.deadline=8s"]), expected);
    }
}

// The connection to ACS.

#[test]
fn a_refused_connection_is_acs_refused_and_not_a_stuck_agent() {
    let refused = |error: &'static str, expected: ExpectedCause<'_>| {
        let instance = Instance::new().agent_behaves(|agent| agent.acs_error = Some(error));
        both_report(&instance, &run(&instance, &["verify.deadline=8s", "verify.window=2s"]), expected);
    };
    for error in ["websocket: bad handshake: 403 Forbidden", "unable to dial ecs-a-1.test: unexpected EOF"] {
        refused(error, ExpectedCause("acs-refused", 13, error));
    }
    let denied = "AccessDeniedException: User: arn:aws:sts::111122223333:assumed-role/ecsInstanceRole/i-1 is not authorized \
                  to perform: ecs:Poll on resource: x";
    refused(denied, ExpectedCause("acs-denied", 22, denied));
}

#[test]
fn connections_that_end_at_equal_intervals_are_a_note_on_a_ready_instance() {
    let instance = Instance::new();
    is_ready(&run(&instance, &["verify.deadline=20s"]));
    super::log_dropped_connections(&instance);
    let outcome = super::verify(&instance, SOON);
    ExpectedNote("acs-connection-drops", "ended after 60 s on average").check(&outcome);
}

// The lifecycle of the instance.

fn reports_cause(id: &str, outcome: &Outcome) {
    super::record(id, id);
    waits(outcome, super::cause(id).title);
}

fn waits(outcome: &Outcome, id: &str) {
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(
        outcome.stdout.contains(id) && !outcome.stderr.contains("error: ["),
        "{}\n{}",
        outcome.stdout,
        outcome.stderr
    );
}

#[test]
fn an_instance_that_is_about_to_end_is_not_judged() {
    let text = format!("{PREFIX}AccessDeniedException: not authorized to perform: ecs:RegisterContainerInstance");
    let soon = humantime::format_rfc3339_seconds(SystemTime::now() + Duration::from_secs(120));
    let notice = format!(r#"{{"action": "terminate", "time": "{soon}"}}"#);
    let spot = crashing(&text);
    spot.imds.change(|imds| {
        let answer = Reply::new(200, "application/json", notice);
        imds.overrides.insert("/latest/meta-data/spot/instance-action".into(), answer.into());
    });
    let in_group = crashing(&text);
    in_group.imds.change(|imds| imds.target_lifecycle_state = Some("Terminated".into()));
    let no_docker = Instance::new().unit("docker.service", |unit| unit.absent());
    no_docker.imds.change(|imds| imds.target_lifecycle_state = Some("Terminated".into()));
    for instance in [spot, in_group, no_docker] {
        let outcome = run(&instance, &["verify.deadline=20s"]);
        reports_cause("instance-ending", &outcome);
        assert!(outcome.duration < Duration::from_secs(12), "{:?}", outcome.duration);
        waits(&instance.run(&["doctor"]), "about to be terminated");
    }
}

/// The clock is wrong, and without a role no call of AWS shows it: an unsigned request does.
#[test]
fn a_wrong_clock_is_named_before_a_missing_role() {
    for ahead in [600, -600] {
        let instance = Instance::new().without_role();
        instance.aws.change(|aws| aws.date_ahead = ahead);
        let expected = ExpectedCause("clock-skew", 24, "the Date of the last AWS answer");
        both_report(&instance, &run(&instance, SOON), expected);
    }
}

#[test]
fn an_agent_that_ended_with_docker_is_not_only_not_started() {
    let instance = Instance::new();
    joined(&instance, "ECS_CLUSTER=prod\n");
    instance.agent.stop();
    let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap();
    instance.systemd.change_unit("docker.service", |unit| unit.active_enter = now);
    instance.systemd.change_unit("ecs.service", |unit| {
        unit.exec_main_start = now - 900_000_000;
        unit.exec_main_exit = now - 7_000_000;
        (unit.active_state, unit.sub_state) = ("inactive".into(), "dead".into());
    });
    let outcome = super::verify(&instance, SOON);
    let expected = ExpectedCause("agent-stopped-with-docker", 24, "became active 7 s after ecs.service ended");
    both_report(&instance, &outcome, expected);
}

// An agent without a log file.

#[test]
fn without_a_log_file_the_output_of_the_container_is_the_evidence() {
    for lines in ["ECS_LOG_DRIVER=awslogs\n", "ECS_LOGLEVEL_ON_INSTANCE=none\n"] {
        let instance = exiting(1, "Unable to set up something new", "errno 95: not supported").ecs_config(lines);
        let expected = ExpectedCause("agent-exits", 23, "docker logs: `Unable to set up something new");
        both_report(&instance, &run(&instance, &["verify.deadline=10s"]), expected);
    }
}

#[test]
fn without_any_log_the_setting_that_hides_it_is_named() {
    for value in ["none", "INFO"] {
        let instance = exiting(1, "Unable to set up something new", "x").ecs_config(format!("ECS_LOGLEVEL={value}\n"));
        let expected = ExpectedCause("agent-exits", 23, "the agent does not write ecs-agent.log: ECS_LOGLEVEL");
        let outcome = run(&instance, &["verify.deadline=10s"]);
        assert!(outcome.stderr.contains("remedy: set ECS_LOGLEVEL_ON_INSTANCE=info"), "{}", outcome.stderr);
        both_report(&instance, &outcome, expected);
    }
}

#[test]
fn a_trace_on_standard_error_is_evidence() {
    let trace = "panic: page 3 already freed\n\ngoroutine 1 [running]:\nmain.main()\n\t/go/src/agent/main.go:1 +0x1\n";
    let instance = Instance::new().agent_behaves(|agent| agent.prints = Some((2, trace)));
    let expected = ExpectedCause("agent-exits", 23, "docker logs: `panic: page 3 already freed`");
    both_report(&instance, &run(&instance, &["verify.deadline=8s"]), expected);
}

#[test]
fn a_program_that_cannot_be_executed_is_evidence() {
    let instance = Instance::new().agent_behaves(|agent| agent.prints = Some((1, "exec /agent: exec format error\n")));
    let expected = ExpectedCause("agent-exits", 23, "docker logs: `exec /agent: exec format error`");
    both_report(&instance, &run(&instance, &["verify.deadline=10s"]), expected);
}

// Limits and dependencies of the host.

#[test]
fn the_memory_limit_of_a_control_group_is_not_a_host_without_memory() {
    let kernel = "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,oom_memcg=/limited.slice,task=agent,pid=4321\n\
                  Memory cgroup out of memory: Killed process 4321 (agent) total-vm:1280000kB\n";
    let instance = Instance::new().journal_has("kernel", kernel);
    let instance = instance.file("proc/meminfo", "MemTotal: 8000000 kB\nMemAvailable: 6500000 kB\n");
    let instance = instance.agent_behaves(|agent| agent.exits = Some((137, "started", "")));
    let expected = ExpectedCause("agent-memory-limit", 24, "Memory cgroup out of memory");
    both_report(&instance, &run(&instance, &["verify.deadline=8s"]), expected);
}

#[test]
fn a_failed_dependency_of_docker_is_not_a_docker_that_is_still_starting() {
    let instance = Instance::new().unit("docker.service", |unit| unit.start = Start::Fails("dependency".into()));
    let outcome = run(&instance, SOON);
    ExpectedCause("docker-dependency-failed", 24, "ended with the result `dependency`").check(&instance, &outcome);
}
