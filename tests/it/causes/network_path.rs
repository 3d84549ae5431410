//! Causes in the network path to AWS: routes, proxies, TLS, the control plane. See `causes/mod.rs`.

use super::{ExpectedCause, ExpectedNote, is_ready, record, run};
use crate::support::http::{Reply, Server};
use crate::support::port::{BlackHole, Port};
use crate::support::{Instance, aws};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// An agent that cannot register because the network drops its packets.
fn cut_off(instance: Instance) -> Instance {
    let text = "operation error ECS: RegisterContainerInstance, exceeded maximum number of attempts, 3, https response \
                error StatusCode: 0, RequestID: , request send failed, Post \"https://ecs.eu-west-1.amazonaws.com/\": \
                dial tcp 52.0.0.1:443: i/o timeout";
    instance.agent_behaves(|agent| agent.crashes_with = Some(text.into()))
}

#[test]
fn dropped_packets_are_reported_at_the_deadline() {
    let hole = BlackHole::open();
    let instance = cut_off(Instance::new()).env("AWS_ENDPOINT_URL", hole.endpoint());
    let outcome = run(&instance, &["verify.deadline=8s"]);
    ExpectedCause("egress-timeout", 25, "127.0.0.1").check(&instance, &outcome);
    let hint = outcome.stderr.lines().any(|line| line.starts_with("also: [no-public-ip]"));
    record("no-public-ip", if hint { "no-public-ip" } else { "nothing" });
    assert!(hint && outcome.stderr.contains("normal behind NAT"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("i/o timeout"), "{}", outcome.stderr);
}

#[test]
fn a_call_that_never_connected_is_not_a_service_error() {
    let hole = BlackHole::open();
    let instance = Instance::new().without_imds_tags().env("AWS_ENDPOINT_URL", hole.endpoint());
    ExpectedCause("egress-timeout", 11, "127.0.0.1")
        .check_untouched(&instance, &run(&instance, &["run.deadline=3s", "tags.wait=1s"]));
}

#[test]
fn an_agent_that_registers_is_ready_although_ecs_bootstrap_cannot_reach_aws() {
    let hole = BlackHole::open();
    let instance = Instance::new().env("AWS_ENDPOINT_URL", hole.endpoint());
    is_ready(&run(&instance, &["verify.deadline=30s", "verify.window=3s"]));
}

#[test]
fn an_api_that_is_slow_is_not_a_cause() {
    let instance = Instance::new()
        .aws_fault("DescribeContainerInstances", aws::Fault::Slow(Duration::from_secs(2)))
        .agent_behaves(|agent| agent.register_delay = Duration::from_secs(3));
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_refused_connection_is_reported_at_the_deadline() {
    let closed_port = Port::reserve(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let instance = cut_off(Instance::new()).env("AWS_ENDPOINT_URL", format!("http://{}", closed_port.address()));
    ExpectedCause("connection-refused", 25, "127.0.0.1").check(&instance, &run(&instance, &["verify.deadline=6s"]));
}

#[test]
fn a_certificate_of_an_unknown_issuer_is_reported() {
    let server = super::SelfSigned::start();
    let instance = Instance::new().without_imds_tags().env("AWS_ENDPOINT_URL", server.endpoint());
    ExpectedCause("tls-untrusted", 25, "presents a certificate for")
        .check_untouched(&instance, &run(&instance, &["run.deadline=10s"]));
}

#[test]
fn the_issuer_of_the_certificate_that_the_agent_rejects_is_reported() {
    let server = super::SelfSigned::start();
    let text = "operation error ECS: RegisterContainerInstance, request send failed, tls: failed to verify \
                certificate: x509: certificate signed by unknown authority";
    let instance = Instance::new().env("AWS_ENDPOINT_URL", server.endpoint());
    let instance = instance.agent_behaves(|agent| agent.crashes_with = Some(text.into()));
    let outcome = run(&instance, &["verify.deadline=20s"]);
    ExpectedCause("tls-untrusted", 25, ", issued by `").check(&instance, &outcome);
    assert!(outcome.stderr.contains("x509: certificate signed by unknown authority"), "{}", outcome.stderr);
}

#[test]
fn name_servers_that_do_not_answer_are_reported() {
    let lookup = "request send failed, Post \"https://ecs.eu-west-1.amazonaws.com/\": dial tcp: lookup \
                  ecs.eu-west-1.amazonaws.com on 127.0.77.53:53: i/o timeout";
    let instance = Instance::new().without_name_server();
    let instance = instance.agent_behaves(|agent| agent.crashes_with = Some(lookup.into()));
    ExpectedCause("dns-timeout", 25, "the DNS servers are `127.0.77.53`")
        .check(&instance, &run(&instance, &["verify.deadline=10s"]));
}

#[test]
fn an_instance_with_a_public_address_gets_no_hint_about_a_missing_one() {
    let hole = BlackHole::open();
    let instance = cut_off(Instance::new()).env("AWS_ENDPOINT_URL", hole.endpoint());
    instance.imds.change(|imds| imds.public_ipv4 = Some("203.0.113.7".into()));
    let outcome = run(&instance, &["verify.deadline=8s"]);
    ExpectedCause("egress-timeout", 25, "127.0.0.1").check(&instance, &outcome);
    assert!(!outcome.stderr.contains("no-public-ip"), "{}", outcome.stderr);
}

#[test]
fn a_closed_connection_is_endpoint_unreachable() {
    let port = Port::reserve(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let (address, listener) = (port.address(), port.listen(16));
    std::thread::spawn(move || listener.incoming().flatten().for_each(drop));
    let instance = Instance::new().without_imds_tags().env("AWS_ENDPOINT_URL", format!("http://{address}"));
    ExpectedCause("endpoint-unreachable", 11, "no connection to the endpoint")
        .check_untouched(&instance, &run(&instance, &["run.deadline=10s", "tags.wait=1s"]));
}

#[test]
fn an_endpoint_without_tls_is_tls_failed() {
    use std::io::{Read, Write};
    let port = Port::reserve(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let (address, listener) = (port.address(), port.listen(16));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        }
    });
    let instance = Instance::new().without_imds_tags().env("AWS_ENDPOINT_URL", format!("https://{address}"));
    ExpectedCause("tls-failed", 11, "no TLS connection to the endpoint")
        .check_untouched(&instance, &run(&instance, &["run.deadline=10s", "tags.wait=1s"]));
}

/// A proxy that answers every CONNECT with this status.
fn proxy(status: u16) -> Server {
    Server::tcp(move |_| Reply::new(status, "text/plain", "").into())
}

/// An agent that cannot register through this proxy.
fn proxied(instance: Instance, proxy: &str, error: &str) -> Instance {
    let config = format!("HTTP_PROXY={proxy}\nNO_PROXY=169.254.169.254\n");
    let text = format!("operation error ECS: RegisterContainerInstance, request send failed, Post: {error}");
    instance.ecs_config(config).agent_behaves(|agent| agent.crashes_with = Some(text))
}

#[test]
fn a_proxy_that_refuses_connect_is_reported_with_its_status() {
    let proxy = proxy(407);
    let url = proxy.endpoint().replace("//", "//me:hunter2@");
    let instance = proxied(Instance::new(), &url, "Proxy Authentication Required");
    let outcome = run(&instance, &["verify.deadline=5s"]);
    ExpectedCause("proxy-refuses", 25, "the proxy answered 407 to CONNECT").check(&instance, &outcome);
    assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
    let request = &proxy.requests()[0];
    assert!(request.method == "CONNECT" && request.header("proxy-authorization").is_some(), "{request:?}");
}

#[test]
fn an_unreachable_proxy_is_reported_and_not_the_direct_path() {
    let (closed_port, hole) = (Port::reserve(IpAddr::V4(Ipv4Addr::LOCALHOST)), BlackHole::open());
    let instance = Instance::new().env("AWS_ENDPOINT_URL", hole.endpoint());
    let url = format!("http://{}", closed_port.address());
    let instance = proxied(instance, &url, "proxyconnect tcp: dial tcp: connection refused");
    ExpectedCause("proxy-unreachable", 25, "no connection to the proxy")
        .check(&instance, &run(&instance, &["verify.deadline=6s"]));
}

#[test]
fn an_agent_that_registers_through_its_proxy_is_ready() {
    let (proxy, hole) = (proxy(200), BlackHole::open());
    let config = format!("HTTP_PROXY={}\nNO_PROXY=169.254.169.254\n", proxy.endpoint());
    let instance = Instance::new().env("AWS_ENDPOINT_URL", hole.endpoint()).ecs_config(config);
    let instance = instance.agent_behaves(|agent| agent.register_delay = Duration::from_secs(4));
    is_ready(&run(&instance, &["verify.deadline=30s", "verify.window=2s"]));
    assert!(!proxy.requests().is_empty());
}

const DOCKER: &str = "etc/systemd/system/docker.service.d/proxy.conf";

#[test]
fn a_proxy_of_docker_that_the_agent_does_not_have_is_reported() {
    let hole = BlackHole::open();
    let drop_in = "[Service]\nEnvironment=\"HTTP_PROXY=http://me:hunter2@proxy.test:3128\"\n";
    let instance = cut_off(Instance::new()).env("AWS_ENDPOINT_URL", hole.endpoint()).file(DOCKER, drop_in);
    let outcome = run(&instance, &["verify.deadline=8s"]);
    let seen = "`/etc/systemd/system/docker.service.d/proxy.conf` has the proxy `proxy.test:3128`";
    ExpectedCause("proxy-half-configured", 25, seen).check(&instance, &outcome);
    assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
}

#[test]
fn a_proxy_of_the_agent_that_docker_does_not_have_is_a_note() {
    let proxy = proxy(200);
    let config = format!("HTTP_PROXY={}\nNO_PROXY=169.254.169.254\n", proxy.endpoint());
    let instance = Instance::new().ecs_config(config);
    let instance = instance.agent_behaves(|agent| agent.register_delay = Duration::from_secs(3));
    let seen = "no drop-in of docker.service has one";
    ExpectedNote("proxy-half-configured", seen).check(&run(&instance, &["verify.deadline=20s"]));
}

/// An agent that registers but never connects.
fn unconnected() -> Instance {
    Instance::new().agent_behaves(|agent| agent.never_connects = true)
}

const SOON: [&str; 2] = ["verify.deadline=6s", "verify.window=1s"];

#[test]
fn an_unreachable_control_plane_is_reported_with_its_endpoint() {
    let closed_port = Port::reserve(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let instance = unconnected();
    instance.aws.change(|aws| aws.poll_endpoints[0] = format!("https://{}/", closed_port.address()));
    ExpectedCause("acs-unreachable", 25, "127.0.0.1").check(&instance, &run(&instance, &SOON));
}

#[test]
fn with_a_reachable_control_plane_the_agent_is_stuck() {
    let instance = unconnected();
    ExpectedCause("agent-stuck", 24, "accepts connections from this host").check(&instance, &run(&instance, &SOON));
    assert!(instance.aws.count("DiscoverPollEndpoint") > 0);
}

#[test]
fn an_agent_without_permission_to_connect_is_reported_with_the_action() {
    let instance = unconnected().aws_fault("DiscoverPollEndpoint", aws::Fault::denied("ecs:DiscoverPollEndpoint"));
    ExpectedCause("acs-denied", 22, "ecs:DiscoverPollEndpoint").check(&instance, &run(&instance, &SOON));
    assert_eq!(instance.aws.count("DiscoverPollEndpoint"), 1);
}

#[test]
fn for_an_agent_that_connects_at_once_no_endpoint_is_looked_up() {
    let instance = Instance::new();
    is_ready(&run(&instance, &["verify.deadline=20s"]));
    assert_eq!(instance.aws.count("DiscoverPollEndpoint"), 0);
}
