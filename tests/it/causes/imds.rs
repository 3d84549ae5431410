//! Causes that lie in instance metadata. See `causes.rs`.

use super::{Names, is_ready, run};
use crate::support::http::Reply;
use crate::support::port::{BlackHole, Port};
use crate::support::{Instance, imds};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

#[test]
fn metadata_that_is_off_is_told_at_once() {
    let instance = Instance::new().imds_fault(imds::Fault::Off);
    Names("imds-disabled", 22, "403").check_untouched(&instance, &run(&instance, &[]));
}

#[test]
fn metadata_that_refuses_for_a_while_is_not_off() {
    let instance = Instance::new().imds_fault(imds::Fault::FailsNext(3, 503));
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_path_that_metadata_forbids_is_not_metadata_that_is_off() {
    let instance = Instance::new();
    let forbidden = Reply::new(403, "text/html", "<h1>403 - Forbidden</h1>");
    let path = "/latest/dynamic/instance-identity/document";
    instance.imds.change(|imds| drop(imds.overrides.insert(path.into(), forbidden.into())));
    Names("imds-forbidden", 22, "instance-identity/document").check_untouched(&instance, &run(&instance, &[]));
}

#[test]
fn a_token_that_never_arrives_is_the_hop_limit() {
    let instance = Instance::new().imds_fault(imds::Fault::TokenLost);
    Names("imds-token-hop-limit", 10, "token").check_untouched(&instance, &run(&instance, &["imds.deadline=3s"]));
}

#[test]
fn metadata_that_refuses_connections_is_unreachable() {
    let nobody = crate::support::port::Port::reserve(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let instance = Instance::new().env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{}", nobody.address()));
    Names("imds-unreachable", 10, "Connection refused")
        .check_untouched(&instance, &run(&instance, &["imds.deadline=3s"]));
}

#[test]
fn metadata_behind_a_black_hole_is_unreachable() {
    let hole = BlackHole::open();
    let instance = Instance::new().env("AWS_EC2_METADATA_SERVICE_ENDPOINT", hole.endpoint());
    Names("imds-unreachable", 10, "attempts in").check_untouched(&instance, &run(&instance, &["imds.deadline=3s"]));
}

#[test]
fn metadata_that_comes_late_is_no_cause() {
    let instance = Instance::new();
    instance.imds.refuse_for(Duration::from_millis(1500));
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn metadata_that_is_slow_is_no_cause() {
    let instance = Instance::new().imds_delay(Duration::from_millis(700));
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn something_else_that_answers_is_not_metadata() {
    let instance = Instance::new().imds_fault(imds::Fault::Garbage);
    Names("imds-garbled", 10, "metadata").check_untouched(&instance, &run(&instance, &["imds.deadline=3s"]));
}

#[test]
fn a_proxy_that_answers_in_place_of_metadata_is_not_metadata_that_is_off() {
    for (header, value) in [("Via", "1.1 cache.corp (squid/6.6)"), ("Server", "tinyproxy/1.11")] {
        let instance = Instance::new();
        let refused = Reply::new(403, "text/html", "<h1>Forbidden</h1>").with(header, value);
        instance.imds.change(|imds| drop(imds.overrides.insert("/latest/api/token".into(), refused.into())));
        Names("imds-proxied", 22, value).check_untouched(&instance, &run(&instance, &[]));
    }
}

/// An agent that asks instance metadata through a proxy, which has no role for it.
fn agent_behind_proxy(no_proxy: &str) -> Instance {
    let nobody = Port::reserve(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let text = "operation error ECS: RegisterContainerInstance, get identity: get credentials: failed to refresh cached credentials, no EC2 IMDS role found, operation error ec2imds: GetMetadata, http response error StatusCode: 503";
    Instance::new()
        .ecs_config(format!("HTTP_PROXY=http://u:hunter2@{}\nNO_PROXY={no_proxy}\n", nobody.address()))
        .agent_behaves(|agent| agent.crashes_with = Some(text.into()))
}

#[test]
fn a_proxy_that_the_agent_takes_to_metadata_is_told() {
    let instance = agent_behind_proxy("169.254.170.2");
    let outcome = run(&instance, &["verify.deadline=4s"]);
    Names("imds-proxied", 22, "NO_PROXY does not hold 169.254.169.254").check(&instance, &outcome);
    assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
}

#[test]
fn a_proxy_with_its_exception_does_not_keep_the_agent_from_metadata() {
    let instance = agent_behind_proxy("169.254.0.0/16");
    Names("proxy-unreachable", 25, "no connection to the proxy")
        .check(&instance, &run(&instance, &["verify.deadline=4s"]));
}

#[test]
fn a_host_without_ipv4_is_told_by_its_routing_tables() {
    let nobody = Port::reserve(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
    let instance = Instance::new()
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{}", nobody.address()))
        .file("proc/net/route", head)
        .file("proc/net/if_inet6", "20010db8000000000000000000000001 02 80 00 80     ens5\n");
    Names("imds-ipv6-only", 10, "the routing table of IPv4 is empty")
        .check_untouched(&instance, &run(&instance, &["imds.deadline=3s"]));
    let local = format!("{head}ens5\t00000000\t0100000A\t0003\t0\t0\t512\t00000000\t0\t0\t0\n");
    let instance = instance.file("proc/net/route", local);
    Names("imds-unreachable", 10, "Connection refused")
        .check_untouched(&instance, &run(&instance, &["imds.deadline=3s"]));
}

#[test]
fn metadata_that_throttles_is_not_metadata_that_is_away() {
    let instance = Instance::new().imds_fault(imds::Fault::FailsNext(1000, 503));
    Names("imds-throttled", 10, "with 503").check_untouched(&instance, &run(&instance, &["imds.deadline=3s"]));
}
