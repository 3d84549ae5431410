//! Causes in instance metadata. See `causes/mod.rs`.

use super::{ExpectedCause, is_ready, run};
use crate::support::http::Reply;
use crate::support::port::{BlackHole, Port};
use crate::support::{Instance, imds};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

#[test]
fn metadata_that_is_off_is_reported_at_once() {
    let instance = Instance::new().imds_fault(imds::Fault::Off);
    ExpectedCause("imds-disabled", 22, "403").check_untouched(&instance, &run(&instance, &[]));
}

#[test]
fn metadata_that_answers_503_for_a_while_is_not_a_cause() {
    let instance = Instance::new().imds_fault(imds::Fault::FailsNext(3, 503));
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_forbidden_metadata_path_is_imds_forbidden() {
    let instance = Instance::new();
    let forbidden = Reply::new(403, "text/html", "<h1>403 - Forbidden</h1>");
    let path = "/latest/dynamic/instance-identity/document";
    instance.imds.change(|imds| drop(imds.overrides.insert(path.into(), forbidden.into())));
    ExpectedCause("imds-forbidden", 22, "instance-identity/document").check_untouched(&instance, &run(&instance, &[]));
}

#[test]
fn a_token_that_never_arrives_is_reported_as_the_hop_limit() {
    let instance = Instance::new().imds_fault(imds::Fault::TokenLost);
    ExpectedCause("imds-token-hop-limit", 10, "token")
        .check_untouched(&instance, &run(&instance, &["imds.deadline=3s"]));
}

#[test]
fn metadata_that_refuses_connections_is_unreachable() {
    let closed_port = crate::support::port::Port::reserve(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let instance =
        Instance::new().env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{}", closed_port.address()));
    ExpectedCause("imds-unreachable", 10, "refused the connection")
        .check_untouched(&instance, &run(&instance, &["imds.deadline=3s"]));
}

#[test]
fn metadata_behind_a_black_hole_is_unreachable() {
    let hole = BlackHole::open();
    let instance = Instance::new().env("AWS_EC2_METADATA_SERVICE_ENDPOINT", hole.endpoint());
    ExpectedCause("imds-unreachable", 10, "attempts in")
        .check_untouched(&instance, &run(&instance, &["imds.deadline=3s"]));
}

#[test]
fn metadata_that_answers_late_is_not_a_cause() {
    let instance = Instance::new();
    instance.imds.refuse_for(Duration::from_millis(1500));
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn metadata_that_is_slow_is_not_a_cause() {
    let instance = Instance::new().imds_delay(Duration::from_millis(700));
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn an_answer_that_is_not_from_imds_is_imds_garbled() {
    let instance = Instance::new().imds_fault(imds::Fault::Garbage);
    ExpectedCause("imds-garbled", 10, "metadata").check_untouched(&instance, &run(&instance, &["imds.deadline=3s"]));
}

#[test]
fn a_403_from_a_proxy_is_imds_proxied() {
    for (header, value) in [("Via", "1.1 cache.corp (squid/6.6)"), ("Server", "tinyproxy/1.11")] {
        let instance = Instance::new();
        let refused = Reply::new(403, "text/html", "<h1>Forbidden</h1>").with(header, value);
        instance.imds.change(|imds| drop(imds.overrides.insert("/latest/api/token".into(), refused.into())));
        ExpectedCause("imds-proxied", 22, value).check_untouched(&instance, &run(&instance, &[]));
    }
}

/// An agent that reads instance metadata through a proxy, and finds no role there.
fn agent_behind_proxy(no_proxy: &str) -> Instance {
    let closed_port = Port::reserve(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let text = "operation error ECS: RegisterContainerInstance, get identity: get credentials: failed to refresh \
                cached credentials, no EC2 IMDS role found, operation error ec2imds: GetMetadata, http response error \
                StatusCode: 503";
    Instance::new()
        .ecs_config(format!("HTTP_PROXY=http://u:hunter2@{}\nNO_PROXY={no_proxy}\n", closed_port.address()))
        .agent_behaves(|agent| agent.crashes_with = Some(text.into()))
}

#[test]
fn a_proxy_between_the_agent_and_metadata_is_reported() {
    let instance = agent_behind_proxy("169.254.170.2");
    let outcome = run(&instance, &["verify.deadline=4s"]);
    ExpectedCause("imds-proxied", 22, "NO_PROXY does not include 169.254.169.254").check(&instance, &outcome);
    assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
}

#[test]
fn a_proxy_with_no_proxy_for_metadata_is_not_imds_proxied() {
    let instance = agent_behind_proxy("169.254.0.0/16");
    ExpectedCause("proxy-unreachable", 25, "no connection to the proxy")
        .check(&instance, &run(&instance, &["verify.deadline=4s"]));
}

#[test]
fn an_ipv6_only_host_is_reported_from_its_routing_tables() {
    let closed_port = Port::reserve(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
    let instance = Instance::new()
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{}", closed_port.address()))
        .file("proc/net/route", head)
        .file("proc/net/if_inet6", "20010db8000000000000000000000001 02 80 00 80     ens5\n");
    ExpectedCause("imds-ipv6-only", 10, "the IPv4 routing table is empty")
        .check_untouched(&instance, &run(&instance, &["imds.deadline=3s"]));
    let local = format!("{head}ens5\t00000000\t0100000A\t0003\t0\t0\t512\t00000000\t0\t0\t0\n");
    let instance = instance.file("proc/net/route", local);
    ExpectedCause("imds-unreachable", 10, "refused the connection")
        .check_untouched(&instance, &run(&instance, &["imds.deadline=3s"]));
}

#[test]
fn throttled_metadata_is_not_reported_as_unreachable() {
    let instance = Instance::new().imds_fault(imds::Fault::FailsNext(1000, 503));
    ExpectedCause("imds-throttled", 10, "with 503").check_untouched(&instance, &run(&instance, &["imds.deadline=3s"]));
}
